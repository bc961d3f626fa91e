"""From a name and a schedule to an optimiser: clip, direction, decay, factor of the rate by depth, scheduled rate."""

from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
import optax

from bert_jax.errors import UserError
from bert_jax.optim.adam import clip_by_global_norm, scale_by_adam
from bert_jax.optim.magnitude import prune_by_magnitude
from bert_jax.optim.paths import decays, depth_rates, stacked, trained_factors
from bert_jax.ranges import BELOW_ONE, NOT_NEGATIVE, POSITIVE, require, whole

RANGES = {
    "weight_decay": NOT_NEGATIVE,
    "b1": BELOW_ONE,
    "b2": BELOW_ONE,
    "eps": POSITIVE,
    "clip": NOT_NEGATIVE,
    "layer_decay": POSITIVE,
    "frozen_layers": whole(-1),
}


def make_optimizer(
    schedule: Callable,
    *,
    name: str = "bert_adam",
    weight_decay: float = 0.01,
    b1: float = 0.9,
    b2: float = 0.999,
    eps: float = 1e-6,
    clip: float = 1.0,
    layer_decay: float = 1.0,
    frozen_layers: int = -1,
    magnitude: Mapping | None = None,
) -> optax.GradientTransformation:
    """The defaults are the optimiser of the released BERT, with its constants.

    Args:
        schedule: step -> learning rate.
        name: of OPTIMIZERS.
        weight_decay: decoupled, times the rate; not of biases and norms.
        clip: the global norm that gradients are scaled down to first; 0 leaves them as they are.
        layer_decay: the factor by which the rate falls from each layer to the one below it (`paths.depth_rates`).
        frozen_layers: so many of the lowest layers, and the embeddings, stay as they are; -1: nothing does.
        magnitude: arguments of magnitude.prune_by_magnitude; None: no weights become 0.
    """
    if name not in OPTIMIZERS:
        raise UserError("optim.name is unknown", got=name, expected=" or ".join(OPTIMIZERS))
    values = {"weight_decay": weight_decay, "b1": b1, "b2": b2, "eps": eps, "clip": clip, "layer_decay": layer_decay}
    require("optim", values | {"frozen_layers": frozen_layers}, RANGES)
    freeze = [] if frozen_layers < 0 else [scale_by(lambda params: trained_factors(params, frozen_layers))]
    return optax.chain(
        *freeze,  # before the norm is taken, as if they had no gradient
        *([clip_by_global_norm(clip)] if clip else []),
        OPTIMIZERS[name](b1, b2, eps, weight_decay),
        *([scale_by(lambda params: depth_rates(params, layer_decay))] if layer_decay != 1 else []),
        *freeze,  # weight decay is no gradient
        optax.scale_by_learning_rate(schedule),
        *([prune_by_magnitude(**magnitude)] if magnitude else []),
    )


def bert_adam(b1: float, b2: float, eps: float, weight_decay: float) -> optax.GradientTransformation:
    """google-research/bert optimization.py: Adam without bias correction, decay of the weights beside it."""
    return optax.chain(scale_by_adam(b1, b2, eps, corrected=False), optax.add_decayed_weights(weight_decay, mask=decays))


def adamw(b1: float, b2: float, eps: float, weight_decay: float) -> optax.GradientTransformation:
    """Loshchilov and Hutter 2019, arXiv 1711.05101, algorithm 2: bias-corrected moments, decay of the weights beside them."""
    return optax.chain(scale_by_adam(b1, b2, eps, corrected=True), optax.add_decayed_weights(weight_decay, mask=decays))


def lamb(b1: float, b2: float, eps: float, weight_decay: float) -> optax.GradientTransformation:
    """You et al. 2020, arXiv 1904.00962, algorithm 2: the direction of AdamW, as long in each layer as that layer's weights.

    With the bias correction of the algorithm, which the optimiser released with ALBERT leaves out.
    """
    return optax.chain(adamw(b1, b2, eps, weight_decay), scale_by_trust_ratio())


def scale_by_trust_ratio() -> optax.GradientTransformation:
    """Each tensor of each layer times |weights| / |update|, and times 1 where either norm is 0; biases and norms as they are.

    A stack of layers has one ratio for each index of its first axis. The exceptions are those of google-research/albert
    lamb_optimizer.py.
    """

    def scaled(path, update, param, adapts):
        if not adapts:
            return update
        axes = tuple(range(int(stacked(path)), param.ndim))
        weights, length = (jnp.sqrt(jnp.sum(jnp.square(x), axes, keepdims=True)) for x in (param, update))
        return update * jnp.where((weights > 0) & (length > 0), weights / jnp.where(length > 0, length, 1), 1)

    def update(updates, state, params):
        return jax.tree_util.tree_map_with_path(scaled, updates, params, decays(params)), state

    return optax.GradientTransformation(optax.init_empty_state, update)


def scale_by(factors: Callable) -> optax.GradientTransformation:
    """
    Args:
        factors: params -> what each update is multiplied by, with axes that broadcast.
    """

    def update(updates, state, params):
        return jax.tree.map(lambda update, factor: update * factor, updates, factors(params)), state

    return optax.GradientTransformation(optax.init_empty_state, update)


OPTIMIZERS = {"bert_adam": bert_adam, "adamw": adamw, "lamb": lamb}
