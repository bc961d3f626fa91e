"""A table of a paper, ours beside the published numbers: Markdown, LaTeX, CSV and a picture."""

import csv
import io
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from bert_jax.metrics.statistics import Summary
from bert_jax.report import drawing
from experiments.cells import NOT_RUN, Cell, Effect, value_verdict
from experiments.tables import STS_SCORE, Published, Run, Scale, Table
from launch.table import markdown

COMMONEST = "always the commonest class"
WHAT_VERDICTS_MEAN = (
    "Verdict, by the 95% interval (Student's t) of the mean difference over the seeds, two rows with one seed having learned "
    "from the same text: shown where it lies on the published side of 0, opposite where on the other, underpowered where it "
    "holds 0 or there is one seed."
)
WITHOUT_PUBLISHED = " Where no number is published: higher or lower, by the side on which it lies."
FORMULA = {"&": r"\&", "%": r"\%", "_": r"\_", "#": r"\#", "$": r"\$"}


def as_markdown(
    table: Table, name: str, found: Mapping[tuple[str, str], Cell], effects: Sequence[Effect], theirs: Published, folder: Path
) -> str:
    scale = table.scales[name]
    parts = [
        f"# {table.name} at scale {name}: {theirs.title}",
        "\n".join(f"- {line}" for line in _about(table, scale, found)),
        markdown(rows_of(table, scale, found, theirs)),
        f"Published: {theirs.source}. All numbers are percent; ours: mean ± standard deviation [95% interval] (seeds).",
        markdown(_effect_rows(effects)),
        WHAT_VERDICTS_MEAN + WITHOUT_PUBLISHED * any(effect.published is None for effect in effects),
    ]
    if runs := _run_rows(found, folder):
        parts += ["## Runs", markdown(runs)]
    return "\n\n".join(parts)


def _about(table: Table, scale: Scale, found: Mapping[tuple[str, str], Cell]) -> Iterator[str]:
    yield f"Runs: {scale.about}. Seeds: {', '.join(map(str, scale.seeds))}."
    if not scale.judges_values:
        yield "Values are not comparable with the published ones at this scale; differences of rows are looked at instead."
    for name, column in scale.columns.items():
        if column.stand_in:
            yield f"Column {name} has a stand-in: {column.stand_in}."
    parts = [part for cell in found.values() for part in cell.parts]
    of_tasks = [part for part in parts if part.score.config and part.score.metric != STS_SCORE]
    for sizes in sorted({(part.score.name, part.run.result()["num_examples"]["dev"]) for part in of_tasks}):
        yield "Scored on {}: {:,} examples.".format(*sizes)
    versions = {json.dumps(part.run.made_by()) for part in parts}
    yield f"Code: {', '.join(sorted(versions)) or NOT_RUN}."


def rows_of(table: Table, scale: Scale, found: Mapping[tuple[str, str], Cell], theirs: Published) -> list[list[str]]:
    """A header; of each row ours, the published numbers, and at paper scale the verdict; a guess that reads nothing."""
    columns = list(scale.columns)
    rows = [["", "", *(f"{name} ({of.stand_in})" if of.stand_in else name for name, of in scale.columns.items())]]
    for row in table.rows:
        cells = [found[row, column] for column in columns]
        published = [theirs.rows[row].get(column) for column in columns]
        rows.append([row, "ours", *map(_of_cell, cells)])
        if theirs.rows[row]:
            rows.append(["", "published", *("" if value is None else _as_printed(value) for value in published)])
        if theirs.rows[row] and scale.judges_values:
            verdicts = [value_verdict(cell.summary, value) if value is not None else "" for cell, value in zip(cells, published)]
            rows.append(["", "published is", *verdicts])
    guesses = [_majority(found, column) for column in columns]
    return [*rows, [COMMONEST, "ours", *guesses]] if any(guesses) else rows


def _as_printed(value: float) -> str:
    """With one decimal at least, and with two where there are two."""
    return max(f"{value:.1f}", f"{value:g}", key=len)


def _of_cell(cell: Cell) -> str:
    return figure(cell.summary) if cell.values or not cell.by_seed else f"{NOT_RUN}: {len(cell.by_seed)} of {cell.seeds} seeds"


def figure(summary: Summary) -> str:
    if not summary.n:
        return NOT_RUN
    if summary.n == 1:
        return f"{summary.mean:.1f} (1)"
    return f"{summary.mean:.1f} ± {summary.std:.1f} [{summary.low:.1f}, {summary.high:.1f}] ({summary.n})"


