"""How well one list of numbers follows another."""

import numpy as np


def pearson(x: np.ndarray, y: np.ndarray) -> float:
    """Pearson's correlation, from -1 to 1; float[N] each.

    0 where all numbers of a list are equal, and NaN where one of them is NaN.
    """
    # Asked of the numbers themselves: the mean of equal numbers may differ from them by a rounding, and be divided by it.
    widths = np.ptp(x), np.ptp(y)
    if not (narrower := np.minimum(*widths)) > 0:
        return float(narrower)  # 0, or NaN where a list has one
    # In units of the width: squares of very small numbers would be 0.
    a, b = ((values - np.mean(values, dtype=np.float64)) / width for values, width in zip((x, y), widths))
    return float(np.clip((a / np.linalg.norm(a)) @ (b / np.linalg.norm(b)), -1, 1))


def spearman(x: np.ndarray, y: np.ndarray) -> float:
    """Pearson's correlation of the ranks, from -1 to 1, equal numbers sharing the mean of their ranks; float[N] each.

    0 where all numbers of a list are equal, and NaN where one of them is NaN.
    """
    return pearson(average_ranks(x), average_ranks(y))


def pearson_spearman(x: np.ndarray, y: np.ndarray) -> float:
    """The mean of both, the one figure that GLUE's average takes of STS-B (Wang et al. 2019, arXiv 1804.07461)."""
    return (pearson(x, y) + spearman(x, y)) / 2


def average_ranks(values: np.ndarray) -> np.ndarray:
    """float64[N], from 1 on; all NaN where one value is, which sorting would place as if it were the largest."""
    if np.isnan(values).any():
        return np.full(len(values), np.nan)
    _, place, count = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(count) - (count - 1) / 2)[place]
