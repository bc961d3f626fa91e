"""Rankings by hand, and their places against scipy's."""

import numpy as np
import pytest

from bert_jax.metrics.ranking import hit_rate, mrr, ndcg, ranks


def test_places_equal_scipys_with_ties():
    stats = pytest.importorskip("scipy.stats", reason="the parity extra is not installed")
    rng = np.random.default_rng(0)
    scores, right = rng.integers(0, 6, (50, 9)).astype(float), rng.integers(0, 9, 50)
    expected = [stats.rankdata(-row, method="average")[place] for row, place in zip(scores, right)]
    np.testing.assert_array_equal(ranks(scores, right), expected)


def test_scores_by_hand():
    places = np.array([1, 3, 11, 2])
    assert hit_rate(places, 1) == 0.25 and hit_rate(places, 10) == 0.75
    assert ndcg(places, 10) == pytest.approx((1 + 1 / 2 + 0 + 1 / np.log2(3)) / 4)
    assert ndcg(places, 2) == pytest.approx((1 + 1 / np.log2(3)) / 4)
    assert mrr(places) == pytest.approx((1 + 1 / 3 + 1 / 11 + 1 / 2) / 4)


def test_scores_that_are_all_alike_gain_nothing():
    places = ranks(np.zeros((4, 101)), np.array([0, 50, 100, 7]))
    np.testing.assert_array_equal(places, 51)
