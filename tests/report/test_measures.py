"""The numbers of the pictures, by hand and by laws."""

import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bert_jax.report import measures


def test_rows_are_the_gold_classes_in_the_order_given():
    counts_CC, names = measures.confusion(["b", "b", "a", "b"], ["a", "b", "a", "b"], ["b", "a"])
    assert names == ["b", "a"] and counts_CC.tolist() == [[2, 1], [0, 1]]
    counts_CC, names = measures.confusion(["b", "b"], ["a", "c"])
    assert names == ["a", "b", "c"] and counts_CC[1].tolist() == [1, 0, 1] and counts_CC.sum() == 2


def test_of_too_many_classes_the_rarest_become_one():
    """25 classes, class i seen 30 - i times and always taken for itself: 19 stay, the last six are one."""
    gold = [f"c{number:02d}" for number in range(25) for _ in range(30 - number)]
    counts_CC, names = measures.confusion(gold, gold)
    assert names == [f"c{number:02d}" for number in range(19)] + [measures.OTHERS]
    assert np.diag(counts_CC).tolist() == [30 - number for number in range(19)] + [11 + 10 + 9 + 8 + 7 + 6]
    assert counts_CC.sum() == len(gold)


def test_calibration_by_hand():
    """Two of confidence 0.5, which the bin that ends there holds, none of them right; one of 0.95, right."""
    found = measures.calibration(np.array([0.5, 0.5, 0.95]), np.array([False, False, True]))
    assert found.counts.tolist() == [0, 0, 0, 0, 2, 0, 0, 0, 0, 1]
    assert found.accuracy[4] == 0 and found.confidence[4] == 0.5 and np.isnan(found.accuracy[0])
    assert found.error == pytest.approx((2 * 0.5 + 1 * 0.05) / 3)
    assert measures.calibration(np.array([0.0, 1.0]), np.array([False, True])).error == 0


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1), st.integers(1, 20))
def test_the_error_of_calibration_is_a_fraction_and_no_example_is_lost(examples, bins):
    confidence, right = (np.array(side) for side in zip(*examples))
    found = measures.calibration(confidence, right, bins)
    assert 0 <= found.error <= 1 and found.counts.sum() == len(examples)
    assert found.error >= abs(confidence.mean() - right.mean()) - 1e-9  # what all bins together are wrong by


def test_pca_keeps_the_distances_of_a_plane_and_says_its_shares():
    rng = np.random.default_rng(0)
    flat_N2 = rng.normal(size=(50, 2)) * [5, 1]
    turned, _ = np.linalg.qr(rng.normal(size=(9, 2)))
    plane = measures.pca(flat_N2 @ turned.T + 7)
    distances = lambda points: np.linalg.norm(points[:, None] - points[None], axis=-1)  # noqa: E731
    np.testing.assert_allclose(distances(plane.points_N2), distances(flat_N2), atol=1e-9)
    assert plane.points_N2[:, 0].std() > plane.points_N2[:, 1].std()
    shares = [float(name.partition("(")[2].partition("%")[0]) for name in plane.axes]
    assert sum(shares) == pytest.approx(100, abs=0.11)
    np.testing.assert_allclose(measures.pca(-flat_N2 @ turned.T).points_N2, plane.points_N2, atol=1e-9)


@pytest.mark.parametrize("shape", [(1, 4), (5, 1), (3, 3)])
def test_pca_of_too_little_is_finite(shape):
    assert np.isfinite(measures.pca(np.ones(shape)).points_N2).all()


def test_t_sne_keeps_groups_apart_and_draws_the_same_again():
    pytest.importorskip("sklearn", reason="the test extra is not installed")
    vectors_ND = np.random.default_rng(0).normal(size=(40, 6)) + 20 * (np.arange(40) % 2)[:, None]
    points_N2 = measures.t_sne(vectors_ND).points_N2
    np.testing.assert_array_equal(points_N2, measures.t_sne(vectors_ND).points_N2)
    nearest = (np.linalg.norm(points_N2[:, None] - points_N2[None], axis=-1) + np.eye(40) * 1e9).argmin(axis=1)
    assert (nearest % 2 == np.arange(40) % 2).all()


def test_without_scikit_learn_there_is_no_t_sne(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.manifold", None)
    assert measures.t_sne(np.zeros((9, 2))) is None


def test_the_mean_of_curves_is_of_runs_that_came_to_an_end_at_steps_that_all_have():
    runs = [((10, 20, 30), (1.0, 2.0, 3.0)), ((20, 30), (4.0, 5.0)), ((10,), (9.0,)), ((10, 20), (7.0, np.nan))]
    found = measures.curves(runs, [True, True, False, True])
    assert found.steps.tolist() == [20, 30] and found.mean.tolist() == [3.0, 4.0]
    np.testing.assert_allclose(found.deviation, [2**0.5, 2**0.5])
    assert [len(steps) for steps, _ in found.failed] == [1, 1]


def test_one_run_has_no_deviation_and_none_have_no_mean():
    assert measures.curves([((1, 2), (3.0, 4.0))], [True]).deviation.tolist() == [0, 0]
    assert len(measures.curves([((1,), (np.inf,))], [True]).steps) == 0
