from dataclasses import replace

import numpy as np
import pytest

from bert_jax.data.plans import Plan
from bert_jax.data.rows import packing_arrays, read_rows
from bert_jax.data.stretches import LABEL, OPENS, SECOND
from tests.data.small import TWELVE, make_store, split_of


@pytest.fixture(scope="module")
def split(tmp_path_factory):
    store = make_store(tmp_path_factory.mktemp("data") / "store", [["a b", "c d e", "f a"], ["f f f f", "b"]], 0.5)
    return next(split for split in (store.train, store.held_out) if split.num_sentences == 3)


def laid_out(split, stretches, offsets, most=1, tokenizer=TWELVE):
    plan = Plan(np.array(stretches), np.array(offsets))
    return read_rows(split, plan, np.arange(plan.num_rows), 12, most, tokenizer)


def shown(rows) -> list[str]:
    return [" ".join(TWELVE.pieces_of(row)).replace("[PAD]", "-") for row in rows.input_ids]


def test_rows_of_pairs_read_as_their_plan_says(split):
    rows = laid_out(split, [[0, 2, OPENS], [2, 3, SECOND], [0, 5, OPENS + LABEL], [5, 2, SECOND]], [0, 2, 4])
    assert shown(rows) == ["[CLS] a b [SEP] c d e [SEP] - - - -", "[CLS] a b c d e [SEP] f a [SEP] - -"]
    assert rows.segment_ids.tolist() == [[0, 0, 0, 0, 1, 1, 1, 1, 0, 0, 0, 0], [0] * 7 + [1, 1, 1, 0, 0]]
    assert rows.input_mask.tolist() == [[1] * 8 + [0] * 4, [1] * 10 + [0] * 2]
    assert rows.is_text.astype(int).tolist() == [[0, 1, 1, 0, 1, 1, 1, 0, 0, 0, 0, 0], [0, 1, 1, 1, 1, 1, 0, 1, 1, 0, 0, 0]]
    assert rows.places.tolist() == [0, 1, 2, 3, 4, 0, 1, 2, 3, 4, 5, 6]
    assert (rows.cls_positions.tolist(), rows.labels.tolist(), rows.used.tolist()) == ([[0], [0]], [[0], [1]], [[1], [1]])


def test_a_row_across_documents_has_a_separator_and_one_segment(split):
    rows = laid_out(split, [[1, 3, OPENS], [4, 2, 0]], [0, 2])
    assert shown(rows) == ["[CLS] b c d [SEP] e f [SEP] - - - -"] and not rows.segment_ids.any()


def test_a_packed_row_by_hand(split):
    pairs = [[0, 1, OPENS], [1, 1, SECOND], [2, 2, OPENS + LABEL], [4, 1, SECOND]]
    rows = laid_out(split, [*pairs, [3, 2, OPENS]], [0, 4, 5], most=3)
    assert shown(rows) == ["[CLS] a [SEP] b [SEP] [CLS] c d [SEP] e [SEP] -", "[CLS] d e [SEP] - - - - - - - -"]
    assert rows.segment_ids.tolist() == [[0, 0, 0, 1, 1, 0, 0, 0, 0, 1, 1, 0], [0] * 12]
    arrays = packing_arrays(rows)
    assert arrays["sequence_ids"].tolist() == [[1] * 5 + [2] * 6 + [0], [1] * 4 + [0] * 8]
    assert arrays["position_ids"].tolist() == [[0, 1, 2, 3, 4, 0, 1, 2, 3, 4, 5, 0], [0, 1, 2, 3] + [0] * 8]
    assert arrays["cls_positions"].tolist() == [[0, 5, 0], [0, 0, 0]]
    assert rows.labels.tolist() == [[0, 1, 0], [0, 0, 0]] and rows.used.tolist() == [[1, 1, 0], [1, 0, 0]]


def test_rows_whose_cls_stands_last_by_hand(split):
    pairs = [[0, 1, OPENS], [1, 1, SECOND], [2, 2, OPENS + LABEL], [4, 1, SECOND]]
    rows = laid_out(split, [*pairs, [3, 2, OPENS], [4, 2, 0]], [0, 4, 6], 3, replace(TWELVE, cls_last=True))
    assert shown(rows) == ["a [SEP] b [SEP] [CLS] c d [SEP] e [SEP] [CLS] -", "d e [SEP] e f [SEP] [CLS] - - - - -"]
    assert rows.segment_ids.tolist() == [[0, 0, 1, 1, 1, 0, 0, 0, 1, 1, 1, 0], [0] * 12]
    assert rows.is_text.astype(int).tolist() == [[1, 0, 1, 0, 0, 1, 1, 0, 1, 0, 0, 0], [1, 1, 0, 1, 1, 0, 0, 0, 0, 0, 0, 0]]
    arrays = packing_arrays(rows)
    assert arrays["sequence_ids"].tolist() == [[1] * 5 + [2] * 6 + [0], [1] * 7 + [0] * 5]
    assert arrays["position_ids"].tolist() == [[0, 1, 2, 3, 4, 0, 1, 2, 3, 4, 5, 0], [0, 1, 2, 3, 4, 5, 6] + [0] * 5]
    assert arrays["cls_positions"].tolist() == [[4, 10, 0], [6, 0, 0]]
    assert rows.labels.tolist() == [[0, 1, 0], [0, 0, 0]] and rows.used.tolist() == [[1, 1, 0], [1, 0, 0]]


def test_rows_are_taken_in_any_order_and_more_than_once(split):
    plan = Plan(np.array([[0, 2, OPENS], [2, 3, SECOND], [5, 2, OPENS]]), np.array([0, 2, 3]))
    rows = read_rows(split, plan, np.array([1, 0, 1]), 12, 1, TWELVE)
    assert shown(rows) == ["[CLS] f a [SEP]" + " -" * 8, "[CLS] a b [SEP] c d e [SEP] - - - -", "[CLS] f a [SEP]" + " -" * 8]


def test_piece_zero_in_a_text_is_text():
    split = replace(split_of([[3]]), shards=(np.zeros(3, np.uint16),))
    rows = laid_out(split, [[0, 3, OPENS]], [0, 1])
    assert rows.input_mask.sum() == 5 and rows.is_text.sum() == 3
