"""The optimiser of the released BERT (google-research/bert optimization.AdamWeightDecayOptimizer)."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

NO_DECAY = ("bias", "scale")  # biases, and the scales of LayerNorm


class Moments(NamedTuple):
    mean: optax.Updates
    square: optax.Updates


def bert_adam(
    schedule: Callable, *, weight_decay: float = 0.01, b1: float = 0.9, b2: float = 0.999, eps: float = 1e-6, clip: float = 1.0
) -> optax.GradientTransformation:
    """Clip by the global norm, Adam without bias correction, decay of the weights beside it, times the scheduled rate.

    The defaults are the constants of the released code.
    """
    return optax.chain(
        optax.clip_by_global_norm(clip),
        scale_by_uncorrected_adam(b1, b2, eps),
        optax.add_decayed_weights(weight_decay, mask=decays),
        optax.scale_by_learning_rate(schedule),
    )


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


def decays(params):
    """True where weight decay applies: by name, since with stacked layers the number of axes says nothing."""
    return jax.tree_util.tree_map_with_path(lambda path, _: path[-1].key not in NO_DECAY, params)
