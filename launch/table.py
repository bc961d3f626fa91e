"""What the run directories of a sweep say: the state of each run, and the table of the metrics of all over the seeds."""

import json
import math
import os
import re
from collections.abc import Sequence
from pathlib import Path

from bert_jax.errors import UserError

FINAL = ("done", "diverged")  # states that a resumed sweep leaves alone
ENDED = (*FINAL, "failed")
NOT_RUN = "not run"
CURVE = re.compile("n([0-9]{1,9})")  # the name of a cell with so many training examples


def result(folder: Path) -> dict | None:
    """What the trainer wrote at the end of a run, None before."""
    return _read(folder / "result.json")


def status(folder: Path) -> dict:
    """What the sweep wrote about a run: state, attempt, exit_code; empty before its first start."""
    return _read(folder / "status.json") or {}


def state(folder: Path) -> str:
    """queued, running, done, diverged or failed. Done means that there is a result, whatever became of the sweep; of a run that
    writes no status, as on a slice, running that it has begun."""
    if result(folder):
        return "done"
    recorded = status(folder).get("state", "running" if (folder / "metrics.jsonl").exists() else "queued")
    return "queued" if recorded == "done" else recorded


def _read(path: Path) -> dict | None:
    if not path.exists():
        return None
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        raise UserError(f"{path} is not valid JSON", fix="delete it; the run is then taken up again") from None


def collect(runs: Sequence, best_by: str = "") -> dict:
    """All that is known of a sweep, as table.json has it.

    Args:
        runs: with cell, seed, folder and config_flags.
        best_by: the metric of which the best mean makes a cell the best one; "": none is.

    Returns:
        cells, in their order: each with its runs (seed, folder, state, flags, code, metrics) and, for each metric of any of them,
        the statistics over the seeds (bert_jax/metrics/statistics.Summary). Figures that do not exist are None. best is the name
        of a cell, or "".
    """
    cells: dict[str, dict] = {}
    for run in runs:
        cell = cells.setdefault(run.cell, {"cell": run.cell, "runs": []})
        metrics = (result(run.folder) or {}).get("metrics", {})
        about = {"seed": run.seed, "folder": run.folder.name, "state": state(run.folder), "flags": list(run.config_flags)}
        about["code"] = (_read(run.folder / "run.json") or {}).get("code")
        cell["runs"].append(about | {"metrics": {name: _or_none(value) for name, value in metrics.items()}})
    for cell in cells.values():
        names = dict.fromkeys(name for run in cell["runs"] for name in run["metrics"])
        cell["metrics"] = {name: _statistics(values(cell, name)) for name in names}
    found = {"best_by": best_by, "cells": list(cells.values())}
    return found | {"best": _best(found["cells"], best_by)}


def values(cell: dict, metric: str) -> list[float | None]:
    """The metric of each run that came to an end, None of those that ended without it."""
    return [run["metrics"].get(metric) for run in cell["runs"] if run["state"] in ENDED]


def _statistics(values: Sequence[float | None]) -> dict:
    from bert_jax.metrics.statistics import summarise  # imports numpy, without which --help answers

    return {name: _or_none(value) for name, value in summarise(values)._asdict().items()}


def _or_none(value: float) -> float | None:
    """JSON has no NaN."""
    return value if math.isfinite(value) else None


def _best(cells: Sequence[dict], metric: str) -> str:
    """Of the cells with the most figures, so that none looks better for the seeds that it lost; of equal ones the first. Of a
    curve over the training examples it is the one with the most of them: nothing is chosen."""
    summaries = {cell["cell"]: cell["metrics"][metric] for cell in cells if metric in cell["metrics"]}
    most = max((summary["n"] for summary in summaries.values()), default=0)
    means = {name: summary["mean"] for name, summary in summaries.items() if summary["n"] == most and most}
    if _is_curve(cells):
        return max(means, key=lambda name: int(name[1:]), default="")
    better = min if metric.endswith("loss") else max
    return better(means, key=means.__getitem__, default="")


def _is_curve(cells: Sequence[dict]) -> bool:
    return all(CURVE.fullmatch(cell["cell"]) for cell in cells)


def render(found: dict) -> str:
    """`collect` as a Markdown table, a row for each cell, a column for each metric, and what is to be said about it."""
    cells, chosen = found["cells"], _chosen(found)
    metrics = list(dict.fromkeys(name for cell in cells for name in cell["metrics"]))
    if found["best_by"] in metrics:
        metrics.sort(key=lambda name: name != found["best_by"])
    rows = [["cell", "runs", *metrics]]
    for cell in cells:
        mark = " (best on dev)" if cell["cell"] == chosen else ""
        rows.append([cell["cell"] + mark, _states(cell["runs"]), *(_figure(cell["metrics"].get(name)) for name in metrics)])
    return "\n".join([markdown(rows), *_notes(found)])


def _chosen(found: dict) -> str:
    """The best cell, where there was a choice."""
    return found["best"] if len(found["cells"]) > 1 and not _is_curve(found["cells"]) else ""


def _notes(found: dict) -> list[str]:
    cells, best = found["cells"], _chosen(found)
    notes = []
    if any(summary["n"] + summary["failed"] > 1 for cell in cells for summary in cell["metrics"].values()):
        notes.append(
            "mean ± standard deviation over the seeds [95% interval of the mean, Student's t] (n runs with a figure). Runs that "
            "failed or diverged are counted under runs and are in no mean."
        )
    versions = {run["code"] for cell in cells for run in cell["runs"] if run["metrics"]}
    if len(versions) > 1:
        notes.append(f"These figures are of {len(versions)} versions of the code: run.json of each run names its own.")
    if best:
        notes.append(
            f"Best mean {found['best_by']}: {best}, chosen among {len(cells)} cells on this very dev set, so that its figures "
            "here are too good. Report those of a test set, or of a cell that was settled before."
        )
        counts = {cell["cell"]: cell["metrics"].get(found["best_by"], {"n": 0})["n"] for cell in cells}
        if fewer := [name for name, n in counts.items() if n < counts[best]]:
            notes.append(f"Not considered, having fewer figures: {', '.join(fewer)}.")
    return [line for note in notes for line in ("", note)]


def _states(runs: Sequence[dict]) -> str:
    states = [{"queued": NOT_RUN}.get(run["state"], run["state"]) for run in runs]
    return ", ".join(f"{states.count(name)} {name}" for name in dict.fromkeys(states))


def _figure(summary: dict | None) -> str:
    if summary is None or not summary["n"]:
        return NOT_RUN
    n, of = summary["n"], f" of {summary['n'] + summary['failed']}" if summary["failed"] else ""
    if n == 1:
        return f"{summary['mean']:.4f}" + (f" (n=1{of})" if of else "")
    return "{mean:.4f} ± {std:.4f} [{low:.4f}, {high:.4f}]".format(**summary) + f" (n={n}{of})"


def markdown(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["| " + " | ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)) + " |" for row in rows]
    return "\n".join([lines[0], "| " + " | ".join("-" * width for width in widths) + " |", *lines[1:]])


def write(path: Path, text: str) -> None:
    """Writes a text so that a reader sees the old file or the new one, never a part."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with open(temporary, "w", encoding="utf-8") as file:
        file.write(text + "\n")
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)
