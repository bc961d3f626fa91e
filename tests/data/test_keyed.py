import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bert_jax.data.keyed import below, bits, key_of, permute, uniform

KEY = key_of(0, "test")


def test_a_draw_depends_on_key_and_indices_alone():
    table = bits(KEY, np.arange(5)[:, None], np.arange(7)[None, :])
    assert table.shape == (5, 7) and bits(KEY, 3, 4) == table[3, 4]
    assert bits(KEY, 4, 3) != table[3, 4] and bits(key_of(1, "test"), 3, 4) != table[3, 4]


def test_the_stream_is_that_of_splitmix64():
    # First outputs of Vigna's splitmix64.c from the state 1234567.
    assert bits(np.uint64(1234567), np.arange(3)).tolist() == [6457827717110365317, 3203168211198807973, 9817491932198370423]


def test_keys_tell_seeds_names_and_numbers_apart():
    keys = {int(key_of(*parts)) for parts in [(0, "mask", 1), (0, "mask", 2), (1, "mask", 1), (0, "order", 1), (0, "mask1")]}
    assert len(keys) == 5


@given(st.integers(1, 3000), st.integers(0, 2**32))
def test_permute_is_a_bijection(size, seed):
    assert np.array_equal(np.sort(permute(np.arange(size), size, key_of(seed))), np.arange(size))


def test_permute_reaches_any_place_of_a_huge_range_without_memory():
    places = permute(np.array([0, 1, 10**12 - 1]), 10**12, KEY)
    assert len(set(places.tolist())) == 3 and places.min() >= 0 and places.max() < 10**12


@pytest.mark.parametrize("size", [5, 12])
def test_permute_puts_every_number_everywhere_equally_often(size):
    shuffles = np.stack([permute(np.arange(size), size, key_of(seed)) for seed in range(3000)])
    counts = np.stack([np.bincount(column, minlength=size) for column in shuffles.T])
    expected = 3000 / size
    # Chi-squared with (size - 1)^2 degrees of freedom: five standard deviations.
    freedom = (size - 1) ** 2
    assert ((counts - expected) ** 2 / expected).sum() < freedom + 5 * np.sqrt(2 * freedom)


def test_uniform_numbers_fill_the_unit_interval_evenly():
    numbers = uniform(KEY, np.arange(200)[:, None], np.arange(500))
    counts = np.histogram(numbers, bins=50, range=(0, 1))[0]
    assert numbers.min() >= 0 and numbers.max() < 1 and counts.sum() == 100_000
    assert ((counts - 2000) ** 2 / 2000).sum() < 49 + 5 * np.sqrt(2 * 49)
    # Neighbours along both indices are unrelated.
    assert abs(np.corrcoef(numbers[:-1].ravel(), numbers[1:].ravel())[0, 1]) < 0.02
    assert abs(np.corrcoef(numbers[:, :-1].ravel(), numbers[:, 1:].ravel())[0, 1]) < 0.02


def test_below_draws_each_number_below_its_limit_equally_often():
    limits = np.array([1, 3, 10])
    draws = below(limits, KEY, np.arange(30_000)[:, None])
    draws = np.concatenate([draws, below(limits, KEY, np.arange(30_000, 60_000)[:, None])])
    for column, limit in enumerate(limits):
        counts = np.bincount(draws[:, column], minlength=limit)
        assert len(counts) == limit and np.abs(counts / 60_000 - 1 / limit).max() < 0.01
