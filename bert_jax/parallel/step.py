"""The one step body. What differs between layouts is only how sums are added up over devices: the argument `reduce`."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax


class State(NamedTuple):
    """All that training changes. `window` holds the sums since the last log line, so that a resume at any step logs the same."""

    step: jax.Array
    params: Any
    opt_state: Any
    window: dict[str, dict[str, jax.Array]]


def init_state(objective, optimizer, seed: int, pretrained: dict | None = None) -> State:
    """Parameters drawn from the seed, but for those given in `pretrained` under their top names: {"encoder": ...}."""
    params = jax.jit(objective.init)(jax.random.key(seed)) | (pretrained or {})
    return State(jnp.zeros((), jnp.int32), params, jax.jit(optimizer.init)(params), empty_window(objective))


def empty_window(objective) -> dict:
    zeros = lambda names: {name: jnp.zeros((), jnp.float32) for name in names}  # noqa: E731
    count_names = {term.count for term in objective.terms.values()} | {"tokens"}
    return {"sums": zeros(sorted(objective.terms)), "counts": zeros(sorted(count_names)), "step": zeros(("grad_norm", "steps"))}


def window_means(objective, window: dict) -> dict[str, float]:
    """The metrics of a log line, from the window fetched to the host."""
    means = objective.means(window["sums"], window["counts"])
    return {
        name: float(value)
        for name, value in {**means, "grad_norm": window["step"]["grad_norm"] / window["step"]["steps"]}.items()
    }


def make_train_step(objective, optimizer, seed: int, reduce: Callable = lambda tree: tree, device_index: Callable | None = None):
    """(state, batch) -> state.

    Args:
        reduce: adds a pytree of sums over all devices; the identity where one program sees the whole batch.
        device_index: under pmap, the number of the device, so that devices draw different dropout masks.

    Counts are reduced before the gradient is taken: each device differentiates its own sums over the global counts, and adding
    these gradients up is exact however unevenly the masks fall on the devices.
    """

    def step(state: State, batch) -> State:
        counts = reduce(objective.counts(batch))
        rng = jax.random.fold_in(jax.random.key(seed), state.step)
        if device_index is not None:
            rng = jax.random.fold_in(rng, device_index())

        def loss(params):
            sums = objective.sums(params, batch, rng)
            return objective.loss(sums, counts), sums

        gradients, sums = reduce(jax.grad(loss, has_aux=True)(state.params))
        updates, opt_state = optimizer.update(gradients, state.opt_state, state.params)
        now = {
            "sums": sums,
            "counts": counts,
            "step": {"grad_norm": optax.tree.norm(gradients), "steps": jnp.ones((), jnp.float32)},
        }
        window = jax.tree.map(jnp.add, state.window, now)
        return State(state.step + 1, optax.apply_updates(state.params, updates), opt_state, window)

    return step


def make_eval_step(objective, reduce: Callable = lambda tree: tree):
    """(params, batch) -> {"sums", "counts"} over all devices, without dropout."""

    def step(params, batch):
        return reduce({"sums": objective.sums(params, batch, None), "counts": objective.counts(batch)})

    return step
