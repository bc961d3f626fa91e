"""Adam (Kingma and Ba 2015, arXiv 1412.6980, algorithm 1), and that of the released BERT (google-research/bert optimization.py
AdamWeightDecayOptimizer), which does not correct its moments for their start at zero; clipping of gradients.

Written so that XLA can do all of it in one pass over each array: it would keep the quotient of an array and a number, for which
optax asks, in a further array.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax


class Moments(NamedTuple):
    count: jax.Array  # int32, updates made
    mean: optax.Updates
    square: optax.Updates


def scale_by_adam(b1: float, b2: float, eps: float, *, corrected: bool) -> optax.GradientTransformation:
    """mean / (sqrt(square) + eps); corrected, each moment is first divided by 1 - b ** (updates made)."""

    def init(params):
        return Moments(jnp.zeros((), jnp.int32), jax.tree.map(jnp.zeros_like, params), jax.tree.map(jnp.zeros_like, params))

    def update(gradients, moments, params=None):
        del params
        count = moments.count + 1
        mean = jax.tree.map(lambda m, g: b1 * m + (1 - b1) * g, moments.mean, gradients)
        square = jax.tree.map(lambda v, g: b2 * v + (1 - b2) * g * g, moments.square, gradients)
        of_mean, of_square = (1 / (1 - b**count) if corrected else 1.0 for b in (b1, b2))
        direction = jax.tree.map(lambda m, v: of_mean * m / (jnp.sqrt(of_square * v) + eps), mean, square)
        return direction, Moments(count, mean, square)

    return optax.GradientTransformation(init, update)


def clip_by_global_norm(limit: float) -> optax.GradientTransformation:
    """Gradients whose norm over all arrays together is larger are scaled down to it (Pascanu et al. 2013, arXiv 1211.5063)."""

    def update(gradients, state, params=None):
        del params
        scale = limit / jnp.maximum(optax.tree.norm(gradients), limit)
        return jax.tree.map(lambda gradient: scale * gradient, gradients), state

    return optax.GradientTransformation(optax.init_empty_state, update)
