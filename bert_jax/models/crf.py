"""A conditional random field over the tags of a sentence, a chain (Lafferty, McCallum and Pereira 2001, ICML).

The score of a path of tags is the sum of its emissions, of a transition for each word and the one before it, and of scores for
its first and its last tag (Lample et al. 2016, arXiv 1603.01360, section 2.2). Everything is float32 and in logarithms.

All functions take emissions_BLC; mask_BL, true at the places that carry a word: what lies between, before and behind them is
passed over; transitions_CC, from a tag (row) to the next (column); start_C and end_C. A row without words has one path, the
empty one, of score 0.
"""

import jax
import jax.numpy as jnp


def log_partition(emissions_BLC, mask_BL, transitions_CC, start_C, end_C) -> jax.Array:
    """float32[B]: the logarithm of the sum over all paths of exp(score), in nats."""

    def step(state, place):
        (alpha_BC, begun_B1), (emission_BC, there_B1) = state, place
        onward_BC = jax.nn.logsumexp(alpha_BC[:, :, None] + transitions_CC[None], axis=1)
        new_BC = jnp.where(begun_B1, onward_BC, start_C[None]) + emission_BC
        return (jnp.where(there_B1, new_BC, alpha_BC), begun_B1 | there_B1), None

    (alpha_BC, begun_B1), _ = jax.lax.scan(step, _nothing_yet(emissions_BLC), _by_place(emissions_BLC, mask_BL))
    return jnp.where(begun_B1[:, 0], jax.nn.logsumexp(alpha_BC + end_C[None], axis=1), 0.0)


def path_score(tags_BL, emissions_BLC, mask_BL, transitions_CC, start_C, end_C) -> jax.Array:
    """float32[B]: the score of the path of these tags, int; what they are elsewhere than at words makes no difference."""
    mask_BL = mask_BL.astype(bool)
    is_tag_BLC = jax.nn.one_hot(tags_BL, emissions_BLC.shape[-1], dtype=bool) & mask_BL[:, :, None]
    emitted_B = jnp.sum(jnp.where(is_tag_BLC, emissions_BLC.astype(jnp.float32), 0.0), axis=(1, 2))
    last_BL = jax.lax.cummax(jnp.where(mask_BL, jnp.arange(mask_BL.shape[1])[None], -1), axis=1)  # the word here or before
    before_BL = jnp.pad(last_BL[:, :-1], ((0, 0), (1, 0)), constant_values=-1)
    tags_before_BL = jnp.take_along_axis(tags_BL, jnp.maximum(before_BL, 0), axis=1)
    moved_BL = jnp.where(before_BL >= 0, transitions_CC[tags_before_BL, tags_BL], start_C[tags_BL])
    ended_B = end_C[jnp.take_along_axis(tags_BL, jnp.maximum(last_BL[:, -1:], 0), axis=1)[:, 0]]
    return emitted_B + jnp.sum(jnp.where(mask_BL, moved_BL, 0.0), axis=1) + jnp.where(last_BL[:, -1] >= 0, ended_B, 0.0)


def viterbi(emissions_BLC, mask_BL, transitions_CC, start_C, end_C) -> tuple[jax.Array, jax.Array]:
    """(int32[B, L], float32[B]): the best path, 0 elsewhere than at words, and its score (Viterbi 1967, IEEE Transactions on
    Information Theory 13(2)). Of equally good tags the first."""
    stay_1C = jnp.arange(emissions_BLC.shape[-1])[None]

    def step(state, place):
        (best_BC, begun_B1), (emission_BC, there_B1) = state, place
        onward_BCC = best_BC[:, :, None] + transitions_CC[None]
        new_BC = jnp.where(begun_B1, onward_BCC.max(axis=1), start_C[None]) + emission_BC
        came_from_BC = jnp.where(begun_B1 & there_B1, onward_BCC.argmax(axis=1), stay_1C)
        return (jnp.where(there_B1, new_BC, best_BC), begun_B1 | there_B1), came_from_BC

    def back(tag_B, came_from_BC):
        return jnp.take_along_axis(came_from_BC, tag_B[:, None], axis=1)[:, 0], tag_B

    (best_BC, begun_B1), came_from_LBC = jax.lax.scan(step, _nothing_yet(emissions_BLC), _by_place(emissions_BLC, mask_BL))
    ended_BC = best_BC + end_C[None]
    _, tags_LB = jax.lax.scan(back, ended_BC.argmax(axis=1), came_from_LBC, reverse=True)
    tags_BL = jnp.where(mask_BL.astype(bool), tags_LB.T, 0).astype(jnp.int32)
    return tags_BL, jnp.where(begun_B1[:, 0], ended_BC.max(axis=1), 0.0)


def marginals(emissions_BLC, mask_BL, transitions_CC, start_C, end_C) -> jax.Array:
    """float32[B, L, C]: the probability of each tag at each word, over all paths; 0 elsewhere.

    They are the derivatives of the log partition by the emissions.
    """

    def total(emissions_BLC):
        return jnp.sum(log_partition(emissions_BLC, mask_BL, transitions_CC, start_C, end_C))

    return jax.grad(total)(emissions_BLC.astype(jnp.float32))


def _nothing_yet(emissions_BLC) -> tuple[jax.Array, jax.Array]:
    """(scores of the paths up to here by their last tag, whether there was a word)."""
    batch, _, classes = emissions_BLC.shape
    return jnp.zeros((batch, classes), jnp.float32), jnp.zeros((batch, 1), bool)


def _by_place(emissions_BLC, mask_BL) -> tuple[jax.Array, jax.Array]:
    return jnp.moveaxis(emissions_BLC.astype(jnp.float32), 1, 0), mask_BL.astype(bool).T[:, :, None]
