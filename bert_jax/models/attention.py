"""Self-attention over the row, or within each example of a packed row (Vaswani et al. 2017, arXiv 1706.03762, section 3.2)."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from bert_jax.models.layers import ATTENTION_PRODUCTS, Dense, Dropout, contract, kept


class SelfAttention(nn.Module):
    """Multi-head attention under a mask (see `visible`); scores and softmax in float32, dropout on the probabilities."""

    config: Any

    @nn.compact
    def __call__(self, x_BLD, visible_B1LL, *, train: bool):
        cfg = self.config
        split = (*x_BLD.shape[:2], cfg.num_attention_heads, cfg.hidden_size // cfg.num_attention_heads)
        q_BLHK = Dense(cfg, cfg.hidden_size, name="query")(x_BLD).reshape(split)
        k_BLHK = Dense(cfg, cfg.hidden_size, name="key")(x_BLD).reshape(split)
        v_BLHK = Dense(cfg, cfg.hidden_size, name="value")(x_BLD).reshape(split)
        self.sow("intermediates", "query_key_value", (q_BLHK, k_BLHK, v_BLHK))
        probs_BHLL = probabilities(cfg, q_BLHK, k_BLHK, visible_B1LL)
        probs_BHLL = Dropout(cfg.attention_probs_dropout_prob)(probs_BHLL, train=train)
        mixed_BLHK = kept(cfg, contract(cfg, "bhlm,bmhk->blhk", probs_BHLL, v_BLHK), ATTENTION_PRODUCTS)
        return Dense(cfg, cfg.hidden_size, name="output")(mixed_BLHK.reshape(x_BLD.shape))


def visible(input_mask_BL, sequence_ids_BL=None) -> jax.Array:
    """bool[B, 1, L or 1, L]: which keys a query sees, the real tokens, and of a packed row those of its own example."""
    keys_B11L = input_mask_BL[:, None, None, :] > 0
    if sequence_ids_BL is None:
        return keys_B11L
    return keys_B11L & (sequence_ids_BL[:, None, :, None] == sequence_ids_BL[:, None, None, :])


def probabilities(config, q_BLHK, k_BLHK, visible_B1LL) -> jax.Array:
    """float32[B, H, L, L]: softmax(q k / sqrt(K)) over the visible keys; a query without any attends evenly, never NaN."""
    return nn.softmax(scores(config, q_BLHK, k_BLHK, visible_B1LL))


def scores(config, q_BLHK, k_BLHK, visible_B1LL) -> jax.Array:
    """float32[B, H, L, L]: q k / sqrt(K); for keys that are not visible the lowest number there is."""
    scale = q_BLHK.shape[-1] ** -0.5
    scores_BHLL = contract(config, "blhk,bmhk->bhlm", q_BLHK, k_BLHK, preferred_element_type=jnp.float32)
    return jnp.where(visible_B1LL, scores_BHLL * scale, jnp.finfo(jnp.float32).min)
