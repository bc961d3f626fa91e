"""Two systems on the same dev examples: is one better, or could this set not tell?

    python -m launch compare A B [A2 B2 ...]

A and B are workdirs of fine-tuned models, or SWEEP/CELL for the seeds of a cell of a sweep, or SWEEP for its only or best cell,
or a folder of workdirs that differ in their seed alone. With several pairs p values are corrected for their number (Holm).
"""

import argparse
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from bert_jax import config as configs
from bert_jax.errors import EXIT_DONE, UserError
from launch import table

POINTS = "differences are in points, hundredths of the metric, B less A"


class Side(NamedTuple):
    """One system: the runs (bert_jax/report/runs.Run) that are done, and how many ended otherwise or did not yet end."""

    name: str
    runs: tuple
    failed: int
    unfinished: int
    chosen: bool

    @property
    def task(self) -> str:
        return self.runs[0].config["task"]


def side(given: str) -> Side:
    """
    Raises:
        UserError: there are no fine-tuned runs, or they differ in more than their seed.
    """
    from bert_jax.report import runs  # imports jax, without which --help answers

    folders, chosen = folders_of(Path(given))
    found = [runs.read(folder) for folder in folders]
    done = tuple(run for run in found if run.state == runs.DONE)
    if not done:
        raise UserError("no run of a system is done", got=given, expected="a result.json in its workdir")
    for run in done:
        if "task" not in run.config or not (run.folder / runs.PREDICTIONS).exists():
            raise UserError("a run left no predictions", got=run.folder, expected=f"{runs.PREDICTIONS} of a fine-tuned model")
        for key, one, other in configs.difference(done[0].config, run.config):
            if key != "seed":
                raise UserError("runs of one system differ in more than the seed", got=f"{run.folder}, {key}: {one} -> {other}")
    unfinished = sum(run.state in runs.UNFINISHED for run in found)
    return Side(given, done, len(found) - len(done) - unfinished, unfinished, chosen)


def folders_of(given: Path) -> tuple[list[Path], bool]:
    """The workdirs that are meant, and whether they are those of a cell that a sweep chose on dev."""
    if (given / "config.json").exists():
        return [given], False
    for sweep, name in ((given, ""), (given.parent, given.name)):
        if (sweep / "table.json").exists():
            found = json.loads((sweep / "table.json").read_text(encoding="utf-8"))
            names = {cell["cell"]: cell for cell in found["cells"]}
            if (name or found["best"]) not in names:
                raise UserError("the sweep has no such cell", got=given, expected=" or ".join(names))
            folders = [sweep / run["folder"] for run in names[name or found["best"]]["runs"]]
            return [folder for folder in folders if folder.is_dir()], len(names) > 1 and (name or found["best"]) == found["best"]
    folders = sorted(path.parent for path in given.glob("*/config.json"))
    if not folders:
        raise UserError("there is no fine-tuned model here", got=given, expected="a workdir, SWEEP/CELL or SWEEP")
    return folders, False


def read(a: Side, b: Side) -> list[list[dict]]:
    """The predictions of every run of a, then of b.

    Raises:
        UserError: they are not of the same examples; the first that differs is named.
    """
    from bert_jax.report import runs

    if a.task != b.task:
        raise UserError("the systems were fine-tuned on different tasks", got=f"{a.name}: {a.task}, {b.name}: {b.task}")
    every = [*a.runs, *b.runs]
    found = [runs.predictions(run) for run in every]
    for run, lines in zip(every, found):
        _require_same(every[0].folder / runs.PREDICTIONS, found[0], run.folder / runs.PREDICTIONS, lines)
    return found


def _require_same(of_first: Path, first: Sequence[dict], of_other: Path, other: Sequence[dict]) -> None:
    for number, (one, two) in enumerate(zip(first, other), 1):
        for key, known in (("id", name_of), ("gold", lambda line: line.get("gold"))):
            if known(one) != known(two):
                raise UserError(
                    f"the systems were not scored on the same examples: the first {key} that differs is in line {number}",
                    got=f"{of_other}: {known(two)}",
                    expected=f"{known(one)}, as {of_first} has it",
                )
        if one.get("gold") is None:
            raise UserError("an example has no gold label", got=f"{of_first}, line {number}")
    if len(first) != len(other) or not first:
        raise UserError(
            "the systems were not scored on the same examples",
            got=f"{of_other}: {len(other)} predictions",
            expected=f"{len(first)}, as {of_first} has them",
        )


def name_of(line: dict) -> str:
    """The id without the folder of the data, which may be another on another machine."""
    return str(line["id"]).rpartition("/")[2]


def main(arguments: Sequence[str]) -> int:
    given = _parser().parse_args(arguments)
    if len(given.systems) % 2:
        raise UserError("systems come in pairs", got=" ".join(given.systems), expected="A B, or A B A2 B2")
    text = report([(side(a), side(b)) for a, b in zip(given.systems[::2], given.systems[1::2])], given.metric)
    print(text)
    if given.output:
        table.write(Path(given.output), text)
    return EXIT_DONE


