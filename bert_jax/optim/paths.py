"""What the path of a parameter says about it. Never its number of axes: stacked layers give a bias two."""

import jax
import jax.numpy as jnp

NO_DECAY = ("bias", "scale", "given")  # biases, the scales of LayerNorm, and what is not learned at all
STACK = "layers"  # everything under this name has the layer as its first axis
FIRST = "first_layer"  # a layer below the stack, where an encoder keeps one apart


def names(path) -> tuple[str, ...]:
    """The keys of a path of jax.tree_util as plain names."""
    return tuple(entry.key for entry in path)


def decays(params):
    """True where weight decay applies, and LAMB's trust ratio (google-research/bert and albert, optimization.py)."""
    return jax.tree_util.tree_map_with_path(lambda path, _: names(path)[-1] not in NO_DECAY, params)


def stacked(path) -> bool:
    return STACK in names(path) and "embeddings" not in names(path)  # a feature of tokens may have any name


def trained_factors(params, frozen_layers: int):
    """0 for the embeddings and so many of the lowest layers, 1 for all else; with axes that broadcast against the parameter."""
    apart = any(FIRST in names(path) for path, _ in jax.tree_util.tree_leaves_with_path(params))

    def factor(path, leaf):
        if stacked(path):
            is_above = jnp.arange(leaf.shape[0]) + apart >= frozen_layers
            return is_above.reshape(-1, *[1] * (leaf.ndim - 1)).astype(jnp.float32)
        is_frozen = "embeddings" in names(path) or (FIRST in names(path) and frozen_layers > 0)
        return jnp.full([1] * leaf.ndim, 0.0 if is_frozen else 1.0, jnp.float32)

    return jax.tree_util.tree_map_with_path(factor, params)


def depth_rates(params, decay: float):
    """Factor of the learning rate of each parameter, smaller the deeper it lies; with axes that broadcast against the parameter.

    google-research/electra model/optimization.py _get_layer_lrs: the embeddings have decay ** (N + 2), layer i of N has
    decay ** (N + 1 - i), what is put on top of the encoder has 1. The pooler, which ELECTRA lacks, takes the free place: decay;
    and so does a LayerNorm behind the last layer.
    """
    paths = [(names(path), leaf) for path, leaf in jax.tree_util.tree_leaves_with_path(params)]
    stacks = {path[0]: leaf.shape[0] for path, leaf in paths if STACK in path and "embeddings" not in path}
    apart = {path[0] for path, _ in paths if FIRST in path}

    def rate(path, leaf):
        encoder = names(path)[0]
        num_layers = stacks.get(encoder, 0) + (encoder in apart)
        if stacked(path):
            above = leaf.shape[0] + 1 - jnp.arange(leaf.shape[0])
            return decay ** above.reshape(-1, *[1] * (leaf.ndim - 1)).astype(jnp.float32)
        depths = {"pooler": 1, "pooler_norm": 1, "final_norm": 1, FIRST: num_layers + 1, "embeddings": num_layers + 2}
        above = next((depths[name] for name in names(path) if name in depths), 0)
        return jnp.full([1] * leaf.ndim, decay**above, jnp.float32)

    return jax.tree_util.tree_map_with_path(rate, params)
