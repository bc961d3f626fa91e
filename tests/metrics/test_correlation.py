import numpy as np
import pytest

from bert_jax.metrics.correlation import pearson, pearson_spearman, spearman


@pytest.mark.parametrize("kinds", [2, 5, 1000])
def test_spearman_is_that_of_scipy_with_ties_and_without(kinds):
    stats = pytest.importorskip("scipy.stats", reason="the test extra is not installed")
    rng = np.random.default_rng(kinds)
    x, noise = rng.integers(0, kinds, 400), rng.normal(size=400)
    y = np.round(x / kinds + 0.3 * noise, 1)
    expected = stats.spearmanr(x, y).statistic
    assert abs(expected) > 0.3
    assert spearman(x, y) == pytest.approx(expected, abs=1e-12)


def test_only_the_order_counts():
    x = np.array([0.1, 3.0, -2.0, 5.0])
    assert spearman(x, np.exp(x)) == pytest.approx(1)
    assert spearman(x, -x) == pytest.approx(-1)
    assert spearman(x, np.ones(4)) == 0


@pytest.mark.parametrize("scale", [1.0, 1e-200, 1e150])
@pytest.mark.parametrize("offset", [0.0, 1e3])
def test_pearson_is_that_of_scipy_in_any_unit(scale, offset):
    stats = pytest.importorskip("scipy.stats", reason="the test extra is not installed")
    rng = np.random.default_rng(0)
    x = rng.normal(size=300)
    y = (x + rng.normal(size=300) + offset) * scale
    expected = stats.pearsonr(x, y / scale).statistic
    assert 0.5 < expected < 0.9
    assert pearson(x, y) == pytest.approx(expected, abs=1e-12)


def test_pearson_by_hand():
    assert pearson(np.array([1, 2, 3]), np.array([1, 2, 2])) == pytest.approx(3**0.5 / 2)


def test_float32_is_correlated_in_float64():
    rng = np.random.default_rng(0)
    x, y = (rng.integers(0, 64, (2, 1000)) + 2**22).astype(np.float32)  # whole numbers, that float32 holds, and not their mean
    expected = pearson(x.astype(np.float64), y.astype(np.float64))
    assert pearson(x, y) == pytest.approx(expected, abs=1e-14)


@pytest.mark.parametrize("of", [pearson, spearman])
def test_a_constant_list_follows_nothing_also_where_its_mean_is_rounded(of):
    constant = np.full(3, 0.1)
    assert constant.mean() != 0.1
    assert of(constant, np.array([1.0, 2.0, 4.0])) == of(np.array([1.0, 2.0, 4.0]), constant) == 0


@pytest.mark.parametrize("of", [pearson, spearman, pearson_spearman])
def test_a_prediction_of_nan_is_no_figure(of):
    for x in ([1.0, np.nan, 2.0], [np.nan] * 3):
        assert np.isnan(of(np.array(x), np.array([1.0, 2.0, 3.0])))
        assert np.isnan(of(np.ones(3), np.array(x)))


def test_the_figure_of_sts_b_is_the_mean_of_both():
    x, y = np.array([0.0, 1, 2, 9]), np.array([0.0, 2, 1, 9])
    assert pearson(x, y) != pytest.approx(spearman(x, y))
    assert pearson_spearman(x, y) == pytest.approx((pearson(x, y) + spearman(x, y)) / 2)
