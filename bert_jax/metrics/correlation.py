"""How well one list of numbers follows another."""

import numpy as np


def spearman(x: np.ndarray, y: np.ndarray) -> float:
    """Pearson's correlation of the ranks, from -1 to 1, equal numbers sharing the mean of their ranks; float[N] each.

    0 where all numbers of a list are equal.
    """
    a, b = (ranks - ranks.mean() for ranks in (average_ranks(x), average_ranks(y)))
    spread = np.sqrt(np.sum(a * a) * np.sum(b * b))
    return float(np.sum(a * b) / spread) if spread else 0.0


def average_ranks(values: np.ndarray) -> np.ndarray:
    """float64[N], from 1 on."""
    _, place, count = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(count) - (count - 1) / 2)[place]
