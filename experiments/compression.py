"""Models made smaller beside the one that they were made from: size, latency, throughput and accuracy on real tasks, all from the
published MiniLM encoder. Killed at any moment, the same command goes on; the folders of the runs are the only record.

Each smaller model stands beside one of its size that was trained without the method: a pruned one beside one whose heads and
neurons were drawn, a student beside the same layers tuned without a teacher, int8 that was trained for beside int8 that was not.
"""

import csv
import io
import json
import os
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

from bert_jax import config as configs
from bert_jax import convert, finetune, jobs, pruning
from bert_jax import workdir as workdirs
from bert_jax.errors import EXIT_DONE, EXIT_RESTART, UserError
from bert_jax.interop import onnx
from bert_jax.metrics.statistics import Summary, summarise
from bert_jax.predict.outputs import BATCH_SIZE, Shapes, outputs_of, shaped_batches
from bert_jax.report import drawing
from bert_jax.trained import open_trained
from experiments.benchmarks import measure
from experiments.proofs.finetuning import brought_in
from experiments.rendering import figure
from experiments.tables import CONFIGS
from launch import table as files

NAME = "compress/tradeoff"
OUTPUTS = {
    "classify": ("logits_BC", "classifier"),
    "distill": ("logits_BC", "classifier"),
    "tag": ("logits_BLC", "token_classifier"),
}
METRICS = {"sst2": "accuracy", "mrpc": "accuracy", "conll2003": "f1"}
ROUNDS, SINGLE = 5, 100  # measurements of speed, each of the whole dev set and of so many of its texts one by one


class Scale(NamedTuple):
    """
    Attributes:
        tasks: task -> settings of all of its runs.
    """

    about: str
    seeds: Sequence[int]
    tasks: Mapping[str, Mapping[str, object]]


RECIPE = {"train.train_batch_size": 16, "model.matmul_dtype": "bfloat16", "optim.learning_rate": 5e-5}
SST2 = RECIPE | {"data.max_seq_length": 64, "data.pad_to_multiple_of": 16}  # no sentence is longer, most are far shorter
SCALES = {
    "smoke": Scale(
        "500 examples, one epoch: minutes, to see it run",
        (1,),
        {"sst2": SST2 | {"data.max_train_examples": 500, "train.num_train_epochs": 1.0}},
    ),
    "desk": Scale(
        "40,000 examples of SST-2 once, the others three times: by estimate half a day on two quiet cores",
        (1, 2, 3),
        {
            "sst2": SST2 | {"data.max_train_examples": 40_000, "train.num_train_epochs": 1.0},
            "mrpc": RECIPE | {"train.num_train_epochs": 3.0},
            "conll2003": RECIPE | {"train.num_train_epochs": 3.0},
        },
    ),
}


class Kind(NamedTuple):
    """How a model is trained.

    Attributes:
        row: of the config of the task, behind its name.
        start: the kind that it is made from; "": the published encoder.
        prune: whether by configs/prune.py.
        taught: whether `start` is its teacher, too; that are students of classes alone.
        settings: of its own.
    """

    row: str = ""
    start: str = ""
    prune: bool = False
    taught: bool = False
    settings: Mapping[str, object] = {}


def _layers(count: int) -> dict:
    return {"train.take_layers": {3: (1, 3, 5), 2: (2, 5)}[count]}


KINDS = {
    "full": Kind(),
    "full, tuned for int8": Kind("-int8"),
    "pruned to 50%": Kind(start="full", prune=True),
    "50% at random": Kind(start="full", prune=True, settings={"prune.by": "random"}),
    "student of 3 layers": Kind("-student", "full", taught=True, settings=_layers(3)),
    "3 layers alone": Kind("-short", settings=_layers(3)),
    "student of 2 layers": Kind("-student", "full", taught=True, settings=_layers(2)),
    "2 layers alone": Kind("-short", settings=_layers(2)),
}
IN_INT8 = ("full", "full, tuned for int8", "pruned to 50%", "student of 3 layers", "student of 2 layers")
WITHOUT = {  # model -> the one of its size that was made without its method
    "pruned to 50%": "50% at random",
    "student of 3 layers": "3 layers alone",
    "student of 2 layers": "2 layers alone",
    "full, tuned for int8, int8": "full, int8",
}


def reproduce(scale_name: str, scale: Scale, folder: Path, *, dry_run: bool, table: bool) -> int:
    """Makes what is missing, then the table. 0 when all is done, 42 when a signal stopped a run."""
    if dry_run:
        for task, seed, name in trainings(scale):
            where = place(folder, task, seed, name)
            done = finished(task, seed, name, scale, folder)
            print(f"{'finished' if done else 'missing':10s}{task}, seed {seed}, {name}: {where}")
        return EXIT_DONE
    if not table and not train(scale, folder):
        return EXIT_RESTART
    found = {task: rows for task in scale.tasks if (rows := rows_of(task, scale, folder))}
    if not found:
        raise UserError("nothing is trained yet", got=folder, fix="leave out --table")
    text = as_markdown(scale_name, scale, found)
    print(text)
    files.write(folder / "table.md", text)
    files.write(folder / "table.csv", as_csv(found))
    drawing.write(picture(found), folder / "table.png")
    print(f"\nwritten to {folder}: table.md, table.csv, table.png")
    return EXIT_DONE


