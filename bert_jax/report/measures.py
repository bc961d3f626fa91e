"""The numbers behind the pictures: counts, shares and planes of points, from plain arrays."""

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

BINS = 10
OTHERS = "(all others)"
MOST_CLASSES = 20  # that a matrix stays readable with


def confusion(gold: Sequence[str], predicted: Sequence[str], labels: Sequence[str] = ()) -> tuple[np.ndarray, list[str]]:
    """(int[C, C], names of the C classes): rows are the gold classes, columns the predicted ones.

    Args:
        labels: the classes in the order to show; () for those that occur, sorted. Of more than MOST_CLASSES the commonest
            stay, in the same order, and the rest become one.
    """
    names = [*labels] or sorted({*gold, *predicted})
    if len(names) > MOST_CLASSES:
        counts = Counter(gold) + Counter(predicted)
        kept = {*sorted(names, key=lambda name: -counts[name])[: MOST_CLASSES - 1]}
        names = [*(name for name in names if name in kept), OTHERS]
    place = {name: number for number, name in enumerate(names)}
    counts_CC = np.zeros((len(names), len(names)), np.int64)
    rest = len(names) - 1
    np.add.at(counts_CC, tuple([place.get(name, rest) for name in side] for side in (gold, predicted)), 1)
    return counts_CC, names


class Calibration(NamedTuple):
    """Of equally wide bins of confidence; NaN where a bin is empty.

    Attributes:
        edges: float64[BINS + 1].
        counts: int[BINS].
        confidence, accuracy: float64[BINS], the means of the examples in a bin.
        error: expected calibration error (Guo et al. 2017, arXiv 1706.04599, equation 3).
    """

    edges: np.ndarray
    counts: np.ndarray
    confidence: np.ndarray
    accuracy: np.ndarray
    error: float


def calibration(confidence: np.ndarray, right: np.ndarray, bins: int = BINS) -> Calibration:
    """Args: confidence: float[N], the probability of the predicted class; right: bool[N], whether it is the gold one."""
    edges = np.linspace(0, 1, bins + 1)
    number = np.clip(np.searchsorted(edges, confidence, side="left") - 1, 0, bins - 1)  # a bin holds its upper edge, as there
    counts, *sums = (np.bincount(number, weights, bins) for weights in (None, confidence, right))
    with np.errstate(invalid="ignore"):
        mean_confidence, accuracy = (total / counts for total in sums)
    error = float(np.nansum(counts * np.abs(accuracy - mean_confidence)) / max(len(number), 1))
    return Calibration(edges, counts, mean_confidence, accuracy, error)


class Plane(NamedTuple):
    """N points, and what to write at the two axes."""

    points_N2: np.ndarray
    axes: tuple[str, str]


def pca(vectors_ND: np.ndarray) -> Plane:
    """The two directions of largest variance, each with its share; signs are such that the largest coordinate is positive."""
    centred_ND = np.asarray(vectors_ND, np.float64) - np.mean(vectors_ND, axis=0, dtype=np.float64)
    left, sizes, _ = np.linalg.svd(centred_ND, full_matrices=False)
    points_N2 = np.zeros((len(centred_ND), 2))
    used = min(2, len(sizes))
    points_N2[:, :used] = left[:, :used] * sizes[:used]
    points_N2 *= np.where(points_N2[np.abs(points_N2).argmax(axis=0), [0, 1]] < 0, -1, 1)
    shares = [*np.square(sizes[:2]) / max(np.square(sizes).sum(), np.finfo(float).tiny), 0.0][:2]
    return Plane(points_N2, tuple(f"component {place} ({share:.1%} of the variance)" for place, share in enumerate(shares, 1)))


PERPLEXITY = 30  # the default of van der Maaten's code and of scikit-learn


def t_sne(vectors_ND: np.ndarray, seed: int = 0) -> Plane | None:
    """Neighbours stay neighbours (van der Maaten and Hinton 2008, JMLR 9); None where scikit-learn is not installed."""
    try:
        from sklearn.manifold import TSNE
    except ImportError:
        return None
    perplexity = min(PERPLEXITY, (len(vectors_ND) - 1) / 3)
    points_N2 = TSNE(perplexity=perplexity, init="pca", random_state=seed).fit_transform(np.asarray(vectors_ND, np.float32))
    return Plane(points_N2, ("t-SNE 1 (no unit)", "t-SNE 2 (no unit)"))


class Curves(NamedTuple):
    """S runs of a metric, and what they are together.

    Attributes:
        runs: (steps, values) of each run that is done and in which every value is finite; `failed` of each other run, its
            finite values.
        steps: int[M], those that all of `runs` have; mean and deviation, float64[M], are at these. The sample standard
            deviation is 0 for one run.
    """

    runs: list[tuple[np.ndarray, np.ndarray]]
    failed: list[tuple[np.ndarray, np.ndarray]]
    steps: np.ndarray
    mean: np.ndarray
    deviation: np.ndarray


def curves(runs: Sequence[tuple[Sequence[int], Sequence[float]]], done: Sequence[bool]) -> Curves:
    """A run that stopped early, or met a value that is not finite, has no part in the mean."""
    good, failed = [], []
    for (steps, values), complete in zip(runs, done, strict=True):
        steps, values = np.asarray(steps, np.int64), np.asarray(values, np.float64)
        finite = np.isfinite(values)
        (good if complete and finite.all() else failed).append((steps[finite], values[finite]))
    shared = sorted(set.intersection(*({*steps.tolist()} for steps, _ in good))) if good else []
    by_step = [dict(zip(steps.tolist(), values)) for steps, values in good]
    table = np.array([[values[step] for step in shared] for values in by_step]).reshape(len(good), len(shared))
    mean, deviation = np.full(len(shared), np.nan), np.zeros(len(shared))
    if good:
        mean, deviation = table.mean(axis=0), table.std(axis=0, ddof=min(1, len(good) - 1))
    return Curves(good, failed, np.array(shared, np.int64), mean, deviation)
