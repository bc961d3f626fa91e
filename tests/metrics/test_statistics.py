"""Intervals and tests against scipy's, and that they err as seldom, and find as much, as they say, by simulation."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bert_jax.errors import UserError
from bert_jax.metrics import statistics
from bert_jax.metrics.statistics import (
    bootstrap_interval,
    holm,
    mcnemar,
    paired_bootstrap,
    paired_means,
    resampled_means,
    sign_test,
    smallest_difference,
    summarise,
    welch,
)

TRIALS = 500


def between(share: float, trials: int = TRIALS) -> tuple[float, float]:
    """Counts that a binomial of this share stays in with 99.9%, by the normal approximation and a half."""
    half = 3.3 * math.sqrt(trials * share * (1 - share)) + 0.5
    return trials * share - half, trials * share + half


def systems(rng: np.random.Generator, examples: int, a_only: float, b_only: float) -> tuple[np.ndarray, np.ndarray]:
    """bool, bool: what two systems get right, mostly the same; three quarters of the rest both do."""
    kind = rng.random(examples)
    both = (kind > a_only + b_only) & (kind < a_only + b_only + 0.75 * (1 - a_only - b_only))
    return both | (kind < a_only), both | ((kind >= a_only) & (kind < a_only + b_only))


def accuracy(gold, predicted) -> float:
    return float(np.mean(gold == predicted))


# Several seeds.


def test_a_summary_by_hand():
    summary = summarise([1.0, 2.0, 3.0, 6.0])
    assert summary[:5] == (4, 0, 3.0, 2.5, pytest.approx(math.sqrt(14 / 3)))
    half = 3.182446305284 * math.sqrt(14 / 3) / 2  # t of three degrees
    assert (summary.low, summary.high) == pytest.approx((3 - half, 3 + half))
    assert (summary.min, summary.max) == (1, 6)


def test_the_interval_of_a_mean_is_scipys():
    stats = pytest.importorskip("scipy.stats", reason="the test extra is not installed")
    rng = np.random.default_rng(0)
    for n in (2, 3, 5, 10):
        figures = rng.normal(80, 2, n)
        for level in (0.9, 0.95, 0.99):
            expected = stats.t.interval(level, n - 1, np.mean(figures), stats.sem(figures))
            assert summarise(figures, level)[5:7] == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("failure", [None, math.nan, math.inf])
def test_a_failed_run_is_counted_and_never_averaged(failure):
    assert summarise([80.0, failure, 82.0]) == summarise([80.0, 82.0])._replace(failed=1)
    assert welch([80.0, failure, 82.0], [1.0, 2.0]) == welch([80.0, 82.0], [1.0, 2.0])


def test_one_run_has_a_mean_and_no_spread_and_none_has_nothing():
    one = summarise([80.0, None])
    assert (one.n, one.failed, one.mean) == (1, 1, 80) and np.isnan([one.std, one.low, one.high]).all()
    none = summarise([None])
    assert none[:2] == (0, 1) and np.isnan(none[2:]).all()


@pytest.mark.parametrize("n", [3, 5])
def test_the_interval_of_few_seeds_holds_the_mean_as_often_as_it_says(n):
    rng = np.random.default_rng(n)
    runs = [summarise(rng.normal(80, 2, n)) for _ in range(TRIALS)]
    low, high = between(0.95)
    assert low <= sum(run.low <= 80 <= run.high for run in runs) <= high


def test_welch_is_scipys():
    stats = pytest.importorskip("scipy.stats", reason="the test extra is not installed")
    rng = np.random.default_rng(0)
    for n, m in [(2, 2), (3, 5), (5, 5), (20, 4)]:
        a, b = rng.normal(80, 3, n), rng.normal(79, 0.5, m)
        expected = stats.ttest_ind(a, b, equal_var=False)
        for level in (0.95, 0.99):
            result = welch(a, b, level)
            assert (result.low, result.high) == pytest.approx(tuple(expected.confidence_interval(level)), rel=1e-9)
            assert result.p_value == pytest.approx(expected.pvalue, rel=1e-9)
            assert result.difference == pytest.approx(np.mean(a) - np.mean(b))


def test_runs_that_say_nothing_of_their_spread_are_not_called_different():
    for a, b in [([80.0], [70.0, 71.0]), ([80.0, 80.0], [70.0, 70.0])]:
        result = welch(a, b)
        assert result.difference == pytest.approx(80 - np.mean(b)) and np.isnan(result[1:]).all()
    assert np.isnan(welch([None], [70.0, 71.0])).all()
    assert not np.isnan(welch([80.0, 80.0], [70.0, 71.0])).any()


def test_five_seeds_of_the_same_system_are_seldom_called_different():
    rng = np.random.default_rng(0)
    found = [welch(rng.normal(80, 1, 5), rng.normal(80, 1, 5)) for _ in range(TRIALS)]
    assert 5 <= sum(one.p_value < 0.05 for one in found) <= between(0.05)[1]
    assert sum(one.low > 0 or one.high < 0 for one in found) <= between(0.01)[1]  # the interval is of 99%


def test_two_points_between_seeds_are_found_as_often_as_the_noncentral_t_says():
    stats = pytest.importorskip("scipy.stats", reason="the test extra is not installed")
    shift, t = 2 / math.sqrt(2 / 5), stats.t.isf(0.025, 8)
    power = stats.nct.sf(t, 8, shift) + stats.nct.cdf(-t, 8, shift)
    assert 0.7 < power < 0.85
    rng = np.random.default_rng(1)
    found = sum(welch(rng.normal(82, 1, 5), rng.normal(80, 1, 5)).p_value < 0.05 for _ in range(TRIALS))
    assert between(power - 0.01)[0] <= found <= between(power)[1]  # Welch's degrees are fewer than 8: a little is lost


# The same examples.


def test_means_drawn_again_are_those_of_rows_drawn_again():
    values = np.array([0.0, 0.0, 1.0, 1.0, 1.0, 2.5, -1.0])
    draws = resampled_means(values, 0, 40_000)
    rows = np.random.default_rng(1).choice(values, (40_000, 7)).mean(axis=1)
    assert np.mean(draws) == pytest.approx(np.mean(values), abs=0.02)
    np.testing.assert_allclose(
        np.quantile(draws, [0.02, 0.25, 0.5, 0.75, 0.98]), np.quantile(rows, [0.02, 0.25, 0.5, 0.75, 0.98]), atol=0.08
    )
    assert np.std(draws) == pytest.approx(np.std(values) / math.sqrt(7), rel=0.02)


def test_many_values_are_drawn_in_parts_and_the_number_of_draws_is_kept(monkeypatch):
    monkeypatch.setattr(statistics, "DRAWN_AT_ONCE", 1000)
    values = np.random.default_rng(0).normal(size=300)
    draws = resampled_means(values, 0, 1000)
    assert draws.shape == (1000,) and len(np.unique(draws)) == 1000
    assert np.std(draws) == pytest.approx(np.std(values) / math.sqrt(300), rel=0.1)


def test_the_same_number_draws_the_same_and_a_generator_goes_on():
    rng = np.random.default_rng(0)
    gold, a, b = rng.integers(0, 2, (3, 100))
    assert paired_bootstrap(accuracy, gold, a, b, 3, 50) == paired_bootstrap(accuracy, gold, a, b, 3, 50)
    assert bootstrap_interval(accuracy, gold, a, 3, 50) != bootstrap_interval(accuracy, gold, a, 4, 50)
    own = np.random.default_rng(3)
    first = bootstrap_interval(accuracy, gold, a, own, 50)
    assert first == bootstrap_interval(accuracy, gold, a, 3, 50) != bootstrap_interval(accuracy, gold, a, own, 50)


def test_the_interval_over_examples_holds_the_accuracy_as_often_as_it_says():
    rng = np.random.default_rng(0)
    gold, trials = np.ones(300), 200
    runs = [bootstrap_interval(accuracy, gold, rng.random(300) < 0.8, rng, 300) for _ in range(trials)]
    # Some 94: percentiles of 300 draws are a little narrow.
    assert between(0.935, trials)[0] <= sum(low <= 0.8 <= high for low, high in runs) <= between(0.955, trials)[1]


@pytest.mark.parametrize("level", [0.8, 0.95, 0.99])
def test_the_interval_of_an_accuracy_is_that_of_the_binomial_it_is_drawn_from(level):
    stats = pytest.importorskip("scipy.stats", reason="the test extra is not installed")
    right = np.arange(1000) < 800
    expected = stats.binom.ppf([(1 - level) / 2, (1 + level) / 2], 1000, 0.8) / 1000
    assert paired_means(right, np.zeros(1000), 0, 200_000, level)[1:3] == pytest.approx(tuple(expected), abs=0.0011)
    assert bootstrap_interval(accuracy, np.ones(1000), right, 0, 3000, level) == pytest.approx(tuple(expected), abs=0.004)


def test_lists_of_sentences_are_drawn_as_well_as_arrays():
    gold, predicted = [["O"], ["B-PER", "O"], ["O", "O"]], [["O"], ["B-PER", "O"], ["O", "B-LOC"]]
    low, high = bootstrap_interval(lambda gold, guess: sum(map(list.__eq__, gold, guess)) / 3, gold, predicted, 0, 500)
    assert 0 <= low <= 1 / 3 and high == 1


def test_both_systems_are_scored_on_the_same_draws():
    """Two systems that differ by one point everywhere: no draw differs from the other."""
    gold = np.random.default_rng(0).normal(size=50)
    result = paired_bootstrap(lambda true, guess: float(np.mean(guess - true)), gold, gold + 3, gold + 2, 0, 50)
    assert result[:3] == pytest.approx((1, 1, 1)) and result.p_value == pytest.approx(1 / 51)


def test_a_mean_by_draws_of_rows_and_by_counts_says_the_same():
    rng = np.random.default_rng(0)
    a, b = systems(rng, 400, 0.07, 0.05)
    slow, fast = paired_bootstrap(accuracy, np.ones(400), a, b, 0, 3000), paired_means(a, b, 1, 30_000)
    assert slow.difference == pytest.approx(fast.difference)
    assert slow[1:3] == pytest.approx(fast[1:3], abs=0.004) and slow.p_value == pytest.approx(fast.p_value, abs=0.03)
    assert 0.05 < fast.p_value < 0.9


def test_no_difference_has_a_p_of_1_and_no_draw_has_a_p_of_0():
    a = np.arange(20) % 2
    assert paired_means(a, a, 0, 99).p_value == 1
    assert paired_means(np.ones(20), np.zeros(20), 0, 99).p_value == pytest.approx(1 / 100)
    assert paired_means(np.r_[np.nan, a], np.r_[0, a], 0, 99).p_value == 1


@pytest.mark.parametrize(
    "p_value",
    [lambda a, b, key: mcnemar(a, b), lambda a, b, key: paired_means(a, b, key, 1000).p_value],
    ids=["mcnemar", "bootstrap"],
)
def test_systems_that_are_as_good_are_seldom_called_different(p_value):
    rng = np.random.default_rng(0)
    found = sum(p_value(*systems(rng, 500, 0.06, 0.06), key) < 0.05 for key in range(TRIALS))
    assert 5 <= found <= between(0.05)[1]


def test_mcnemar_is_the_binomial_test_of_scipy():
    stats = pytest.importorskip("scipy.stats", reason="the test extra is not installed")
    for one, other in [(0, 0), (0, 1), (0, 6), (5, 5), (3, 12), (40, 61), (900, 1050), (5000, 5200)]:
        expected = stats.binomtest(one, one + other).pvalue if one + other else 1
        assert sign_test(one, other) == sign_test(other, one) == pytest.approx(expected, rel=1e-9)


def test_mcnemar_by_hand():
    """One alone is right on five examples and the other on one: 2 (1 + 6) / 64; where both are alike does not count."""
    a, b = np.array([1, 1, 1, 1, 1, 0, 1, 0]), np.array([0, 0, 0, 0, 0, 1, 1, 0])
    assert mcnemar(a, b) == mcnemar(b, a) == 14 / 64
    assert mcnemar(a, a) == 1


def exact_power(examples: int, discordant: float, difference: float) -> float:
    """Of the exact test: over how many examples differ, the chance that few enough of them are b's."""
    stats = pytest.importorskip("scipy.stats", reason="the test extra is not installed")
    counts = np.arange(examples + 1)
    few = stats.binom.ppf(0.025, counts, 0.5).astype(int)
    few -= stats.binom.cdf(few, counts, 0.5) > 0.025
    ours = (discordant + difference) / (2 * discordant)
    found = stats.binom.cdf(few, counts, 1 - ours) + stats.binom.cdf(few, counts, ours)
    return float(found @ stats.binom.pmf(counts, examples, discordant))


