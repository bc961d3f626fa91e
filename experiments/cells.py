"""What the runs of a table say: its cells, and whether they show what the paper claims."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from bert_jax.metrics.statistics import Summary, summarise
from experiments import tables
from experiments.tables import Claim, Published, Run, Scale, Score, Table

SHOWN, OPPOSITE, UNDERPOWERED, NOT_RUN = "shown", "opposite", "underpowered", "not run"
MAJORITY = "majority_accuracy"


class Part(NamedTuple):
    """One run of a cell: percent, and what always the commonest class would have."""

    run: Run
    seed: int
    score: Score
    value: float
    majority: float | None


class Cell(NamedTuple):
    parts: Sequence[Part]
    by_seed: Mapping[int, float]  # of the seeds whose runs of all tasks are there, the mean over the tasks

    @property
    def summary(self) -> Summary:
        return summarise(list(self.by_seed.values()))


class Effect(NamedTuple):
    """Of row less other in a column: the published difference, ours over the seeds that both have, and the verdict."""

    claim: Claim
    column: str
    published: float
    ours: Summary
    verdict: str


def cells(table: Table, scale: Scale, folder: Path) -> dict[tuple[str, str], Cell]:
    """(row, column) -> the cell, from the folders of the runs."""
    pretrained = {
        (encoder, seed)
        for encoder in table.encoders
        for seed in scale.seeds
        if tables.pretraining(table, scale, folder, encoder, seed).result()
    }
    found = {}
    for name, row in table.rows.items():
        for column, (scores, _) in scale.columns.items():
            parts = [
                part
                for seed in scale.seeds
                if (row.encoder, seed) in pretrained
                for score in scores
                if (part := _part(tables.finetuning(table, scale, folder, name, score, seed), score, seed))
            ]
            found[name, column] = Cell(parts, _by_seed(parts, len(scores)))
    return found


def _part(run: Run, score: Score, seed: int) -> Part | None:
    result = run.result()
    if not result:
        return None
    majority = result["metrics"].get(MAJORITY)
    return Part(run, seed, score, 100 * result["metrics"][score.metric], None if majority is None else 100 * majority)


def _by_seed(parts: Sequence[Part], number_of_tasks: int) -> dict[int, float]:
    seeds = dict.fromkeys(part.seed for part in parts)
    values = {seed: [part.value for part in parts if part.seed == seed] for seed in seeds}
    return {seed: sum(of) / len(of) for seed, of in values.items() if len(of) == number_of_tasks}


def effects(table: Table, scale: Scale, found: Mapping[tuple[str, str], Cell], theirs: Published) -> list[Effect]:
    return [
        _effect(claim, column, found, theirs)
        for claim in table.claims
        for column in scale.columns
        if {column} <= theirs.rows[claim.row].keys() & theirs.rows[claim.other].keys()
    ]


def _effect(claim: Claim, column: str, found: Mapping, theirs: Published) -> Effect:
    """Seeds are paired: with one seed two rows learn from the same text in the same order."""
    ours, others = (found[row, column].by_seed for row in claim)
    differences = summarise([ours[seed] - others[seed] for seed in ours if seed in others])
    published = theirs.rows[claim.row][column] - theirs.rows[claim.other][column]
    return Effect(claim, column, published, differences, verdict(differences, published))


def verdict(differences: Summary, published: float) -> str:
    """Of the 95% interval of the mean difference: whether it lies on the published side of 0, on the other, or over it.

    One seed has no interval, and a published difference of 0 no side.
    """
    if not differences.n:
        return NOT_RUN
    if not published or math.isnan(differences.low):
        return UNDERPOWERED
    low, high = (differences.low, differences.high) if published > 0 else (-differences.high, -differences.low)
    return SHOWN if low > 0 else OPPOSITE if high < 0 else UNDERPOWERED


def value_verdict(ours: Summary, published: float) -> str:
    """Where the published number lies: within the 95% interval of ours, above or below it."""
    if not ours.n:
        return NOT_RUN
    if math.isnan(ours.low):
        return UNDERPOWERED
    return "within" if ours.low <= published <= ours.high else "above" if published > ours.high else "below"