def trainings(scale: Scale) -> list[tuple[str, int, str]]:
    """(task, seed, kind) in their order: each after what it starts from."""
    return [(task, seed, name) for task in scale.tasks for seed in scale.seeds for name in kinds_of(task)]


def kinds_of(task: str) -> list[str]:
    """Students learn classes, not tags."""
    return [name for name, kind in KINDS.items() if not kind.taught or task != "conll2003"]


def place(folder: Path, task: str, seed: int, name: str) -> Path:
    return folder / f"{task}-s{seed}-{name.replace(',', '').replace('%', '').replace(' ', '-')}"


def train(scale: Scale, folder: Path) -> bool:
    """False when a signal stopped a run.

    Raises:
        UserError: data or a package is absent, before hours go into training.
    """
    convert.require_packages("onnx")
    for task in scale.tasks:
        jobs.read_examples(config_of(task, scale.seeds[0], "full", scale, folder))
    if not (folder / "minilm").exists():
        folder.mkdir(parents=True, exist_ok=True)
        brought_in(folder)
    began, made, wanted = time.monotonic(), 0, trainings(scale)
    for number, (task, seed, name) in enumerate(wanted, 1):
        label, workdir = f"[{number}/{len(wanted)}] {task}, seed {seed}, {name}", place(folder, task, seed, name)
        if finished(task, seed, name, scale, folder):
            print(f"{label}: finished before", flush=True)
            continue
        print(f"{label}: {workdir}", flush=True)
        make = pruning.prune if KINDS[name].prune else finetune.finetune
        if not make(config_of(task, seed, name, scale, folder), workdir):
            return False
        made += 1
        spent = (time.monotonic() - began) / 60
        print(f"{label}: done; {spent:.0f} minutes, about {spent / made * (len(wanted) - number):.0f} left", flush=True)
        jax.clear_caches()  # each run compiles its own
    return True


def finished(task: str, seed: int, name: str, scale: Scale, folder: Path) -> bool:
    """Raises UserError where it was made by another recipe."""
    where = place(folder, task, seed, name)
    if not workdirs.finished(where):
        return False
    workdirs.require_same_config(config_of(task, seed, name, scale, folder), where / "rounds" if KINDS[name].prune else where)
    return True


def config_of(task: str, seed: int, name: str, scale: Scale, folder: Path):
    kind = KINDS[name]
    of_task = "finetune_ner.py" if task == "conll2003" else "finetune_glue.py"
    start = place(folder, task, seed, kind.start) if kind.start else folder / "minilm"
    settings = {"seed": seed, "init_checkpoint": start} | ({"objective.teacher": start} if kind.taught else {})
    settings |= dict(scale.tasks[task]) | dict(kind.settings)
    file = CONFIGS / ("prune.py" if kind.prune else of_task)
    return configs.load(f"{file}:{task}{kind.row}", [f"{key}={value}" for key, value in settings.items()])


class Row(NamedTuple):
    """A model of the table.

    Attributes:
        scores: by seed, percent.
        megabytes: of its ONNX file.
        latency: milliseconds of one text, the median.
        throughput: texts a second, the median of the rounds.
        faster: than the full one, the median of the quotients within each round.
    """

    scores: dict[int, float]
    megabytes: float
    latency: float
    throughput: float
    faster: float

    @property
    def summary(self) -> Summary:
        return summarise(list(self.scores.values()))


class Model(NamedTuple):
    """A trained model that answers: texts -> answers, by ONNX Runtime."""

    answer: Callable[[list], list]
    score: Callable[[], float]
    dev: list
    megabytes: float


def rows_of(task: str, scale: Scale, folder: Path) -> dict[str, Row]:
    """Model -> what was measured; speeds are those of the first seed, all models in turns."""
    scores, first = {}, {}
    for seed in scale.seeds:
        for name in kinds_of(task):
            if finished(task, seed, name, scale, folder):
                for label, model in models(place(folder, task, seed, name), name, METRICS[task]):
                    scores.setdefault(label, {})[seed] = 100 * model.score()
                    first.setdefault(label, model)
    if not first:
        return {}
    seconds = measure.interleaved(
        {label: lambda model=model: _seconds(model, model.dev) for label, model in first.items()}, ROUNDS
    )
    rows = {}
    for label, model in first.items():
        singles = [_seconds(model, [example]) for example in model.dev[:SINGLE]]
        quickness = measure.ratios(seconds, "full", label).median if "full" in seconds else float("nan")
        median = statistics.median(seconds[label])
        rows[label] = Row(scores[label], model.megabytes, 1000 * statistics.median(singles), len(model.dev) / median, quickness)
    return rows


