"""Attention from left to right: what stands later makes no difference, and [CLS], which stands last, sees it all."""

from dataclasses import replace
from functools import partial

import jax
import numpy as np
import pytest

from bert_jax.models.encoder import Encoder, EncoderConfig
from tests.parallel.test_layouts import PRE_NORM

LENGTH, REAL = 12, 9
POST = EncoderConfig(
    vocab_size=30,
    hidden_size=16,
    num_hidden_layers=2,
    num_attention_heads=2,
    intermediate_size=24,
    max_position_embeddings=LENGTH,
    initializer_range=0.5,  # at 0.02 attention is even whatever it sees
    left_to_right=True,
)
PRE = replace(POST, **PRE_NORM)  # its windows are computed in blocks


def row() -> tuple[np.ndarray, ...]:
    """input_ids, segment_ids, input_mask."""
    ids = np.random.default_rng(0).integers(1, 30, (1, LENGTH), dtype=np.int32)
    mask = (np.arange(LENGTH) < REAL).astype(np.int32)[None]
    return ids * mask, np.zeros_like(ids), mask


@partial(jax.jit, static_argnames="config")
def run(config, params, arguments):
    return Encoder(config).apply({"params": params}, *arguments, train=False)


@pytest.fixture(scope="module", params=[POST, PRE], ids=["post_norm", "pre_norm"])
def model(request):
    return request.param, jax.jit(partial(Encoder(request.param).init, train=False))(jax.random.key(0), *row())["params"]


def with_piece(place: int):
    ids, *others = row()
    changed = ids.copy()
    changed[0, place] = ids[0, place] % 29 + 1
    return changed, *others


def test_a_later_piece_changes_no_earlier_vector_and_all_later_ones(model):
    before = run(*model, row())
    for place in range(REAL):
        after = run(*model, with_piece(place))
        np.testing.assert_array_equal(after.hidden_BLD[0, :place], before.hidden_BLD[0, :place])
        assert (np.abs(after.hidden_BLD[0, place:REAL] - before.hidden_BLD[0, place:REAL]).max(axis=-1) > 1e-4).all(), place
        assert np.abs(after.pooled_BD - before.pooled_BD).max() > 1e-5, place


def test_the_vector_of_the_row_is_that_of_its_last_piece(model):
    out = run(*model, row())
    np.testing.assert_array_equal(out.cls_BD[0], out.hidden_BLD[0, REAL - 1])


def test_an_encoder_that_sees_both_ways_would_be_caught(model):
    config, params = model
    both = replace(config, left_to_right=False)
    moved = run(both, params, with_piece(REAL - 1)).hidden_BLD - run(both, params, row()).hidden_BLD
    assert np.abs(moved[0, : REAL - 1]).max() > 1e-3


def test_packed_examples_see_themselves_alone_and_no_further(model):
    """Two copies of an example of five pieces in a row, of which the second is changed at its third."""
    config, params = model
    ids = np.tile(np.array([3, 7, 5, 9, 4], np.int32), 2)[None]
    place, sequence = np.tile(np.arange(5, dtype=np.int32), 2)[None], np.repeat(np.array([1, 2], np.int32), 5)[None]
    changed = ids.copy()
    changed[0, 7] = 20
    others = np.zeros_like(ids), np.ones_like(ids), place, sequence, np.array([[4, 9]], np.int32)
    before, after = (run(config, params, (row, *others)) for row in (ids, changed))
    np.testing.assert_allclose(before.hidden_BLD[0, :5], before.hidden_BLD[0, 5:], atol=1e-5)
    np.testing.assert_array_equal(after.hidden_BLD[0, :7], before.hidden_BLD[0, :7])
    np.testing.assert_array_equal(after.cls_BD[0], after.hidden_BLD[0, [4, 9]])
    assert np.abs(after.cls_BD[0, 1] - before.cls_BD[0, 1]).max() > 1e-3
