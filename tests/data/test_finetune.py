from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bert_jax import batch as contract
from bert_jax.data.finetune import Encoded, Example, FinetuneLoader, encode, encode_texts, evaluation_batches, truncated
from bert_jax.errors import UserError
from tests.data.small import TWELVE

CLS, SEP, PAD = TWELVE.cls_id, TWELVE.sep_id, TWELVE.pad_id
A, B, C, D = TWELVE.encode(["a b c d"])[0]


def numbered(count: int) -> Encoded:
    """Rows that can be told apart by their label."""
    return encode([Example(("a",), number) for number in range(count)], TWELVE, 5)


def labels_of_steps(loader: FinetuneLoader, steps: range, **process) -> list[int]:
    return [int(label) for step in steps for label in loader.batch(step, **process)["label_ids"]]


def test_pairs_and_sentences_by_hand():
    pairs = encode([Example(("a b", "c"), 1), Example(("a b c d", "d"), 0), Example(("", ""), 0)], TWELVE, 7)
    batch = next(evaluation_batches(pairs, 3))
    assert batch["input_ids"].tolist() == [
        [CLS, A, B, SEP, C, SEP, PAD],
        [CLS, A, B, C, SEP, D, SEP],  # A was longer and lost its last piece
        [CLS, SEP, SEP, PAD, PAD, PAD, PAD],
    ]
    assert batch["input_mask"].tolist() == [[1, 1, 1, 1, 1, 1, 0], [1] * 7, [1, 1, 1, 0, 0, 0, 0]]
    assert batch["segment_ids"].tolist() == [[0, 0, 0, 0, 1, 1, 0], [0, 0, 0, 0, 0, 1, 1], [0, 0, 1, 0, 0, 0, 0]]
    assert batch["label_ids"].tolist() == [1, 0, 0]
    single = next(evaluation_batches(encode([Example(("a b c d",), 0)], TWELVE, 5), 1))
    assert single["input_ids"].tolist() == [[CLS, A, B, C, SEP]]
    assert not single["segment_ids"].any()


def test_pairs_and_sentences_whose_cls_stands_last_by_hand():
    last = replace(TWELVE, cls_last=True)
    pairs = next(evaluation_batches(encode([Example(("a b", "c"), 1), Example(("a b c d", "d"), 0)], last, 7), 2))
    assert pairs["input_ids"].tolist() == [[A, B, SEP, C, SEP, CLS, PAD], [A, B, C, SEP, D, SEP, CLS]]
    assert pairs["segment_ids"].tolist() == [[0, 0, 0, 1, 1, 1, 0], [0, 0, 0, 0, 1, 1, 1]]
    single = next(evaluation_batches(encode([Example(("a b",), 0)], last, 5), 1))
    assert single["input_ids"].tolist() == [[A, B, SEP, CLS, PAD]] and not single["segment_ids"].any()


def test_texts_by_hand_each_a_row_of_its_own():
    triples = [Example(("a b", "c", ""), 2), Example(("a b c d", "d", "a"), 0), Example(("b", "b", "b"), 1)]
    first, second = evaluation_batches(encode_texts(triples, TWELVE, 5), 2)
    assert first["input_ids"].tolist() == [
        [[CLS, A, B, SEP, PAD], [CLS, C, SEP, PAD, PAD], [CLS, SEP, PAD, PAD, PAD]],
        [[CLS, A, B, C, SEP], [CLS, D, SEP, PAD, PAD], [CLS, A, SEP, PAD, PAD]],
    ]
    assert first["input_mask"].sum(axis=-1).tolist() == [[4, 3, 2], [5, 3, 3]]
    assert first["label_ids"].tolist() == [2, 0]
    assert second["input_mask"].sum(axis=-1).tolist() == [[3, 3, 3], [0, 0, 0]]  # the second only fills the batch
    for batch in (first, second):
        contract.check(batch)


def test_scores_are_labels_too():
    pairs = [Example(("a", "b"), 0.25), Example(("c", "d"), 1.0)]
    batch = FinetuneLoader(encode_texts(pairs, TWELVE, 5), 2, seed=0).batch(0)
    contract.check(batch)
    assert sorted(batch["label_values"].tolist()) == [0.25, 1.0] and "label_ids" not in batch


@given(st.integers(0, 60), st.integers(0, 60), st.integers(1, 60))
def test_a_pair_is_cut_as_if_piece_by_piece_from_its_longer_side(first, second, room):
    kept = [first, second]
    while sum(kept) > room:
        kept[0 if kept[0] > kept[1] else 1] -= 1
    assert truncated([first, second], room) == kept


def test_batches_keep_the_contract():
    contract.check(FinetuneLoader(numbered(3), 2, seed=0).batch(0))
    contract.check(next(evaluation_batches(numbered(3), 2)))


@given(size=st.integers(1, 20), batch_size=st.integers(1, 9), seed=st.integers(0, 3))
def test_each_epoch_holds_every_example_once(size, batch_size, seed):
    loader = FinetuneLoader(numbered(size), batch_size, seed)
    labels = labels_of_steps(loader, range(-(-3 * size // batch_size)))
    for epoch in range(3):
        assert sorted(labels[epoch * size : (epoch + 1) * size]) == list(range(size))


def test_epochs_and_seeds_have_orders_of_their_own():
    first, second = FinetuneLoader(numbered(20), 20, seed=0), FinetuneLoader(numbered(20), 20, seed=1)
    orders = [labels_of_steps(loader, range(step, step + 1)) for loader in (first, second) for step in (0, 1)]
    assert len({tuple(order) for order in [*orders, range(20)]}) == 5


def test_iterating_from_a_step_and_sharing_among_processes_give_the_same_rows():
    loader = FinetuneLoader(numbered(10), 4, seed=0)
    batches = loader.iterate(3)
    assert [int(label) for _ in range(4) for label in next(batches)["label_ids"]] == labels_of_steps(loader, range(3, 7))
    batches.close()
    whole = loader.batch(2)["label_ids"].tolist()
    assert [label for index in (0, 1) for label in loader.batch(2, index, 2)["label_ids"]] == whole


def test_evaluation_takes_every_row_once_and_fills_the_last_batch_without_weight():
    batches = list(evaluation_batches(numbered(5), 2))
    assert [batch["label_weights"].tolist() for batch in batches] == [[1, 1], [1, 1], [1, 0]]
    weights, labels = (np.concatenate([batch[name] for batch in batches]) for name in ("label_weights", "label_ids"))
    assert labels[weights > 0].tolist() == [0, 1, 2, 3, 4]
    assert [batch["input_mask"].any(axis=1).tolist() for batch in batches] == [[True] * 2, [True] * 2, [True, False]]


def test_a_length_without_room_is_refused():
    with pytest.raises(UserError, match="data.max_seq_length is too small"):
        encode([Example(("a", "b"), 0)], TWELVE, 4)
