"""Magnitude pruning on a schedule, for study: the smallest weights become 0 during training; the matrices keep their shapes."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from bert_jax.errors import UserError
from bert_jax.optim.paths import FIRST, names, stacked
from bert_jax.ranges import BELOW_ONE, require, whole

RANGES = {"sparsity": BELOW_ONE, "begin_step": whole(0), "end_step": whole(1), "every_steps": whole(1)}


class Kept(NamedTuple):
    """Attributes:
    count: int32, updates made.
    masks: true where a weight is not pruned; None for what never is.
    """

    count: jax.Array
    masks: dict


def sparsity_at(step, sparsity: float, begin_step: int, end_step: int):
    """The part that is 0 after so many updates: a cubic from 0 at begin_step to `sparsity` at end_step (Zhu and Gupta 2017, arXiv
    1710.01878, equation 1, with s_i = 0)."""
    done = jnp.clip((step - begin_step) / (end_step - begin_step), 0.0, 1.0)
    return sparsity * (1 - (1 - done) ** 3)


def prune_by_magnitude(sparsity: float, begin_step: int, end_step: int, every_steps: int) -> optax.GradientTransformation:
    """Comes last in a chain: whatever the updates are, what is pruned is 0 after them.

    Of each matrix of each layer of an encoder, its smallest weights are chosen anew every so many updates; one that is 0 is among
    them, and so stays. Embeddings, biases, norms and what is on top of the layers are left alone.

    Args:
        sparsity: the part of each matrix that is 0 from end_step on.
    """
    values = {"sparsity": sparsity, "begin_step": begin_step, "end_step": end_step, "every_steps": every_steps}
    require("optim.magnitude", values, RANGES)
    if begin_step >= end_step:
        raise UserError("optim.magnitude.end_step is not after begin_step", got=end_step, expected=f"more than {begin_step}")

    def masked(path) -> bool:
        return (stacked(path) or FIRST in names(path)) and names(path)[-1] == "kernel"

    def init(params):
        ones = lambda path, leaf: jnp.ones(leaf.shape, bool) if masked(path) else None  # noqa: E731
        return Kept(jnp.zeros((), jnp.int32), jax.tree_util.tree_map_with_path(ones, params))

    def update(updates, state, params):
        count = state.count + 1
        new = optax.apply_updates(params, updates)
        part = sparsity_at(count, sparsity, begin_step, end_step)

        def anew(path, leaf):
            return largest(leaf, part, stack=stacked(path)) if masked(path) else None

        is_time = (count >= begin_step) & (count <= end_step) & ((count % every_steps == 0) | (count == end_step))
        masks = jax.lax.cond(is_time, lambda: jax.tree_util.tree_map_with_path(anew, new), lambda: state.masks)
        kept = lambda mask, update, leaf: update if mask is None else jnp.where(mask, update, -leaf)  # noqa: E731
        return jax.tree.map(kept, masks, updates, params, is_leaf=lambda leaf: leaf is None), Kept(count, masks)

    return optax.GradientTransformation(init, update)


def largest(weights, part, *, stack: bool):
    """False for this part, rounded down, of the weights of each matrix, those nearest to 0; of a stack the first axis is the
    matrix."""
    rows = jnp.abs(weights).reshape(weights.shape[0] if stack else 1, -1)
    ranks = jnp.argsort(jnp.argsort(rows, axis=1), axis=1)
    return (ranks >= jnp.floor(part * rows.shape[1])).reshape(weights.shape)
