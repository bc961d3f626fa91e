"""A sweep on this machine: every cell of a table times every seed, one run after another, each exactly once.

A sweep's config file has get_config(arg), like any other, and sweep(add), which calls add(name, **{"section.key": value, ...})
once for each cell. A run is one cell with one seed, fine-tuned where the config names a task, else trained. Its id is a hash of
its resolved config, so that equal cells share one run and a sweep that is edited keeps what it has. The run directories are the
only record: killed at any moment, the same command goes on.
"""

import argparse
import contextlib
import difflib
import fcntl
import hashlib
import json
import re
import runpy
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from bert_jax import config as configs
from bert_jax.errors import EXIT_DIVERGED, EXIT_DONE, EXIT_RESTART, EXIT_USER_ERROR, UserError
from launch import flags, pages, table

TRAINER = (sys.executable, "-m", "bert_jax")
ONE_CELL = "seeds"  # the name of the cell that is the config as it stands
CELL_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._=+-]{0,99}")
# What a vocabulary and a token store are made from: runs that agree on these keys share them.
SHAPES_THE_STORE = ("text.", "data.input_", "data.on_bad_input", "data.segmenter", "data.held_out_", "data.store")
MAX_RESTARTS = 100  # of one run within one sweep: a trainer that asks for more makes no progress
EXIT_FAILED = 1


class Run(NamedTuple):
    """One cell with one seed; config_flags is all that is given to the trainer except --workdir; task is "" in pretraining."""

    cell: str
    seed: int
    folder: Path
    shared: Path
    config_flags: tuple[str, ...]
    needs_vocabulary: bool
    needs_store: bool
    task: str = ""


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
            runs.append(_run(config_file, cell, seed, [*changed, f"--config.seed={seed}"], workdir, folders))
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


def _run(config_file: str, cell: str, seed: int, changed: list[str], workdir: Path, folders: dict[str, Path]) -> Run:
    """The run, its folder found by its id among folders, where it is entered if it is new."""
    config = configs.load(config_file, changed)
    resolved = config.to_dict()
    run_id = _digest(resolved)
    folder = folders.setdefault(run_id, workdir / f"{cell}-s{seed}-{run_id}")
    if "task" in resolved:  # the vocabulary is that of the model to start from
        return Run(cell, seed, folder, workdir, (f"--config={config_file}", *changed), False, False, resolved["task"])
    store_keys = {key: value for key, value in configs.flatten(resolved) if key.startswith(SHAPES_THE_STORE)}
    shared = workdir / "shared" / _digest(store_keys)
    needs_vocabulary, needs_store = not config.text.vocab_file, not config.data.store
    if needs_vocabulary:
        changed = [*changed, f"--config.text.vocab_file={shared / 'vocab.txt'}"]
    if needs_store:
        changed = [*changed, f"--config.data.store={shared / 'store'}"]
    return Run(cell, seed, folder, shared, (f"--config={config_file}", *changed), needs_vocabulary, needs_store)


def _digest(value: dict) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()[:10]


def preparations(runs: Sequence[Run]) -> dict[Path, list[list[str]]]:
    """Trainer arguments that make each shared vocabulary and store; they are quick where it exists."""
    wanted: dict[Path, list[list[str]]] = {}
    for run in runs:
        verbs = ["vocab"] * run.needs_vocabulary + ["prepare"] * run.needs_store
        if verbs:
            wanted.setdefault(run.shared, [[verb, *run.config_flags, f"--workdir={run.shared}"] for verb in verbs])
    return wanted


def training(run: Run) -> list[str]:
    return ["finetune" if run.task else "train", *run.config_flags, f"--workdir={run.folder}"]


def main(arguments: Sequence[str], trainer: Sequence[str] = TRAINER) -> int:
    """Runs what is missing and prints the table; 0 when every run is done or diverged, 1 when one failed, 42 when interrupted."""
    given, overrides = flags.parse(_parser(), arguments)
    workdir = Path(given.workdir)
    wanted = [name for name in given.cells.split(",") if name]
    runs = expand(given.config, overrides, _seeds(given.seeds), workdir, wanted, not given.no_grid)
    best_by = pages.chosen_by(runs[0].task, given.by)
    if given.dry_run:
        print("\n".join(shlex.join([*trainer, *command]) for command in _missing(runs)))
        return EXIT_DONE
    code = EXIT_DONE
    if not given.table:
        _make(workdir)
        try:
            with _terminate_as_interrupt(), _only_one(workdir) as lock:
                code = _execute(runs, trainer, lock)
        except KeyboardInterrupt:
            print("interrupted; the same command goes on", file=sys.stderr)
            return EXIT_RESTART
    _show(runs, workdir, best_by)
    return code