def _majority(found: Mapping[tuple[str, str], Cell], column: str) -> str:
    """Of the tasks of the column that have one, each the same in all rows."""
    parts = [part for (_, of), cell in found.items() if of == column for part in cell.parts]
    known = {part.score: part.majority for part in parts}
    if not known or None in known.values():
        return "" if known else NOT_RUN
    return f"{sum(known.values()) / len(known):.1f}"


def _effect_rows(effects: Sequence[Effect]) -> list[list[str]]:
    rows = [["difference", "column", "published", "ours", "verdict"]]
    for claim, column, published, ours, verdict in effects:
        shown = NOT_RUN if not ours.n else f"{ours.mean:+.1f}"
        if not math.isnan(ours.low):
            shown += f" [{ours.low:+.1f}, {ours.high:+.1f}] ({ours.n})"
        rows.append([f"{claim.row} less {claim.other}", column, "" if published is None else f"{published:+.1f}", shown, verdict])
    return rows


def _run_rows(found: Mapping[tuple[str, str], Cell], folder: Path) -> list[list[str]]:
    """Where the figures of each cell come from."""
    rows = [["row", "column", "seed", "task", "", "run", "rests on"]]
    for (row, column), cell in found.items():
        for run, seed, score, value, _ in cell.parts:
            link, *others = (f"[{path.name}]({path.relative_to(folder)}/result.json)" for path in _folders(run))
            rows.append([row, column, str(seed), score.name, f"{value:.2f}", link, ", ".join(others)])
    return rows if len(rows) > 1 else []


def _folders(run: Run) -> list[Path]:
    return [run.folder, *(other.folder for other in run.rests_on)]


def as_latex(table: Table, scale: Scale, found: Mapping[tuple[str, str], Cell], theirs: Published) -> str:
    header, *rows = ([_escaped(text) for text in row] for row in rows_of(table, scale, found, theirs))
    lines = [r"\begin{tabular}{ll" + "r" * len(scale.columns) + "}", r"\hline", " & ".join(header) + r" \\", r"\hline"]
    lines += [" & ".join(row) + r" \\" for row in rows]
    return "\n".join([*lines, r"\hline", r"\end{tabular}", f"% Published: {theirs.source}"])


def _escaped(text: str) -> str:
    return "".join(FORMULA.get(letter, letter) for letter in text).replace("±", r"$\pm$")


def as_csv(table: Table, scale: Scale, found: Mapping[tuple[str, str], Cell], theirs: Published) -> str:
    """One line for each figure: row, column, seed ("" for a published number), percent."""
    lines = [["row", "column", "seed", "percent"]]
    for (row, column), cell in found.items():
        lines += [[row, column, seed, f"{value:.4f}"] for seed, value in cell.by_seed.items()]
        if column in theirs.rows[row]:
            lines.append([row, column, "", theirs.rows[row][column]])
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(lines)
    return text.getvalue().rstrip("\n")


def picture(table: Table, scale: Scale, found: Mapping[tuple[str, str], Cell], theirs: Published):
    """A plot for each column: every seed and the mean of ours; the published numbers in a plot of their own beside it, since
    they lie elsewhere."""
    rows, columns = list(table.rows)[::-1], list(scale.columns)
    drawn = drawing.figure(3.4 * 2 * len(columns), 0.5 * len(rows) + 1.4)
    plots = drawn.subplots(1, 2 * len(columns), sharey=True, squeeze=False)[0]
    for number, column in enumerate(columns):
        ours, published = plots[2 * number : 2 * number + 2]
        for place, row in enumerate(rows):
            cell = found[row, column]
            ours.plot(list(cell.by_seed.values()), [place] * len(cell.by_seed), "o", color=drawing.MAIN, alpha=0.5)
            if cell.values:
                ours.plot([cell.summary.mean], [place], "|", color=drawing.MAIN, markersize=18)
            if column in theirs.rows[row]:
                published.plot([theirs.rows[row][column]], [place], "D", color=drawing.BAD)
        ours.set(title=f"{column}, ours", xlabel="percent", yticks=range(len(rows)), yticklabels=rows)
        published.set(title=f"{column}, published", xlabel="percent")
        for axes in (ours, published):
            axes.spines[["top", "right"]].set_visible(False)
            axes.grid(alpha=0.3)
    return drawn
