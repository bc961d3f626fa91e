"""Passages ranked by how likely they answer a query, each pair by itself, as Nogueira and Cho 2019 (arXiv 1901.04085) do for MS
MARCO (Bajaj et al. 2016, 1611.09268)."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from bert_jax.data import finetune as data
from bert_jax.errors import UserError
from bert_jax.metrics import ranking
from bert_jax.objectives.classify import classify
from bert_jax.tasks import tables
from bert_jax.tasks.form import Answer, Form, Task
from bert_jax.tasks.texts import softmax

LABELS = NOT_RELEVANT, RELEVANT = ("not_relevant", "relevant")
COLUMNS = ("query_id", "query", "passage", "relevance")
CUTOFF = 10  # of MRR and NDCG, as MS MARCO has it


class Candidate(NamedTuple):
    """
    Attributes:
        texts: (query, passage).
        relevance: a number from 0 on, 0 for not relevant; None where it is asked for.
        group: the query's name: candidates of one are ranked among each other.
        id: its name in the file.
    """

    texts: tuple[str, str]
    relevance: float | None
    group: str
    id: str = ""

    @property
    def label(self) -> str | None:
        return None if self.relevance is None else LABELS[self.relevance > 0]


def reader(columns: Sequence[tables.Column] = COLUMNS, *, labelled: bool = True):
    """Task.read for a table, a row a candidate.

    Args:
        columns: of the query's name, the query, the passage, the relevance.
        labelled: False for a file without the last one.
    """

    def read(path: Path, skipped: list[str] | None = None) -> list[Candidate]:
        def candidate(place: str, cells: tuple[str, ...]) -> Candidate:
            group, query, passage, *relevance = cells
            return Candidate((query, passage), _grade(relevance[0], place) if labelled else None, group, place)

        rows = tables.read(path, tuple(columns) if labelled else tuple(columns[:3]), skipped=skipped)
        candidates = tables.parsed(rows, candidate, skipped)
        if not candidates:
            raise UserError("the file holds no candidate", got=path, expected="rows, after the header line where there is one")
        return candidates

    return read


def _grade(cell: str, place: str) -> float:
    try:
        grade = float(cell)
    except ValueError:
        grade = -1.0
    if not 0 <= grade < np.inf:
        raise UserError("a relevance is not a number from 0 on", got=f"{place}: {cell!r}", expected="0, or for instance 1")
    return grade


def _encoded(examples: Sequence[Candidate], labels, tokenizer, *, max_seq_length: int) -> data.Encoded:
    return data.encode(examples, tokenizer, max_seq_length, LABELS)


def _answers(examples: Sequence[Candidate], labels, rows, outputs: Sequence[dict]) -> list[Answer]:
    """The probability of being relevant, and the place among the candidates of the query, from 1; of equals the first stands
    before."""
    scores = softmax(np.stack([output["logits_BC"] for output in outputs]))[:, LABELS.index(RELEVANT)]
    of_group = defaultdict(list)
    for number, example in enumerate(examples):
        of_group[example.group].append(number)
    ranks = np.zeros(len(examples), np.int64)
    for numbers in of_group.values():
        ranks[np.array(numbers)[np.argsort(-scores[numbers], kind="stable")]] = 1 + np.arange(len(numbers))
    return [
        {"query_id": example.group, "score": float(score), "rank": int(rank)}
        for example, score, rank in zip(examples, scores, ranks, strict=True)
    ]


def _compared(examples: Sequence[Candidate], answers: Sequence[Answer], labels) -> tuple[np.ndarray, np.ndarray]:
    """((group number, relevance) float64[N, 2], scores float64[N]); groups are numbered as they come."""
    number_of = {group: number for number, group in enumerate(dict.fromkeys(example.group for example in examples))}
    gold = [(number_of[example.group], example.relevance) for example in examples]
    return np.array(gold, np.float64), np.array([answer["score"] for answer in answers], np.float64)


def _of_groups(name: str) -> Callable[[np.ndarray, np.ndarray], float]:
    """A figure of metrics/ranking.py, the mean over the queries that have a relevant candidate; 0 where none has."""

    def metric(gold: np.ndarray, scores: np.ndarray) -> float:
        groups, relevance = gold.T
        return ranking.grouped(scores, relevance, groups.astype(np.int64), CUTOFF)[name] if relevance.any() else 0.0

    return metric


METRICS = {name: _of_groups(name) for name in (f"mrr@{CUTOFF}", f"ndcg@{CUTOFF}", "map")}


def _unread(train: Sequence[Candidate], dev: Sequence[Candidate], labels) -> dict[str, float]:
    """What a ranking by lot is worth: all scores equal."""
    gold, scores = _compared(dev, [{"score": 0.0}] * len(dev), labels)
    return {f"chance_{name}": metric(gold, scores) for name, metric in METRICS.items()}


def _shown(example: Candidate) -> dict:
    seen = {"query_id": example.group, "texts": list(example.texts)}
    return seen | ({} if example.relevance is None else {"gold": example.relevance})


RANKING = Form(
    objectives=lambda labels: {"classify": lambda encoder: classify(encoder, len(LABELS))},
    pooler=True,
    encode=_encoded,
    answers=_answers,
    compared=_compared,
    shown=_shown,
    baseline=_unread,
)

TASKS = {
    "msmarco": Task(
        RANKING,
        {"train": "ranking/msmarco/train.tsv", "dev": "ranking/msmarco/dev.tsv"},
        reader(),
        METRICS,
        source="microsoft.github.io/msmarco, the queries, passages and judgements joined into one table with the columns "
        + ", ".join(COLUMNS),
    ),
}
