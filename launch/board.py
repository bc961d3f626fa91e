"""Where every run of a sweep stands, read from the run directories alone."""

import json
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from bert_jax.config import flatten
from launch import table
from launch.runs import Run, distinct

REDRAW_SECONDS = 2.0
SIGNS_OF_LIFE = ("status.json", "metrics.jsonl", "train.log", "result.json")


def render(runs: Sequence[Run], now: float) -> str:
    """Markdown: a line that counts the states, then a row for each run.

    Args:
        now: seconds since the epoch, what "ago" is counted from. A run of state running that wrote nothing for long may have
            been killed with its machine.
    """
    runs = distinct(runs)
    rows = [["cell", "seed", "state", "attempt", "step", "loss", "tokens/s", "last sign"]]
    rows += [_row(run, now) for run in runs]
    states = Counter(row[2].partition(" (")[0] for row in rows[1:])
    return "\n".join([f"{len(runs)} runs: {', '.join(f'{n} {state}' for state, n in states.items())}", "", table.markdown(rows)])


def _row(run: Run, now: float) -> list[str]:
    state, status, last = table.state(run.folder), table.status(run.folder), _last_record(run.folder)
    steps = {"done": (table.result(run.folder) or {}).get("step")}.get(state) or last.get("step")
    code = f" (exit code {status['exit_code']})" if state == "failed" and "exit_code" in status else ""
    signs = [(run.folder / name).stat().st_mtime for name in SIGNS_OF_LIFE if (run.folder / name).exists()]
    return [
        run.cell,
        str(run.seed),
        state + code,
        str(status.get("attempt", "–")),
        "–" if steps is None else f"{steps:,}{_of(run.folder)}",
        f"{last['loss']:.4f}" if "loss" in last else "–",
        f"{last['tokens_per_second']:,.0f}" if "tokens_per_second" in last else "–",
        _ago(now - max(signs)) if signs else "–",
    ]


def _of(folder: Path) -> str:
    """The steps that a run is to make, which the trainer wrote down at its start."""
    config = folder / "config.json"
    saved = dict(flatten(json.loads(config.read_text(encoding="utf-8")))) if config.exists() else {}
    return f"/{saved['train.num_train_steps']:,}" if "train.num_train_steps" in saved else ""


def _last_record(folder: Path) -> dict:
    """The last whole line about training in metrics.jsonl."""
    path = folder / "metrics.jsonl"
    for line in reversed(path.read_text(encoding="utf-8").splitlines() if path.exists() else []):
        try:
            record = json.loads(line)
        except ValueError:  # being written just now
            continue
        if record["kind"] == "train":
            return record
    return {}


def _ago(seconds: float) -> str:
    for size, name in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.0f} {name} ago"
    return f"{max(seconds, 0):.0f} s ago"


def watch(runs: Sequence[Run], bring: Callable[[], None]) -> None:
    """Redraws the table in the terminal until every run has ended, or Ctrl-C; `bring` brings here what lies elsewhere."""
    from rich.live import Live
    from rich.text import Text

    shown = lambda: Text(render(runs, time.time()), no_wrap=True)  # noqa: E731
    with Live(shown(), auto_refresh=False) as live:
        while any(table.state(run.folder) not in table.ENDED for run in runs):
            time.sleep(REDRAW_SECONDS)
            bring()
            live.update(shown(), refresh=True)
