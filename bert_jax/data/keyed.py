"""Randomness without state: every draw is a function of a key and of numbers such as epoch, row and position.

So row 7 of epoch 3 looks the same whether it is reached by training from the start, by resuming or by seeking, on any number
of processes. The mixing is that of SplitMix64: its increment and its output function, "variant 13" of Stafford's search for
better mixers (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators, OOPSLA 2014). Each index in turn picks an
element of the stream that the key has led to so far.
"""

import hashlib
import math

import numpy as np

GOLDEN_GAMMA = np.uint64(0x9E3779B97F4A7C15)  # 2^64 divided by the golden ratio, made odd
MULTIPLIER_1 = np.uint64(0xBF58476D1CE4E5B9)
MULTIPLIER_2 = np.uint64(0x94D049BB133111EB)
FEISTEL_TURNS = 6


def key_of(*parts: int | str) -> np.uint64:
    """A key from a seed and names: key_of(seed, "mask", epoch)."""
    digest = hashlib.sha256(repr(parts).encode()).digest()
    return np.uint64(int.from_bytes(digest[:8], "little"))


def bits(key: np.uint64, *indices: np.ndarray | int) -> np.ndarray:
    """64 random bits (uint64) for each element of the broadcast indices, which are integers of at least 0."""
    state = np.uint64(key)
    with np.errstate(over="ignore"):  # wrapping around is the point; numpy warns about it for scalars only
        for index in indices:
            state = _mix(state + (np.asarray(index).astype(np.uint64) + np.uint64(1)) * GOLDEN_GAMMA)
    return state


def uniform(key: np.uint64, *indices: np.ndarray | int) -> np.ndarray:
    """Numbers of [0, 1) as float64, multiples of 2^-53."""
    return (bits(key, *indices) >> np.uint64(11)) * 2.0**-53


def below(limit: np.ndarray | int, key: np.uint64, *indices: np.ndarray | int) -> np.ndarray:
    """Integers of [0, limit) as int64; limit is at least 1 and below 2^53."""
    return (uniform(key, *indices) * limit).astype(np.int64)


def permute(index: np.ndarray, size: int, key: np.uint64) -> np.ndarray:
    """Where a keyed shuffle of range(size) puts `index`: a bijection on [0, size) that needs no memory.

    A Feistel network over pairs of digits shuffles the next square number of places; a result beyond the range is sent through
    again until it falls inside (Black, Rogaway: Ciphers with Arbitrary Finite Domains, CT-RSA 2002)."""
    base = np.uint64(math.isqrt(max(size - 1, 0)) + 1)
    turns = bits(key, np.arange(FEISTEL_TURNS))
    result = np.array(index, np.uint64)
    outside = np.ones(result.shape, bool)
    while outside.any():
        left, right = np.divmod(result[outside], base)
        for turn in turns:
            left, right = right, (left + bits(turn, right) % base) % base
        result[outside] = left * base + right
        outside = result >= size
    return result.astype(np.int64)


def _mix(state: np.ndarray) -> np.ndarray:
    state = (state ^ (state >> np.uint64(30))) * MULTIPLIER_1
    state = (state ^ (state >> np.uint64(27))) * MULTIPLIER_2
    return state ^ (state >> np.uint64(31))
