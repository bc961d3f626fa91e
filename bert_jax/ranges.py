"""The numbers that a setting may be. Tables of them stand beside what reads the settings."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import inf
from numbers import Integral, Real

from bert_jax.errors import UserError

LARGEST = 3e38  # about that of float32


@dataclass(frozen=True)
class Range:
    """
    Attributes:
        holds: whether a number is within the bounds: two comparisons, which NaN fails.
        expected: for people.
        kind: of number.
    """

    holds: Callable[[float], bool]
    expected: str
    kind: type = Real

    def __contains__(self, value: object) -> bool:
        return isinstance(value, self.kind) and self.holds(value)


def whole(least: int, most: float = inf) -> Range:
    expected = f"a whole number from {least} " + ("on" if most == inf else f"to {most:,}")
    return Range(lambda value: least <= value <= most, expected, Integral)


NOT_NEGATIVE = Range(lambda value: 0 <= value <= LARGEST, "0 or more")
POSITIVE = Range(lambda value: 0 < value <= LARGEST, "more than 0")
BELOW_ONE = Range(lambda value: 0 <= value < 1, "from 0 on, less than 1")  # what is kept, 1 - value, is divided by
PART = Range(lambda value: 0 < value < 1, "more than 0, less than 1")
PART_OR_ALL = Range(lambda value: 0 < value <= 1, "more than 0, at most 1")
NONE_TO_ALL = Range(lambda value: 0 <= value <= 1, "from 0 to 1")


def require(section: str, values: Mapping[str, object], ranges: Mapping[str, Range]) -> None:
    """Raises UserError for the first of the ranges that a value of its name is not in; a value without a range may be any."""
    for name, allowed in ranges.items():
        if name in values and values[name] not in allowed:
            raise UserError(f"{section}.{name} is out of range", got=values[name], expected=allowed.expected)
