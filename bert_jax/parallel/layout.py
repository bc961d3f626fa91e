"""Where state and batches live, and how the step is compiled for it: one global program (jit) or one per device (pmap)."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from bert_jax.errors import UserError
from bert_jax.parallel.step import make_eval_step, make_train_step


class Layout(NamedTuple):
    """Functions that hide the number of devices.

    Attributes:
        place_state: host or device state, one copy -> state on all devices.
        place_batch: this process's rows of the batch -> the batch on the devices.
        train_step: (placed state, placed batch) -> placed state; the state given in is used up.
        eval_step: (placed params, placed batch) -> {"sums", "counts"}, read with `single`.
        single: placed pytree -> one copy of it, as saved and logged.
    """

    place_state: Callable
    place_batch: Callable
    train_step: Callable
    eval_step: Callable
    single: Callable


def make_layout(mode: str, objective, optimizer, *, seed: int, batch_size: int, devices=None) -> Layout:
    """Raises UserError when the mode is unknown or the batch does not divide over the devices."""
    devices = list(jax.devices() if devices is None else devices)
    if mode not in LAYOUTS:
        raise UserError("parallel.mode is unknown", got=mode, expected=" or ".join(LAYOUTS))
    if batch_size % len(devices):
        below = batch_size // len(devices) * len(devices)
        raise UserError(
            "train.train_batch_size does not divide over the devices",
            got=f"{batch_size} rows on {len(devices)} devices",
            expected=" or ".join(str(size) for size in (below, below + len(devices)) if size),
        )
    return LAYOUTS[mode](objective, optimizer, seed, devices)


def _jit_layout(objective, optimizer, seed: int, devices) -> Layout:
    """Parameters on every device, rows split over them; XLA adds up the gradients."""
    mesh = jax.make_mesh((len(devices),), ("data",), axis_types=(AxisType.Auto,), devices=devices)
    everywhere, by_row = NamedSharding(mesh, PartitionSpec()), NamedSharding(mesh, PartitionSpec("data"))
    return Layout(
        place_state=lambda state: jax.device_put(state, everywhere),
        place_batch=lambda batch: jax.tree.map(lambda rows: jax.make_array_from_process_local_data(by_row, rows), batch),
        train_step=jax.jit(make_train_step(objective, optimizer, seed), donate_argnums=0, out_shardings=everywhere),
        eval_step=jax.jit(make_eval_step(objective), out_shardings=everywhere),
        single=lambda tree: tree,
    )


def _pmap_layout(objective, optimizer, seed: int, devices) -> Layout:
    """Every device runs its own copy on its own rows and the copies add up sums over the axis "data"."""

    def reduce(tree):
        return jax.lax.psum(tree, "data")

    local = [device for device in devices if device.process_index == jax.process_index()]
    step = make_train_step(objective, optimizer, seed, reduce, device_index=lambda: jax.lax.axis_index("data"))
    return Layout(
        place_state=lambda state: jax.tree.map(lambda x: np.broadcast_to(x, (len(local), *np.shape(x))), state),
        place_batch=lambda batch: jax.tree.map(lambda rows: rows.reshape(len(local), -1, *rows.shape[1:]), batch),
        train_step=jax.pmap(step, axis_name="data", devices=devices, donate_argnums=0),
        eval_step=jax.pmap(make_eval_step(objective, reduce), axis_name="data", devices=devices),
        single=lambda tree: jax.tree.map(lambda x: x[0], tree),
    )


LAYOUTS = {"jit": _jit_layout, "pmap": _pmap_layout}
