"""What the run directories of a sweep say: the state of each run, and the table of the held-out metrics of all."""

import json
import os
import statistics
from collections.abc import Sequence
from pathlib import Path

from bert_jax.errors import UserError

FINAL = ("done", "diverged")  # states that a resumed sweep leaves alone
NOT_RUN = "not run"


def result(folder: Path) -> dict | None:
    """What the trainer wrote at the end of a run, None before."""
    return _read(folder / "result.json")


def status(folder: Path) -> dict:
    """What the sweep wrote about a run: state, attempt, exit_code; empty before its first start."""
    return _read(folder / "status.json") or {}


def state(folder: Path) -> str:
    """queued, running, done, diverged or failed. Done means that there is a result, whatever became of the sweep."""
    if result(folder):
        return "done"
    recorded = status(folder).get("state", "queued")
    return "queued" if recorded == "done" else recorded


def _read(path: Path) -> dict | None:
    if not path.exists():
        return None
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        raise UserError(f"{path} is not valid JSON", fix="delete it; the run is then taken up again") from None


def render(runs: Sequence[tuple[str, Path]]) -> str:
    """A Markdown table from (cell, folder) pairs: a row for each cell, a column for each metric of any finished run.

    A metric is its mean over the finished runs, with the sample standard deviation and their number n when they are several.
    """
    cells: dict[str, list[Path]] = {}
    for cell, folder in runs:
        cells.setdefault(cell, []).append(folder)
    results = {folder: found["metrics"] for _, folder in runs if (found := result(folder))}
    metrics = list(dict.fromkeys(name for found in results.values() for name in found))
    rows = [["cell", "runs", *metrics]]
    for cell, folders in cells.items():
        done = [results[folder] for folder in folders if folder in results]
        rows.append([cell, _states(folders), *(_summary([found[name] for found in done if name in found]) for name in metrics)])
    return markdown(rows)


def _states(folders: Sequence[Path]) -> str:
    states = [{"queued": NOT_RUN}.get(found, found) for found in map(state, folders)]
    return ", ".join(f"{states.count(name)} {name}" for name in dict.fromkeys(states))


def _summary(values: Sequence[float]) -> str:
    if not values:
        return NOT_RUN
    mean = f"{statistics.fmean(values):.4f}"
    return mean if len(values) == 1 else f"{mean} ± {statistics.stdev(values):.4f} (n={len(values)})"


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
