import numpy as np
import pytest

from bert_jax.metrics.student import incomplete_beta, quantile, two_sided_p

DEGREES = [1, 1.3, 2, 3.7, 4, 8, 19.5, 100, 1e3, 1e5]


@pytest.mark.parametrize(
    ("level", "degrees", "expected"), [(0.95, 4, 2.776445105198), (0.99, 9, 3.249835541593), (0.95, 1, 12.706204736175)]
)
def test_quantiles_are_those_of_the_tables(level, degrees, expected):
    assert quantile(level, degrees) == pytest.approx(expected, rel=1e-11)


def test_one_degree_is_cauchys():
    assert quantile(0.5, 1) == pytest.approx(1, rel=1e-14)
    assert two_sided_p(1, 1) == pytest.approx(0.5, rel=1e-14)


@pytest.mark.parametrize("degrees", DEGREES)
def test_quantiles_and_tails_equal_scipys(degrees):
    stats = pytest.importorskip("scipy.stats", reason="the test extra is not installed")
    for level in (0.5, 0.8, 0.9, 0.95, 0.99, 0.999, 0.999999):
        assert quantile(level, degrees) == pytest.approx(stats.t.isf((1 - level) / 2, degrees), rel=1e-9)
    for t in (0, 0.01, -1.5, 3, 20, 500):
        assert two_sided_p(t, degrees) == pytest.approx(2 * stats.t.sf(abs(t), degrees), rel=1e-9)


def test_the_incomplete_beta_function_equals_scipys():
    special = pytest.importorskip("scipy.special", reason="the test extra is not installed")
    for a in (0.5, 1, 3, 50):
        for b in (0.5, 2, 70):
            for x in np.linspace(0, 1, 21):
                assert incomplete_beta(a, b, float(x)) == pytest.approx(special.betainc(a, b, x), rel=1e-11, abs=1e-300)
