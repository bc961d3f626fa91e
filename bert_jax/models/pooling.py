"""A vector for a text from the vectors of its pieces (Reimers and Gurevych 2019, arXiv 1908.10084, section 3)."""

import jax
import jax.numpy as jnp

from bert_jax.errors import UserError

FAR_BELOW = -1e9  # for what must not count; finite, so that what is made of nothing else is too


def pool(name: str, hidden_BLD, input_mask_BL) -> jax.Array:
    """float32[B, D], from the real tokens of each row, [CLS] and [SEP] among them.

    Args:
        name: of POOLINGS.
    """
    return POOLINGS[name](hidden_BLD.astype(jnp.float32), input_mask_BL[:, :, None] > 0)


def check_pooling(name: str) -> None:
    if name not in POOLINGS:
        raise UserError("the pooling is unknown", got=name, expected=" or ".join(POOLINGS))


def _first(hidden_BLD, real_BL1):
    return hidden_BLD[:, 0]


def _mean(hidden_BLD, real_BL1):
    return jnp.sum(jnp.where(real_BL1, hidden_BLD, 0.0), axis=1) / jnp.maximum(jnp.sum(real_BL1, axis=1), 1)


def _max(hidden_BLD, real_BL1):
    return jnp.max(jnp.where(real_BL1, hidden_BLD, FAR_BELOW), axis=1)


POOLINGS = {"cls": _first, "mean": _mean, "max": _max}
