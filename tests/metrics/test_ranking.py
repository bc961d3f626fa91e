"""Rankings by hand, and against scipy's and scikit-learn's."""

import itertools

import numpy as np
import pytest

from bert_jax.metrics.ranking import average_precisions, first_ranks, grouped, hit_rate, mrr, mrr_at, ndcg, ndcgs, ranks


def test_places_equal_scipys_with_ties():
    stats = pytest.importorskip("scipy.stats", reason="the test extra is not installed")
    rng = np.random.default_rng(0)
    scores, right = rng.integers(0, 6, (50, 9)).astype(float), rng.integers(0, 9, 50)
    expected = [stats.rankdata(-row, method="average")[place] for row, place in zip(scores, right)]
    np.testing.assert_array_equal(ranks(scores, right), expected)


def test_scores_by_hand():
    places = np.array([1, 3, 11, 2])
    assert hit_rate(places, 1) == 0.25 and hit_rate(places, 10) == 0.75
    assert ndcg(places, 10) == pytest.approx((1 + 1 / 2 + 0 + 1 / np.log2(3)) / 4)
    assert ndcg(places, 2) == pytest.approx((1 + 1 / np.log2(3)) / 4)
    assert mrr_at(places, 10) == pytest.approx((1 + 1 / 3 + 0 + 1 / 2) / 4) and mrr_at(places, 2) == pytest.approx(1.5 / 4)
    assert mrr(places) == pytest.approx((1 + 1 / 3 + 1 / 11 + 1 / 2) / 4)


def test_scores_that_are_all_alike_gain_nothing():
    places = ranks(np.zeros((4, 101)), np.array([0, 50, 100, 7]))
    np.testing.assert_array_equal(places, 51)


@pytest.mark.parametrize("scores", [[[np.nan] * 4], [[0.5, np.nan, np.nan, np.nan]]])
def test_a_model_that_scores_nan_does_not_come_first(scores):
    assert ranks(np.array(scores), np.array([2])) >= 2.5
    assert first_ranks(np.array(scores[0]), np.array([0, 0, 1, 0]), np.zeros(4, int)) >= 2.5


def lists(seed: int, tied: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Forty lists of 2 to 12 candidates, their rows mixed, relevant from 0 to 3, some without a relevant one."""
    rng = np.random.default_rng(seed)
    groups = rng.permutation(np.repeat(rng.permutation(100)[:40], rng.integers(2, 13, 40)))
    relevance = rng.integers(0, 4, len(groups)) * (rng.random(len(groups)) < 0.3)
    scores = relevance + 2 * rng.normal(size=len(groups))
    return np.round(scores) if tied else scores, relevance, groups


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("k", [1, 5, 50])
def test_graded_rankings_are_scored_as_by_scikit_learn(k, tied):
    metrics = pytest.importorskip("sklearn.metrics", reason="the test extra is not installed")
    scores, relevance, groups = lists(k, tied)
    names = np.unique(groups)
    gains, precisions = ndcgs(scores, relevance, groups, k), average_precisions(scores, relevance, groups)
    assert np.isnan(gains).any() and len(gains) == len(names)
    for name, gain, precision in zip(names, gains, precisions):
        rows = groups == name
        if relevance[rows].any():
            assert gain == pytest.approx(metrics.ndcg_score(2.0 ** relevance[rows][None] - 1, scores[rows][None], k=k), abs=1e-12)
            expected = metrics.average_precision_score(relevance[rows] > 0, scores[rows])
            assert precision == pytest.approx(expected, abs=1e-12)
        else:
            assert np.isnan(gain) and np.isnan(precision)


def test_lists_by_hand():
    scores, groups = np.array([0.9, 0.8, 0.7, 0.6, 5.0, 4.0, 1.0]), np.array([7, 7, 7, 7, 3, 3, 9])
    relevance = np.array([0, 2, 0, 1, 0, 1, 0])
    np.testing.assert_allclose(first_ranks(scores, relevance, groups), [2, 2, np.nan])
    np.testing.assert_allclose(average_precisions(scores, relevance, groups), [1 / 2, (1 / 2 + 2 / 4) / 2, np.nan])
    best = 3 / np.log2(2) + 1 / np.log2(3)
    gains = [1 / np.log2(3), (3 / np.log2(3) + 1 / np.log2(5)) / best]
    np.testing.assert_allclose(ndcgs(scores, relevance, groups, 10), [*gains, np.nan])
    expected = {"groups": 2, "map": 0.5, "mrr": 0.5, "mrr@1": 0, "ndcg@1": 0}
    assert grouped(scores, relevance, groups, 1) == pytest.approx(expected)
    assert grouped(scores, relevance, groups, 10)["ndcg@10"] == pytest.approx(np.mean(gains))


def test_the_first_relevant_place_among_equals_is_the_mean_over_their_orders():
    scores, relevance = np.array([3.0, 2, 2, 2, 2, 1]), np.array([0, 1, 0, 2, 0, 1])
    orders = [[0, *order, 1] for order in itertools.permutations(relevance[1:5])]
    expected = np.mean([1 + np.flatnonzero(order)[0] for order in orders])
    assert first_ranks(scores, relevance, np.zeros(6, int)) == pytest.approx(expected)


def test_a_list_with_one_relevant_candidate_has_its_rank():
    rng = np.random.default_rng(0)
    scores, right = rng.integers(0, 6, (50, 9)).astype(float), rng.integers(0, 9, 50)
    relevance = np.arange(9)[None] == right[:, None]
    groups = np.repeat(np.arange(50), 9)
    np.testing.assert_array_equal(first_ranks(scores.ravel(), relevance.ravel(), groups), ranks(scores, right))
