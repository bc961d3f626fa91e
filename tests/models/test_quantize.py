"""Products with weights as int8 would have them: the rule by hand, and gradients that pass straight through."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bert_jax.errors import UserError
from bert_jax.models.encoder import EncoderConfig
from bert_jax.models.layers import Dense, as_int8

pytest.importorskip("qwix", reason="the extra int8 is not installed")
CONFIG = EncoderConfig(9, hidden_size=8, num_attention_heads=2, intermediate_size=8, initializer_range=0.5)


def by_hand(x: np.ndarray, axis: int) -> np.ndarray:
    """Nearest of the whole numbers from -128 to 127 times a scale, the largest size / 127.5, for each index of the axis."""
    scale = np.abs(x).max(axis=1 - axis, keepdims=True) / np.float32(127.5)
    return np.clip(np.rint(x / scale), -128, 127) * scale


def test_each_token_and_each_output_has_its_own_scale():
    rng = np.random.default_rng(0)
    x_RI, kernel_IO = (rng.standard_normal((6, 8)).astype(np.float32) * np.float32(10.0) ** k for k in (2, -3))
    kernel_IO = kernel_IO.T * 10.0 ** np.arange(6, dtype=np.float32)
    for x, axis in ((x_RI, 0), (kernel_IO, 1)):
        found, expected = np.asarray(as_int8(x, axis)), by_hand(x, axis)
        largest = np.abs(x) == np.abs(x).max(axis=1 - axis, keepdims=True)  # 127.5 scales: half way between two
        np.testing.assert_allclose(found[~largest], expected[~largest], rtol=1e-5)
        np.testing.assert_allclose(found[largest], x[largest], rtol=0.5 / 127)
    whole, rounded = (Dense(replace(CONFIG, quantize=kind), 6) for kind in ("", "int8"))
    params = {"params": {"kernel": jnp.asarray(kernel_IO), "bias": jnp.arange(6.0)}}
    expected = np.asarray(as_int8(x_RI, 0) @ as_int8(kernel_IO, 1)) + np.arange(6)
    np.testing.assert_allclose(rounded.apply(params, x_RI), expected, rtol=1e-4)
    assert np.abs(whole.apply(params, x_RI) - expected).max() > 1e-3


def test_the_gradient_passes_as_if_nothing_were_rounded():
    x = jnp.float32([[0.3, -1.0, 0.02], [5.0, 0.0, 7.0]])
    factors = jnp.float32([[1, 2, 3], [4, 5, 6]])
    np.testing.assert_array_equal(jax.grad(lambda x: (as_int8(x, 0) * factors).sum())(x), factors)
    assert np.isfinite(as_int8(jnp.zeros((2, 3)), 0)).all()


def test_another_kind_is_refused():
    with pytest.raises(UserError, match=r"model\.quantize is unknown\n  got:      int4"):
        replace(CONFIG, quantize="int4")
