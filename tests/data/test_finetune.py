from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bert_jax import batch as contract
from bert_jax.data.finetune import Encoded, Example, FinetuneLoader, encode, encode_texts, evaluation_batches, kept_lengths
from bert_jax.errors import UserError
from tests.data.small import TWELVE

CLS, SEP, PAD = TWELVE.cls_id, TWELVE.sep_id, TWELVE.pad_id
A, B, C, D = TWELVE.encode(["a b c d"])[0]


LABELS = ("0", "1", "2")


def numbered(count: int) -> Encoded:
    """Rows that can be told apart by their label."""
    labels = [str(number) for number in range(count)]
    return encode([Example(("a",), label) for label in labels], TWELVE, 5, labels)


def of_lengths(lengths: list[int]) -> Encoded:
    """A row for each, of so many pieces with [CLS] and [SEP], labelled by its place."""
    labels = [str(number) for number in range(len(lengths))]
    examples = [Example((" ".join("a" * (length - 2)),), label) for length, label in zip(lengths, labels)]
    return encode(examples, TWELVE, max(5, *lengths), labels)


def loader_of(encoded, batch_size: int, seed: int = 0, multiple_of: int = 0) -> FinetuneLoader:
    return FinetuneLoader(encoded, batch_size, seed, encoded.input_ids.shape[-1], multiple_of)


def in_order(encoded, batch_size: int) -> list[dict]:
    return [batch for _, batch in evaluation_batches(encoded, batch_size, encoded.input_ids.shape[-1])]


def labels_of_steps(loader: FinetuneLoader, steps: range, **process) -> list[int]:
    return [int(label) for step in steps for label in loader.batch(step, **process)["label_ids"]]


def test_pairs_and_sentences_by_hand():
    pairs = encode([Example(("a b", "c"), "1"), Example(("a b c d", "d"), "0"), Example(("", ""), "0")], TWELVE, 7, LABELS)
    (batch,) = in_order(pairs, 3)
    assert batch["input_ids"].tolist() == [
        [CLS, A, B, SEP, C, SEP, PAD],
        [CLS, A, B, C, SEP, D, SEP],  # A was longer and lost its last piece
        [CLS, SEP, SEP, PAD, PAD, PAD, PAD],
    ]
    assert batch["input_mask"].tolist() == [[1, 1, 1, 1, 1, 1, 0], [1] * 7, [1, 1, 1, 0, 0, 0, 0]]
    assert batch["segment_ids"].tolist() == [[0, 0, 0, 0, 1, 1, 0], [0, 0, 0, 0, 0, 1, 1], [0, 0, 1, 0, 0, 0, 0]]
    assert batch["label_ids"].tolist() == [1, 0, 0]
    (single,) = in_order(encode([Example(("a b c d",), None)], TWELVE, 5, LABELS), 1)
    assert single["input_ids"].tolist() == [[CLS, A, B, C, SEP]] and single["label_ids"].tolist() == [0]
    assert not single["segment_ids"].any()


def test_pairs_and_sentences_whose_cls_stands_last_by_hand():
    last = replace(TWELVE, cls_last=True)
    (pairs,) = in_order(encode([Example(("a b", "c"), "1"), Example(("a b c d", "d"), "0")], last, 7, LABELS), 2)
    assert pairs["input_ids"].tolist() == [[A, B, SEP, C, SEP, CLS, PAD], [A, B, C, SEP, D, SEP, CLS]]
    assert pairs["segment_ids"].tolist() == [[0, 0, 0, 1, 1, 1, 0], [0, 0, 0, 0, 1, 1, 1]]
    (single,) = in_order(encode([Example(("a b",), "0")], last, 5, LABELS), 1)
    assert single["input_ids"].tolist() == [[A, B, SEP, CLS, PAD]] and not single["segment_ids"].any()


def test_texts_by_hand_each_a_row_of_its_own():
    triples = [Example(("a b", "c", ""), "2"), Example(("a b c d", "d", "a"), "0"), Example(("b", "b", "b"), "1")]
    first, second = in_order(encode_texts(triples, TWELVE, 5, LABELS), 2)
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
    for encoded in (encode_texts(pairs, TWELVE, 5), encode(pairs, TWELVE, 5)):
        batch = loader_of(encoded, 2).batch(0)
        contract.check(batch)
        assert sorted(batch["label_values"].tolist()) == [0.25, 1.0] and "label_ids" not in batch


def test_what_becomes_of_a_long_text_by_hand():
    examples = [Example(("a b c d a b c d a b",), "1"), Example(("a",), "2")]
    head, head_tail, chunks = (encode(examples, TWELVE, 6, LABELS, long_texts) for long_texts in ("head", "head_tail", "chunks"))
    assert head.input_ids.tolist() == [[CLS, A, B, C, D, SEP], [CLS, A, SEP, PAD, PAD, PAD]]
    assert head_tail.input_ids.tolist() == [[CLS, A, D, A, B, SEP], [CLS, A, SEP, PAD, PAD, PAD]]  # one, and the last three
    rows = [[CLS, A, B, C, D, SEP], [CLS, A, B, C, D, SEP], [CLS, A, B, SEP, PAD, PAD], [CLS, A, SEP, PAD, PAD, PAD]]
    assert chunks.input_ids.tolist() == rows
    assert chunks.owners.tolist() == [0, 0, 0, 1] and chunks.labels.tolist() == [1, 1, 1, 2]
    assert encode([Example(("",), "1")], TWELVE, 6, LABELS, "chunks").input_ids.tolist() == [[CLS, SEP, PAD, PAD, PAD, PAD]]
    with pytest.raises(UserError, match="data.long_texts is unknown"):
        encode(examples, TWELVE, 6, LABELS, "tail")


