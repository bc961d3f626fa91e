"""Positions as rotations of queries and keys (RoPE: Su et al. 2021, RoFormer, arXiv 2104.09864, section 3.2): the product of a
query and a key then depends on how far apart the two stand, and no longer on where. And what their angles come from, the
sinusoids of the first Transformer."""

import jax
import jax.numpy as jnp
import numpy as np

SINUSOID_THETA = 10_000.0
Rotation = tuple[jax.Array, jax.Array]  # cosine and sine, float32[B or 1, L, 1, K / 2]


def rotation(position_ids_BL, width: int, theta: float) -> Rotation:
    """By which angle each place turns pair i of a head of K = `width` numbers: place * theta ** (-2 i / K), in radians."""
    per_place = np.float32(theta ** -(np.arange(0, width, 2) / width))
    angles_BL1K = position_ids_BL[:, :, None, None].astype(jnp.float32) * per_place[None, None, None, :]
    return jnp.cos(angles_BL1K), jnp.sin(angles_BL1K)


def rotated(x_BLHK, by: Rotation) -> jax.Array:
    """x_BLHK with its pairs turned, in float32.

    Pair i is made of the numbers i and K / 2 + i, as in EleutherAI/gpt-neox and transformers; in the paper of 2 i and 2 i + 1.
    """
    cos, sin = by
    one, other = jnp.split(x_BLHK.astype(jnp.float32), 2, axis=-1)
    return jnp.concatenate([one * cos - other * sin, other * cos + one * sin], axis=-1).astype(x_BLHK.dtype)


def sinusoids(position_ids_BL, width: int) -> jax.Array:
    """float32[B or 1, L, width], to be added to word vectors: sine and cosine of each angle side by side (Vaswani et al. 2017,
    arXiv 1706.03762, section 3.5)."""
    cos, sin = rotation(position_ids_BL, width, SINUSOID_THETA)
    return jnp.stack([sin[:, :, 0], cos[:, :, 0]], axis=-1).reshape(*position_ids_BL.shape, -1)[:, :, :width]
