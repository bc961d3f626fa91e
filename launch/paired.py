"""Two systems on the same dev examples: what each example scored, and whether the difference is more than chance."""

import math
from collections.abc import Callable, Mapping, Sequence
from statistics import NormalDist
from typing import NamedTuple

import numpy as np

from bert_jax.errors import UserError
from bert_jax.metrics import entities, statistics
from bert_jax.metrics.statistics import Comparison
from bert_jax.report import runs
from bert_jax.tasks.ner import ANY_SCHEME

LEVEL, ALPHA, POWER = 0.95, 0.05, 0.8
SAMPLES = 2000  # of a bootstrap whose metric is no mean over the examples; of a mean 10,000, which are as fast
KEYS = {"choice": "choice", "regression": "score"}  # of a prediction, what is compared with gold
SEED = 0  # the same predictions give the same figures


class Scores(NamedTuple):
    """What several runs said of the same examples.

    Attributes:
        unit: what is drawn again by a bootstrap, in the plural.
        gold: [N, ...].
        said: [N, S, ...], of each example and each run.
        total: gold and said of any rows and runs -> the metric, the mean over the runs.
        is_mean: the metric is the mean of said, float[N, S], over the examples.
    """

    unit: str
    gold: np.ndarray
    said: np.ndarray
    total: Callable[[np.ndarray, np.ndarray], float]
    is_mean: bool = False

    def of_each(self, runs_: slice) -> list[float]:
        return [self.total(self.gold, self.said[:, [run]]) for run in range(self.said.shape[1])[runs_]]


def scores(predictions: Sequence[Sequence[dict]], metric: str, metrics: Mapping[str, Callable]) -> Scores:
    """
    Args:
        predictions: of each run, for the same examples in the same order, lines of predictions.jsonl.
        metrics: of the task, name -> (gold, predicted) -> a figure.

    Raises:
        UserError: the runs know different classes, or nothing can be scored.
    """
    first, score = predictions[0], metrics[metric]
    form = "ranking" if "query_id" in first[0] else runs.form(first)
    if form == "ranking":
        return _ranking(predictions, score)
    if form == "tagging":
        return _tags(predictions, metric)
    if form == "answering":
        points = [[score([line["gold"]], [line["answer"]]) for line in lines] for lines in zip(*predictions, strict=True)]
        return _mean("questions", np.array(points))
    gold, said = _labels(predictions) if form == "classification" else _numbers(predictions, KEYS[form])
    if metric == "accuracy":
        return _mean("examples", (said == gold[:, None]).astype(np.float64))
    return Scores("examples", gold, said, lambda gold, said: float(np.mean([score(gold, of_run) for of_run in said.T])))


def _mean(unit: str, points_NS: np.ndarray) -> Scores:
    return Scores(unit, points_NS[:, 0], points_NS, lambda gold, said: float(np.mean(said)), is_mean=True)


def _labels(predictions: Sequence[Sequence[dict]]) -> tuple[np.ndarray, np.ndarray]:
    labels = [*predictions[0][0]["probabilities"]]
    for lines in predictions:
        if [*lines[0]["probabilities"]] != labels:
            raise UserError("the systems know different classes", got=[*lines[0]["probabilities"]], expected=str(labels))
    number = {label: place for place, label in enumerate(labels)}
    said = [[number[line["label"]] for line in lines] for lines in predictions]
    return np.array([number[str(line["gold"])] for line in predictions[0]]), np.array(said).T


def _numbers(predictions: Sequence[Sequence[dict]], name: str) -> tuple[np.ndarray, np.ndarray]:
    said = [[line[name] for line in lines] for lines in predictions]
    return np.array([line["gold"] for line in predictions[0]]), np.array(said).T


