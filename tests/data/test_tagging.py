from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bert_jax import batch as contract
from bert_jax.data.finetune import evaluation_batches
from bert_jax.data.tagging import TaggedExample, by_word, encode, first_pieces, from_text, located
from bert_jax.errors import UserError
from bert_jax.text import byte_level
from tests.data.small import TWELVE

CLS, SEP, PAD, UNK = TWELVE.cls_id, TWELVE.sep_id, TWELVE.pad_id, TWELVE.unk_id
A, B, C, D, E, F, G = (TWELVE.id_of[piece] for piece in ("a", "b", "c", "d", "e", "f", "##g"))
LABELS = ("O", "B-X", "I-X")


def example(words: str, tags: str | None = None, **more) -> TaggedExample:
    return TaggedExample(tuple(words.split()), None if tags is None else tuple(tags.split()), "f, line 1", **more)


def in_document(sentences: list[str], place: int) -> TaggedExample:
    document = [tuple(sentence.split()) for sentence in sentences]
    return TaggedExample(document[place], ("O",) * len(document[place]), "", document, place)


def first_batch(rows, size: int) -> dict:
    batch = next(evaluation_batches(rows, size, rows.input_ids.shape[1]))[1]
    contract.check(batch)
    return batch


def test_a_sentence_by_hand():
    batch = first_batch(encode([example("Ag \u200b b", "B-X I-X O"), example("c")], TWELVE, 8, LABELS), 3)
    assert batch["input_ids"].tolist()[:2] == [[CLS, A, G, UNK, B, SEP, PAD, PAD], [CLS, C, SEP, *[PAD] * 5]]
    assert batch["word_ids"].tolist() == [[0, 1, 1, 2, 3, 0, 0, 0], [0, 1, *[0] * 6], [0] * 8]
    assert batch["label_ids"].tolist()[:2] == [[0, 1, 0, 2, 0, 0, 0, 0], [0] * 8]
    assert batch["label_weights"].tolist() == [[0, 1, 0, 1, 1, 0, 0, 0], [0, 1, *[0] * 6], [0] * 8]
    assert batch["input_mask"].tolist() == [[1] * 6 + [0] * 2, [1] * 3 + [0] * 5, [0] * 8]
    assert not batch["segment_ids"].any()


def test_words_of_a_row_whose_cls_stands_last():
    batch = first_batch(encode([example("ag b", "O B-X")], replace(TWELVE, cls_last=True), 6, LABELS), 1)
    assert batch["input_ids"].tolist() == [[A, G, B, SEP, CLS, PAD]]
    assert batch["word_ids"].tolist() == [[1, 1, 2, 0, 0, 0]] and batch["label_ids"].tolist() == [[0, 0, 1, 0, 0, 0]]


def test_a_sentence_that_is_too_long_goes_on_in_further_rows_between_words():
    rows = encode([example("a bg c dggg e", "O B-X I-X B-X O")], TWELVE, 5, LABELS)
    assert rows.input_ids.tolist() == [[CLS, A, B, G, SEP], [CLS, C, SEP, PAD, PAD], [CLS, D, G, G, SEP], [CLS, E, SEP, PAD, PAD]]
    assert rows.labels.tolist() == [[0, 0, 1, 0, 0], [0, 2, 0, 0, 0], [0, 1, 0, 0, 0], [0] * 5]
    assert rows.owners.tolist() == [0] * 4 and rows.lengths.tolist() == [5, 3, 5, 3]


def test_rows_are_filled_with_what_stands_around_in_the_document():
    sentences = ["a b c", "d ag", "e f"]

    def row(place: int, length: int) -> tuple[list[int], list[int]]:
        rows = encode([in_document(sentences, place)], TWELVE, length, LABELS, document_context=True)
        return rows.input_ids[0].tolist(), rows.word_ids[0].tolist()

    assert row(1, 7) == ([CLS, C, D, A, G, E, SEP], [0, 0, 1, 2, 2, 0, 0])
    assert row(0, 8) == ([CLS, A, B, C, D, A, G, SEP], [0, 1, 2, 3, 0, 0, 0, 0])
    assert row(0, 7) == ([CLS, A, B, C, D, SEP, PAD], [0, 1, 2, 3, 0, 0, 0])  # no half words
    assert row(2, 9) == ([CLS, B, C, D, A, G, E, F, SEP], [0, 0, 0, 0, 0, 0, 1, 2, 0])
    assert row(1, 20)[0][:10] == [CLS, A, B, C, D, A, G, E, F, SEP]
    both = encode([in_document(["a b c d e"], 0)], TWELVE, 6, LABELS, document_context=True)  # a sentence in two rows
    assert both.input_ids.tolist() == [[CLS, A, B, C, D, SEP], [CLS, B, C, D, E, SEP]]
    assert both.word_ids.tolist() == [[0, 1, 2, 3, 4, 0], [0, 0, 0, 0, 1, 0]]


