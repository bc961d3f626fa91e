"""A table of a paper as data, and the runs that fill it.

Rows are encoders, pretrained and then fine-tuned on the tasks of the columns, with every seed; rows may share an encoder, go on
from one another and teach one another. The folders of the runs are the only record: what a table says is read from them.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from ml_collections import ConfigDict

from bert_jax import config as configs
from bert_jax import finetune, inputs, jobs, run
from bert_jax import workdir as workdirs
from bert_jax.errors import UserError
from bert_jax.tasks import sentences

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
STS, STS_SCORE = "sts:", "stsb_spearman"  # on the dev set of STS-B, in percent
SEAL = "seal.json"
SEALED = ("config.json", "run.json", "result.json", "metrics.jsonl")


class Config(NamedTuple):
    """A file of configs/, with its row, and what is changed in it."""

    file: str
    changes: Mapping[str, object] = NOTHING


class Encoder(NamedTuple):
    """How an encoder is pretrained: its config, by the name that each scale knows one under, and what is changed in it.

    Attributes:
        teacher, after: the encoder that it learns from, if it is a student, and the one that it goes on from, if it is not drawn
            anew; they come before it.
    """

    config: str
    changes: Mapping[str, object] = NOTHING
    teacher: str = ""
    after: str = ""


class Row(NamedTuple):
    """How an encoder is fine-tuned on the tasks of the columns.

    Attributes:
        finetuning: what is changed in the configs of the tasks.
        of_tasks: what stands behind their arguments, as "-features".
        teacher, after: the row or step whose model of the same task it learns from, and the one whose model it goes on from
            instead of the encoder; they come before it.
    """

    encoder: str
    finetuning: Mapping[str, object] = NOTHING
    of_tasks: str = ""
    teacher: str = ""
    after: str = ""


class Score(NamedTuple):
    """A figure of a run.

    Attributes:
        config: of the fine-tuning; "sts:POOLING": nothing is trained, but the vectors that this pooling makes are scored on the
            dev set of STS-B; "": what the pretraining itself measured at its end.
        times: by which the metric becomes percent.
    """

    config: str
    metric: str = "accuracy"
    times: float = 100.0

    @property
    def name(self) -> str:
        return self.config.rpartition(":")[2] or "pretraining"


class Column(NamedTuple):
    """What fills a column: the mean over these.

    Attributes:
        stand_in: what is read where it is not what the paper read.
        of_rows: row -> what fills it there instead.
    """

    scores: Sequence[Score]
    stand_in: str = ""
    of_rows: Mapping[str, Sequence[Score]] = NOTHING

    def of(self, row: str) -> Sequence[Score]:
        return self.of_rows.get(row, self.scores)


class Scale(NamedTuple):
    """How large the runs are.

    Attributes:
        about: what is changed against the paper, for the reader of the table.
        configs: of the pretrainings, by name.
        pretraining, finetuning: what is changed in all configs of the kind.
        text: what to pretrain on, under the folder of all data; "": docstrings; None: it has to be given; or what writes it.
        judges_values: whether the numbers themselves may be held against the published ones, or the differences of rows alone.
    """

    about: str
    configs: Mapping[str, Config]
    pretraining: Mapping[str, object]
    finetuning: Mapping[str, object]
    columns: Mapping[str, Column]
    seeds: tuple[int, ...] = (1, 2, 3)
    text: str | Callable[[Path], None] | None = None
    judges_values: bool = False

    def tasks(self, row: str) -> list[Score]:
        """One of the scores of each task of a row: whatever a run is scored by, it is run once."""
        return list({score.config: score for column in self.columns.values() for score in column.of(row)}.values())


class Claim(NamedTuple):
    """Two rows, whose difference is looked at: which is better is said by the published numbers, where there are some."""

    row: str
    other: str


class Table(NamedTuple):
    """
    Attributes:
        steps: as rows, but not shown: what rows go on from.
        ours_alone: the title of a table that is of no paper.
    """

    name: str
    rows: Mapping[str, Row]
    encoders: Mapping[str, Encoder]
    claims: Sequence[Claim]
    scales: Mapping[str, Scale]
    steps: Mapping[str, Row] = NOTHING
    ours_alone: str = ""

    @property
    def finetuned(self) -> dict[str, Row]:
        return dict(self.steps) | dict(self.rows)


class Published(NamedTuple):
    """A table of a paper; rows[name][column] is a number as printed there."""

    title: str
    source: str
    columns: list[str]
    rows: dict[str, dict[str, float]]


def published(table: Table) -> Published:
    """That of "bert/table5" is table5 of published/bert.json."""
    if table.ours_alone:
        columns = list(dict.fromkeys(column for scale in table.scales.values() for column in scale.columns))
        return Published(table.ours_alone, "nothing, this table is of no paper", columns, {row: {} for row in table.rows})
    paper, _, key = table.name.partition("/")
    return Published(**json.loads((PUBLISHED / f"{paper}.json").read_text(encoding="utf-8"))[key])


class Run(NamedTuple):
    """One training run of a table.

    Attributes:
        start: (config, folder) -> true when the run is finished, false when a signal stopped it.
        rests_on: the runs whose models it goes on from, or learns from.
    """

    name: str
    folder: Path
    config: object
    start: Callable
    rests_on: "tuple[Run, ...]" = ()

    def result(self) -> dict | None:
        """What the run wrote at its end; None if it has not ended, holds a run of another config, or what it rests on is gone or
        was made anew.

        Raises:
            UserError: a file of it was changed since its end.
        """
        saved, sealed = workdirs.read_config(self.folder), read_seal(self.folder)
        if saved is None or sealed is None:
            return None
        changed = {key for key, _, _ in configs.difference(saved, self.config.to_dict())} - set(PATH_KEYS)
        if changed or sealed["begins_with"] != self._hash_of_seals() or not all(run.result() for run in self.rests_on):
            return None
        return workdirs.finished(self.folder)

    def made_by(self) -> dict:
        """The versions that the run depends on: of the code, by its hash and by git, and of jax."""
        made = json.loads((self.folder / "run.json").read_text(encoding="utf-8"))
        return {"code": made["code"], "git": (made["git"] or "")[:12], "jax": made["versions"]["jax"]}

    def seal(self) -> None:
        hashes = {name: _sha256(self.folder / name) for name in SEALED}
        configs.write_json(self.folder / SEAL, {"files": hashes, "begins_with": self._hash_of_seals()})

    def _hash_of_seals(self) -> str:
        """Of runs that are gone "": nothing else has it."""
        seals = [run.folder / SEAL for run in self.rests_on]
        return " ".join(_sha256(seal) for seal in seals) if all(seal.exists() for seal in seals) else ""


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


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def runs(table: Table, scale: Scale, folder: Path, text: str = "") -> Iterator[Run]:
    """Every run, each after what it needs; all of one seed before the next, so that a table cut short has whole rows."""
    for seed in scale.seeds:
        for encoder in table.encoders:
            yield pretraining(table, scale, folder, encoder, seed, text)
            for name, row in table.finetuned.items():
                if row.encoder == encoder:
                    yield from (scored(table, scale, folder, name, score, seed) for score in scale.tasks(name) if score.config)


def pretraining(table: Table, scale: Scale, folder: Path, encoder: str, seed: int, text: str = "") -> Run:
    """With one seed all encoders see the same text in the same order, as far as their configs agree.

    Args:
        text: what to pretrain on, as data.input_file; only its start needs it.
    """
    shared, (name, changes, *others) = folder / "shared", table.encoders[encoder]
    held_out = changes.get("data.held_out_fraction")
    paths = {
        "text.vocab_file": shared / "vocab.txt",
        "data.store": shared / (f"store-{held_out}" if held_out else "store"),
        "data.input_file": text,
    }
    teacher, after = (pretraining(table, scale, folder, other, seed) if other else None for other in others)
    file, of_config = scale.configs[name]
    given = {"seed": seed} | paths | _rests_on(teacher, after)
    loaded = _load(file, dict(scale.pretraining) | dict(of_config) | dict(changes) | given)

    def start(config, workdir: Path) -> bool:
        inputs.make_vocabulary(config, shared)
        inputs.prepare_store(config, shared)
        return run.train(config, workdir)

    rests_on = tuple(filter(None, (teacher, after)))
    return Run(f"{encoder}, seed {seed}, pretraining", folder / f"{_slug(encoder)}-s{seed}", loaded, start, rests_on)


def scored(table: Table, scale: Scale, folder: Path, row: str, score: Score, seed: int) -> Run:
    """The run that has this figure of a row."""
    encoder, changes, of_tasks, *others = table.finetuned[row]
    pretrained = pretraining(table, scale, folder, encoder, seed)
    if not score.config:
        return pretrained
    teacher, after = (
        scored(table, scale, folder, other, _in_its_place(scale, row, score, other), seed) if other else None for other in others
    )
    begins_with = after or pretrained
    given = {"seed": seed} | _rests_on(teacher, begins_with)
    if score.config.startswith(STS):
        config, start = ConfigDict(given | {"task": score.config}), _score_sts
    else:
        config = _load(score.config + of_tasks, dict(scale.finetuning) | dict(changes) | given)
        start = lambda config, workdir: bool(finetune.finetune(config, workdir))  # noqa: E731
    return Run(
        f"{row}, seed {seed}, {score.name}",
        folder / f"{_slug(row)}-{score.name}-s{seed}",
        config,
        start,
        (*filter(None, (teacher,)), begins_with),
    )


def _rests_on(teacher: Run | None, after: Run | None) -> dict[str, str]:
    named = {"objective.teacher": teacher, "init_checkpoint": after}
    return {key: str(run.folder) for key, run in named.items() if run}


def _in_its_place(scale: Scale, row: str, score: Score, other: str) -> Score:
    """What fills another row where this score fills its own."""
    pairs = (pair for column in scale.columns.values() for pair in zip(column.of(row), column.of(other), strict=True))
    return next(theirs for ours, theirs in pairs if ours.config == score.config)


def _score_sts(config, workdir: Path) -> bool:
    with workdirs.opened(config, workdir):
        workdirs.write_config(config, workdir, {})
        spearman = finetune.sts_of_trained(Path(config.init_checkpoint), config.task.removeprefix(STS))
        workdirs.write_lines(workdir / "metrics.jsonl", [{"kind": "sts", "spearman": spearman}])
        counts = {"train": 0, "dev": len(_sts_pairs())}
        workdirs.write_result(workdir, {"step": 0, "metrics": {STS_SCORE: spearman}, "num_examples": counts})
    return True


def _sts_pairs() -> list:
    return sentences.scored_pairs(["stsb"], jobs.data_folder(), "dev")


def check(table: Table, scale: Scale, folder: Path) -> None:
    """Raises UserError when the data of a task is absent or broken, before any run is paid for."""
    of_tasks = {score.config: (row, score) for row in table.finetuned for score in scale.tasks(row) if score.config}
    for row, score in of_tasks.values():
        if score.config.startswith(STS):
            _sts_pairs()
        else:
            jobs.read_examples(scored(table, scale, folder, row, score, scale.seeds[0]).config)


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
