"""What the runs of a table say: its cells, and whether they show what the paper claims."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from bert_jax.metrics.statistics import Summary, summarise
from experiments import tables
from experiments.tables import Claim, Published, Run, Scale, Score, Table

SHOWN, OPPOSITE, UNDERPOWERED, NOT_RUN = "shown", "opposite", "underpowered", "not run"
HIGHER, LOWER = "higher", "lower"  # where no number is published
MAJORITY = "majority_accuracy"


class Part(NamedTuple):
    """One run of a cell: percent, and what always the commonest class would have."""

    run: Run
    seed: int
    score: Score
    value: float
    majority: float | None


class Cell(NamedTuple):
    """
    Attributes:
        by_seed: of the seeds whose runs of all tasks are there, the mean over the tasks.
        seeds: how many the scale has.
    """

    parts: Sequence[Part]
    by_seed: Mapping[int, float]
    seeds: int

    @property
    def values(self) -> Mapping[int, float]:
        """By seed, all of them or none: a mean over what happens to be there would be another figure."""
        return self.by_seed if len(self.by_seed) == self.seeds else {}

    @property
    def summary(self) -> Summary:
        return summarise(list(self.values.values()))


class Effect(NamedTuple):
    """Of row less other in a column: the published difference, None where there is none, ours over the seeds, and the verdict."""

    claim: Claim
    column: str
    published: float | None
    ours: Summary
    verdict: str


def cells(table: Table, scale: Scale, folder: Path) -> dict[tuple[str, str], Cell]:
    """(row, column) -> the cell, from the folders of the runs."""
    found = {}
    for row in table.rows:
        for name, column in scale.columns.items():
            scores = column.of(row)
            parts = [
                part
                for seed in scale.seeds
                for score in scores
                if (part := _part(tables.scored(table, scale, folder, row, score, seed), score, seed))
            ]
            found[row, name] = Cell(parts, _by_seed(parts, len(scores)), len(scale.seeds))
    return found


def _part(run: Run, score: Score, seed: int) -> Part | None:
    result = run.result()
    if not result:
        return None
    majority = result["metrics"].get(MAJORITY)
    value = score.times * result["metrics"][score.metric]
    return Part(run, seed, score, value, None if majority is None else 100 * majority)


def _by_seed(parts: Sequence[Part], number_of_tasks: int) -> dict[int, float]:
    seeds = dict.fromkeys(part.seed for part in parts)
    values = {seed: [part.value for part in parts if part.seed == seed] for seed in seeds}
    return {seed: sum(of) / len(of) for seed, of in values.items() if len(of) == number_of_tasks}


def effects(table: Table, scale: Scale, found: Mapping[tuple[str, str], Cell], theirs: Published) -> list[Effect]:
    """Of the columns in which both rows are published, or all where nothing is of one of them."""
    return [
        _effect(claim, column, found, theirs)
        for claim in table.claims
        for column in scale.columns
        if all(column in theirs.rows[row] for row in claim) or not all(theirs.rows[row] for row in claim)
    ]


def _effect(claim: Claim, column: str, found: Mapping, theirs: Published) -> Effect:
    """Seeds are paired: with one seed two rows learn from the same text in the same order."""
    ours, others = (found[row, column].values for row in claim)
    differences = summarise([ours[seed] - others[seed] for seed in ours if others])
    values = [theirs.rows[row].get(column) for row in claim]
    published = None if None in values else values[0] - values[1]
    return Effect(claim, column, published, differences, verdict(differences, published))


def verdict(differences: Summary, published: float | None) -> str:
    """Of the 95% interval of the mean difference: whether it lies on the published side of 0, on the other, or over it; without a
    published difference, on which side it lies.

    One seed has no interval, and a published difference of 0 no side.
    """
    if not differences.n:
        return NOT_RUN
    if published == 0 or math.isnan(differences.low):
        return UNDERPOWERED
    above, below = (HIGHER, LOWER) if published is None else (SHOWN, OPPOSITE) if published > 0 else (OPPOSITE, SHOWN)
    return above if differences.low > 0 else below if differences.high < 0 else UNDERPOWERED


def value_verdict(ours: Summary, published: float) -> str:
    """Where the published number lies: within the 95% interval of ours, above or below it."""
    if not ours.n:
        return NOT_RUN
    if math.isnan(ours.low):
        return UNDERPOWERED
    return "within" if ours.low <= published <= ours.high else "above" if published > ours.high else "below"
