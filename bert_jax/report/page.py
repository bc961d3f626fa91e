"""report/index.html: all that there is to look at after fine-tuning, in one file."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path

from bert_jax import workdir as workdirs
from bert_jax.metrics.statistics import summarise
from bert_jax.report import html, runs, sections
from bert_jax.report.html import Number
from bert_jax.report.inside import Inside
from bert_jax.report.runs import Run
from bert_jax.report.sections import words

# A metric whose name begins so is what another one is compared with.
BASELINES = {
    "majority": "always the commonest class",
    "mean": "always the mean",
    "pretrained": "before fine-tuning",
    "first_sentence": "always the first sentence",
    "random": "guessing at random",
    "random_span": "a span at random",
    "tfidf": "TF-IDF of character n-grams",
}


def write(
    folder: Path,
    workdirs_of_seeds: Sequence[Path] = (),
    *,
    inside: Inside | None = None,
    metric: str = "",
    title: str = "",
    answer_f1: Callable | None = None,
) -> Path:
    """Writes report/index.html in the folder, and its pictures as PNG files beside it; returns the path of the page.

    Args:
        folder: a fine-tuned workdir, or that of a sweep, where workdirs_of_seeds are given.
        workdirs_of_seeds: runs that differ in their seed alone; () for the one in the folder. Those that failed are counted.
        inside: what the model of the run made that `shown_run` gives; None to leave embeddings and attention out.
        metric: that runs are chosen by; "" for the first of result.json, in the order of the alphabet.
        answer_f1: see hardest.

    Raises:
        UserError: a folder holds no run, or broken files.
    """
    folder = Path(folder)
    found = [runs.read(path) for path in workdirs_of_seeds or [folder]]
    metric = metric or first_metric(found)
    shown = runs.typical(found, metric)
    report = folder / "report"
    workdirs.make_folder(report)
    pictures = sections.Pictures(report)
    predictions = runs.predictions(shown) if shown else []
    form = runs.form(predictions)
    unit = "squared error" if form == "regression" else "nats"
    task = str(next((run.config["task"] for run in found if "task" in run.config), ""))
    parts = [
        ("metrics", "Metrics on the dev set", _metrics(shown, unit)),
        ("seeds", "Runs", _seeds(found, metric)),
        ("curves", "Learning curves", sections.curves(pictures, found, metric, unit)),
        *(sections.of_predictions(pictures, form, predictions, shown, inside, answer_f1) if predictions else ()),
    ]
    pictures.remove_old()
    head = html.paragraph(_described(found, shown, task, metric), "dim")
    return html.write(report / "index.html", html.page(title or f"Fine-tuning on {task or folder.name}", head, parts))


def shown_run(folders: Sequence[Path], metric: str = "") -> Path | None:
    """The workdir whose predictions `write` shows: that of the median figure, neither lucky nor unlucky; None if none is done."""
    found = [runs.read(path) for path in folders]
    shown = runs.typical(found, metric or first_metric(found))
    return shown and shown.folder


def first_metric(found: Sequence[Run]) -> str:
    """The first that is no baseline and not the loss; else the loss."""
    names = dict.fromkeys(name for run in found for name in run.metrics)
    return next((name for name in names if name != "loss" and not _baseline_of(name, names)), "loss")


def _baseline_of(name: str, names) -> str:
    """The metric that a name is a baseline of; "" where it is a metric itself."""
    of = [name.removeprefix(f"{kind}_") for kind in BASELINES if name.startswith(f"{kind}_")]
    return next((metric for metric in of if metric in names), "")


def _described(found: Sequence[Run], shown: Run | None, task: str, metric: str) -> str:
    parts = [f"Task: {task}."] if task else []
    if shown is not None:
        sizes = [f"{count:,} {split} examples" for split, count in shown.num_examples.items()]
        parts.append(f"{' and '.join(sizes)}; {shown.step:,} training steps." if sizes else f"{shown.step:,} training steps.")
    if start := found[0].config.get("init_checkpoint"):
        parts.append(f"Started from {start}.")
    if len(found) > 1 and shown is not None:
        parts.append(
            f"Of {len(found)} runs, what follows the learning curves shows the one of median {words(metric)}: {_run(shown)}."
        )
    return " ".join(parts)


def _run(run: Run) -> str:
    return run.folder.name if run.seed is None else f"seed {run.seed}"


def _figure(value: float) -> str:
    return f"{value:.4f}" if math.isfinite(value) else "–"


def _metrics(shown: Run | None, unit: str) -> str:
    if shown is None:
        return html.paragraph("No run has come to an end with a figure yet.")
    rows = []
    for name, value in shown.metrics.items():
        if _baseline_of(name, shown.metrics):
            continue
        beside = [
            f"{_figure(other)} {BASELINES[baseline.removesuffix(f'_{name}')]}"
            for baseline, other in shown.metrics.items()
            if _baseline_of(baseline, shown.metrics) == name
        ]
        rows.append([words(name), Number(_figure(value)), "; ".join(beside)])
    with_baseline = any(row[2] for row in rows)
    rows = [row if with_baseline else row[:2] for row in rows]
    head = ["metric", "this model", "baseline"][: 2 + with_baseline]
    return html.table(head, rows, f"{_run(shown)}; scores are fractions of 1, the loss: {unit}")


def _seeds(found: Sequence[Run], metric: str) -> str:
    if len(found) < 2:
        return ""
    names = list(dict.fromkeys(name for run in found for name in run.metrics)) or [metric]
    names = [name for name in names if not _baseline_of(name, names)]
    rows = [[_run(run), run.state, *(Number(_figure(runs.figure(run, name))) for name in names)] for run in found]
    ended = [run for run in found if run.state not in runs.UNFINISHED]
    summaries = [summarise([runs.figure(run, name) for run in ended]) for name in names]
    lines = {
        "mean": lambda summary: _figure(summary.mean),
        "standard deviation": lambda summary: _figure(summary.std),
        "95% interval of the mean": lambda summary: (
            f"{_figure(summary.low)} to {_figure(summary.high)}" if summary.n > 1 else "–"
        ),
    }
    counted = f"{summaries[names.index(metric) if metric in names else 0].n} runs"
    for number, (line, shown) in enumerate(lines.items()):
        rows.append([line, counted if not number else "", *(Number(shown(summary)) for summary in summaries)])
    failed, waiting = sum(runs.failed(run, metric) for run in found), len(found) - len(ended)
    said = f"Runs without a figure, in no mean: {failed} failed" + (f", {waiting} not finished" if waiting else "") + "."
    head = ["run", "state", *map(words, names)]
    table = html.table(head, rows, "Dev set; interval by Student's t over the runs", sums=len(lines))
    return table + html.paragraph(said)
