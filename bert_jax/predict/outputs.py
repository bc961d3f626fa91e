"""What a model gives for many rows, on one device or as its params are placed."""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from bert_jax.data.finetune import Batch, Rows, filled_batch, longest

SHORTEST = 16  # places of a row at least
BATCH_SIZE = 128  # where nothing is said: of 64 places 32 rows


class Shapes(NamedTuple):
    """The shapes of the batches that predict reads. A row is padded by its own length alone, never by that of others: what a
    program gives for a row is then the same, bit for bit, whatever rows share its batch.

    Attributes:
        longest: places of a row at most.
        batch_size: rows of a batch of the shortest ones; of longer ones fewer, so that every batch takes about as long.
        fixed: every batch has that size. Else no more rows than there are of the length, or than the next power of two, which
            gives other low bits: programs of another size may add in another order.
    """

    longest: int
    batch_size: int
    fixed: bool = False

    def length(self, pieces: int) -> int:
        """Places of a row of so many pieces: a power of two, or halfway to the next one, so that few shapes are compiled."""
        power = max(SHORTEST, 1 << max(pieces - 1, 0).bit_length())
        halfway = power * 3 // 4
        return min(halfway if SHORTEST < power and pieces <= halfway else power, self.longest)

    def rows(self, length: int) -> int:
        """Of a batch of rows of so many places."""
        return max(1, self.batch_size * SHORTEST // length)

    def all(self) -> list[tuple[int, int]]:
        """(rows, places) of every batch that there may be, if it is `fixed`."""
        lengths = sorted({self.length(pieces) for pieces in range(1, self.longest + 1)})
        return [(self.rows(length), length) for length in lengths]

    def batches(self, lengths: Sequence[int]) -> Iterator[tuple[np.ndarray, int, int]]:
        """(numbers of the rows, rows and places of their batch), the longest first.

        Args:
            lengths: pieces of each row.
        """
        places = np.array([self.length(int(length)) for length in lengths])
        for length in sorted({*places.tolist()}, reverse=True):
            here, size = np.flatnonzero(places == length), self.rows(length)
            if not self.fixed:
                size = min(size, power_of_two(len(here)))
            for start in range(0, len(here), size):
                yield here[start : start + size], size, length


def shaped_batches(rows: Rows, shapes: Shapes) -> Iterator[tuple[np.ndarray, Batch]]:
    """(numbers of the rows, batch) so that every row comes once."""
    for numbers, size, length in shapes.batches(longest(rows, np.arange(len(rows.lengths)))):
        yield numbers, filled_batch(rows, numbers, size, length)


def outputs_of(predict: Callable, params, batches: Iterator[tuple[np.ndarray, Batch]]) -> list[dict[str, np.ndarray]]:
    """For each row, in order, what `predict` (params, batch) gives for it: arrays without the axis B, of the length that the row
    was padded to.

    Args:
        batches: (numbers of rows, batch), every row once.
    """
    found: dict[int, dict] = {}
    for numbers, batch in batches:
        outputs = {name: np.asarray(array) for name, array in predict(params, batch).items()}
        found |= {int(number): {name: array[place] for name, array in outputs.items()} for place, number in enumerate(numbers)}
    return [found[number] for number in range(len(found))]


def power_of_two(count: int) -> int:
    """The least that is not below."""
    return 1 << max(count - 1, 0).bit_length()
