"""What fine-tuned workdirs hold for people to look at."""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from bert_jax import workdir as workdirs
from bert_jax.errors import UserError
from bert_jax.train.watch import read_metrics

DONE, UNFINISHED = "done", ("not run", "running")
PREDICTIONS = "predictions.jsonl"


class Run(NamedTuple):
    """A workdir.

    Attributes:
        state: "done", or what the sweep that started it says of it: "diverged", "failed", "running", "not run".
        metrics: those of result.json; of a run without a result none.
        records: of metrics.jsonl.
    """

    folder: Path
    config: dict
    state: str
    step: int
    metrics: dict[str, float]
    num_examples: dict[str, int]
    labels: tuple[str, ...]
    records: list[dict]

    @property
    def seed(self) -> int | None:
        return self.config.get("seed")


def read(folder: Path) -> Run:
    """Raises UserError: there is no run in the folder, or a file of it is broken."""
    folder = Path(folder)
    config, result, said = workdirs.read_config(folder), workdirs.finished(folder) or {}, _status(folder)
    if not folder.is_dir() or (config is None and not said):
        raise UserError("there is no fine-tuned model here", got=folder, expected="the --workdir of a run, with its config.json")
    records = read_metrics(folder)
    state = result.get("status", {"queued": "not run", DONE: "failed"}.get(said.get("state"), said.get("state", "running")))
    step = result.get("step", max((record["step"] for record in records), default=0))
    described = [result.get(name, {}) for name in ("metrics", "num_examples")]
    return Run(folder, config or {"seed": said.get("seed")}, state, step, *described, tuple(result.get("labels", ())), records)


def _status(folder: Path) -> dict:
    """What a sweep wrote beside the run."""
    path = folder / "status.json"
    try:
        return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    except ValueError:
        raise UserError(f"{path} is not valid JSON", fix="delete it") from None


def failed(run: Run, metric: str) -> bool:
    """Whether it came to an end without a figure; one that may still come to it has not failed."""
    return run.state not in UNFINISHED and not math.isfinite(figure(run, metric))


def figure(run: Run, metric: str) -> float:
    """The metric of a run that is done; else NaN."""
    return float(run.metrics.get(metric, math.nan)) if run.state == DONE else math.nan


def typical(runs: Sequence[Run], metric: str) -> Run | None:
    """The finished run whose metric is the median, the lower of the two in the middle: neither lucky nor unlucky."""
    finished = sorted((run for run in runs if math.isfinite(figure(run, metric))), key=lambda run: figure(run, metric))
    return finished[(len(finished) - 1) // 2] if finished else None


def predictions(run: Run) -> list[dict]:
    """Those of the dev set, in its order; none where there is no file.

    Raises:
        UserError: a line is not a JSON object; named with its file and number.
    """
    path = run.folder / PREDICTIONS
    if not path.exists():
        return []
    found = []
    for number, line in enumerate(path.read_text(encoding="utf-8").split("\n"), 1):  # other ends of lines may be in a text
        if line.strip():
            found.append(_object(f"{path}, line {number}", line))
    return found


def _object(place: str, line: str) -> dict:
    try:
        value = json.loads(line)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise UserError("a prediction is not a JSON object", got=f"{place}: {line[:60]}", fix="write the predictions anew")
    return value


# What tells the forms of tasks apart: the first whose keys a prediction has.
FORMS = {
    "classification": {"label", "probabilities"},
    "choice": {"choice", "probabilities"},
    "tagging": {"tags"},
    "answering": {"answer"},
    "regression": {"score"},
}


def form(predicted: Sequence[dict]) -> str:
    """A name of FORMS; "" where there are no predictions.

    Raises:
        UserError: they are of no known form, or of several.
    """
    forms = {next((name for name, keys in FORMS.items() if keys <= each.keys()), "") for each in predicted}
    if "" in forms or len(forms) > 1:
        known = ", ".join(f"{name} ({' and '.join(sorted(keys))})" for name, keys in FORMS.items())
        raise UserError("predictions are of no form that is known, or of several", got=" ".join(sorted(forms)), expected=known)
    return forms.pop() if forms else ""