def _show(runs: Sequence[Run], workdir: Path, best_by: str) -> None:
    """Prints the table; where there is anything yet, writes it, and after fine-tuning the page of its best cell."""
    found = table.collect(runs, best_by)
    text = table.render(found)
    print(text)
    if not workdir.is_dir():
        return
    table.write(workdir / "table.md", text)
    configs.write_json(workdir / "table.json", found)
    if runs[0].task:
        for what, path in pages.write(workdir, runs[0].task, found).items():
            print(f"{what}: {path}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m launch sweep",
        description=__doc__.split("\n")[0],
        epilog=f"{flags.ANY_KEY}, for every run",
        allow_abbrev=False,
    )
    parser.add_argument("--config", required=True, help="a config file; its sweep(add) names the cells")
    parser.add_argument("--workdir", required=True, help="folder of the run directories, table.md and table.json")
    parser.add_argument("--seeds", default="", help="such as 0,1,2; without it, the seed of the config")
    parser.add_argument("--cells", default="", help="names of cells with commas between; without it, all of them")
    parser.add_argument("--no-grid", action="store_true", help="the config as it stands, as one cell; so is a file without sweep")
    parser.add_argument("--by", default="", help="metric that the best cell is chosen by; without it, the first of the task")
    parser.add_argument("--table", action="store_true", help="print the table of what is there and run nothing")
    parser.add_argument("--dry-run", action="store_true", help="print the commands of what is missing and run nothing")
    return parser


def _seeds(text: str) -> list[int]:
    if not re.fullmatch("([0-9]{1,9}(,[0-9]{1,9})*)?", text):
        raise UserError("--seeds cannot be read", got=text, expected="numbers with commas between: 0,1,2")
    return list(dict.fromkeys(int(seed) for seed in text.split(",") if seed))


def _missing(runs: Sequence[Run]) -> list[list[str]]:
    waiting = {run.folder: run for run in runs if table.state(run.folder) not in table.FINAL}
    makings = [command for commands in preparations(list(waiting.values())).values() for command in commands]
    return [*makings, *map(training, waiting.values())]


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"cannot make the folder {folder}", got=error.strerror, expected="a folder that can be written to"
        ) from None


@contextlib.contextmanager
def _only_one(workdir: Path) -> Iterator[int]:
    """A lock on the sweep, as an open file. Each trainer inherits it, so one that outlives a killed sweep is waited for."""
    with open(workdir / "sweep.lock", "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"another sweep, or a run that it left behind, is at work in {workdir}: waiting for its end", flush=True)
            fcntl.flock(file, fcntl.LOCK_EX)
        yield file.fileno()


@contextlib.contextmanager
def _terminate_as_interrupt() -> Iterator[None]:
    """SIGTERM ends the sweep in the way of Ctrl-C, so that the trainer is told to save and is waited for."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _execute(runs: Sequence[Run], trainer: Sequence[str], lock: int) -> int:
    waiting = list({run.folder: run for run in runs if table.state(run.folder) not in table.FINAL}.values())
    total = len({run.folder for run in runs})
    print(f"{total} runs, {total - len(waiting)} of them finished before", flush=True)
    for shared, commands in preparations(waiting).items():
        _make(shared)
        for command in commands:
            code = _start([*trainer, *command], shared / "prepare.log", lock)
            if code:
                return _stop(code, f"{command[0]}, see {shared}/prepare.log")
    failed, began = False, time.monotonic()
    for position, run in enumerate(waiting):
        label = f"[{total - len(waiting) + position + 1}/{total}] {run.cell} seed {run.seed}"
        print(f"{label}: started, {run.folder}/train.log", flush=True)
        start = time.monotonic()
        state, code = _train(run, trainer, lock)
        if code == EXIT_USER_ERROR:
            return _stop(code, label)
        failed |= state == "failed"
        now = time.monotonic()
        left = (now - began) / (position + 1) * (len(waiting) - position - 1)
        outcome = f"{state} (exit code {code})" if state == "failed" else state
        print(
            f"{label}: {outcome} after {_clock(now - start)}; {_clock(now - began)} in all, about {_clock(left)} left", flush=True
        )
    return EXIT_FAILED if failed else EXIT_DONE


def _train(run: Run, trainer: Sequence[str], lock: int) -> tuple[str, int]:
    """Trains one run, restarting it as often as it asks; (state, exit code), the state written beside the run."""
    _make(run.folder)
    record = table.status(run.folder)
    record |= {"cell": run.cell, "seed": run.seed, "state": "running"}
    for _ in range(MAX_RESTARTS):
        record["attempt"] = record.get("attempt", 0) + 1
        configs.write_json(run.folder / "status.json", record)
        try:
            code = _start([*trainer, *training(run)], run.folder / "train.log", lock)
        except KeyboardInterrupt:
            configs.write_json(run.folder / "status.json", record | {"state": "queued"})
            raise
        if code != EXIT_RESTART:
            break
    state = {EXIT_DONE: "done", EXIT_DIVERGED: "diverged"}.get(code, "failed")
    if state == "done" and not table.result(run.folder):
        state = "failed"
    configs.write_json(run.folder / "status.json", record | {"state": state, "exit_code": code})
    return state, code


def _start(command: Sequence[str], log: Path, lock: int) -> int:
    """The exit code of a command whose output goes to the end of log; what it says about a user's mistake is shown too."""
    with open(log, "a+b") as output:
        before = output.tell()
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, pass_fds=(lock,))
        try:
            code = process.wait()
        except KeyboardInterrupt:
            process.terminate()
            process.wait()
            raise
        if code == EXIT_USER_ERROR:
            output.seek(before)
            print("\n".join(output.read().decode(errors="replace").splitlines()[-20:]), file=sys.stderr)
        return code


def _stop(code: int, where: str) -> int:
    print(f"stopped at {where}: exit code {code}", file=sys.stderr)
    return code if code > 0 else EXIT_FAILED


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
