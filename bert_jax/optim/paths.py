"""What the path of a parameter says about it. Never its number of axes: stacked layers give a bias two."""

import jax
import jax.numpy as jnp

NO_DECAY = ("bias", "scale")  # biases, and the scales of LayerNorm
STACK = "layers"  # everything under this name has the layer as its first axis


def names(path) -> tuple[str, ...]:
    """The keys of a path of jax.tree_util as plain names."""
    return tuple(entry.key for entry in path)


def decays(params):
    """True where weight decay applies, and LAMB's trust ratio (google-research/bert and albert, optimization.py)."""
    return jax.tree_util.tree_map_with_path(lambda path, _: names(path)[-1] not in NO_DECAY, params)


def stacked(path) -> bool:
    return STACK in names(path)


def depth_rates(params, decay: float):
    """Factor of the learning rate of each parameter, smaller the deeper it lies; with axes that broadcast against the parameter.

    google-research/electra model/optimization.py _get_layer_lrs: the embeddings have decay ** (N + 2), layer i of N has
    decay ** (N + 1 - i), what is put on top of the encoder has 1. The pooler, which ELECTRA lacks, takes the free place: decay.
    """
    depths = {names(path)[0]: leaf.shape[0] for path, leaf in jax.tree_util.tree_leaves_with_path(params) if stacked(path)}

    def rate(path, leaf):
        num_layers = depths.get(names(path)[0], 0)
        if stacked(path):
            above = num_layers + 1 - jnp.arange(num_layers)
            return decay ** above.reshape(-1, *[1] * (leaf.ndim - 1)).astype(jnp.float32)
        above = num_layers + 2 if "embeddings" in names(path) else int("pooler" in names(path))
        return jnp.full([1] * leaf.ndim, decay**above, jnp.float32)

    return jax.tree_util.tree_map_with_path(rate, params)
