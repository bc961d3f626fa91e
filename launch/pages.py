"""What a sweep of fine-tuning ends with beside its table: the page of its best cell, and the curve of those with few labels."""

from collections.abc import Callable, Mapping
from pathlib import Path

from bert_jax.errors import UserError
from launch import table

CURVE_FILE = "few_labels.png"


def metrics_of(task: str) -> Mapping[str, Callable | None]:
    """name -> (gold, predicted) -> a figure; the first is the one that runs are chosen by. None where there are no predictions.

    Raises:
        UserError: there is no such task.
    """
    from bert_jax import jobs  # imports jax, without which --help answers
    from bert_jax.tasks import benchmarks, own

    if task == jobs.SENTENCE_ENCODER:
        return {"stsb_spearman": None}
    known = own.FORMS | benchmarks.TASKS
    if task not in known:
        raise UserError("the task is unknown", got=task, expected=", ".join(benchmarks.TASKS))
    return known[task].metrics


def chosen_by(task: str, wanted: str) -> str:
    """The metric that cells are chosen by; "" in pretraining, where none is unless one is wanted.

    Raises:
        UserError: the task has no such metric.
    """
    if not task:
        return wanted
    names = [*metrics_of(task), "loss"]
    if wanted and wanted not in names:
        raise UserError("the task has no such metric", got=f"--by={wanted}", expected=" or ".join(names))
    return wanted or names[0]


def write(workdir: Path, task: str, found: dict) -> dict[str, Path]:
    """Writes report/index.html about the seeds of the best cell and, where cells are called n100, n500 and so on, their curve.

    Args:
        found: of table.collect.

    Returns:
        What each file is -> its path; nothing before a run is done.
    """
    if not found["best"]:
        return {}
    from bert_jax.report import page

    cell = next(cell for cell in found["cells"] if cell["cell"] == found["best"])
    folders = [workdir / run["folder"] for run in cell["runs"] if (workdir / run["folder"]).is_dir()]
    metrics = metrics_of(task)
    answer_f1 = (lambda gold, answer: metrics["f1"]([gold], [answer])) if {"f1", "exact"} <= metrics.keys() else None
    title = f"Fine-tuning on {task}" + (f": {cell['cell']}" if len(found["cells"]) > 1 else "")
    shown = page.write(workdir, folders, metric=found["best_by"], title=title, answer_f1=answer_f1)
    return {f"page of {cell['cell']}": shown} | _curve(workdir, found)


def _curve(workdir: Path, found: dict) -> dict[str, Path]:
    sizes = {int(match[1]): cell for cell in found["cells"] if (match := table.CURVE.fullmatch(cell["cell"]))}
    metric = found["best_by"]
    figures = {size: table.values(sizes[size], metric) for size in sorted(sizes) if metric in sizes[size]["metrics"]}
    if len(figures) < 2:
        return {}
    from bert_jax.report import drawing
    from bert_jax.report import figures as pictures

    drawn = pictures.few_labels(list(figures), list(figures.values()), f"{metric.replace('_', ' ')} on dev (fraction of 1)")
    return {"curve over the training examples": drawing.write(drawn, workdir / "report" / CURVE_FILE)}