@given(
    st.lists(st.lists(st.sampled_from(["a", "bg", "cggg", "\x00", "dgggggggg"]), max_size=9), min_size=1, max_size=5),
    st.integers(3, 9),
    st.booleans(),
)
def test_every_word_is_scored_in_one_row_and_none_is_lost(sentences, length, document_context):
    document = [tuple(words) for words in sentences]
    examples = [TaggedExample(words, None, "", document, place) for place, words in enumerate(document)]
    rows = encode(examples, TWELVE, length, LABELS, document_context=document_context)
    found = by_word(rows, [row[:size] for row, size in zip(rows.input_ids, rows.lengths)])
    begins = {"a": A, "bg": B, "cggg": C, "\x00": UNK, "dgggggggg": D}
    assert [each.tolist() for each in found] == [[begins[word] for word in words] for words in document]
    assert (rows.lengths <= length).all() and set(rows.owners) == set(range(len(document)))
    assert first_pieces(rows.word_ids).sum() == sum(map(len, document))
    if document_context and sum(map(len, document)) == 1 == max(map(len, document)):
        assert len(rows.lengths) == len(document)


def test_what_a_model_gives_is_read_at_first_pieces_whatever_the_padding():
    rows = encode([example("ag b"), example("c d e")], TWELVE, 4, LABELS)  # ag | b | c d | e
    values = [np.arange(size)[:, None] + 10 * number for number, size in enumerate((4, 6, 4, 9))]
    assert [each[:, 0].tolist() for each in by_word(rows, values)] == [[1, 11], [21, 22, 31]]


def test_kinds_of_pieces_that_see_blanks_see_one_before_each_word(tmp_path):
    from bert_jax.text import learn

    learn.save_bytelevel(learn.Counter({" cat": 9, " the": 9}), 270, False, tmp_path / "vocab.json")
    tokenizer = byte_level.load(tmp_path / "vocab.json", False)
    rows = encode([example("the cat", "O O")], tokenizer, 20, LABELS)
    inside = rows.input_ids[0, 1 : rows.lengths[0] - 1]
    assert inside.tolist() == tokenizer.encode([" the cat"])[0]


@pytest.mark.parametrize(
    ("of", "length", "message"),
    [
        (example("a b", "O B-Y"), 8, r"(?s)none of those known.*f, line 1: 'B-Y'.*O or B-X"),
        (example("a"), 2, r"(?s)max_seq_length.*2.*at least 3"),
    ],
)
def test_unknown_tags_and_rows_without_room_are_refused(of, length, message):
    with pytest.raises(UserError, match=message):
        encode([of], TWELVE, length, LABELS)


def test_texts_are_cut_into_words_that_know_where_they_stood():
    found = from_text("Mr. O'Neil,\u200b\tin 北京 2008")
    assert found.words == ("Mr", ".", "O", "'", "Neil", ",", "in", "北", "京", "2008") and found.tags is None
    assert all(found.text[begin:end] == word for word, (begin, end) in zip(found.words, found.offsets))
    assert located(found) == (found.text, found.offsets)
    by_character = from_text("北京 08", characters=True)
    assert by_character.words == ("北", "京", "0", "8") and by_character.offsets == ((0, 1), (1, 2), (3, 4), (4, 5))


def test_words_of_files_stand_between_blanks_and_characters_without():
    assert located(example("New York .")) == ("New York .", ((0, 3), (4, 8), (9, 10)))
    assert located(example("北 京 0 8")) == ("北京08", ((0, 1), (1, 2), (2, 3), (3, 4)))
    assert located(example("")) == ("", ())
