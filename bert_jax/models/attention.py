"""Self-attention over the row, or within each example of a packed row (Vaswani et al. 2017, arXiv 1706.03762, section 3.2): to
all tokens, or to those near by (the sliding window of Beltagy et al. 2020, Longformer, arXiv 2004.05150, section 3.1)."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from bert_jax.models.layers import ATTENTION_PRODUCTS, Dense, Dropout, contract, kept
from bert_jax.models.rotary import Rotation, rotated


class SelfAttention(nn.Module):
    """Multi-head attention under a mask (see `visible`); scores and softmax in float32, dropout on the probabilities.

    Attributes:
        window: a query sees the keys at most half of it away; 0: all. Where that costs less than a product over the whole row it
            is computed in blocks, each of which sees itself and its two neighbours.
    """

    config: Any
    window: int = 0

    @nn.compact
    def __call__(self, x_BLD, visible_B1LL, rotation: Rotation | None = None, *, train: bool):
        """visible_B1LL is made for the same window; `rotation` turns queries and keys by their places."""
        cfg = self.config
        split = (*x_BLD.shape[:2], cfg.num_attention_heads, cfg.head_width)
        q_BLHK = Dense(cfg, cfg.attention_width, name="query")(x_BLD).reshape(split)
        k_BLHK = Dense(cfg, cfg.attention_width, name="key")(x_BLD).reshape(split)
        v_BLHK = Dense(cfg, cfg.attention_width, name="value")(x_BLD).reshape(split)
        if rotation is not None:
            q_BLHK, k_BLHK = rotated(q_BLHK, rotation), rotated(k_BLHK, rotation)
        self.sow("intermediates", "query_key_value", (q_BLHK, k_BLHK, v_BLHK))
        if block := block_length(x_BLD.shape[1], self.window):  # B then counts blocks
            q_BLHK, k_BLHK, v_BLHK = in_blocks(q_BLHK, block), around_blocks(k_BLHK, block), around_blocks(v_BLHK, block)
        probs_BHLL = probabilities(cfg, q_BLHK, k_BLHK, visible_B1LL)
        probs_BHLL = Dropout(cfg.attention_probs_dropout_prob)(probs_BHLL, train=train)
        mixed_BLHK = kept(cfg, contract(cfg, "bhlm,bmhk->blhk", probs_BHLL, v_BLHK), ATTENTION_PRODUCTS)
        mixed_BLJ = mixed_BLHK.reshape(x_BLD.shape[0], -1, cfg.attention_width)[:, : x_BLD.shape[1]]
        return Dense(cfg, cfg.hidden_size, cfg.residual_spread, name="output")(mixed_BLJ)


def visible(input_mask_BL, sequence_ids_BL=None, window: int = 0, *, left_to_right: bool = False) -> jax.Array:
    """bool[B, 1, L or 1, L]: which keys a query sees, the real tokens, of a packed row those of its own example, with a window
    those at most half of it away, from left to right none after it. Of attention in blocks of l queries: bool[B * blocks, 1, l,
    3 * l]."""
    block = block_length(input_mask_BL.shape[1], window)
    of_queries = lambda x_BL: in_blocks(x_BL, block) if block else x_BL  # noqa: E731
    of_keys = lambda x_BL: around_blocks(x_BL, block) if block else x_BL  # noqa: E731
    seen_B1LL = jnp.asarray(of_keys(input_mask_BL)[:, None, None, :] > 0)  # one of numpy could not grow in place
    if sequence_ids_BL is not None:
        seen_B1LL &= of_queries(sequence_ids_BL)[:, None, :, None] == of_keys(sequence_ids_BL)[:, None, None, :]
    if window or left_to_right:
        length = input_mask_BL.shape[1]
        query_L, key_L = block + jnp.arange(block or length), jnp.arange(3 * block or length)
        ahead_LL = key_L[None, :] - query_L[:, None]
        if window:
            seen_B1LL &= (jnp.abs(ahead_LL) <= window // 2)[None, None]
        if left_to_right:
            seen_B1LL &= (ahead_LL <= 0)[None, None]
    return seen_B1LL


def block_length(length: int, window: int) -> int:
    """Half a window, or 0 where blocks of so many queries would have no fewer scores than the whole row, or the length is left
    open."""
    if not isinstance(length, int):  # a symbol (compress/stablehlo.py)
        return 0
    half = window // 2
    return half if half and -(-length // half) * 3 * half**2 < length**2 else 0


def in_blocks(x_BL, block: int) -> jax.Array:
    """[B, L, ...] as [B * blocks, block, ...], the last block filled up with zeros."""
    padding = [(0, 0), (0, -x_BL.shape[1] % block), *[(0, 0)] * (x_BL.ndim - 2)]
    return jnp.pad(x_BL, padding).reshape(-1, block, *x_BL.shape[2:])


def around_blocks(x_BL, block: int) -> jax.Array:
    """[B, L, ...] as [B * blocks, 3 * block, ...]: each block between its neighbours, with zeros outside the row."""
    rows, length, *rest = x_BL.shape
    padding = [(0, 0), (block, block + -length % block), *[(0, 0)] * len(rest)]
    blocks = jnp.pad(x_BL, padding).reshape(rows, -1, block, *rest)
    return jnp.concatenate([blocks[:, :-2], blocks[:, 1:-1], blocks[:, 2:]], axis=2).reshape(-1, 3 * block, *rest)


def probabilities(config, q_BLHK, k_BLHK, visible_B1LL) -> jax.Array:
    """float32[B, H, L, L]: softmax(q k / sqrt(K)) over the visible keys; a query without any attends evenly, never NaN."""
    return nn.softmax(scores(config, q_BLHK, k_BLHK, visible_B1LL))


def scores(config, q_BLHK, k_BLHK, visible_B1LL) -> jax.Array:
    """float32[B, H, L, L]: q k / sqrt(K); for keys that are not visible the lowest number there is."""
    scale = q_BLHK.shape[-1] ** -0.5
    scores_BHLL = contract(config, "blhk,bmhk->bhlm", q_BLHK, k_BLHK, preferred_element_type=jnp.float32)
    return jnp.where(visible_B1LL, scores_BHLL * scale, jnp.finfo(jnp.float32).min)