def _tags(predictions: Sequence[Sequence[dict]], metric: str) -> Scores:
    """Entities are counted in each sentence, so that a bootstrap over sentences adds counts up."""

    def counts(line: dict) -> tuple[int, ...]:
        gold, tags = line["gold"], line["tags"]
        of_entities = (sum(each.values()) for each in entities.counted([gold], [tags], ANY_SCHEME))
        return *of_entities, sum(one == other for one, other in zip(gold, tags, strict=True)), len(gold)

    def total(gold: np.ndarray, said: np.ndarray) -> float:
        sums = said.sum(axis=0)
        if metric == "token_accuracy":
            return float(np.mean(sums[:, 3] / sums[:, 4]))
        return float(np.mean([entities.ratios(*each[:3].tolist())[metric] for each in sums]))

    said = np.array([[counts(line) for line in lines] for lines in zip(*predictions, strict=True)])
    return Scores("sentences", said[:, 0, 1], said, total)


def _ranking(predictions: Sequence[Sequence[dict]], score: Callable) -> Scores:
    """A query has what the metric gives for it alone; those without a relevant candidate are in no mean."""
    places_of: dict[str, list[int]] = {}
    for place, line in enumerate(predictions[0]):
        places_of.setdefault(str(line["query_id"]), []).append(place)
    points = []
    for places in places_of.values():
        gold = np.array([(0, predictions[0][place]["gold"]) for place in places], np.float64)
        if gold[:, 1].any():
            points.append([score(gold, np.array([lines[place]["score"] for place in places])) for lines in predictions])
    if not points:
        raise UserError("no query has a relevant candidate", got=f"{len(places_of)} queries", expected="at least one")
    return _mean("queries", np.array(points))


class Verdict(NamedTuple):
    """Of system b less system a, in fractions of 1.

    Attributes:
        count: of units.
        a, b: the metric, the mean over the runs.
        examples: against other dev examples, by a paired bootstrap; the p value is McNemar's where each example is right or
            wrong and each system has one run.
        test: what the p value of examples is from.
        seeds: against other seeds, by Welch's t; NaN without two runs of each.
        p_value: the larger of both: a difference has to stand against other examples and against other seeds.
        smallest: the true difference that so many examples show with POWER at ALPHA; NaN where both said the same of each.
    """

    unit: str
    count: int
    a: float
    b: float
    examples: Comparison
    test: str
    seeds: Comparison
    p_value: float
    smallest: float


def compare(found: Scores, runs_of_a: int) -> Verdict:
    """System a has the first so many of the runs, b the others."""
    of_a, of_b = slice(None, runs_of_a), slice(runs_of_a, None)
    a, b = found.said[:, of_a], found.said[:, of_b]
    if found.is_mean:
        examples = statistics.paired_means(b.mean(axis=1), a.mean(axis=1), SEED, level=LEVEL)
    else:
        examples = statistics.paired_bootstrap(found.total, found.gold, b, a, SEED, SAMPLES, LEVEL)
    smallest, test = _smallest(examples), "bootstrap"
    if found.is_mean and found.said.shape[1] == 2 and {*np.unique(found.said)} <= {0.0, 1.0}:
        test, examples = "McNemar", examples._replace(p_value=statistics.mcnemar(a[:, 0], b[:, 0]))
        discordant = float(np.mean(a != b))
        smallest = statistics.smallest_difference(len(a), discordant=discordant, alpha=ALPHA, power=POWER)
    figures_a, figures_b = found.of_each(of_a), found.of_each(of_b)
    seeds = statistics.welch(figures_b, figures_a, LEVEL)
    p_value = max(p for p in (examples.p_value, seeds.p_value) if not math.isnan(p))
    same = math.nan if np.array_equal(a.mean(axis=1), b.mean(axis=1)) else smallest
    return Verdict(found.unit, len(a), float(np.mean(figures_a)), float(np.mean(figures_b)), examples, test, seeds, p_value, same)


def _smallest(found: Comparison) -> float:
    """(z of ALPHA + z of POWER) standard errors, the bootstrap's interval being the first of them to either side (Cohen 1988,
    chapter 2, in its normal approximation)."""
    at_level, at_power = NormalDist().inv_cdf(1 - ALPHA / 2), NormalDist().inv_cdf(POWER)
    return (found.high - found.low) / 2 * (at_level + at_power) / at_level
