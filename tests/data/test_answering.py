from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bert_jax import batch as contract
from bert_jax.data.answering import NOWHERE, Question, Windows, answer_pieces, encode, has_max_context, windows
from bert_jax.data.finetune import FinetuneLoader, evaluation_batches
from bert_jax.errors import UserError
from bert_jax.text.wordpiece import SPECIAL_PIECES, WordPiece
from tests.data.small import TWELVE

CLS, SEP, PAD = TWELVE.cls_id, TWELVE.sep_id, TWELVE.pad_id
A, B, C, D, E, F, G = TWELVE.encode(["a b c d e fg"])[0]
PARAGRAPH = "c d e f a b"
SMALL = {"max_seq_length": 8, "doc_stride": 2, "max_query_length": 2}


def rows_of(*questions: Question, tokenizer=TWELVE, **changes) -> Windows:
    return encode(questions, tokenizer, **SMALL | changes)


def answered(text: str, begin: int) -> Question:
    return Question("a b", PARAGRAPH, ((text, begin),))


def test_windows_and_labels_by_hand():
    rows = rows_of(answered("e f", 4))
    batch = rows.batch(np.arange(3), np.array([1, 1, 0], np.float32), 8)
    contract.check(batch)
    assert batch["input_ids"].tolist() == [
        [CLS, A, B, SEP, C, D, E, SEP],
        [CLS, A, B, SEP, E, F, A, SEP],
        [CLS, A, B, SEP, A, B, SEP, PAD],
    ]
    assert batch["segment_ids"].tolist() == [[0, 0, 0, 0, 1, 1, 1, 1], [0, 0, 0, 0, 1, 1, 1, 1], [0] * 8]
    assert batch["input_mask"].tolist() == [[1] * 8, [1] * 8, [0] * 8]  # the last only fills the batch
    assert batch["start_positions"].tolist() == [0, 4, 0]  # half an answer, as in the first window, is none
    assert batch["end_positions"].tolist() == [0, 5, 0]
    assert batch["label_weights"].tolist() == [1, 1, 0]
    assert rows.owners.tolist() == [0, 0, 0] and rows.answers_lost == 0


def test_with_cls_last_an_answer_that_is_not_there_is_at_its_place():
    rows = rows_of(answered("e f", 4), tokenizer=replace(TWELVE, cls_last=True))
    assert rows.input_ids[2].tolist() == [A, B, SEP, A, B, SEP, CLS, PAD]
    assert rows.cls_positions.tolist() == [7, 7, 6]
    assert rows.start_positions.tolist() == [7, 3, 6] and rows.end_positions.tolist() == [7, 4, 6]


def test_an_answer_is_the_pieces_that_share_a_character_with_it():
    offsets = np.array(TWELVE.encode_with_offsets(["a fg (b)"])[0].offsets)
    assert TWELVE.pieces_of(TWELVE.encode(["a fg (b)"])[0]) == ["a", "f", "##g", "[UNK]", "b", "[UNK]"]
    for text, begin, pieces in (("f", 2, (1, 1)), ("g", 3, (2, 2)), ("fg", 2, (1, 2)), ("b", 6, (4, 4)), (" f", 1, (1, 1))):
        assert answer_pieces(Question("", "a fg (b)", ((text, begin),)), offsets) == pieces
    assert answer_pieces(Question("", "a fg (b)", ((" ", 1),)), offsets) is None


def test_the_first_answer_that_stands_in_the_paragraph_is_learned():
    rows = rows_of(Question("a", PARAGRAPH, (("zz", NOWHERE), ("d", 2), ("e", 4))), max_seq_length=12)
    assert (rows.start_positions[0], rows.end_positions[0]) == (4, 4)


def test_no_answer_and_an_unknown_one_are_at_cls_and_a_lost_one_is_counted():
    impossible, asked = Question("a", PARAGRAPH, impossible=True), Question("a", PARAGRAPH)
    rows = rows_of(impossible, asked, answered("c d e f", 0))
    assert not rows.start_positions.any() and not rows.end_positions.any()
    assert rows.answers_lost == 1  # four pieces are more than any window holds


