"""Structured pruning: the heads of attention and the neurons of the feed-forward layers that matter least to a task are cut out,
in each layer as many, so that what is left is a smaller dense encoder with layers of one shape.

How much one matters is the size of the derivative of the loss by a gate on what it gives out, which is the sum over the tokens of
gradient times output: of each example by itself, then the mean over the examples (heads: Michel et al. 2019, arXiv 1905.10650,
section 4.1; neurons: Molchanov et al. 2017, arXiv 1611.06440, equation 7). Both divide the scores of a layer by their norm, which
decides between layers, and here no layer is compared with another.

A gate before a product multiplies the rows of the kernel that read it. So its derivative is the sum over those rows of weight
times gradient, and encoders of any kind are scored as they are.
"""

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from bert_jax.batch import Context
from bert_jax.errors import UserError
from bert_jax.models.encoder import EncoderConfig
from bert_jax.objectives.objective import Objective


class Parts(NamedTuple):
    """A number for each part of a stack of N layers: its gates, its scores, or the numbers of those that are kept."""

    heads_NH: np.ndarray
    neurons_NF: np.ndarray


def importance(objective: Objective, params: dict, encoder: EncoderConfig, batches: Iterable[dict]) -> dict[str, Parts]:
    """Stack of layers -> how much each part matters: float32, the mean over the rows of all batches.

    Args:
        params: of the objective, {"encoder", ...}.

    Raises:
        UserError: there are no layers, or a row has no loss without the others.
    """
    if not encoder.num_hidden_layers:
        raise UserError("there are no layers to prune", got="model.num_hidden_layers=0")
    if objective.compares_rows:
        raise UserError("the loss compares rows with each other", expected="one of which each row has its own part")

    def loss(gates, params, row):
        gated = params | {"encoder": _with_stacks(params["encoder"], lambda name, stack: _gated(stack, gates[name]))}
        alone = {name: array[None] for name, array in row.items()}
        return objective.loss(objective.sums(gated, alone, Context()), objective.counts(alone))

    @jax.jit
    def of_batch(gates, params, batch):
        by_row = jax.lax.map(lambda row: jax.tree.map(jnp.abs, jax.grad(loss)(gates, params, row)), batch)
        return jax.tree.map(lambda leaf: leaf.sum(0), by_row)

    gates = ones(params["encoder"], encoder)
    total, rows = jax.tree.map(np.zeros_like, gates), 0
    for batch in batches:
        total = jax.tree.map(np.add, total, of_batch(gates, params, batch))
        rows += len(batch["input_ids"])
    return jax.tree.map(lambda leaf: leaf / rows, total)


def ones(encoder_params: dict, encoder: EncoderConfig) -> dict[str, Parts]:
    """Stack of layers -> 1 for each part of it."""
    depths = {name: len(jax.tree.leaves(stack)[0]) for name, stack in _stacks(encoder_params).items()}
    heads, neurons = encoder.num_attention_heads, encoder.intermediate_size
    return {name: Parts(*(np.ones((depth, count), np.float32) for count in (heads, neurons))) for name, depth in depths.items()}


def highest(scores: dict[str, Parts], heads: int, neurons: int) -> dict[str, Parts]:
    """Stack of layers -> the numbers of so many parts of each layer, those with the highest scores, in ascending order."""

    def of(scores_NX, count: int):
        return np.sort(np.argsort(-np.asarray(scores_NX), axis=1, kind="stable")[:, :count], axis=1)

    return {name: Parts(of(stack.heads_NH, heads), of(stack.neurons_NF, neurons)) for name, stack in scores.items()}


def cut(params: dict, encoder: EncoderConfig, kept: dict[str, Parts]) -> tuple[dict, EncoderConfig]:
    """(params, sizes) with these parts of each layer alone.

    Args:
        params: {"encoder", ...}; the others stay as they are.
    """
    heads, neurons = (next(iter(kept.values()))[part].shape[1] for part in (0, 1))
    smaller = replace(encoder, num_attention_heads=heads, head_size=encoder.head_width, intermediate_size=neurons)
    shrunk = _with_stacks(params["encoder"], lambda name, stack: _cut(stack, kept[name], encoder.head_width))
    return params | {"encoder": shrunk}, smaller


def _gated(stack: dict, gates: Parts) -> dict:
    """The layers with each part multiplied by its gate."""
    attention, output = stack["attention"], stack["output"]
    size = attention["output"]["kernel"].shape[1] // gates.heads_NH.shape[1]
    mixed = attention["output"] | {"kernel": attention["output"]["kernel"] * jnp.repeat(gates.heads_NH, size, axis=1)[:, :, None]}
    return stack | {
        "attention": attention | {"output": mixed},
        "output": output | {"kernel": output["kernel"] * gates.neurons_NF[:, :, None]},
    }


def _cut(stack: dict, kept: Parts, head_size: int) -> dict:
    columns_NJ = (kept.heads_NH[:, :, None] * head_size + np.arange(head_size)).reshape(len(kept.heads_NH), -1)
    attention = {name: _columns(stack["attention"][name], columns_NJ) for name in ("query", "key", "value")}
    into = {name: _columns(stack[name], kept.neurons_NF) for name in ("intermediate", "gate") if name in stack}
    return (
        stack
        | into
        | {
            "attention": attention | {"output": _rows(stack["attention"]["output"], columns_NJ)},
            "output": _rows(stack["output"], kept.neurons_NF),
        }
    )


def _columns(dense: dict, kept_NX) -> dict:
    """A layer's kernels [N, I, O] and biases [N, O] with these outputs alone."""
    return {name: np.take_along_axis(leaf, _broadcast(kept_NX, leaf.ndim, -1), axis=-1) for name, leaf in _host(dense).items()}


def _rows(dense: dict, kept_NX) -> dict:
    """The same with these inputs alone."""
    host = _host(dense)
    return host | {"kernel": np.take_along_axis(host["kernel"], _broadcast(kept_NX, 3, 1), axis=1)}


def _host(dense: dict) -> dict:
    return {name: np.asarray(leaf) for name, leaf in dense.items()}


def _broadcast(kept_NX, ndim: int, axis: int):
    shape = [len(kept_NX), *[1] * (ndim - 1)]
    shape[axis] = -1
    return np.reshape(kept_NX, shape)


def _stacks(encoder_params: dict) -> dict[str, dict]:
    """Name -> layers whose tensors have the layer, or the group that shares them, as their first axis."""
    layers = encoder_params["layers"]
    stacks = {"layers": layers.get("block", layers)}  # "block" of a group (models/encoder.py)
    if "first_layer" in encoder_params:
        stacks["first_layer"] = jax.tree.map(lambda leaf: leaf[None], encoder_params["first_layer"])
    return stacks


def _with_stacks(encoder_params: dict, change: Callable[[str, dict], dict]) -> dict:
    """The same with each stack as change(name, stack) gives it."""
    changed = {name: change(name, stack) for name, stack in _stacks(encoder_params).items()}
    if "block" in encoder_params["layers"]:
        changed["layers"] = {"block": changed["layers"]}
    if "first_layer" in changed:
        changed["first_layer"] = jax.tree.map(lambda leaf: leaf[0], changed["first_layer"])
    return encoder_params | changed
