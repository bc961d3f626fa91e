"""Read from the text of a compiled program: what is sent between devices, and what its products cost, loops multiplied out.

XLA's own cost_analysis counts the body of a loop once.
"""

import math
import re
from collections.abc import Iterator
from typing import NamedTuple

COLLECTIVES = ("all-reduce", "all-gather", "reduce-scatter", "all-to-all", "collective-permute")
BYTES = {"pred": 1, "bf16": 2, "f16": 2} | {f"{kind}{bits}": bits // 8 for kind in "fsu" for bits in (8, 16, 32, 64)}
_COMPUTATION = re.compile(r"^(ENTRY )?%?([\w.-]+) \(.*\{$")
_INSTRUCTION = re.compile(r"^\s+(?:ROOT )?%?([\w.-]+) = (.*?) ([a-z][\w-]*)\((.*)$")
_SHAPE = re.compile(r"\b([a-z]+\d*)\[([\d,]*)\]")
_CALLED = re.compile(r"\b(?:body|calls|to_apply|true_computation|false_computation)=%?([\w.-]+)")
_BRANCHES = re.compile(r"\b(?:branch_computations|called_computations)=\{([^}]*)\}")


class Instruction(NamedTuple):
    name: str
    shape: str
    opcode: str
    rest: str  # operands and attributes


class Sent(NamedTuple):
    """Collectives of one kind in one step: how many, and the bytes of the whole arrays that they add up or move, per device."""

    count: int
    bytes: int


def collectives(text: str) -> dict[str, Sent]:
    """kind -> what is sent in one run of the program, kinds that do not occur left out; arrays count at their full size, whatever
    part of it each link carries."""
    found: dict[str, Sent] = {}
    for instruction, times, shapes in _executed(text):
        kind = instruction.opcode.removesuffix("-start")
        if kind in COLLECTIVES:
            result, operands = _size(instruction.shape), sum(_size(shapes[name]) for name in _operands(instruction, shapes))
            if instruction.opcode != kind:  # the first half of one, whose result mostly holds its operands too
                result -= operands
            size = max(result, operands)
            count, total = found.get(kind, Sent(0, 0))
            found[kind] = Sent(count + times, total + times * size)
    return found


def product_flops(text: str) -> int:
    """Operations of all products in a program compiled for a CPU or GPU; a TPU's are convolutions, which are not read."""
    total = 0
    for instruction, times, shapes in _executed(text):
        if instruction.opcode == "dot":
            first = _dimensions(shapes[_operands(instruction, shapes)[0]])
            summed = re.search(r"lhs_contracting_dims=\{([\d,]*)\}", instruction.rest)[1]
            per_element = 2 * math.prod(first[int(axis)] for axis in summed.split(",") if axis)
            total += times * per_element * math.prod(_dimensions(instruction.shape))
    return total


def _executed(text: str) -> Iterator[tuple[Instruction, int, dict[str, str]]]:
    """(instruction, how often it runs, shapes of its computation by name) for all that is reached from the entry."""
    computations, entry = _computations(text)
    waiting = [(entry, 1)]
    while waiting:
        name, times = waiting.pop()
        instructions = computations.get(name, [])
        shapes = {instruction.name: instruction.shape for instruction in instructions}
        for instruction in instructions:
            yield instruction, times, shapes
            repeats = _trips(instruction, computations) if instruction.opcode == "while" else 1
            called = _CALLED.findall(instruction.rest)
            called += [name for names in _BRANCHES.findall(instruction.rest) for name in re.findall(r"[\w.-]+", names)]
            waiting += [(name, times * repeats) for name in called]


def _computations(text: str) -> tuple[dict[str, list[Instruction]], str]:
    found: dict[str, list[Instruction]] = {}
    name = entry = ""
    for line in text.splitlines():
        if head := _COMPUTATION.match(line):
            name = head[2]
            found[name] = []
            entry = name if head[1] else entry
        elif name and (parts := _INSTRUCTION.match(line)):
            found[name].append(Instruction(*parts.groups()))
    return found, entry


def _trips(loop: Instruction, computations: dict[str, list[Instruction]]) -> int:
    """How often a loop runs that counts from 0: said by some compilers, else what its condition compares with."""
    if known := re.search(r'"known_trip_count":\{"n":"(\d+)"', loop.rest):
        return int(known[1])
    condition = re.search(r"\bcondition=%?([\w.-]+)", loop.rest)[1]
    constants = [part.rest.split(")")[0] for part in computations[condition] if part.opcode == "constant"]
    return max((int(number) for number in constants if number.isdigit()), default=1)


def _operands(instruction: Instruction, shapes: dict[str, str]) -> list[str]:
    return [name for name in re.findall(r"%([\w.-]+)", instruction.rest.split(")")[0]) if name in shapes]


def _dimensions(shape: str) -> list[int]:
    return [int(size) for size in _SHAPE.search(shape)[2].split(",") if size]


def _size(shape: str) -> int:
    """Bytes of an array or of all arrays of a tuple."""
    found = ((BYTES.get(dtype, 0), sizes) for dtype, sizes in _SHAPE.findall(shape))
    return sum(itemsize * math.prod(int(size) for size in sizes.split(",") if size) for itemsize, sizes in found)
