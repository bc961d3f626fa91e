"""Scores of rankings. All are fractions of 1, not percent."""

import numpy as np


def ranks(scores: np.ndarray, right: np.ndarray) -> np.ndarray:
    """float[N]: the place, from 1, of candidate right[n] among all candidates of scores float[N, C].

    Equal scores share their places: each has the mean of them, so that a model which scores all alike gains nothing.
    """
    own = np.take_along_axis(scores, right[:, None], axis=1)
    return 1 + (scores > own).sum(axis=1) + ((scores == own).sum(axis=1) - 1) / 2


def hit_rate(ranks: np.ndarray, k: int) -> float:
    """HR@k: the share of rankings with the one right candidate among the first k."""
    return float(np.mean(ranks <= k))


def ndcg(ranks: np.ndarray, k: int) -> float:
    """NDCG@k (Järvelin and Kekäläinen 2002) with one right candidate: 1 / log2(1 + rank) among the first k, else 0."""
    return float(np.mean(np.where(ranks <= k, 1 / np.log2(1 + ranks), 0.0)))


def mrr(ranks: np.ndarray) -> float:
    """Mean reciprocal rank."""
    return float(np.mean(1 / ranks))
