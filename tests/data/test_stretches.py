import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from bert_jax.data import keyed
from bert_jax.data.stretches import follow, ranges, target_lengths


def test_ranges_by_hand():
    assert ranges(np.array([5, 9, 0]), np.array([2, 0, 3])).tolist() == [5, 6, 0, 1, 2]


@given(st.lists(st.integers(1, 5), min_size=1, max_size=30), st.integers(1, 8))
def test_a_chain_is_the_same_in_blocks_of_any_size(jumps, block):
    following = np.arange(len(jumps)) + jumps
    whole, end = follow(0, following, 0)
    parts, place = [], 0
    for first in range(0, len(jumps), block):
        visited, place = follow(place, following[first : first + block], first)
        parts.append(visited)
    assert np.concatenate(parts).tolist() == whole.tolist() and place == end
    assert whole[0] == 0 and (following[whole[:-1]] == whole[1:]).all()


def test_one_document_in_ten_aims_at_a_random_length():
    lengths = target_lengths(np.arange(20_000), 50, 0.1, keyed.key_of(0))
    short = lengths[lengths < 50]
    assert abs(len(short) / 20_000 - 0.1 * 48 / 49) < 0.01  # the length drawn is the full one once in 49 times
    assert short.min() == 2 and np.histogram(short, bins=48, range=(2, 50))[0].min() > 15
