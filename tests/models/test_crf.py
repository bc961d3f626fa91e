"""The chain against all its paths, one by one."""

from itertools import product

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bert_jax.models import crf

log_partition, viterbi, marginals = (jax.jit(function) for function in (crf.log_partition, crf.viterbi, crf.marginals))
path_score = jax.jit(crf.path_score)


def score(path, emissions_LC, transitions_CC, start_C, end_C) -> float:
    """Of a path over L words, by the definition."""
    if not path:
        return 0.0
    total = start_C[path[0]] + end_C[path[-1]] + sum(emissions_LC[place, tag] for place, tag in enumerate(path))
    return total + sum(transitions_CC[pair] for pair in zip(path, path[1:]))


@st.composite
def chains(draw):
    """Two rows, so that none sees the other; whole numbers, so that paths tie."""
    length, classes = draw(st.integers(1, 5)), draw(st.integers(1, 4))
    mask = np.array(draw(st.lists(st.booleans(), min_size=2 * length, max_size=2 * length))).reshape(2, length)
    rng, spread = np.random.default_rng(draw(st.integers(0, 2**32 - 1))), draw(st.sampled_from([0.0, 1.0, 30.0]))
    shapes = (2, length, classes), (classes, classes), (classes,), (classes,)
    numbers = [np.round(rng.normal(scale=spread, size=shape)).astype(np.float32) for shape in shapes]
    return numbers[0], mask, *numbers[1:]


@settings(max_examples=60, deadline=None)
@given(chains())
def test_partition_best_path_and_marginals_are_those_of_all_paths(chain):
    emissions, mask, *scores = chain
    totals, probabilities = np.asarray(log_partition(*chain)), np.asarray(marginals(*chain))
    tags, best = map(np.asarray, viterbi(*chain))
    for row, there in enumerate(mask):
        words = emissions[row, there].astype(np.float64)
        paths = list(product(range(emissions.shape[-1]), repeat=len(words)))
        by_path = np.array([score(path, words, *scores) for path in paths])
        expected = np.logaddexp.reduce(by_path)
        np.testing.assert_allclose(totals[row], expected, rtol=1e-5, atol=1e-4)
        assert best[row] == pytest.approx(by_path.max(), rel=1e-6)
        assert score(tuple(tags[row, there]), words, *scores) == pytest.approx(by_path.max(), rel=1e-6)
        assert not tags[row, ~there].any() and not probabilities[row, ~there].any()
        each = np.zeros_like(words)
        for path, weight in zip(paths, np.exp(by_path - expected)):
            each[np.arange(len(path)), list(path)] += weight
        np.testing.assert_allclose(probabilities[row, there], each, atol=1e-4)
        anything = np.random.default_rng(0).integers(0, emissions.shape[-1], emissions.shape[:2])
        for path, expected in list(zip(paths, by_path))[:: max(len(paths) // 8, 1)]:
            anything[row, there] = path
            assert float(path_score(anything, *chain)[row]) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("size", [0.0, 1.0, 1e4])
def test_gradients_are_finite_and_those_of_a_row_without_words_are_none(size):
    rng = np.random.default_rng(1)
    emissions, tags = size * rng.normal(size=(3, 6, 4)).astype(np.float32), rng.integers(0, 4, (3, 6))
    mask = np.array([[0, 1, 1, 0, 1, 0], [0] * 6, [1] * 6])
    scores = [size * rng.normal(size=shape).astype(np.float32) for shape in ((4, 4), (4,), (4,))]

    def loss(emissions, *scores):
        return (crf.log_partition(emissions, mask, *scores) - crf.path_score(tags, emissions, mask, *scores)).sum()

    value, gradients = jax.jit(jax.value_and_grad(loss, argnums=(0, 1, 2, 3)))(emissions, *scores)
    assert np.isfinite(value) and value >= 0 and all(np.isfinite(gradient).all() for gradient in gradients)
    assert not gradients[0][mask == 0].any() and (size > 1 or np.abs(gradients[0][mask == 1]).min() > 0)


def test_by_hand():
    """Two words, two tags: the chain prefers 1 after 0 by more than the words do."""
    emissions = np.array([[[1, 0], [9, 9], [1, 0]]], np.float32)
    mask, transitions = np.array([[1, 0, 1]]), np.array([[0, 3], [0, 0]], np.float32)
    start, end = np.array([0, 0.5], np.float32), np.zeros(2, np.float32)
    tags, best = viterbi(emissions, mask, transitions, start, end)
    assert tags.tolist() == [[0, 0, 1]] and float(best[0]) == 4.0
    paths = {(0, 0): 2.0, (0, 1): 4.0, (1, 0): 1.5, (1, 1): 0.5}
    expected = np.log(sum(np.exp(value) for value in paths.values()))
    assert float(log_partition(emissions, mask, transitions, start, end)[0]) == pytest.approx(expected, rel=1e-6)
