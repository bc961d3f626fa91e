"""Several examples in one row, so that few places are padding.

The examples of a window are taken from the longest to the shortest, and each goes where it leaves the least room: best-fit
decreasing, as in Krell et al. 2021, Efficient Sequence Packing without Cross-contamination, arXiv 2107.02027, section 3.
"""

from collections.abc import Iterator

import numpy as np

from bert_jax.data.stretches import FLAGS, OPENS, TOKENS, ranges, starts

WINDOW = 2**14  # examples


def one_by_one(blocks: Iterator[np.ndarray]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Each example as a row: (stretches, number of stretches of each row)."""
    for stretches in blocks:
        yield stretches, _stretches_per_example(stretches)


def packed(blocks: Iterator[np.ndarray], max_seq_length: int, most: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """At most `most` examples in a row of max_seq_length places: (stretches in the order of rows, number of each row)."""
    for stretches in _windows(blocks):
        count = _stretches_per_example(stretches)
        first = starts(count)
        places = np.add.reduceat(stretches[:, TOKENS] + 1, first) + 1  # a [SEP] after each stretch, a [CLS] before the first
        row = best_fit(places, max_seq_length, most)
        order = np.argsort(row, kind="stable")
        per_row = np.bincount(row, weights=count).astype(np.int64)
        yield stretches[ranges(first[order], count[order])], per_row


def best_fit(lengths: np.ndarray, room: int, most: int) -> np.ndarray:
    """The row of each example, numbered from 0 on."""
    row_of = np.empty(len(lengths), np.int64)
    held: list[int] = []  # examples of each row
    with_room: list[list[int]] = [[] for _ in range(room + 1)]  # rows that may take more, by the places left
    some = 0  # bit r is set where with_room[r] is not empty
    known = lengths.tolist()
    for example in np.argsort(-lengths, kind="stable").tolist():
        length = known[example]
        if fitting := some >> length:
            left = length + (fitting & -fitting).bit_length() - 1
            row = with_room[left].pop()
            if not with_room[left]:
                some ^= 1 << left
        else:
            row, left = len(held), room
            held.append(0)
        row_of[example] = row
        held[row] += 1
        left -= length
        if held[row] < most:
            with_room[left].append(row)
            some |= 1 << left
    return row_of


def _stretches_per_example(stretches: np.ndarray) -> np.ndarray:
    return np.diff(np.flatnonzero(stretches[:, FLAGS] & OPENS), append=len(stretches))


def _windows(blocks: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
    """The same examples, WINDOW at a time: packing must not depend on how the text was read."""
    waiting = np.empty((0, 3), np.int64)
    for block in blocks:
        waiting = np.concatenate([waiting, block])
        opens = np.flatnonzero(waiting[:, FLAGS] & OPENS)
        ends = [*opens[WINDOW::WINDOW].tolist()]
        for begin, end in zip([0, *ends], ends):
            yield waiting[begin:end]
        waiting = waiting[ends[-1] :] if ends else waiting
    if len(waiting):
        yield waiting