@pytest.mark.parametrize(("examples", "discordant"), [(400, 0.2), (1960, 0.1), (10_000, 0.05), (9815, 0.1)])
@pytest.mark.parametrize("power", [0.5, 0.8, 0.95])
def test_the_smallest_difference_is_found_with_its_power(examples, discordant, power):
    found = exact_power(examples, discordant, smallest_difference(examples, discordant=discordant, power=power))
    assert power - 0.045 < found < power + 0.01  # the exact test is shy where few examples differ


def test_two_points_on_a_test_set_are_found_with_the_power_that_the_formula_states():
    assert smallest_difference(1960, discordant=0.1) == pytest.approx(0.02, abs=1e-5)
    rng = np.random.default_rng(0)
    drawn = [systems(rng, 1960, 0.06, 0.04) for _ in range(TRIALS)]
    low, high = between(exact_power(1960, 0.1, 0.02))
    assert low <= sum(mcnemar(a, b) < 0.05 for a, b in drawn) <= high
    assert between(0.8)[0] <= sum(paired_means(a, b, 0, 1000).p_value < 0.05 for a, b in drawn) <= between(0.8)[1]


def test_the_smallest_difference_solves_the_formula_as_printed():
    for examples, share in [(277, 0.2), (5000, 0.07)]:
        d = smallest_difference(examples, discordant=share, alpha=0.01, power=0.9)
        needed = (2.575829303549 * math.sqrt(share) + 1.281551565545 * math.sqrt(share - d * d)) ** 2 / d**2
        assert needed == pytest.approx(examples, rel=1e-9)


