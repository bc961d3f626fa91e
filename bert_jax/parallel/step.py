"""The one step body. What differs between layouts is only how sums are added up over devices: the argument `reduce`."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax.traverse_util import flatten_dict, unflatten_dict

from bert_jax.batch import Context

FOR_ROWS = 2**32 - 1  # a number that neither a device nor a micro-batch has


class State(NamedTuple):
    """All that training changes.

    Attributes:
        step: int32, updates tried.
        updates: int32, updates made: the schedule of the learning rate stands there.
        skipped: int32, how many of the last steps in a row were skipped because loss or gradient was not finite.
        window: sums since the last log line, so that a resume at any step logs the same. Of its "step" sums, "steps" counts
            the updates made and "skipped" those that were not; a skipped step enters no other sum or count.
    """

    step: jax.Array
    updates: jax.Array
    skipped: jax.Array
    params: Any
    opt_state: Any
    window: dict[str, dict[str, jax.Array]]


def init_state(objective, optimizer, seed: int, pretrained: dict | None = None) -> State:
    """Parameters drawn from the seed, but for those given in `pretrained`: {"encoder": {"layers": ..., ...}}."""
    params = jax.jit(objective.init)(jax.random.key(seed))
    params = unflatten_dict(flatten_dict(params) | flatten_dict(pretrained or {}))
    step, updates, skipped = (jnp.zeros((), jnp.int32) for _ in range(3))  # a buffer each: train_step uses them all up
    return State(step, updates, skipped, params, jax.jit(optimizer.init)(params), empty_window(objective))


def empty_window(objective) -> dict:
    zeros = lambda names: {name: jnp.zeros((), jnp.float32) for name in names}  # noqa: E731
    count_names = {term.count for term in objective.terms.values()} | {"tokens"}
    step_names = ("grad_norm", "skipped", "steps")
    return {"sums": zeros(sorted(objective.terms)), "counts": zeros(sorted(count_names)), "step": zeros(step_names)}


def window_means(objective, window: dict) -> dict[str, float]:
    """The metrics of a log line, from the window fetched to the host; NaN where no step of the window made an update."""
    means = objective.means(window["sums"], window["counts"])
    steps = float(window["step"]["steps"])
    if not steps:
        return dict.fromkeys([*means, "grad_norm"], float("nan"))
    return {name: float(value) for name, value in {**means, "grad_norm": window["step"]["grad_norm"] / steps}.items()}


def make_train_step(
    objective,
    optimizer,
    seed: int,
    reduce: Callable = lambda tree: tree,
    device_index: Callable | None = None,
    accumulate: int = 1,
    gather: Callable = lambda rows: rows,
):
    """(state, batch, frozen parameters or None) -> state.

    Args:
        reduce: adds a pytree of sums over all devices; the identity where one program sees the whole batch.
        device_index: under pmap, the number of the device, so that devices draw different dropout masks.
        accumulate: into how many micro-batches the batch is cut, whose gradients are added up one after another.
        gather: rows of this device -> the rows of all devices.

    Counts are reduced before the gradient is taken: each micro-batch of each device differentiates its own sums over the global
    counts, and adding these gradients up is exact however unevenly the masks fall.
    """

    def step(state: State, batch, frozen=None) -> State:
        counts = reduce(objective.counts(batch))
        rng = jax.random.fold_in(jax.random.key(seed), state.step)
        context = Context(row_rng=jax.random.fold_in(rng, FOR_ROWS), frozen=frozen, gather=gather)
        if device_index is not None:
            rng = jax.random.fold_in(rng, device_index())

        def loss(params, rows, rng):
            sums = objective.sums(params, rows, context._replace(rng=rng))
            return objective.loss(sums, counts), sums

        def gradient(rows, rng):
            return jax.grad(loss, has_aux=True)(state.params, rows, rng)

        gradients, sums = reduce(_add_up(gradient, batch, rng, accumulate))
        return _update(objective, optimizer, state, gradients, sums, counts)

    return step


def _add_up(gradient: Callable, batch, rng, accumulate: int):
    """The sum of gradient(rows, rng) over micro-batches.

    Micro-batch m is rows m, m + accumulate, ...: where the rows are spread over devices, each device cuts up its own.
    """
    if accumulate == 1:
        return gradient(batch, rng)
    micro_batches = jax.tree.map(lambda rows: rows.reshape(-1, accumulate, *rows.shape[1:]).swapaxes(0, 1), batch)
    first = jax.tree.map(lambda rows: rows[0], micro_batches)
    zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), jax.eval_shape(gradient, first, rng))

    def add(total, numbered):
        index, rows = numbered
        return jax.tree.map(jnp.add, total, gradient(rows, jax.random.fold_in(rng, index))), None

    return jax.lax.scan(add, zeros, (jnp.arange(accumulate), micro_batches))[0]


def _update(objective, optimizer, state: State, gradients, sums, counts) -> State:
    """The next state; where loss or gradient is not finite only `step`, `skipped` and the window's "skipped" move on."""
    grad_norm = optax.tree.norm(gradients)
    finite = jnp.isfinite(objective.loss(sums, counts)) & jnp.isfinite(grad_norm)  # one inf or NaN makes the norm one

    def updated(params, opt_state):
        updates, opt_state = optimizer.update(gradients, opt_state, params)
        return optax.apply_updates(params, updates), opt_state

    # A branch, not a choice between arrays: for that XLA would copy the moments first, to have old and new at once.
    params, opt_state = jax.lax.cond(finite, updated, lambda *same: same, state.params, state.opt_state)
    one, zero = jnp.ones((), jnp.float32), jnp.zeros((), jnp.float32)
    now = {"sums": sums, "counts": counts, "step": {"grad_norm": grad_norm, "skipped": zero, "steps": one}}
    nothing = jax.tree.map(jnp.zeros_like, now)
    nothing["step"]["skipped"] = one
    counted = jax.tree.map(lambda yes, no: jnp.where(finite, yes, no), now, nothing)
    return State(
        step=state.step + 1,
        updates=state.updates + finite,
        skipped=jnp.where(finite, 0, state.skipped + 1),
        params=params,
        opt_state=opt_state,
        window=jax.tree.map(jnp.add, state.window, counted),
    )


def evaluation(frozen=None, gather: Callable = lambda rows: rows) -> Context:
    """Without dropout, and with the same draws at each time."""
    return Context(row_rng=jax.random.key(FOR_ROWS), frozen=frozen, gather=gather)


def make_eval_step(objective, reduce: Callable = lambda tree: tree, gather: Callable = lambda rows: rows):
    """(params, batch, frozen parameters or None) -> {"sums", "counts"} over all devices, without dropout."""

    def step(params, batch, frozen=None):
        return reduce({"sums": objective.sums(params, batch, evaluation(frozen, gather)), "counts": objective.counts(batch)})

    return step