def _parser() -> argparse.ArgumentParser:
    about, _, _, _, more = __doc__.split("\n", 4)
    parser = argparse.ArgumentParser(prog="python -m launch compare", description=about, epilog=more, allow_abbrev=False)
    parser.add_argument("systems", nargs="+", metavar="WORKDIR", help="A B, then further pairs")
    parser.add_argument("--metric", default="", help="of the task; without it, its first")
    parser.add_argument("--output", default="", help="a file for what is printed, Markdown")
    return parser


def report(pairs: Sequence[tuple[Side, Side]], metric: str = "") -> str:
    """Markdown: a table, and a sentence for each pair.

    Raises:
        UserError: a task does not have the metric, or a pair cannot be compared.
    """
    from bert_jax.metrics.statistics import holm
    from launch import pages, paired

    metrics, verdicts = [], []
    for a, b in pairs:
        known = pages.metrics_of(a.task)
        metrics.append(metric or next(iter(known)))
        if metrics[-1] not in known:
            raise UserError("the task has no such metric", got=f"{a.task}: {metric}", expected=" or ".join(known))
        verdicts.append(paired.compare(paired.scores(read(a, b), metrics[-1], known), len(a.runs)))
    adjusted = holm([verdict.p_value for verdict in verdicts]).tolist()
    rows = [["task", "metric", "on", "A", "B", "B - A", "95% over examples", "p", "95% over seeds", "p", "could show"]]
    if len(pairs) > 1:
        rows[0].insert(-1, "p (Holm)")
    sentences = []
    for pair, name, verdict, p_value in zip(pairs, metrics, verdicts, adjusted):
        corrected = [_p(p_value)] if len(pairs) > 1 else []
        rows.append(_row(pair, name, verdict, corrected))
        sentences.append(f"- {_sentence(pair, name, verdict, p_value, bool(corrected))}")
    told = f"Could show: the true difference that so many examples show in {paired.POWER:.0%} of cases at p < {paired.ALPHA}"
    return "\n".join([table.markdown(rows), "", f"{told}; {POINTS}.", "", *sentences])


def _row(pair: tuple[Side, Side], metric: str, found, corrected: list[str]) -> list[str]:
    a, b = (f"{100 * figure:.2f} (n={len(side.runs)})" for figure, side in zip((found.a, found.b), pair))
    by_examples = [_interval(found.examples), f"{_p(found.examples.p_value)} {found.test}"]
    by_seeds = [_interval(found.seeds), _p(found.seeds.p_value)]
    difference = f"{100 * (found.b - found.a):+.2f}"
    task = pair[0].task
    return [task, metric, f"{found.count:,} {found.unit}", a, b, difference, *by_examples, *by_seeds, *corrected, _shown(found)]


def _sentence(pair: tuple[Side, Side], metric: str, found, p_value: float, corrected: bool) -> str:
    from launch import paired

    a, b = pair
    difference = found.b - found.a
    over = [f"95% interval {_interval(found.examples)} over {found.unit}"]
    if not math.isnan(found.seeds.low):
        over.append(f"{_interval(found.seeds)} over seeds")
    evidence = f"{', '.join(over)}; p = {_p(p_value)}{' after correction' if corrected else ''}"
    if p_value < paired.ALPHA:
        better, worse = (b, a) if difference > 0 else (a, b)
        said = f"{better.name} is better than {worse.name} by {100 * abs(difference):.2f} points of {metric} (B - A: {evidence})."
    elif math.isnan(found.smallest):
        said = f"{a.name} and {b.name} have the same {metric} on each of the {found.count:,} {found.unit}."
    else:
        said = f"{a.name} and {b.name} are not told apart: B - A is {100 * difference:+.2f} points of {metric} ({evidence}); "
        if found.examples.p_value < paired.ALPHA:
            said += "the examples tell these runs apart, but other seeds could turn it: more of them are needed."
        else:
            said += f"this set could show {_shown(found)}."
    return " ".join([f"{a.task}:", said, *_cautions(pair, found)])


def _cautions(pair: tuple[Side, Side], found) -> list[str]:
    said = []
    if math.isnan(found.seeds.p_value):
        said.append("Other seeds may turn it: give several runs of both, that differ among themselves.")
    for side in pair:
        if side.failed:
            ended = len(side.runs) + side.failed
            said.append(
                f"Of {side.name} {side.failed} of {ended} runs failed and are left out, by which it looks better than it is."
            )
        if side.unfinished:
            said.append(f"Of {side.name} {side.unfinished} more runs are not finished.")
        if side.chosen:
            said.append(f"{side.name} was chosen on this dev set, by which it looks better than it is.")
    return said


def _interval(found) -> str:
    return "–" if math.isnan(found.low) else f"{100 * found.low:+.2f} to {100 * found.high:+.2f}"


def _p(value: float) -> str:
    return "–" if math.isnan(value) else "< 0.0001" if value < 1e-4 else f"{value:.2g}"


def _shown(found) -> str:
    if math.isnan(found.smallest):
        return "–"
    return "no difference, being too small" if math.isinf(found.smallest) else f"{100 * found.smallest:.2f} points"
