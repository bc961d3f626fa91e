"""The runs of a sweep: every cell of a table times every seed, each exactly once.

A sweep's config file has get_config(arg), like any other, and sweep(add), which calls add(name, **{"section.key": value, ...})
once for each cell. A run is one cell with one seed, fine-tuned where the config names a task, else trained. Its id is a hash of
its resolved config, so that equal cells share one run and a sweep that is edited keeps what it has.
"""

import difflib
import hashlib
import json
import re
import runpy
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from bert_jax import config as configs
from bert_jax.errors import UserError

ONE_CELL = "seeds"  # the name of the cell that is the config as it stands
CELL_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._=+-]{0,99}")
# What a vocabulary and a token store are made from: runs that agree on these keys share them.
SHAPES_THE_STORE = ("text.", "data.input_", "data.on_bad_input", "data.drop_", "data.segmenter", "data.held_out_", "data.store")


class Run(NamedTuple):
    """One cell with one seed.

    Attributes:
        folder: CELL-sSEED-ID in the folder of the sweep.
        overrides: the keys of the config that are set, the seed among them.
        shared: where the vocabulary and the token store lie that it shares with other runs; None in fine-tuning.
        needs_vocabulary, needs_store: whether they must be made there, since the config names no other.
        task: "" in pretraining.
    """

    cell: str
    seed: int
    folder: Path
    config: str
    overrides: tuple[str, ...]
    shared: Path | None = None
    needs_vocabulary: bool = False
    needs_store: bool = False
    task: str = ""

    @property
    def id(self) -> str:
        return self.folder.name.rpartition("-")[2]

    @property
    def config_flags(self) -> tuple[str, ...]:
        """All that is given to the trainer except --workdir."""
        vocabulary = [f"--config.text.vocab_file={self.shared / 'vocab.txt'}"] if self.needs_vocabulary else []
        store = [f"--config.data.store={self.shared / 'store'}"] if self.needs_store else []
        return (f"--config={self.config}", *self.overrides, *vocabulary, *store)

    @property
    def training(self) -> list[str]:
        """Arguments of the trainer."""
        return ["finetune" if self.task else "train", *self.config_flags, f"--workdir={self.folder}"]


def expand(
    config_file: str,
    overrides: Sequence[str],
    seeds: Sequence[int],
    workdir: Path,
    wanted: Sequence[str] = (),
    grid: bool = True,
) -> list[Run]:
    """The runs of a sweep, cell by cell in the order of the file; equal ones have the same folder.

    Args:
        seeds: () for that of the config.
        wanted: names of cells; () for all.
        grid: False for one cell, the config as it stands, whether or not the file has a sweep. A file without one needs seeds:
            they are then all that differs.

    Raises:
        UserError: no sweep in the file, a cell without a usable name, a key that the config does not have, or a key
            that both a cell and overrides set.
    """
    runs: list[Run] = []
    folders = {path.name.rpartition("-")[2]: path for path in sorted(workdir.glob("*-*/"))}
    cells = _cells(config_file, seeds) if grid else {ONE_CELL: {}}
    for name in wanted:
        if name not in cells:
            near = difflib.get_close_matches(name, cells, n=3, cutoff=0.4) or list(cells)
            raise UserError("the sweep has no such cell", got=name, expected=" or ".join(near))
    for cell, changes in cells.items():
        if wanted and cell not in wanted:
            continue
        both = changes.keys() & {override.removeprefix("--config.").partition("=")[0] for override in overrides}
        if both:
            raise UserError(f"the cell {cell!r} sets {' and '.join(sorted(both))} itself", fix=f"leave out --config.{min(both)}")
        changed = [*overrides, *(f"--config.{key}={value}" for key, value in changes.items())]
        for seed in seeds or [configs.load(config_file, changed).seed]:
            runs.append(_run(config_file, cell, seed, (*changed, f"--config.seed={seed}"), workdir, folders))
    return runs


