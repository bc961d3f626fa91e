"""The Adam of the released BERT (google-research/bert optimization.AdamWeightDecayOptimizer)."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax


class Moments(NamedTuple):
    mean: optax.Updates
    square: optax.Updates


def scale_by_uncorrected_adam(b1: float, b2: float, eps: float) -> optax.GradientTransformation:
    """mean / (sqrt(square) + eps), where Adam's moments start at zero and are not corrected for it."""

    def init(params):
        return Moments(jax.tree.map(jnp.zeros_like, params), jax.tree.map(jnp.zeros_like, params))

    def update(gradients, moments, params=None):
        del params
        mean = jax.tree.map(lambda m, g: b1 * m + (1 - b1) * g, moments.mean, gradients)
        square = jax.tree.map(lambda v, g: b2 * v + (1 - b2) * g * g, moments.square, gradients)
        return jax.tree.map(lambda m, v: m / (jnp.sqrt(v) + eps), mean, square), Moments(mean, square)

    return optax.GradientTransformation(init, update)
