"""Self-attention over the whole row (Vaswani et al. 2017, arXiv 1706.03762, section 3.2)."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from bert_jax.models.layers import Dense


class SelfAttention(nn.Module):
    """Multi-head attention with a padding mask; scores and softmax in float32, dropout on the probabilities."""

    config: Any

    @nn.compact
    def __call__(self, x_BLD, input_mask_BL, *, train: bool):
        cfg = self.config
        split = (*x_BLD.shape[:2], cfg.num_attention_heads, cfg.hidden_size // cfg.num_attention_heads)
        q_BLHK = Dense(cfg, cfg.hidden_size, name="query")(x_BLD).reshape(split)
        k_BLHK = Dense(cfg, cfg.hidden_size, name="key")(x_BLD).reshape(split)
        v_BLHK = Dense(cfg, cfg.hidden_size, name="value")(x_BLD).reshape(split)
        probs_BHLL = probabilities(q_BLHK, k_BLHK, input_mask_BL)
        probs_BHLL = nn.Dropout(cfg.attention_probs_dropout_prob, deterministic=not train)(probs_BHLL)
        mixed_BLHK = jnp.einsum("bhlm,bmhk->blhk", probs_BHLL.astype(cfg.dtype), v_BLHK)
        return Dense(cfg, cfg.hidden_size, name="output")(mixed_BLHK.reshape(x_BLD.shape))


def probabilities(q_BLHK, k_BLHK, input_mask_BL) -> jax.Array:
    """float32[B, H, L, L]: softmax(q k / sqrt(K)) over the real tokens; a row without any attends evenly, never NaN."""
    scale = q_BLHK.shape[-1] ** -0.5
    scores_BHLL = jnp.einsum("blhk,bmhk->bhlm", q_BLHK, k_BLHK, preferred_element_type=jnp.float32) * scale
    lowest = jnp.finfo(jnp.float32).min
    return nn.softmax(jnp.where(input_mask_BL[:, None, None, :] > 0, scores_BHLL, lowest))
