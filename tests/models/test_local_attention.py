"""Attention to what is near by, computed in blocks, is attention over the row under a mask, at a fraction of its cost."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bert_jax.models import attention
from bert_jax.models.attention import SelfAttention, block_length, visible
from bert_jax.models.encoder import EncoderConfig

WINDOW = 8
CONFIG = EncoderConfig(vocab_size=9, hidden_size=16, num_attention_heads=2, initializer_range=0.25)  # attention far from even


def case(length: int, packed: bool):
    """(params, x_BLD, input_mask_BL, sequence_ids_BL or None): three rows, of which two end in padding."""
    rng = np.random.default_rng(length)
    mask_BL = (np.arange(length) < np.array([[length], [length - 3], [length // 2]])).astype(np.int32)
    sequence_BL = (1 + (np.arange(length)[None] >= np.array([[3], [length // 3], [length // 3 + 1]]))) * mask_BL
    x_BLD = rng.standard_normal((3, length, 16)).astype(np.float32)
    params = SelfAttention(CONFIG).init(jax.random.key(0), x_BLD, visible(mask_BL), train=False)["params"]
    return params, x_BLD, mask_BL, sequence_BL.astype(np.int32) if packed else None


def ours(params, x_BLD, mask_BL, sequence_BL):
    seen = visible(jnp.asarray(mask_BL), None if sequence_BL is None else jnp.asarray(sequence_BL), WINDOW)
    return SelfAttention(CONFIG, WINDOW).apply({"params": params}, x_BLD, seen, train=False)


def by_formula(params, x_BLD, mask_BL, sequence_BL):
    """softmax(q k / sqrt(K)) v over the whole row in float64, with all that is not seen left out."""

    def product(name, x):
        return x @ np.float64(params[name]["kernel"]) + np.float64(params[name]["bias"])

    q, k, v = (product(name, np.float64(x_BLD)).reshape(*x_BLD.shape[:2], 2, 8) for name in ("query", "key", "value"))
    scores_BHLL = np.einsum("blhk,bmhk->bhlm", q, k) / np.sqrt(8)
    place = np.arange(x_BLD.shape[1])
    seen_BLL = (mask_BL[:, None, :] > 0) & (abs(place[:, None] - place) <= WINDOW // 2)
    if sequence_BL is not None:
        seen_BLL &= sequence_BL[:, :, None] == sequence_BL[:, None, :]
    weights_BHLL = np.exp(scores_BHLL - scores_BHLL.max(-1, keepdims=True)) * seen_BLL[:, None]
    mixed = np.einsum("bhlm,bmhk->blhk", weights_BHLL / np.maximum(weights_BHLL.sum(-1, keepdims=True), 1e-300), v)
    return product("output", mixed.reshape(x_BLD.shape))


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(("length", "block"), [(9, 0), (16, 4), (21, 4), (40, 4)])
def test_it_is_attention_under_a_mask(length, block, packed):
    assert block_length(length, WINDOW) == block
    arguments = case(length, packed)
    real = arguments[2] > 0  # at padding nothing is promised
    np.testing.assert_allclose(np.asarray(ours(*arguments))[real], by_formula(*arguments)[real], atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("length", [16, 21])
def test_its_gradients_are_those_of_attention_under_a_mask(length, monkeypatch):
    params, x_BLD, mask_BL, sequence_BL = case(length, packed=True)

    def gradients():
        total = lambda params, x: jnp.sum(jnp.sin(ours(params, x, mask_BL, sequence_BL)) * mask_BL[:, :, None])  # noqa: E731
        return jax.grad(total, argnums=(0, 1))(params, x_BLD)

    in_blocks = gradients()
    monkeypatch.setattr(attention, "block_length", lambda length, window: 0)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5, rtol=1e-5), in_blocks, gradients())


def floating_point_operations(window: int) -> float:
    """Of a forward and a backward pass over a row of 1,024 tokens, in what XLA compiled."""
    config = EncoderConfig(vocab_size=9, hidden_size=64, num_attention_heads=1)
    layer, x_BLD, mask_BL = SelfAttention(config, window), jnp.zeros((1, 1024, 64)), jnp.ones((1, 1024), jnp.int32)

    def total(params, x_BLD, mask_BL):
        return jnp.sum(layer.apply(params, x_BLD, visible(mask_BL, None, window), train=False))

    params = layer.init(jax.random.key(0), x_BLD, visible(mask_BL, None, window), train=False)
    return jax.jit(jax.grad(total)).lower(params, x_BLD, mask_BL).compile().cost_analysis()["flops"]


def test_at_a_length_of_1024_it_costs_less_than_a_third_of_global_attention():
    assert floating_point_operations(128) < floating_point_operations(0) / 3


def test_a_masked_product_over_the_row_would_be_caught(monkeypatch):
    monkeypatch.setattr(attention, "block_length", lambda length, window: 0)
    assert floating_point_operations(128) > 0.9 * floating_point_operations(0)
