import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bert_jax.models.layers import Dropout, random_16_bits


def dropped(x, rate: float, seed: int = 0, train: bool = True):
    return Dropout(rate).apply({}, x, train=train, rngs={"dropout": jax.random.key(seed)} if train else {})


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_elements_are_dropped_at_the_rate_and_the_others_make_up_for_them(rate):
    x = jnp.full((64, 33, 65), 3.0)
    out = np.asarray(dropped(x, rate))
    zeros = np.mean(out == 0)
    assert zeros == pytest.approx(rate, abs=4 * np.sqrt(rate * (1 - rate) / out.size))
    np.testing.assert_allclose(out[out != 0], 3 / (1 - rate), rtol=1e-6)


def test_each_row_and_each_half_of_a_word_is_drawn_for_itself():
    kept = np.asarray(dropped(jnp.ones((400, 50)), 0.5)) > 0
    correlations = np.corrcoef(kept.T) - np.eye(50)  # between columns, over 400 rows: 5 standard deviations are 0.25
    assert np.abs(correlations).max() < 0.25
    assert len(np.unique(kept, axis=0)) == 400


def test_bits_are_uniform_and_both_ends_occur():
    bits = np.asarray(random_16_bits(jax.random.key(1), (2000, 501)))
    assert bits.shape == (2000, 501)
    assert bits.min() == 0
    assert bits.max() == 2**16 - 1
    counts = np.bincount(bits.ravel() >> 10, minlength=64)
    assert np.sum((counts - counts.mean()) ** 2 / counts.mean()) < 120  # chi-square with 63 degrees of freedom, p < 1e-5


def test_nothing_is_dropped_without_training_or_at_rate_zero():
    x = jnp.arange(12.0).reshape(3, 4)
    assert (dropped(x, 0.5, train=False) == x).all()
    assert (dropped(x, 0.0) == x).all()


def test_the_key_decides():
    x = jnp.ones((8, 16))
    assert (dropped(x, 0.5, seed=1) == dropped(x, 0.5, seed=1)).all()
    assert (dropped(x, 0.5, seed=1) != dropped(x, 0.5, seed=2)).any()
