"""A vector for a text from the vectors of its pieces (Reimers and Gurevych 2019, arXiv 1908.10084, section 3)."""

import jax
import jax.numpy as jnp

from bert_jax.errors import UserError

FAR_BELOW = -1e9  # for what must not count; finite, so that what is made of nothing else is too


def pool(name: str, out, input_mask_BL) -> jax.Array:
    """float32[B, D], from the real tokens of each row, [CLS] and [SEP] among them.

    Args:
        name: of POOLINGS.
        out: EncoderOutput of rows of one text each.
    """
    return POOLINGS[name](out, input_mask_BL)


def check_pooling(name: str) -> None:
    if name not in POOLINGS:
        raise UserError("the pooling is unknown", got=name, expected=" or ".join(POOLINGS))


def mean(hidden_BLD, input_mask_BL) -> jax.Array:
    real_BL1 = input_mask_BL[:, :, None] > 0
    total_BD = jnp.sum(jnp.where(real_BL1, hidden_BLD.astype(jnp.float32), 0.0), axis=1)
    return total_BD / jnp.maximum(jnp.sum(real_BL1, axis=1), 1)


def mean_of_words(hidden_BLD, word_ids_BL) -> jax.Array:
    """float32[B, L, D]: at each piece of a word the mean over its pieces, those of the same number above 0; zeros elsewhere."""
    same_BLL = (word_ids_BL[:, :, None] == word_ids_BL[:, None, :]) & (word_ids_BL[:, :, None] > 0)
    shares_BLL = same_BLL / jnp.maximum(jnp.sum(same_BLL, axis=2, keepdims=True), 1)
    return jnp.einsum("blm,bmd->bld", shares_BLL.astype(jnp.float32), hidden_BLD.astype(jnp.float32))


def _max(out, input_mask_BL):
    return jnp.max(jnp.where(input_mask_BL[:, :, None] > 0, out.hidden_BLD.astype(jnp.float32), FAR_BELOW), axis=1)


POOLINGS = {
    "cls": lambda out, input_mask_BL: out.cls_BD.astype(jnp.float32),
    "mean": lambda out, input_mask_BL: mean(out.hidden_BLD, input_mask_BL),
    "max": _max,
}