def test_a_question_that_is_too_long_is_cut_and_counted():
    rows = rows_of(Question("a b c", PARAGRAPH), Question("a b", PARAGRAPH))
    assert rows.questions_cut == 1
    assert rows.input_ids[0].tolist() == rows.input_ids[3].tolist()


def test_a_paragraph_without_pieces_has_a_row_all_the_same():
    rows = rows_of(Question("a", ""), Question("b", " "), Question("c", "a"))
    assert rows.owners.tolist() == [0, 1, 2] and rows.sizes.tolist() == [0, 0, 1]
    assert rows.input_ids[0].tolist() == [CLS, A, SEP, SEP, PAD, PAD, PAD, PAD]
    assert [place.tolist() for place in has_max_context(rows.begins[:1], rows.sizes[:1])] == [[]]


@pytest.mark.parametrize("changes", [{"max_seq_length": 5}, {"doc_stride": 0}, {"max_query_length": 0}])
def test_settings_without_room_are_refused(changes):
    with pytest.raises(UserError, match=f"data.{next(iter(changes)) if 'doc_stride' in changes else 'max_seq_length'}"):
        rows_of(answered("e", 4), **changes)


@given(pieces=st.integers(0, 60), room=st.integers(1, 20), stride=st.integers(1, 30))
def test_windows_cover_the_paragraph_and_each_piece_has_most_context_in_one(pieces, room, stride):
    found = windows(pieces, room, stride)
    assert {piece for begin, size in found for piece in range(begin, begin + size)} == set(range(pieces))
    assert all(after[0] - before[0] == min(stride, room) for before, after in zip(found, found[1:]))
    begins, sizes = np.array(found).T
    widest = [begin + place for (begin, _), own in zip(found, has_max_context(begins, sizes)) for place in np.flatnonzero(own)]
    assert sorted(widest) == list(range(pieces))


def test_context_by_hand_as_in_the_released_code():
    """the man went to the store and bought a gallon of: three windows of five words, each three words on. "bought" is the last
    word of the second, with no context behind it, and has one word before it in the third; "to" is the first of the second."""
    first, second, third = has_max_context(np.array([0, 3, 6]), np.array([5, 5, 5]))
    assert first.tolist() == [True, True, True, True, False]
    assert second.tolist() == [False, True, True, True, False]
    assert third.tolist() == [False, True, True, True, True]


def test_a_hundredth_of_its_length_makes_the_longer_window_better():
    """Piece 317 has 66 behind it in the first window and 67 before it in the second: 66 + 3.84 against 67 + 1.50. 318 has 65 and
    68."""
    first, second = has_max_context(np.array([0, 250]), np.array([384, 150]))
    assert (first[317], second[317 - 250]) == (True, False)
    assert (first[318], second[318 - 250]) == (False, True)


def test_loader_and_evaluation_take_windows_as_rows():
    rows = rows_of(answered("e f", 4), answered("c", 0))
    batch = FinetuneLoader(rows, 4, 0, 8).batch(0)
    contract.check(batch)
    seen = [number for numbers, _ in evaluation_batches(rows, 4, 8, 2) for number in numbers]
    assert sorted(seen) == list(range(6))


@given(st.lists(st.sampled_from("abcdefg ,"), max_size=30), st.data())
def test_the_labelled_pieces_hold_the_answer_whatever_the_text(letters, data):
    paragraph = "".join(letters)
    words = WordPiece((*SPECIAL_PIECES, *"abcdefg,", *(f"##{letter}" for letter in "abcdefg")), True)
    begin = data.draw(st.integers(0, len(paragraph)))
    end = data.draw(st.integers(begin, len(paragraph)))
    text = paragraph[begin:end]
    rows = rows_of(Question("a", paragraph, ((text, begin),)), tokenizer=words, max_seq_length=64)
    if not text.strip():
        assert rows.start_positions[0] == 0
        return
    first, last = (int(place[0] - rows.first_lengths[0]) for place in (rows.start_positions, rows.end_positions))
    assert paragraph[rows.offsets[0][first, 0] : rows.offsets[0][last, 1]] == text.strip()