def models(workdir: Path, name: str, metric: str) -> Iterator[tuple[str, Model]]:
    """The trained model, and where it is wanted the same in int8, each taken out as ONNX once."""
    for label, int8 in ((name, False), (f"{name}, int8", True))[: 1 + (name in IN_INT8)]:
        target = workdir / ("onnx-int8" if int8 else "onnx")
        if not target.exists():
            convert.take_out(workdir, target, num_strings=50, form="onnx", int8=int8, say=str)
        yield label, opened(workdir, target, metric)


def opened(workdir: Path, exported: Path, metric: str) -> Model:
    import onnxruntime

    trained = open_trained(workdir, say=str)
    config, task = trained.config, jobs.task_of(trained.config)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    session = onnxruntime.InferenceSession(exported / onnx.FILE, options, providers=["CPUExecutionProvider"])
    ours, theirs = OUTPUTS[config.objective.name]
    labels, form = tuple(config.labels), task.form
    dev = jobs.split_of(task, config, "dev", None)
    encoding = jobs.settings_of(form.encode, config.data)

    def predict(_, batch):
        given = {theirs: batch[ours].astype(np.int64) for ours, theirs in onnx.INPUTS.items()}
        return {ours: session.run([theirs], given)[0]}

    def answer(examples: list) -> list:
        rows = form.encode(examples, labels=labels, tokenizer=trained.tokenizer, **encoding)
        found = outputs_of(predict, None, shaped_batches(rows, Shapes(config.data.max_seq_length, BATCH_SIZE)))
        return form.answers(examples, labels, rows, found)

    def score() -> float:
        return float(task.metrics[metric](*form.compared(dev, answer(dev), labels)))

    return Model(answer, score, dev, (exported / onnx.FILE).stat().st_size / 1e6)


def _seconds(model: Model, examples: list) -> float:
    before = time.perf_counter()
    model.answer(examples)
    return time.perf_counter() - before


HEADER = ("model", "MB", "ms a text", "texts/s", "times full", "score", "less full", "less its size without the method")


def as_markdown(name: str, scale: Scale, found: Mapping[str, Mapping[str, Row]]) -> str:
    parts = [
        f"# {NAME} at scale {name}: {scale.about}",
        f"Seeds {', '.join(map(str, scale.seeds))}. Scores are percent: mean ± standard deviation [95% interval] (seeds). Sizes "
        f"and speeds: of ONNX Runtime, from texts to answers, dev sets in batches by length, of at most {BATCH_SIZE} texts, "
        "all models in turns; of a text alone one model after the other.",
        f"Machine: {json.dumps(measure.machine())}.",
    ]
    for task, rows in found.items():
        lines = [[*HEADER[:5], f"{METRICS[task]}", *HEADER[6:]]]
        for label, row in rows.items():
            speed = [f"{row.megabytes:.1f}", f"{row.latency:.1f}", f"{row.throughput:.0f}", f"{row.faster:.2f}"]
            beside = [_less(rows, label, other) for other in ("full", WITHOUT.get(label))]
            lines.append([label, *speed, figure(row.summary), *beside])
        parts += [f"## {task}", files.markdown(lines)]
    return "\n\n".join(parts)


def less(rows: Mapping[str, Row], label: str, other: str) -> Summary:
    """Points of one less the other, by seed."""
    ours, theirs = rows[label].scores, rows[other].scores
    return summarise([ours[seed] - theirs[seed] for seed in ours if seed in theirs])


def _less(rows: Mapping[str, Row], label: str, other: str | None) -> str:
    return figure(less(rows, label, other)) if other in rows and other != label else ""


def as_csv(found: Mapping[str, Mapping[str, Row]]) -> str:
    lines = [["task", "model", "megabytes", "latency_ms", "texts_per_second", "times_full", "seed", "score"]]
    for task, rows in found.items():
        for label, row in rows.items():
            figures = [f"{value:.4g}" for value in row[1:]]
            lines += [[task, label, *figures, seed, f"{score:.4f}"] for seed, score in row.scores.items()]
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(lines)
    return text.getvalue().rstrip("\n")


def picture(found: Mapping[str, Mapping[str, Row]]):
    """A plot for each task: score over throughput, the larger the dot the larger the file."""
    drawn = drawing.figure(5.2 * len(found), 4.4)
    for axes, (task, rows) in zip(drawn.subplots(1, len(found), squeeze=False)[0], found.items()):
        speeds = [row.throughput for row in rows.values()]
        for number, (label, row) in enumerate(rows.items()):
            colour = drawing.COLOURS[number % len(drawing.COLOURS)]
            axes.scatter([row.throughput] * len(row.scores), list(row.scores.values()), s=10, color=colour, alpha=0.4)
            axes.scatter([row.throughput], [row.summary.mean], s=3 * row.megabytes, color=colour, alpha=0.7)
            inwards = {"xytext": (4, 4), "ha": "left"}
            if row.throughput > (min(speeds) + max(speeds)) / 2:
                inwards = {"xytext": (-4, 4), "ha": "right"}
            axes.annotate(label, (row.throughput, row.summary.mean), fontsize=7, textcoords="offset points", **inwards)
        axes.set(title=task, xlabel="texts/s", ylabel=f"{METRICS[task]}, percent")
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.3)
    return drawn
