import numpy as np
import pytest

from bert_jax.metrics.classification import accuracy, f1

LABELS = np.array([1, 1, 1, 0, 0, 0])
PREDICTED = np.array([1, 1, 0, 1, 0, 0])


def test_by_hand():
    """Two of three ones found, one of three named wrongly: precision and recall are both 2/3."""
    assert accuracy(LABELS, PREDICTED) == pytest.approx(4 / 6)
    assert f1(LABELS, PREDICTED) == pytest.approx(2 / 3)


def test_f1_is_that_of_class_one_and_not_symmetric_in_the_classes():
    labels, predicted = np.array([1, 0, 0, 0]), np.array([1, 1, 0, 0])
    assert f1(labels, predicted) == pytest.approx(2 / 3)  # precision 1/2, recall 1
    assert f1(1 - labels, 1 - predicted) == pytest.approx(4 / 5)  # precision 1, recall 2/3


@pytest.mark.parametrize(
    ("labels", "predicted", "expected"), [([0, 0], [0, 0], 0.0), ([0, 0], [1, 0], 0.0), ([1, 0], [0, 0], 0.0), ([1], [1], 1.0)]
)
def test_f1_where_precision_or_recall_is_undefined(labels, predicted, expected):
    assert f1(np.array(labels), np.array(predicted)) == expected
