"""How far an update moves each part of a model, on a sample: of the parameters before it no whole copy is kept."""

import jax
import jax.numpy as jnp
import optax
from flax.traverse_util import flatten_dict

MATRICES = ("embedding", "kernel", "recurrent_kernel")  # drawn at random; biases begin at 0, where no update is small
STACKS = ("layers", "first_layer")  # a group each, whatever is in them
ROWS = 64  # of each matrix, evenly spaced


@jax.jit
def sample(params) -> dict[str, list[jax.Array]]:
    """Name of each group -> rows of its matrices; all layers are a group, and each other module is one.

    Params may have any axes before those of a matrix: of layers, of the devices of pmap.
    """
    groups: dict[str, list[jax.Array]] = {}
    for path, leaf in flatten_dict(params).items():
        if path[-1] in MATRICES:
            end = next((place + 1 for place, name in enumerate(path) if name in STACKS), len(path) - 1)
            groups.setdefault("/".join(path[:end]), []).append(leaf[..., :: max(1, leaf.shape[-2] // ROWS), :])
    return groups


@jax.jit
def update_ratios(before: dict[str, list[jax.Array]], params) -> dict[str, jax.Array]:
    """Name of each group -> norm of what changed in it over the norm that it had; 0 where that was 0."""
    after = sample(params)

    def ratio(name: str):
        had = optax.tree.norm(before[name])
        changed = optax.tree.norm(jax.tree.map(jnp.subtract, after[name], before[name]))
        return changed / jnp.where(had > 0, had, 1.0)

    return {name: ratio(name) for name in before}
