"""Scores of predicted classes. All are fractions of 1, not percent."""

import numpy as np


def accuracy(labels: np.ndarray, predicted: np.ndarray) -> float:
    """Share of the rows whose predicted class is the label; int[N] each, N at least 1."""
    return float(np.mean(labels == predicted))


def f1(labels: np.ndarray, predicted: np.ndarray) -> float:
    """Harmonic mean of precision and recall of class 1; 0 where class 1 is neither a label nor predicted."""
    hits = np.sum((labels == 1) & (predicted == 1))
    named = np.sum(labels == 1) + np.sum(predicted == 1)
    return float(2 * hits / named) if named else 0.0
