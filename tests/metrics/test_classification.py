import numpy as np
import pytest

from bert_jax.errors import UserError
from bert_jax.metrics.classification import accuracy, confusion, expected_calibration_error, f1, macro_f1, matthews, reliability

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


def random_classes(seed: int, kinds: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, kinds, 60) * 3 - 1  # classes need not be 0, 1, 2
    return labels, np.where(rng.random(60) < 0.5, labels, rng.permutation(labels))


@pytest.mark.parametrize("kinds", [2, 3, 7])
def test_matthews_and_macro_f1_are_those_of_scikit_learn(kinds):
    metrics = pytest.importorskip("sklearn.metrics", reason="the test extra is not installed")
    for seed in range(20):
        labels, predicted = random_classes(seed, kinds)
        predicted[:3] = 50  # a class without a label
        assert matthews(labels, predicted) == pytest.approx(metrics.matthews_corrcoef(labels, predicted), abs=1e-12)
        assert macro_f1(labels, predicted) == pytest.approx(metrics.f1_score(labels, predicted, average="macro"), abs=1e-12)


def test_matthews_by_hand():
    assert matthews(LABELS, PREDICTED) == pytest.approx((2 * 2 - 1 * 1) / 9)  # (tp tn - fp fn) / sqrt(3 3 3 3)
    assert matthews(LABELS, LABELS) == 1 and matthews(LABELS, 1 - LABELS) == -1


@pytest.mark.parametrize(("labels", "predicted"), [([0, 1, 1], [1, 1, 1]), ([2, 2], [0, 1]), ([1, 1], [1, 1])])
def test_matthews_is_0_where_a_list_has_one_class(labels, predicted):
    assert matthews(np.array(labels), np.array(predicted)) == 0


def test_matthews_counts_in_whole_numbers_beyond_int64():
    labels = np.repeat([0, 1], 60_000)
    assert matthews(labels, labels) == 1


def test_macro_f1_by_hand():
    """Classes 0 and 1: 1/2; class 2, never right: 0. Class 3 is nowhere and does not count."""
    labels, predicted = np.array([0, 0, 1, 1, 2]), np.array([0, 1, 1, 2, 0])
    assert macro_f1(labels, predicted) == pytest.approx((1 / 2 + 1 / 2 + 0) / 3)


def test_confusion_has_labels_in_rows_and_is_that_of_scikit_learn():
    assert confusion(np.array([0, 0, 2]), np.array([0, 1, 0]), 3).tolist() == [[1, 1, 0], [0, 0, 0], [1, 0, 0]]
    metrics = pytest.importorskip("sklearn.metrics", reason="the test extra is not installed")
    rng = np.random.default_rng(0)
    labels, predicted = rng.integers(0, 5, 200), rng.integers(0, 4, 200)
    np.testing.assert_array_equal(confusion(labels, predicted, 5), metrics.confusion_matrix(labels, predicted))


@pytest.mark.parametrize("wrong", [[-1, 0], [0, 2]])
def test_a_class_outside_the_matrix_is_refused(wrong):
    for lists in ((wrong, [0, 0]), ([0, 0], wrong)):
        with pytest.raises(UserError, match="outside the confusion matrix"):
            confusion(*map(np.array, lists), 2)


def test_calibration_by_hand():
    """Two bins: of (0, 0.5] one row, right at 0.5; of (0.5, 1] three rows, two right at a mean of 0.8."""
    probabilities = np.array([[0.5, 0.3, 0.2], [0.1, 0.7, 0.2], [0.9, 0.1, 0.0], [0.8, 0.1, 0.1]])
    labels = np.array([0, 1, 0, 2])
    curve = reliability(probabilities, labels, bins=2)
    np.testing.assert_allclose(curve.confidence, [0.5, 0.8])
    np.testing.assert_allclose(curve.accuracy, [1, 2 / 3])
    assert curve.count.tolist() == [1, 3]
    expected = (1 * 0.5 + 3 * (0.8 - 2 / 3)) / 4
    assert expected_calibration_error(probabilities, labels, bins=2) == pytest.approx(expected)


def test_a_confidence_on_an_edge_belongs_to_the_bin_that_it_ends():
    for bins in (5, 10, 15):
        edges = np.arange(1, bins + 1) / bins
        curve = reliability(np.stack([edges, np.zeros(bins)], axis=1), np.zeros(bins, int), bins)
        assert curve.count.tolist() == [1] * bins


def test_empty_bins_have_no_mean_and_no_weight():
    curve = reliability(np.array([[0.99, 0.01]]), np.array([0]), 15)
    assert curve.count.tolist() == [0] * 14 + [1] and np.isnan(curve.accuracy[:14]).all() and curve.accuracy[14] == 1


def test_calibration_is_a_sum_over_the_bins_as_written_in_the_paper():
    rng = np.random.default_rng(0)
    probabilities = rng.dirichlet(np.ones(3), 500)
    labels = rng.integers(0, 3, 500)
    confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == labels
    total = 0.0
    for m in range(1, 16):
        rows = [n for n in range(500) if (m - 1) / 15 < confidence[n] <= m / 15]
        if rows:
            total += len(rows) / 500 * abs(np.mean(right[rows]) - np.mean(confidence[rows]))
    assert total > 0.1
    assert expected_calibration_error(probabilities, labels) == pytest.approx(total, abs=1e-12)


def test_probabilities_that_are_true_are_calibrated():
    rng = np.random.default_rng(1)
    probabilities = rng.dirichlet(np.ones(3), 40_000)
    labels = (rng.random((40_000, 1)) > np.cumsum(probabilities, axis=1)).sum(axis=1)
    assert expected_calibration_error(probabilities, labels) < 0.015
    assert expected_calibration_error(np.eye(3)[probabilities.argmax(axis=1)], labels) > 0.3
