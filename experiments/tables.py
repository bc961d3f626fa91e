"""A table of a paper as data, and the runs that fill it.

Rows are encoders, pretrained and then fine-tuned on the tasks of the columns, with every seed; rows may share an encoder. The
folders of the runs are the only record: what a table says is read from them.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from bert_jax import config as configs
from bert_jax import finetune, inputs, jobs, run
from bert_jax import workdir as workdirs
from bert_jax.errors import UserError

CONFIGS = Path(__file__).resolve().parent.parent / "configs"
PUBLISHED = Path(__file__).with_name("published")
NOTHING: Mapping[str, object] = MappingProxyType({})
# A run is the same wherever its folder is moved.
PATH_KEYS = (
    "data.folder",
    "data.input_file",
    "data.store",
    "init_checkpoint",
    "objective.teacher",
    "text.new_words",
    "text.vocab_file",
)
SEAL = "seal.json"
SEALED = ("config.json", "run.json", "result.json", "metrics.jsonl")


class Config(NamedTuple):
    """A file of configs/, with its row, and what is changed in it."""

    file: str
    changes: Mapping[str, object] = NOTHING


class Encoder(NamedTuple):
    """How an encoder is pretrained: its config, by the name that each scale knows one under, what is changed in it, and the
    encoder that it learns from, if it is a student, which comes before it."""

    config: str
    changes: Mapping[str, object] = NOTHING
    teacher: str = ""


class Row(NamedTuple):
    """finetuning: what is changed in the configs of the tasks; of_tasks: what stands behind their arguments, as "-features"."""

    encoder: str
    finetuning: Mapping[str, object] = NOTHING
    of_tasks: str = ""


class Score(NamedTuple):
    """A task, and its metric, which tables have in percent."""

    config: str
    metric: str = "accuracy"

    @property
    def name(self) -> str:
        return self.config.rpartition(":")[2]


class Column(NamedTuple):
    """What fills a column: the mean over these; stand_in says what is read where it is not what the paper read."""

    scores: Sequence[Score]
    stand_in: str = ""


class Scale(NamedTuple):
    """How large the runs are.

    Attributes:
        about: what is changed against the paper, for the reader of the table.
        configs: of the pretrainings, by name.
        pretraining, finetuning: what is changed in all configs of the kind.
        text: what to pretrain on, under the folder of all data; "": docstrings; None: it has to be given.
        judges_values: whether the numbers themselves may be held against the published ones, or the differences of rows alone.
    """

    about: str
    configs: Mapping[str, Config]
    pretraining: Mapping[str, object]
    finetuning: Mapping[str, object]
    columns: Mapping[str, Column]
    seeds: tuple[int, ...] = (1, 2, 3)
    text: str | None = None
    judges_values: bool = False

    @property
    def tasks(self) -> list[Score]:
        """One of the scores of each task: whatever a run is scored by, it is run once."""
        return list({score.config: score for column in self.columns.values() for score in column.scores}.values())


class Claim(NamedTuple):
    """Two rows, whose difference the paper speaks of: which is better is said by the published numbers."""

    row: str
    other: str


class Table(NamedTuple):
    name: str
    rows: Mapping[str, Row]
    encoders: Mapping[str, Encoder]
    claims: Sequence[Claim]
    scales: Mapping[str, Scale]


class Published(NamedTuple):
    """A table of a paper; rows[name][column] is a number as printed there."""

    title: str
    source: str
    columns: list[str]
    rows: dict[str, dict[str, float]]


def published(table: str) -> Published:
    """
    Args:
        table: "bert/table5" is table5 of published/bert.json.
    """
    paper, _, key = table.partition("/")
    return Published(**json.loads((PUBLISHED / f"{paper}.json").read_text(encoding="utf-8"))[key])


class Run(NamedTuple):
    """One training run of a table.

    Attributes:
        start: (config, folder) -> true when the run is finished, false when a signal stopped it.
        begins_with: the folder of the run whose encoder it goes on from, or learns from.
    """

    name: str
    folder: Path
    config: object
    start: Callable
    begins_with: Path | None = None

    def result(self) -> dict | None:
        """What the run wrote at its end; None if it has not ended, holds a run of another config, or what it began with is gone
        or was made anew.

        Raises:
            UserError: a file of it was changed since its end.
        """
        saved, sealed = workdirs.read_config(self.folder), read_seal(self.folder)
        if saved is None or sealed is None:
            return None
        changed = {key for key, _, _ in configs.difference(saved, self.config.to_dict())} - set(PATH_KEYS)
        if changed or sealed["begins_with"] != hash_of_seal(self.begins_with):
            return None
        return workdirs.finished(self.folder)

    def made_by(self) -> dict:
        """The versions that the run depends on: of the code, by its hash and by git, and of jax."""
        made = json.loads((self.folder / "run.json").read_text(encoding="utf-8"))
        return {"code": made["code"], "git": (made["git"] or "")[:12], "jax": made["versions"]["jax"]}

    def seal(self) -> None:
        hashes = {name: _sha256(self.folder / name) for name in SEALED}
        configs.write_json(self.folder / SEAL, {"files": hashes, "begins_with": hash_of_seal(self.begins_with)})


def read_seal(folder: Path) -> dict | None:
    """Raises UserError where a file is not what it was when it was sealed."""
    if not (folder / SEAL).exists():
        return None
    sealed = json.loads((folder / SEAL).read_text(encoding="utf-8"))
    for name, digest in sealed["files"].items():
        if not (folder / name).exists() or _sha256(folder / name) != digest:
            raise UserError(
                "a file of a finished run was changed after its end",
                got=folder / name,
                expected=f"the file with SHA-256 {digest[:12]}...",
                fix="put the original back, or delete the folder of the run, which is then made again",
            )
    return sealed


def hash_of_seal(folder: Path | None) -> str:
    """Of a run that is gone, or of none, "": nothing else has it."""
    return _sha256(folder / SEAL) if folder and (folder / SEAL).exists() else ""


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def runs(table: Table, scale: Scale, folder: Path, text: str = "") -> Iterator[Run]:
    """Every run, each after what it needs; all of one seed before the next, so that a table cut short has whole rows."""
    for seed in scale.seeds:
        for encoder in table.encoders:
            yield pretraining(table, scale, folder, encoder, seed, text)
            for name, row in table.rows.items():
                if row.encoder == encoder:
                    yield from (finetuning(table, scale, folder, name, score, seed) for score in scale.tasks)


def pretraining(table: Table, scale: Scale, folder: Path, encoder: str, seed: int, text: str = "") -> Run:
    """With one seed all encoders see the same text in the same order, as far as their configs agree.

    Args:
        text: what to pretrain on, as data.input_file; only its start needs it.
    """
    shared, (name, changes, teacher) = folder / "shared", table.encoders[encoder]
    paths = {"text.vocab_file": shared / "vocab.txt", "data.store": shared / "store", "data.input_file": text}
    teaches = pretraining(table, scale, folder, teacher, seed).folder if teacher else None
    if teacher:
        paths["objective.teacher"] = teaches
    file, of_config = scale.configs[name]
    loaded = _load(file, dict(scale.pretraining) | dict(of_config) | dict(changes) | {"seed": seed} | paths)

    def start(config, workdir: Path) -> bool:
        inputs.make_vocabulary(config, shared)
        inputs.prepare_store(config, shared)
        return run.train(config, workdir)

    return Run(f"{encoder}, seed {seed}, pretraining", folder / f"{_slug(encoder)}-s{seed}", loaded, start, teaches)


def finetuning(table: Table, scale: Scale, folder: Path, row: str, score: Score, seed: int) -> Run:
    encoder, changes, of_tasks = table.rows[row]
    begins_with = pretraining(table, scale, folder, encoder, seed).folder
    given = {"init_checkpoint": begins_with, "seed": seed}
    config = _load(score.config + of_tasks, dict(scale.finetuning) | dict(changes) | given)
    return Run(
        f"{row}, seed {seed}, {score.name}",
        folder / f"{_slug(row)}-{score.name}-s{seed}",
        config,
        lambda config, workdir: bool(finetune.finetune(config, workdir)),
        begins_with,
    )


def check(table: Table, scale: Scale, folder: Path) -> None:
    """Raises UserError when the data of a task is absent or broken, before any run is paid for."""
    row, seed = next(iter(table.rows)), scale.seeds[0]
    for score in scale.tasks:
        jobs.read_examples(finetuning(table, scale, folder, row, score, seed).config)


def check_code(wanted: Iterable[Run]) -> None:
    """Raises UserError when a finished run was made by other code than the missing ones would be."""
    now = workdirs.code_hash()
    for each in wanted:
        if each.result() and each.made_by()["code"] != now:
            raise UserError(
                "a finished run is of another version of the code",
                got=f"{each.folder}: {json.dumps(each.made_by())}",
                expected=f"code {now}, which would make those that are missing",
                fix="go on with that version, delete the folder of the run, which is then made again, or give --other_code",
            )


def _load(name: str, changes: Mapping[str, object]):
    return configs.load(str(CONFIGS / name), [f"{key}={value}" for key, value in changes.items()])


def _slug(name: str) -> str:
    kept = "".join(letter if letter.isalnum() else " " for letter in name.lower())
    return "-".join(kept.split())