def test_the_smallest_difference_shrinks_with_the_set_and_is_infinite_for_a_tiny_one():
    assert smallest_difference(4000, accuracy=0.9) < smallest_difference(1000, accuracy=0.9)
    assert smallest_difference(1000, accuracy=0.9) == pytest.approx(smallest_difference(1000, discordant=0.18))
    assert smallest_difference(20, discordant=0.1) == math.inf
    for wrong in ({}, {"accuracy": 0.9, "discordant": 0.1}):
        with pytest.raises(UserError, match="one of discordant and accuracy"):
            smallest_difference(100, **wrong)


# Several tasks.


def test_holm_by_hand():
    """0.005 4, 0.01 3, 0.03 2 and 0.04 1, the last no less than the one before: as statsmodels' multipletests has it."""
    np.testing.assert_allclose(holm([0.01, 0.04, 0.03, 0.005]), [0.03, 0.06, 0.06, 0.02])
    np.testing.assert_allclose(holm([0.5, 0.6]), [1, 1])
    assert holm([]).shape == (0,)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8), st.floats(0.001, 0.2))
def test_holm_finds_what_its_steps_find(p_values, alpha):
    found = set()
    for step, place in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        if p_values[place] * (len(p_values) - step) > alpha:
            break
        found.add(place)
    assert set(np.flatnonzero(holm(p_values) <= alpha)) == found
