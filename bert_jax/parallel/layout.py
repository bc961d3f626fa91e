"""Where state and batches live, and how the step is compiled for it: one global program (jit) or one per device (pmap)."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import flax.linen as nn
import jax
import numpy as np
from jax.experimental import mesh_utils
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from bert_jax.errors import UserError
from bert_jax.parallel.rules import gather_tables, shardings
from bert_jax.parallel.step import make_eval_step, make_train_step

ROWS = ("data", "fsdp")  # the mesh axes over which the rows of a batch are split
SPLIT_BY_ROW = ("LayerNorm",)  # modules whose output has the rows of the batch as its first axis


class Layout(NamedTuple):
    """Functions that hide the number of devices and of processes.

    Attributes:
        place_state: host or device state (or its params alone, or a window), one copy -> the same on all devices.
        place_batch: this process's rows of the batch -> the batch on the devices.
        train_step: (placed state, placed batch, placed frozen parameters if any) -> placed state; the state given in is used up.
        eval_step: (placed params, placed batch, the same) -> {"sums", "counts"}, read with `single`.
        single: placed pytree -> one copy of it, as saved and logged; where there are several processes, all must call it.
        abstract: (state, batch over all processes), as shapes -> the shapes with their places, to lower train_step without data.
    """

    place_state: Callable
    place_batch: Callable
    train_step: Callable
    eval_step: Callable
    single: Callable
    abstract: Callable


class _Seeded(NamedTuple):
    """The compiled step with its seed: called, and lowered, without it."""

    step: Callable
    seed: np.uint32

    def __call__(self, state, batch, frozen=None):
        return self.step(state, batch, frozen, self.seed)

    def lower(self, state, batch, frozen=None):
        return self.step.lower(state, batch, frozen, self.seed)


def make_layout(
    mode: str,
    objective,
    optimizer,
    *,
    seed: int,
    batch_size: int,
    later_batch_sizes: Sequence[int] = (),
    fsdp: int = 1,
    tensor: int = 1,
    accumulate: int = 1,
    devices=None,
) -> Layout:
    """
    Args:
        mode: of LAYOUTS.
        batch_size: rows over all devices and micro-batches.
        later_batch_sizes: the same, of later phases of one run.
        fsdp: over how many devices each parameter is spread, rows being split over them too; mode jit only.
        tensor: over how many devices each matrix product is split; mode jit only.
        accumulate: micro-batches, one after another, to each update.

    Raises:
        UserError: the mode is unknown, or devices or batch do not divide.
    """
    devices = list(jax.devices() if devices is None else devices)
    batch_sizes = (batch_size, *later_batch_sizes)
    check_layout(mode, objective, devices, batch_sizes, fsdp=fsdp, tensor=tensor, accumulate=accumulate)
    return LAYOUTS[mode](objective, optimizer, seed, devices, fsdp, tensor, accumulate)


def check_layout(
    mode: str, objective, devices: Sequence, batch_sizes: Sequence[int], *, fsdp: int, tensor: int, accumulate: int
) -> None:
    """Raises UserError as make_layout does; of the devices only their number on each process is looked at."""
    if accumulate > 1 and objective.compares_rows:
        raise UserError(
            "this objective compares all rows of a batch, so that micro-batches would be another loss",
            got=f"train.accumulate={accumulate}",
            expected="1",
            fix="set train.accumulate=1, and a smaller train.train_batch_size or model.remat=full to save memory",
        )
    check_mesh(mode, devices, batch_sizes, fsdp, tensor, accumulate)


def check_mesh(mode: str, devices: Sequence, batch_sizes: Sequence[int], fsdp: int, tensor: int, accumulate: int) -> None:
    """What check_layout says of any objective; batch_sizes are those of all phases."""
    if mode not in LAYOUTS:
        raise UserError("parallel.mode is unknown", got=mode, expected=" or ".join(LAYOUTS))
    if mode == "pmap" and (fsdp, tensor) != (1, 1):
        raise UserError(
            "parallel.mode=pmap keeps all parameters on every device",
            got=f"parallel.fsdp={fsdp}, parallel.tensor={tensor}",
            expected="1 and 1, or parallel.mode=jit",
        )
    _check_devices(devices, fsdp, tensor, accumulate)
    for number, size in enumerate(batch_sizes):
        name = f"data.later_phases[{number - 1}]" if number else "train.train_batch_size"
        _check_divides(name, size, len(devices) // tensor, accumulate)


def _check_devices(devices: Sequence, fsdp: int, tensor: int, accumulate: int) -> None:
    if min(fsdp, tensor, accumulate) < 1 or len(devices) % (fsdp * tensor):
        raise UserError(
            "the devices do not divide into parallel.fsdp times parallel.tensor",
            got=f"{len(devices)} devices, parallel.fsdp={fsdp}, parallel.tensor={tensor}, train.accumulate={accumulate}",
            expected="a product that divides the number of devices, and nothing below 1",
        )
    hosts = len({device.process_index for device in devices})
    if (len(devices) // hosts) % tensor:
        raise UserError(
            "parallel.tensor reaches over more than one host",
            got=f"{tensor}, with {len(devices) // hosts} devices on each host",
            expected="a divisor of the devices of a host",
        )


def _check_divides(name: str, batch_size: int, split: int, accumulate: int) -> None:
    """split: over how many devices the rows are spread."""
    parts = split * accumulate
    if batch_size % parts:
        below = batch_size // parts * parts
        cut = f" in {accumulate} micro-batches" if accumulate > 1 else ""
        raise UserError(
            f"{name} does not divide over the devices",
            got=f"{batch_size} rows on {split} devices{cut}",
            expected=" or ".join(str(size) for size in (below, below + parts) if size),
        )


def _jit_layout(objective, optimizer, seed: int, devices, fsdp: int, tensor: int, accumulate: int) -> Layout:
    """One program over a mesh of (data, fsdp, tensor): rows split over the first two, parameters by `rules`; XLA adds up."""
    sizes = (len(devices) // (fsdp * tensor), fsdp, tensor)
    # A slice of 4 x 4 chips has no axis of 8 or of 2: such meshes cut one of its own.
    placed = mesh_utils.create_device_mesh(sizes, devices, allow_split_physical_axes=True)
    mesh = Mesh(placed, ("data", "fsdp", "tensor"), axis_types=(AxisType.Auto,) * 3)
    everywhere, by_row = NamedSharding(mesh, PartitionSpec()), NamedSharding(mesh, PartitionSpec(ROWS))
    objective = _on_mesh(objective, mesh)
    step = make_train_step(objective, optimizer, accumulate=accumulate)

    def train_step(state, batch, frozen, seed):
        state = step(state, batch, frozen, seed)
        return jax.tree.map(jax.lax.with_sharding_constraint, state, shardings(state, mesh))

    gather = jax.jit(lambda leaf: leaf, out_shardings=everywhere)

    def abstract(tree, by):
        return jax.tree.map(lambda leaf, place: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=place), tree, by)

    return Layout(
        place_state=lambda state: jax.tree.map(_place, state, shardings(state, mesh)),
        place_batch=lambda batch: jax.tree.map(lambda rows: jax.make_array_from_process_local_data(by_row, rows), batch),
        train_step=_Seeded(jax.jit(train_step, donate_argnums=0), np.uint32(seed % 2**32)),
        eval_step=jax.jit(make_eval_step(objective), out_shardings=everywhere),
        single=lambda tree: jax.tree.map(lambda leaf: _whole(leaf, gather), tree),
        abstract=lambda state, batch: (
            abstract(state, shardings(state, mesh)),
            abstract(batch, jax.tree.map(lambda _: by_row, batch)),
        ),
    )


def _on_mesh(objective, mesh: Mesh):
    """The objective, computed with what the modules of SPLIT_BY_ROW give out held split by rows, whatever XLA would guess.

    Without it XLA moves activations between a split by rows and one by width in every layer: twice as many gathers were seen, and
    three times the temporary memory.
    """
    by_row = NamedSharding(mesh, PartitionSpec(ROWS))

    def hold(call, args, kwargs, context):
        out = call(*args, **kwargs)
        held = type(context.module).__name__ in SPLIT_BY_ROW and context.method_name == "__call__"
        return jax.lax.with_sharding_constraint(out, by_row) if held else out

    def sums(params, batch, context):
        with nn.intercept_methods(hold):
            gathered = context._replace(frozen=gather_tables(context.frozen, mesh))
            return objective.sums(gather_tables(params, mesh), batch, gathered)

    return objective._replace(sums=sums)


def _whole(leaf: jax.Array, gather: Callable):
    """The array itself where this process can read all of it, else a copy on the host, gathered from all processes."""
    readable = leaf.is_fully_addressable or leaf.is_fully_replicated
    return leaf if readable else np.asarray(gather(leaf))


def _place(leaf, sharding: NamedSharding) -> jax.Array:
    if sharding.is_fully_addressable:
        return jax.device_put(leaf, sharding)
    host = np.asarray(leaf)
    return jax.make_array_from_callback(host.shape, sharding, lambda index: host[index])


def _pmap_layout(objective, optimizer, seed: int, devices, fsdp: int, tensor: int, accumulate: int) -> Layout:
    """Every device runs its own copy on its own rows and the copies add up sums over the axis "data"."""
    del fsdp, tensor  # 1, as make_layout has checked

    def reduce(tree):
        return jax.lax.psum(tree, "data")

    def gather(rows):
        return jax.lax.all_gather(rows, "data", tiled=True)

    def copied(leaf):
        return jax.ShapeDtypeStruct((len(devices), *leaf.shape), leaf.dtype)

    def cut(rows):
        return jax.ShapeDtypeStruct((len(devices), rows.shape[0] // len(devices), *rows.shape[1:]), rows.dtype)

    local = [device for device in devices if device.process_index == jax.process_index()]
    mesh = jax.make_mesh((len(local),), ("data",), axis_types=(AxisType.Auto,), devices=local)
    on_each = NamedSharding(mesh, PartitionSpec("data"))  # as pmap gives its results: other places would be compiled for anew
    step = make_train_step(objective, optimizer, reduce, lambda: jax.lax.axis_index("data"), accumulate, gather)
    train_step = jax.pmap(step, axis_name="data", in_axes=(0, 0, 0, None), devices=devices, donate_argnums=0)
    return Layout(
        place_state=lambda state: jax.tree.map(
            lambda x: jax.device_put(np.broadcast_to(x, (len(local), *np.shape(x))), on_each), state
        ),
        place_batch=lambda batch: jax.tree.map(lambda rows: rows.reshape(len(local), -1, *rows.shape[1:]), batch),
        train_step=_Seeded(train_step, np.uint32(seed % 2**32)),
        eval_step=jax.pmap(make_eval_step(objective, reduce, gather), axis_name="data", devices=devices),
        single=lambda tree: jax.tree.map(lambda x: x.addressable_data(0)[0], tree),  # x[0] asks all devices, for each array
        abstract=lambda state, batch: (jax.tree.map(copied, state), jax.tree.map(cut, batch)),
    )


LAYOUTS = {"jit": _jit_layout, "pmap": _pmap_layout}
