"""What a traced program needs, before anyone compiles it: operations of products, memory at its fullest moment, bytes moved.

Only what a compiler has to store is counted. XLA computes what is elementwise, and what only changes a shape or a dtype, where it
is read ("fusion"), so such values take no memory of their own: what they are made of stays until they have been read. What the
operations in STORED give is stored, and so is what a loop takes in and carries on. What a loop stacks up for the backward pass is
written where it will stay. Weights that a loop only reads in another dtype are converted once, before it. These are the choices
of XLA for TPU (libtpu 0.0.42), read off its compiled steps; experiments/proofs/plans.py holds the sums against it.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from jax.extend.core import Jaxpr, Literal

LOOPS = ("scan", "while", "cond")
STORED = frozenset(
    "dot_general conv_general_dilated gather scatter scatter-add reduce_sum reduce_max reduce_min argmax argmin "
    "random_bits threefry2x32 sort top_k cumsum".split()
).union(LOOPS)
DRAWN = frozenset(["random_bits", "threefry2x32"])
KINDS = WEIGHTS, GRADIENTS, KEPT, WORKING = "weights", "gradients", "kept", "working"


class Place(NamedTuple):
    """Of an argument: what part of it lies on one device, and whether products with it are split over "tensor"."""

    share: float = 1.0
    split: bool = False


class Needs(NamedTuple):
    """
    Attributes:
        flops: of products of matrices, a multiplication and an addition being two operations.
        stored: KINDS -> bytes at the moment at which most is stored, but for the arguments: weights in the dtype that products
            take them in, gradients, what the forward pass keeps for the backward pass, and all else.
        moved: bytes read and written outside loops, of the arguments too. What a loop makes and uses itself may never leave the
            chip's own memory.
        summed: bytes of products whose parts are added up over "tensor".
    """

    flops: int
    stored: dict[str, int]
    moved: int
    summed: int


def needs(jaxpr: Jaxpr, places: Sequence[Place], gradient_places: Mapping[tuple, Place], tensor: int = 1) -> Needs:
    """
    Args:
        jaxpr: the program of one device, traced with that device's rows and with whole parameters. Its results take the place of
            its arguments.
        places: of its arguments.
        gradient_places: shape of each parameter -> its place: float32 values of these shapes are gradients.
        tensor: over how many devices products are split; its flops are those of all of them.
    """
    program = _program(jaxpr)
    for value, place in zip(program.arguments, places, strict=True):
        value.share, value.split = place
    _place(program.ops, gradient_places, tensor)
    stored = _fullest(program, frozenset(program.outs))
    flops, summed = _total(program.ops, _product_flops), _total(program.ops, _summed)
    return Needs(flops, {kind: round(size) for kind, size in stored.items()}, round(_moved(program)), summed)


@dataclass(eq=False)
class _Value:
    shape: tuple[int, ...]
    itemsize: int
    kind: str = WORKING
    share: float = 1.0
    split: bool = False
    drawn: bool = False  # made of random numbers alone

    @property
    def size(self) -> float:
        return math.prod(self.shape) * self.itemsize * self.share


class _Op(NamedTuple):
    name: str
    ins: list[_Value]
    outs: list[_Value]
    params: Mapping
    bodies: list  # programs: of a loop its body, of a condition its branches


class _Program(NamedTuple):
    arguments: list[_Value]
    ops: list[_Op]
    outs: list[_Value]


def _program(jaxpr: Jaxpr) -> _Program:
    arguments = [_value(var) for var in jaxpr.invars]
    ops: list[_Op] = []
    return _Program(arguments, ops, _write_out(jaxpr, arguments, ops))


def _value(var) -> _Value:
    return _Value(tuple(var.aval.shape), getattr(var.aval.dtype, "itemsize", 8))  # a key of jax.random has two words


def _write_out(jaxpr: Jaxpr, arguments: list[_Value], ops: list[_Op]) -> list[_Value]:
    """Adds the operations, with all calls written out, and gives the results."""
    known = dict(zip(jaxpr.invars, arguments)) | {var: _value(var) for var in jaxpr.constvars}
    values = lambda variables: [_value(var) if isinstance(var, Literal) else known[var] for var in variables]  # noqa: E731
    for eqn in jaxpr.eqns:
        name, params = eqn.primitive.name, eqn.params
        called = next((params[key] for key in ("jaxpr", "call_jaxpr", "fun_jaxpr") if key in params), None)
        if called is not None and name not in LOOPS:
            outs = _write_out(getattr(called, "jaxpr", called), values(eqn.invars), ops)
        else:
            inner = {"scan": ("jaxpr",), "while": ("body_jaxpr",)}.get(name, ())
            bodies = [_program(params[key].jaxpr) for key in inner]
            bodies += [_program(branch.jaxpr) for branch in params["branches"]] if name == "cond" else []
            outs = [_value(var) for var in eqn.outvars]
            ops.append(_Op(name, values(eqn.invars), outs, params, bodies))
        known |= dict(zip(eqn.outvars, outs))
    return values(jaxpr.outvars)


def _place(ops: Sequence[_Op], gradients: Mapping[tuple, Place], tensor: int) -> None:
    """Sets kind, share and split of every value."""

    def set_(value: _Value, split: bool, kind: str = WORKING) -> None:
        if value.shape and value.shape in gradients and value.itemsize == 4:
            value.kind, (value.share, value.split) = GRADIENTS, gradients[value.shape]
        else:
            value.kind, value.split = kind, split and bool(value.shape)
            value.share = 1 / tensor if value.split else 1.0

    for op in ops:
        if op.name != "scan":
            for out in op.outs:
                set_(out, _is_split(op))
                out.drawn = op.name in DRAWN or any(value.drawn for value in op.ins) and _nothing_else(op)
            continue
        (body,), first_stacked = op.bodies, op.params["num_carry"]
        for outer, inner in zip(op.ins, body.arguments):
            inner.split, inner.share = outer.split, outer.share
        _place(body.ops, gradients, tensor)
        for number, (inner, outer) in enumerate(zip(body.outs, op.outs)):
            set_(outer, inner.split, KEPT if number >= first_stacked else WORKING)
    for op in reversed(ops):  # random numbers are drawn where what is split reads them
        for value in op.ins if any(out.split for out in op.outs) else ():
            if value.drawn and value.shape and not value.split:
                value.split, value.share = True, 1 / tensor


def _nothing_else(op: _Op) -> bool:
    return op.name not in STORED and all(value.drawn or not value.shape for value in op.ins)


def _is_split(op: _Op) -> bool:
    """Of a product where both operands are split, what is split is summed over, unless it is an axis of batches, as the heads of
    attention. Rows that are looked up in a split table are added up too: all devices but one have none of them."""
    split = [value.split for value in op.ins]
    if op.name == "gather":
        return False
    return any(split) and (op.name != "dot_general" or not all(split) or bool(_batch_axes(op)))


def _batch_axes(op: _Op) -> tuple[int, ...]:
    return op.params["dimension_numbers"][1][0]


def _total(ops: Iterable[_Op], cost: Callable[[_Op], int]) -> int:
    """Of the products, those in loops as often as they are computed, of a condition those of the dearest branch."""
    total = 0
    for op in ops:
        if op.name == "dot_general":
            total += cost(op)
        elif op.bodies:
            total += op.params.get("length", 1) * max(_total(body.ops, cost) for body in op.bodies)
    return total


def _product_flops(op: _Op) -> int:
    (summed, _), _ = op.params["dimension_numbers"]
    return 2 * math.prod(op.outs[0].shape) * math.prod(op.ins[0].shape[axis] for axis in summed)


def _summed(op: _Op) -> int:
    is_summed = all(value.split for value in op.ins) and not _batch_axes(op)
    return round(op.outs[0].size) if is_summed else 0


def _fullest(program: _Program, elsewhere: frozenset) -> dict[str, float]:
    """kind -> bytes at the moment at which most is stored.

    Args:
        elsewhere: values that are stored, but counted by others: arguments always are.
    """
    elsewhere = elsewhere.union(program.arguments)
    _, born, dies = _lives(program)
    changes: dict[int, list[tuple[str, float]]] = {}
    for value, when in born.items():
        if value not in elsewhere and value in dies:
            changes.setdefault(when, []).append((value.kind, value.size))
            changes.setdefault(dies[value] + 1, []).append((value.kind, -value.size))
    for size, first, last in _hoisted(program.ops).values():
        changes.setdefault(first, []).append((WEIGHTS, size))
        changes.setdefault(last + 1, []).append((WEIGHTS, -size))
    now, fullest = dict.fromkeys(KINDS, 0.0), dict.fromkeys(KINDS, 0.0)
    for moment in range(len(program.ops) + 1):
        for kind, size in changes.get(moment, ()):
            now[kind] += size
        inner = dict.fromkeys(KINDS, 0.0)
        if moment < len(program.ops) and program.ops[moment].name in ("scan", "while"):
            op = program.ops[moment]
            (body,), carried = op.bodies, op.params.get("num_carry", len(op.outs))
            inner = _fullest(body, frozenset(body.outs[carried:]))
        if sum(now.values()) + sum(inner.values()) > sum(fullest.values()):
            fullest = {kind: now[kind] + inner[kind] for kind in KINDS}
    return fullest


def _lives(program: _Program) -> tuple[dict, dict, dict]:
    """(what stored values each value is made of, when each of these is made, when it is last read), in numbers of operations."""
    end = len(program.ops)
    made_of, born = {value: frozenset([value]) for value in program.arguments}, {}
    for number, op in enumerate(program.ops):
        if op.name in ("scan", "while"):  # its operands are stored, and what it carries takes their place
            for value in op.ins:
                if made_of.setdefault(value, frozenset()) != {value} and value not in born:
                    made_of[value], born[value] = frozenset([value]), number
            carried = op.params.get("num_carry", len(op.outs))
            for place, out in enumerate(op.outs):
                made_of[out], born[out] = frozenset([out]), number + (place < carried)
        elif op.name in STORED:
            for out in op.outs:
                made_of[out], born[out] = frozenset([out]), number
        else:
            sources = frozenset().union(*(made_of.get(value, ()) for value in op.ins))
            made_of |= dict.fromkeys(op.outs, sources)
    dies = {}
    for number, op in enumerate(program.ops):
        if op.name in STORED:
            for source in frozenset().union(*(made_of.get(value, ()) for value in op.ins)):
                dies[source] = number
    for out in program.outs:
        dies |= dict.fromkeys(made_of.get(out, ()), end)
    return made_of, born, dies


def _hoisted(ops: Sequence[_Op]) -> dict[_Value, tuple[float, int, int]]:
    """argument of loops, of which only a copy in a smaller dtype is read -> (bytes of it, first loop, last loop)."""
    found: dict[_Value, tuple[float, int, int]] = {}
    for number, op in enumerate(ops):
        for outer, inner in zip(op.ins, op.bodies[0].arguments) if op.name == "scan" else ():
            readers = [reader for reader in op.bodies[0].ops if inner in reader.ins]
            itemsizes = {
                reader.outs[0].itemsize if reader.name == "convert_element_type" else inner.itemsize for reader in readers
            }
            if itemsizes and max(itemsizes) < inner.itemsize:
                _, first, _ = found.get(outer, (0, number, 0))
                found[outer] = (outer.size * max(itemsizes) / inner.itemsize, first, number)
    return found


def _moved(program: _Program) -> float:
    made_of, _, _ = _lives(program)
    total = 0.0
    for op in program.ops:
        if op.name in STORED:
            sources = frozenset().union(*(made_of.get(value, ()) for value in op.ins))
            total += sum(value.size for value in sources) + sum(value.size for value in op.outs)
    return total
