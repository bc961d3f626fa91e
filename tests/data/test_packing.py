import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from bert_jax.data import packing
from bert_jax.data.packing import best_fit, one_by_one, packed
from bert_jax.data.stretches import OPENS, SECOND


def test_best_fit_by_hand():
    # From the longest on: 7 opens row 0, 6 row 1, 4 goes into row 1 exactly, 3 into row 0 exactly, 2 opens row 2.
    assert best_fit(np.array([3, 6, 2, 7, 4]), 10, 5).tolist() == [0, 1, 2, 0, 1]
    # No more than two in a row.
    assert best_fit(np.array([2, 2, 2]), 10, 2).tolist() == [0, 0, 1]


@given(st.lists(st.integers(3, 20), min_size=1, max_size=60), st.integers(1, 5))
def test_no_row_overflows_and_no_two_half_full_rows_are_left(lengths, most):
    lengths = np.array(lengths)
    row = best_fit(lengths, 20, most)
    sums, counts = np.bincount(row, weights=lengths), np.bincount(row)
    assert sums.max() <= 20 and counts.max() <= most and counts.min() >= 1
    assert np.sum((sums <= 10) & (counts < most)) <= 1


def blocks(sizes: list[int]) -> list[np.ndarray]:
    """Blocks of pairs of stretches; the tokens are numbered through."""
    found, token = [], 0
    for size in sizes:
        rows = []
        for _ in range(size):
            first, second = 1 + token % 5, 1 + token % 3
            rows += [[token, first, OPENS], [token + first, second, SECOND]]
            token += first + second
        found.append(np.array(rows, np.int64).reshape(-1, 3))
    return found


@given(st.lists(st.integers(0, 9), min_size=1, max_size=6).filter(any))
def test_packing_keeps_each_example_whole_and_once(sizes):
    examples = np.concatenate(blocks(sizes))
    stretches, per_row = (np.concatenate(part) for part in zip(*packed(iter(blocks(sizes)), 24, 4)))
    assert per_row.sum() == len(stretches) == len(examples)
    order = np.argsort(stretches[::2, 0])
    assert np.array_equal(stretches.reshape(-1, 2, 3)[order], examples.reshape(-1, 2, 3))


def test_packing_does_not_depend_on_how_the_text_was_read(monkeypatch):
    monkeypatch.setattr(packing, "WINDOW", 6)
    whole, parts = (list(packed(iter(blocks(sizes)), 24, 4)) for sizes in ([20], [3, 0, 11, 6]))
    for one, other in zip(zip(*whole), zip(*parts)):
        assert np.array_equal(np.concatenate(one), np.concatenate(other))


def test_one_by_one_is_a_row_for_each_example():
    ((stretches, per_row),) = one_by_one(blocks([3]))
    assert len(stretches) == 6 and per_row.tolist() == [2, 2, 2]
