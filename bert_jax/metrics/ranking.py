"""Scores of rankings. All are fractions of 1, not percent.

Two shapes: one right candidate among C for each ranking (`ranks` and what takes them), and lists of any length whose
candidates are more or less relevant, told apart by a group number (`first_ranks` and what follows).
A score of NaN counts as the lowest: compared with NaN nothing is higher, and a diverged model would come first.
"""

from collections.abc import Iterator

import numpy as np


def ranks(scores: np.ndarray, right: np.ndarray) -> np.ndarray:
    """float[N]: the place, from 1, of candidate right[n] among all candidates of scores float[N, C].

    Equal scores share their places: each has the mean of them, so that a model which scores all alike gains nothing.
    """
    scores = lowest_where_nan(scores)
    own = np.take_along_axis(scores, right[:, None], axis=1)
    return 1 + (scores > own).sum(axis=1) + ((scores == own).sum(axis=1) - 1) / 2


def lowest_where_nan(scores: np.ndarray) -> np.ndarray:
    return np.where(np.isnan(scores), -np.inf, scores)


def hit_rate(ranks: np.ndarray, k: int) -> float:
    """HR@k: the share of rankings with the one right candidate among the first k."""
    return float(np.mean(ranks <= k))


def ndcg(ranks: np.ndarray, k: int) -> float:
    """NDCG@k (Järvelin and Kekäläinen 2002) with one right candidate: 1 / log2(1 + rank) among the first k, else 0."""
    return float(np.mean(np.where(ranks <= k, 1 / np.log2(1 + ranks), 0.0)))


def mrr(ranks: np.ndarray) -> float:
    """Mean reciprocal rank."""
    return float(np.mean(1 / ranks))


def mrr_at(ranks: np.ndarray, k: int) -> float:
    """MRR@k, as MS MARCO counts it: 1 / rank among the first k, else 0."""
    return float(np.mean(np.where(ranks <= k, 1 / ranks, 0.0)))


def first_ranks(scores: np.ndarray, relevance: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """float64[G]: for each group, in the order of its number, the place from 1 of its first relevant candidate.

    Among n equal scores of which r are relevant that is the mean over all orders of them, (n + 1) / (r + 1) places on;
    with one relevant candidate it is its rank above.

    Args:
        scores: float[N].
        relevance: int or float[N], relevant where above 0.
        groups: int[N], the ranking that each candidate belongs to.

    A group without a relevant candidate has NaN, here and below: no ranking of it is better than another.
    """
    return per_group(first_rank, scores, relevance, groups)


def average_precisions(scores: np.ndarray, relevance: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """float64[G]: the mean over a group's relevant candidates of the precision down to each; arguments of `first_ranks`.

    Equal scores are taken together or not at all, as by a threshold: each has the precision after the last of them.
    """
    return per_group(average_precision, scores, relevance, groups)


def ndcgs(scores: np.ndarray, relevance: np.ndarray, groups: np.ndarray, k: int) -> np.ndarray:
    """float64[G]: NDCG@k with gains 2^relevance - 1 (Burges et al. 2005) and discounts 1 / log2(1 + place).

    Equal scores share the gain: each has the mean of theirs, the mean over all orders (McSherry and Najork 2008).
    Arguments of `first_ranks`.
    """
    return per_group(lambda scores, relevance: graded_ndcg(scores, relevance, k), scores, relevance, groups)


def grouped(scores: np.ndarray, relevance: np.ndarray, groups: np.ndarray, k: int) -> dict[str, float]:
    """Means over the groups with a relevant candidate, and how many those are; arguments of `first_ranks`."""
    places = first_ranks(scores, relevance, groups)
    known = ~np.isnan(places)
    return {
        "groups": int(known.sum()),
        "map": float(np.mean(average_precisions(scores, relevance, groups)[known])),
        "mrr": mrr(places[known]),
        f"mrr@{k}": mrr_at(places[known], k),
        f"ndcg@{k}": float(np.mean(ndcgs(scores, relevance, groups, k)[known])),
    }


def per_group(score, scores: np.ndarray, relevance: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """float64[G]: score(scores, relevance) of each group, the highest score first, NaN where nothing is relevant."""
    return np.array([score(*one) if np.any(one[1] > 0) else np.nan for one in rankings(scores, relevance, groups)])


def rankings(scores: np.ndarray, relevance: np.ndarray, groups: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    scores = lowest_where_nan(scores)
    order = np.lexsort((-scores, groups))
    cuts = np.flatnonzero(np.diff(groups[order])) + 1
    return zip(np.split(scores[order], cuts), np.split(relevance[order], cuts))


def ties(scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """int[T], int[T] for sorted scores: where each run of equal scores begins, and how long it is."""
    begins = np.flatnonzero(np.concatenate([[True], scores[1:] != scores[:-1]]))
    return begins, np.diff(begins, append=len(scores))


def first_rank(scores: np.ndarray, relevance: np.ndarray) -> float:
    begins, lengths = ties(scores)
    relevant = np.add.reduceat((relevance > 0).astype(np.int64), begins)
    first = np.flatnonzero(relevant)[0]
    return begins[first] + (lengths[first] + 1) / (relevant[first] + 1)


def average_precision(scores: np.ndarray, relevance: np.ndarray) -> float:
    begins, lengths = ties(scores)
    relevant = np.add.reduceat((relevance > 0).astype(np.int64), begins)
    precision = np.cumsum(relevant) / (begins + lengths)
    return float(np.average(precision, weights=relevant))


def graded_ndcg(scores: np.ndarray, relevance: np.ndarray, k: int) -> float:
    gains = 2.0**relevance - 1
    discounts = np.where(np.arange(len(gains)) < k, 1 / np.log2(2 + np.arange(len(gains))), 0.0)
    begins, lengths = ties(scores)
    shared = np.repeat(np.add.reduceat(gains, begins) / lengths, lengths)
    return float(shared @ discounts / (np.sort(gains)[::-1] @ discounts))
