import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bert_jax.data import keyed, stretches
from bert_jax.data.contiguous import doc_sentences, full_sentences, segments, sentences
from bert_jax.data.stretches import OPENS
from bert_jax.errors import UserError
from tests.data.small import split_of

KEY = keyed.key_of(0)
DOCUMENTS = st.lists(st.lists(st.integers(1, 30), min_size=1, max_size=12), min_size=1, max_size=8)


def table(mode, documents, length, short_seq_prob=0.0) -> np.ndarray:
    return np.concatenate(list(mode(split_of(documents), length, short_seq_prob, KEY)))


def examples(found: np.ndarray) -> list[list[list[int]]]:
    """[first token, end token] of each stretch of each example."""
    opens = np.flatnonzero(found[:, 2] == OPENS)
    ends = np.stack([found[:, 0], found[:, 0] + found[:, 1]], axis=1)
    return [part.tolist() for part in np.split(ends, opens[1:])]


def test_full_sentences_by_hand():
    # Rows of ten places: [CLS], eight of text, [SEP]; a separator between documents takes one more.
    #            tokens 0-3 3-5 5-9 | 9-11 11-14 | 14-34
    documents = [[3, 2, 4], [2, 3], [20]]
    assert examples(table(full_sentences, documents, 10)) == [
        [[0, 5]],  # the next sentence has four tokens, one too many
        [[5, 9], [9, 11]],  # across documents; three tokens more would not fit beside the separator
        [[11, 14]],  # the long sentence is cut into units of eight, none of which fits here
        [[14, 22]],
        [[22, 30]],
        [[30, 34]],
    ]


def test_doc_sentences_by_hand():
    assert examples(table(doc_sentences, [[3, 2, 4], [2, 3], [20]], 10)) == [
        [[0, 5]], [[5, 9]], [[9, 14]], [[14, 22]], [[22, 30]], [[30, 34]],
    ]  # fmt: skip


def test_segments_by_hand():
    assert examples(table(segments, [[3, 2, 4], [2, 3], [20]], 10)) == [
        [[0, 8]], [[8, 9]], [[9, 14]], [[14, 22]], [[22, 30]], [[30, 34]],
    ]  # fmt: skip


def test_sentences_by_hand():
    """One of a single piece is left out, and of a long one what does not fit into a row of ten places."""
    assert examples(table(sentences, [[3, 2, 1], [2, 3], [20], [1]], 10)) == [
        [[0, 3]], [[3, 5]], [[6, 8]], [[8, 11]], [[11, 19]],
    ]  # fmt: skip


@settings(deadline=None)
@given(DOCUMENTS, st.integers(8, 24), st.sampled_from([full_sentences, doc_sentences, segments]))
def test_every_token_comes_exactly_once_in_rows_that_fit(documents, length, mode):
    found = table(mode, documents, length)
    assert (found[:, 1] > 0).all() and found[0, 0] == 0
    assert (found[1:, 0] == found[:-1, 0] + found[:-1, 1]).all() and found[-1, :2].sum() == sum(map(sum, documents))
    for example in examples(found):
        assert 1 + sum(end - begin + 1 for begin, end in example) <= length
    owner = np.repeat(np.arange(len(documents)), [sum(document) for document in documents])
    assert all(len(set(owner[begin : begin + tokens])) == 1 for begin, tokens, _ in found)
    assert mode is full_sentences or (found[:, 2] == OPENS).all()


@settings(deadline=None)
@given(DOCUMENTS, st.integers(8, 24))
def test_a_row_of_full_sentences_ends_only_where_the_next_unit_does_not_fit(documents, length):
    found = examples(table(full_sentences, documents, length))
    sentence_ends = np.cumsum([0, *(tokens for document in documents for tokens in document)])
    document_ends = np.cumsum([sum(document) for document in documents])
    for example, following in zip(found, found[1:]):
        taken = 1 + sum(end - begin + 1 for begin, end in example)
        begin = following[0][0]
        sentence = np.searchsorted(sentence_ends, begin, side="right")
        unit = min(length - 2, sentence_ends[sentence] - begin)
        assert taken + unit + (begin in document_ends) > length


@pytest.mark.parametrize("mode", [full_sentences, doc_sentences, segments, sentences])
def test_rows_do_not_depend_on_the_block_size(mode, monkeypatch):
    documents = [[3, 40, 5, 6, 2] * (1 + i % 5) for i in range(20)]
    short = 0.5 if mode is segments else 0.0
    whole = table(mode, documents, 16, short)
    monkeypatch.setattr(stretches, "SENTENCES_PER_BLOCK", 7)
    assert np.array_equal(table(mode, documents, 16, short), whole)


def test_short_documents_have_segments_of_one_random_length():
    found = table(segments, [[100]] * 300, 32, short_seq_prob=0.5)
    longest = [found[found[:, 0] // 100 == document, 1].max() for document in range(300)]
    assert abs(np.mean(np.array(longest) < 30) - 0.5) < 0.15 and len(set(longest)) > 15


@pytest.mark.parametrize("mode", [full_sentences, doc_sentences, sentences])
def test_rows_that_are_not_drawn_refuse_short_ones(mode):
    with pytest.raises(UserError, match=r"data.short_seq_prob=0.1"):
        table(mode, [[3]], 16, 0.1)
