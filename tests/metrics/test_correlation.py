import numpy as np
import pytest

from bert_jax.metrics.correlation import spearman


@pytest.mark.parametrize("kinds", [2, 5, 1000])
def test_spearman_is_that_of_scipy_with_ties_and_without(kinds):
    stats = pytest.importorskip("scipy.stats", reason="scipy is not installed")
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