def _cells(config_file: str, seeds: Sequence[int]) -> dict[str, dict]:
    cells: dict[str, dict] = {}

    def add(name: str, **changes) -> None:
        if not CELL_NAME.fullmatch(name) or name in cells:
            raise UserError(
                "a cell needs a name of its own that can be a folder", got=repr(name), expected="letters, digits and ._=+-"
            )
        cells[name] = changes

    configs.load(config_file)
    path = config_file.partition(":")[0]
    sweep = runpy.run_path(path).get("sweep")
    if not sweep and seeds:
        return {ONE_CELL: {}}
    if not sweep:
        raise UserError(
            f"{path} has no function sweep(add)",
            fix="give --seeds=0,1,2 to run it as it stands with several seeds, or see configs/sweep_quickstart.py",
        )
    sweep(add)
    return cells


def _run(config_file: str, cell: str, seed: int, overrides: tuple[str, ...], workdir: Path, folders: dict[str, Path]) -> Run:
    """The run, its folder found by its id among folders, where it is entered if it is new."""
    config = configs.load(config_file, overrides)
    resolved = configs.without_later(config.to_dict())
    run_id = _digest(resolved)
    folder = folders.setdefault(run_id, workdir / f"{cell}-s{seed}-{run_id}")
    run = Run(cell, seed, folder, config_file, overrides, task=resolved.get("task", ""))
    if run.task:  # the vocabulary is that of the model to start from
        return run
    store_keys = {key: value for key, value in configs.flatten(resolved) if key.startswith(SHAPES_THE_STORE)}
    return run._replace(
        shared=workdir / "shared" / _digest(store_keys),
        needs_vocabulary=not config.text.vocab_file,
        needs_store=not config.data.store,
    )


def _digest(value: dict) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()[:10]


def require_unchanged(runs: Sequence[Run]) -> None:
    """Raises UserError where the config file no longer says of a run what it said when the run got its id."""
    for run in runs:
        if _digest(configs.without_later(configs.load(run.config, run.overrides).to_dict())) != run.id:
            raise UserError(
                "the config file has changed since the sweep was submitted",
                got=f"{run.config} says other things of {run.folder.name}",
                fix="put it back, or submit the sweep again: what differs becomes a new run",
            )


def preparations(runs: Sequence[Run]) -> dict[Path, list[list[str]]]:
    """Trainer arguments that make each shared vocabulary and store; they are quick where it exists."""
    wanted: dict[Path, list[list[str]]] = {}
    for run in runs:
        verbs = ["vocab"] * run.needs_vocabulary + ["prepare"] * run.needs_store
        if verbs:
            wanted.setdefault(run.shared, [[verb, *run.config_flags, f"--workdir={run.shared}"] for verb in verbs])
    return wanted


def alone(config_file: str, overrides: Sequence[str], workdir: Path) -> Run:
    """A run of its own in this folder, which makes its vocabulary and store itself."""
    config = configs.load(config_file, overrides)
    return Run("", config.seed, workdir, config_file, tuple(overrides), task=config.to_dict().get("task", ""))


def distinct(runs: Sequence[Run]) -> list[Run]:
    """One run for each folder."""
    return list({run.folder: run for run in runs}.values())


def to_json(runs: Sequence[Run], workdir: Path) -> list[dict]:
    """The runs, without the place of the sweep's folder, which may be moved."""
    inside = lambda path: path and path.relative_to(workdir).as_posix()  # noqa: E731
    return [run._asdict() | {"folder": inside(run.folder), "shared": inside(run.shared)} for run in runs]


def from_json(saved: Sequence[dict], workdir: Path) -> list[Run]:
    return [
        Run(**run)._replace(
            folder=workdir / run["folder"],
            shared=workdir / run["shared"] if run["shared"] else None,
            overrides=tuple(run["overrides"]),
        )
        for run in saved
    ]
