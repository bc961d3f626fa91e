"""The shapes of batches: of each row its own, and few."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bert_jax.predict.outputs import Shapes


def test_lengths_are_powers_of_two_and_halfway_between_up_to_the_longest():
    rows_of = {16: 8, 24: 5, 32: 4, 48: 2, 64: 2, 96: 1, 128: 1, 192: 1, 256: 1, 384: 1, 500: 1}
    assert Shapes(500, 8).all() == [(rows, length) for length, rows in rows_of.items()]
    assert Shapes(10, 1).all() == [(1, 10)]


@pytest.mark.parametrize(("pieces", "length"), [(1, 16), (16, 16), (17, 24), (24, 24), (25, 32), (49, 64), (65, 96), (97, 100)])
def test_a_row_is_padded_to_the_next_of_them(pieces, length):
    assert Shapes(100, 8).length(pieces) == length


def test_fewer_rows_than_a_batch_has_are_a_smaller_batch_unless_it_is_fixed():
    sizes = lambda fixed: [size for _, size, _ in Shapes(128, 64, fixed).batches([5, 5, 100])]  # noqa: E731
    assert sizes(False) == [1, 2] and sizes(True) == [8, 64]


@given(st.lists(st.integers(1, 300), min_size=1, max_size=60), st.integers(1, 20), st.booleans())
def test_every_row_comes_once_in_a_shape_that_its_own_length_decides(lengths, batch_size, fixed):
    shapes = Shapes(300, batch_size, fixed)
    found = list(shapes.batches(lengths))
    assert sorted(np.concatenate([numbers for numbers, _, _ in found])) == list(range(len(lengths)))
    for numbers, size, length in found:
        assert 1 <= len(numbers) <= size <= batch_size and size * length <= max(300, 16 * batch_size)
        mine = [lengths[number] for number in numbers]
        assert {*map(shapes.length, mine)} == {length} and length >= max(mine)
        assert not fixed or (size, length) in shapes.all()
