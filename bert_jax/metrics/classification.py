"""Scores of predicted classes and of the probabilities behind them. All are fractions of 1, not percent."""

from typing import NamedTuple

import numpy as np

from bert_jax.errors import UserError


def accuracy(labels: np.ndarray, predicted: np.ndarray) -> float:
    """Share of the rows whose predicted class is the label; int[N] each, N at least 1."""
    return float(np.mean(labels == predicted))


def f1(labels: np.ndarray, predicted: np.ndarray) -> float:
    """Harmonic mean of precision and recall of class 1; 0 where class 1 is neither a label nor predicted."""
    return one_class_f1(labels, predicted, 1)


def macro_f1(labels: np.ndarray, predicted: np.ndarray) -> float:
    """Mean of the F1 of every class that is a label or predicted at least once; int[N] each, N at least 1.

    A class that neither list holds is unknown here and does not count as 0, as in scikit-learn.
    """
    return float(np.mean([one_class_f1(labels, predicted, name) for name in np.union1d(labels, predicted)]))


def one_class_f1(labels: np.ndarray, predicted: np.ndarray, name: int) -> float:
    hits = np.sum((labels == name) & (predicted == name))
    named = np.sum(labels == name) + np.sum(predicted == name)
    return float(2 * hits / named) if named else 0.0


def matthews(labels: np.ndarray, predicted: np.ndarray) -> float:
    """Matthews' correlation of two or more classes, from -1 to 1 (Gorodkin 2004, R_K); int[N] each.

    0 where a list holds one class only: the correlation is undefined there, and nothing was told apart.
    """
    names, places = np.unique(np.concatenate([labels, predicted]), return_inverse=True)
    # Python's integers: a product of counts of 10^9 rows leaves int64.
    counts = confusion(*np.split(places, 2), len(names)).astype(object)
    total, of_labels, of_predicted = counts.sum(), counts.sum(axis=1), counts.sum(axis=0)
    spread = (total**2 - of_labels @ of_labels) * (total**2 - of_predicted @ of_predicted)
    return float((np.trace(counts) * total - of_labels @ of_predicted) / spread**0.5) if spread else 0.0


def confusion(labels: np.ndarray, predicted: np.ndarray, num_classes: int) -> np.ndarray:
    """int64[C, C]: how often label [row] was called [column]."""
    for classes in (labels, predicted):
        if len(classes) and not 0 <= np.min(classes) <= np.max(classes) < num_classes:
            got = f"{np.min(classes)} to {np.max(classes)}"
            raise UserError("a class is outside the confusion matrix", got=got, expected=f"0 to {num_classes - 1}")
    cells = np.bincount(np.asarray(labels) * num_classes + predicted, minlength=num_classes**2)
    return cells.reshape(num_classes, num_classes)


class Reliability(NamedTuple):
    """One number per bin of confidence; the two means are NaN in an empty bin."""

    confidence: np.ndarray
    accuracy: np.ndarray
    count: np.ndarray


def reliability(probabilities: np.ndarray, labels: np.ndarray, bins: int = 15) -> Reliability:
    """The reliability curve (Guo et al. 2017, arXiv 1706.04599, section 2), float[N, C] and int[N] -> float64[bins] each.

    The confidence is the largest probability of a row, bin m holds those in ((m - 1) / bins, m / bins].
    """
    confidence = probabilities.max(axis=1).astype(np.float64)
    right = probabilities.argmax(axis=1) == labels
    place = np.searchsorted(np.arange(1, bins) / bins, confidence, side="left")
    count = np.bincount(place, minlength=bins)
    sums = (np.bincount(place, weights=values, minlength=bins) for values in (confidence, right))
    with np.errstate(invalid="ignore"):
        return Reliability(*(values / count for values in sums), count)


def expected_calibration_error(probabilities: np.ndarray, labels: np.ndarray, bins: int = 15) -> float:
    """Mean over the rows of |accuracy - confidence| of their bin (Guo et al. 2017, equation 3)."""
    curve = reliability(probabilities, labels, bins)
    full = curve.count > 0
    gaps = np.abs(curve.accuracy - curve.confidence)[full]
    return float(np.average(gaps, weights=curve.count[full]))
