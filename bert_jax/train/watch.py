"""What people see of a run: metrics.jsonl, TensorBoard files, and a progress bar or plain lines."""

import json
import os
import sys
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from bert_jax.train.track import Verdict


def read_metrics(workdir: Path, *, up_to_step: int | None = None) -> list[dict]:
    """The records of metrics.jsonl; a last line cut short by a kill is left out."""
    path = Path(workdir) / "metrics.jsonl"
    records = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
        try:
            records.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return [record for record in records if up_to_step is None or record["step"] <= up_to_step]


class Watch:
    """Writes the records of one run. Opening it at a step drops the records after that step: no gap and none twice.

    A record is {"kind": "train" | "held_out", "step": int, metric: float, ...}, or {"kind": "verdict", "step": int} and what
    Verdict.record gives.

    Attributes:
        records: all of them, from the first step of the run on.
    """

    def __init__(self, workdir: Path, *, start_step: int, total_steps: int, quiet: bool = False):
        from tensorboardX import SummaryWriter  # half a second of import that no other verb needs

        self._path = Path(workdir) / "metrics.jsonl"
        self.records = read_metrics(workdir, up_to_step=start_step)
        temporary = self._path.with_name(".metrics.jsonl")
        temporary.write_text("".join(json.dumps(record) + "\n" for record in self.records), encoding="utf-8")
        os.replace(temporary, self._path)
        self._file = open(self._path, "a", encoding="utf-8", buffering=1)
        self._board = SummaryWriter(str(Path(workdir) / "tensorboard"), purge_step=start_step + 1 if start_step else None)
        self._total_steps = total_steps
        self._console = Console(file=sys.stderr, quiet=quiet)
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[facts]}"))
        self._bar = Progress(*columns, console=self._console, transient=True, disable=quiet or not self._console.is_terminal)
        self._task = self._bar.add_task("step", total=total_steps, completed=start_step, facts="compiling the step")
        self._bar.start()

    def advance(self, step: int) -> None:
        self._bar.update(self._task, completed=step)

    def write(self, kind: str, step: int, metrics: dict[str, float], *, seconds_left: float | None = None) -> None:
        self._keep({"kind": kind, "step": step, **metrics})
        for name, value in metrics.items():
            self._board.add_scalar(f"{kind}/{name}", value, step)
        if kind == "train":
            facts = _facts(metrics, ("loss", "masked_lm_loss", "tokens_per_second"))
            if seconds_left is not None:
                facts += f"  left {_duration(seconds_left)}"
            self._bar.update(self._task, completed=step, facts=facts)
        else:
            facts = "held out: " + _facts(metrics, tuple(metrics))
        if kind != "train" or not self._console.is_terminal:
            self.say(f"step {step:>7,}/{self._total_steps:,}  {facts}")

    def judge(self, step: int, verdict: Verdict) -> None:
        self._keep({"kind": "verdict", "step": step, **verdict.record()})
        self._board.add_scalar("verdict/on_track", float(not verdict.findings), step)
        for line in verdict.lines():
            self.say(f"step {step:>7,}/{self._total_steps:,}  {line}")

    def found(self) -> set[str]:
        """What the newest verdict holds against the run."""
        last = next((record for record in reversed(self.records) if record["kind"] == "verdict"), {"findings": []})
        return {finding["what"] for finding in last["findings"]}

    def _keep(self, record: dict) -> None:
        self.records.append(record)
        self._file.write(json.dumps(record) + "\n")

    def say(self, line: str) -> None:
        self._console.print(line, highlight=False, soft_wrap=True, markup=False)

    def flush(self) -> None:
        """Everything written so far reaches the disk, so that a checkpoint is never ahead of its metrics."""
        os.fsync(self._file.fileno())
        self._board.flush()

    def close(self) -> None:
        self._bar.stop()
        self._file.close()
        self._board.close()


def _facts(metrics: dict[str, float], names) -> str:
    shown = {"tokens_per_second": lambda v: f"{v:,.0f} tokens/s"}
    return "  ".join(
        shown[name](metrics[name]) if name in shown else f"{name.replace('_', ' ')} {metrics[name]:.3f}"
        for name in names
        if name in metrics
    )


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(int(seconds + 0.5), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"