@given(st.integers(0, 60), st.integers(0, 60), st.integers(1, 60))
def test_a_pair_is_cut_as_if_piece_by_piece_from_its_longer_side(first, second, room):
    kept = [first, second]
    while sum(kept) > room:
        kept[0 if kept[0] > kept[1] else 1] -= 1
    assert kept_lengths([first, second], room) == kept


def test_batches_keep_the_contract():
    contract.check(loader_of(numbered(3), 2).batch(0))
    contract.check(in_order(numbered(3), 2)[0])


@given(size=st.integers(1, 20), batch_size=st.integers(1, 9), seed=st.integers(0, 3))
def test_each_epoch_holds_every_example_once(size, batch_size, seed):
    loader = loader_of(numbered(size), batch_size, seed)
    labels = labels_of_steps(loader, range(-(-3 * size // batch_size)))
    for epoch in range(3):
        assert sorted(labels[epoch * size : (epoch + 1) * size]) == list(range(size))


@given(lengths=st.lists(st.integers(2, 12), min_size=1, max_size=30), batch_size=st.integers(1, 9), seed=st.integers(0, 3))
def test_batches_of_rows_of_like_length_hold_the_same_rows_as_others_do_in_each_window(lengths, batch_size, seed):
    encoded = of_lengths(lengths)
    alike, plain = (loader_of(encoded, batch_size, seed, multiple_of) for multiple_of in (4, 0))
    steps = min(max(len(lengths) // batch_size, 1), 64)
    for window in range(3):
        here = range(window * steps, (window + 1) * steps)
        assert sorted(labels_of_steps(alike, here)) == sorted(labels_of_steps(plain, here))


def test_rows_of_like_length_share_a_batch_padded_to_the_multiple_above_its_longest():
    lengths = [3, 9, 4, 10, 3, 9, 4, 10, 3, 9]
    loader = loader_of(of_lengths(lengths), 2, multiple_of=4)
    batches = [loader.batch(step) for step in range(5)]
    assert sorted(batch["input_mask"].shape[1] for batch in batches) == [4, 4, 10, 10, 10]  # 12 would be more than a row has
    assert {tuple(sorted(batch["input_mask"].sum(axis=1).tolist())) for batch in batches} == {
        (3, 3),
        (3, 4),
        (4, 9),
        (9, 9),
        (10, 10),
    }
    orders = [[int(loader.batch(step)["input_mask"].sum()) for step in range(at, at + 5)] for at in (0, 5, 10)]
    assert len(set(map(tuple, orders))) > 1 and orders[0] != sorted(orders[0])  # long and short ones come in no order


def test_shares_of_processes_have_the_length_of_the_whole_batch():
    loader = loader_of(of_lengths([3, 9, 4, 10, 3, 9, 4, 10]), 4, multiple_of=4)
    for step in range(4):
        whole = loader.batch(step)
        shares = [loader.batch(step, index, 2) for index in (0, 1)]
        for name in whole:
            np.testing.assert_array_equal(np.concatenate([share[name] for share in shares]), whole[name])


def test_epochs_and_seeds_have_orders_of_their_own():
    first, second = loader_of(numbered(20), 20, seed=0), loader_of(numbered(20), 20, seed=1)
    orders = [labels_of_steps(loader, range(step, step + 1)) for loader in (first, second) for step in (0, 1)]
    assert len({tuple(order) for order in [*orders, range(20)]}) == 5


def test_iterating_from_a_step_and_sharing_among_processes_give_the_same_rows():
    loader = loader_of(numbered(10), 4)
    batches = loader.iterate(3)
    assert [int(label) for _ in range(4) for label in next(batches)["label_ids"]] == labels_of_steps(loader, range(3, 7))
    batches.close()
    whole = loader.batch(2)["label_ids"].tolist()
    assert [label for index in (0, 1) for label in loader.batch(2, index, 2)["label_ids"]] == whole


def test_evaluation_takes_every_row_once_and_fills_the_last_batch_without_weight():
    batches = in_order(numbered(5), 2)
    assert [batch["label_weights"].tolist() for batch in batches] == [[1, 1], [1, 1], [1, 0]]
    weights, labels = (np.concatenate([batch[name] for batch in batches]) for name in ("label_weights", "label_ids"))
    assert labels[weights > 0].tolist() == [0, 1, 2, 3, 4]
    assert [batch["input_mask"].any(axis=1).tolist() for batch in batches] == [[True] * 2, [True] * 2, [True, False]]


@given(lengths=st.lists(st.integers(2, 12), min_size=1, max_size=12), batch_size=st.integers(1, 5))
def test_evaluation_by_length_says_which_rows_a_batch_holds(lengths, batch_size):
    encoded, seen = of_lengths(lengths), []
    for numbers, batch in evaluation_batches(encoded, batch_size, encoded.input_ids.shape[-1], 4):
        assert batch["label_ids"][batch["label_weights"] > 0].tolist() == numbers.tolist()
        assert len(batch["label_ids"]) == batch_size and batch["input_mask"].shape[1] >= max(lengths[row] for row in numbers)
        seen += numbers.tolist()
    assert sorted(seen) == list(range(len(lengths)))


def test_a_length_without_room_is_refused():
    with pytest.raises(UserError, match="data.max_seq_length is too small"):
        encode([Example(("a", "b"), "0")], TWELVE, 4, LABELS)
