import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bert_jax.data import keyed, pairs, stretches
from bert_jax.data.pairs import heads, next_sentence_pairs, sentence_order_pairs, truncated_lengths
from bert_jax.data.stretches import LABEL, OPENS, SECOND
from tests.data.small import split_of

DOCUMENTS = st.lists(st.lists(st.integers(1, 9), min_size=1, max_size=12), min_size=2, max_size=6)
KEY = keyed.key_of(0)


def sides_of(documents, max_tokens, short_seq_prob, key, *, may_be_random=True) -> list[list[int]]:
    """Rows of first and end sentence of A, the same of B, and is-random."""
    found = pairs._sides(split_of(documents), max_tokens, short_seq_prob, key, may_be_random=may_be_random)
    return [row for a, b, is_random in found for row in np.column_stack([*a, *b, is_random]).tolist()]


def pairs_one_by_one(documents: list[list[int]], max_tokens: int, short_seq_prob: float, key: np.uint64) -> list[list[int]]:
    """The rules of create_instances_from_document in a plain loop, with the draws of the plan."""

    def draw(name: str) -> np.uint64:
        return keyed.key_of(int(key), name)

    firsts = np.cumsum([0, *map(len, documents)]).tolist()
    found = []
    for number, document in enumerate(documents):
        target = max_tokens
        if keyed.uniform(draw("short"), number) < short_seq_prob:
            target = 2 + int(keyed.below(max_tokens - 1, draw("length"), number))
        i, chunk = 0, []
        while i < len(document):
            chunk.append(i)
            if i == len(document) - 1 or sum(document[j] for j in chunk) >= target:
                place = firsts[number] + chunk[0]
                a_end = 1
                if len(chunk) >= 2:
                    a_end = 1 + int(keyed.below(len(chunk) - 1, draw("cut"), place))
                row = [place, place + a_end]
                if len(chunk) == 1 or keyed.uniform(draw("random"), place) < 0.5:
                    other = int(keyed.below(len(documents) - 1, draw("document"), place))
                    other += other >= number
                    b_first = b_end = int(keyed.below(len(documents[other]), draw("sentence"), place))
                    tokens_b = 0
                    while b_end < len(documents[other]):
                        tokens_b += documents[other][b_end]
                        b_end += 1
                        if tokens_b >= target - sum(document[j] for j in chunk[:a_end]):
                            break
                    found.append([*row, firsts[other] + b_first, firsts[other] + b_end, 1])
                    i -= len(chunk) - a_end
                else:
                    found.append([*row, row[1], firsts[number] + chunk[-1] + 1, 0])
                chunk = []
            i += 1
    return found


@settings(deadline=None)
@given(DOCUMENTS, st.integers(2, 20), st.sampled_from([0.0, 0.5, 1.0]), st.integers(0, 9))
def test_the_pairs_are_those_of_the_original_loop(documents, max_tokens, short_seq_prob, seed):
    key = keyed.key_of(seed)
    assert sides_of(documents, max_tokens, short_seq_prob, key) == pairs_one_by_one(documents, max_tokens, short_seq_prob, key)


@settings(deadline=None)
@given(DOCUMENTS, st.integers(0, 99))
def test_every_sentence_is_read_once_and_what_follows_is_true(documents, seed):
    firsts = np.cumsum([0, *map(len, documents)])
    owner = np.repeat(np.arange(len(documents)), np.diff(firsts))
    seen = np.zeros(firsts[-1], int)
    for a_first, a_end, b_first, b_end, is_random in sides_of(documents, 12, 0.2, keyed.key_of(seed)):
        assert a_first < a_end and b_first < b_end
        assert len(set(owner[a_first:a_end])) == len(set(owner[b_first:b_end])) == 1
        assert (owner[a_first] != owner[b_first]) == is_random  # a random B never comes from the same document
        seen[a_first:a_end] += 1
        if not is_random:
            assert b_first == a_end
            seen[b_first:b_end] += 1
    # Read on, put back or not: as part of its own document each sentence comes exactly once.
    assert (seen == 1).all()


@settings(deadline=None)
@given(DOCUMENTS, st.integers(0, 99))
def test_sentence_order_reads_every_sentence_once_but_for_documents_of_one(documents, seed):
    firsts = np.cumsum([0, *map(len, documents)])
    owner = np.repeat(np.arange(len(documents)), np.diff(firsts))
    seen = np.zeros(firsts[-1], int)
    for a_first, a_end, b_first, b_end, _ in sides_of(documents, 12, 0.2, keyed.key_of(seed), may_be_random=False):
        assert a_first < a_end == b_first < b_end and owner[a_first] == owner[b_end - 1]
        seen[a_first:b_end] += 1
    assert (seen == np.repeat(np.diff(firsts) > 1, np.diff(firsts))).all()


@pytest.fixture(scope="module")
def many():
    rng = np.random.default_rng(0)
    documents = [rng.integers(1, 12, 40).tolist() for _ in range(400)]
    return split_of(documents), np.array(sides_of(documents, 61, 0.0, KEY))


def test_half_of_the_pairs_with_a_choice_are_random(many):
    split, table = many
    # Only the last sentence of a document has none after it and must be paired at random.
    last = np.isin(table[:, 0], split.document_offsets[1:] - 1)
    assert (table[last, 4] == 1).all()
    choices = table[~last, 4]
    assert len(choices) > 2000 and abs(choices.mean() - 0.5) < 5 * 0.5 / np.sqrt(len(choices))


def test_random_sentences_come_from_all_over_the_split(many):
    split, table = many
    counts = np.histogram(table[table[:, 4] == 1, 2], bins=10, range=(0, split.num_sentences))[0]
    assert counts.min() > 0.7 * counts.mean() and counts.max() < 1.3 * counts.mean()


def test_half_of_the_sentence_order_pairs_are_swapped_and_label_0_is_in_order(many):
    split, _ = many
    table = np.concatenate(list(sentence_order_pairs(split, 64, 0.0, KEY))).reshape(-1, 2, 3)
    (a_first, a_length, a_flags), (b_first, b_length, b_flags) = table[:, 0].T, table[:, 1].T
    swapped = (a_flags & LABEL) > 0
    assert (a_flags & OPENS).all() and (b_flags == SECOND).all()
    assert len(swapped) > 1500 and abs(swapped.mean() - 0.5) < 5 * 0.5 / np.sqrt(len(swapped))
    assert ((a_first < b_first) == ~swapped).all() and (a_length + b_length <= 61).all()
    whole = a_length + b_length < 61  # nothing was cut off, so the two touch
    assert (
        whole.any()
        and (np.where(swapped, b_first + b_length, a_first + a_length) == np.where(swapped, a_first, b_first))[whole].all()
    )


def test_a_sentence_order_pair_by_hand():
    # Sentences of 2, 3 and 4 tokens and room for five: two would fill it, but the third does not stay alone.
    rows = [sides_of([[2, 3, 4]], 5, 0.0, keyed.key_of(seed), may_be_random=False) for seed in range(20)]
    assert [[0, 1, 1, 3, 0]] in rows and [[0, 2, 2, 3, 0]] in rows
    assert all(row in ([[0, 1, 1, 3, 0]], [[0, 2, 2, 3, 0]]) for row in rows)
    assert sides_of([[7], [2, 2]], 9, 0.0, KEY, may_be_random=False) == [[1, 2, 2, 3, 0]]


def test_a_single_document_never_gives_a_random_next():
    with pytest.warns(UserWarning, match="single document"):
        table = np.concatenate(list(next_sentence_pairs(split_of([[9, 3, 20, 30, 4, 5, 6, 2, 8, 9, 1]]), 16, 0.1, KEY)))
    assert len(table) > 4 and not (table[:, 2] & LABEL).any()
    assert (table[1::2, 0] >= table[::2, 0] + table[::2, 1]).all()


def test_a_single_sentence_gives_no_pair():
    with pytest.warns(UserWarning, match="single document"):
        assert sum(len(block) for block in next_sentence_pairs(split_of([[9]]), 16, 0.1, KEY)) == 0


@pytest.mark.parametrize("mode", [next_sentence_pairs, sentence_order_pairs])
def test_pairs_do_not_depend_on_the_block_size(mode, monkeypatch):
    split = split_of([[3, 4, 5, 6, 2] * (1 + i % 5) for i in range(20)])
    whole = np.concatenate(list(mode(split, 16, 0.1, KEY)))
    monkeypatch.setattr(stretches, "SENTENCES_PER_BLOCK", 7)
    assert np.array_equal(np.concatenate(list(mode(split, 16, 0.1, KEY))), whole)


@given(st.integers(1, 40), st.integers(1, 40), st.integers(2, 30))
def test_the_longer_side_is_shortened(a, b, max_tokens):
    a_left, b_left = a, b
    while a_left + b_left > max_tokens:
        if a_left > b_left:
            a_left -= 1
        else:
            b_left -= 1
    kept = truncated_lengths(np.array([a]), np.array([b]), max_tokens)
    assert (int(kept[0][0]), int(kept[1][0])) == (a_left, b_left)


def test_a_pair_that_is_too_long_keeps_a_stretch_of_each_side():
    split, seen = split_of([[30], [3]]), set()
    for seed in range(40):
        (first, length, flags), (second, short, _) = np.concatenate(
            list(next_sentence_pairs(split, 12, 0.0, keyed.key_of(seed)))
        )[:2]
        assert (length, flags, second, short) == (6, OPENS + LABEL, 30, 3) and 0 <= first <= 24
        seen.add(int(first))
    assert len(seen) > 3 and max(seen) - min(seen) > 3  # not always from one end


def test_what_is_cut_off_comes_from_both_ends_by_fair_coins():
    count = np.full(4000, 70)
    lost_in_front = heads(KEY, np.arange(4000), 0, count=count)
    assert abs(lost_in_front.mean() - 35) < 0.5 and abs(lost_in_front.var() - 17.5) < 2
    few = heads(KEY, np.arange(4000), 1, count=np.arange(4000) % 3)
    assert (few <= np.arange(4000) % 3).all() and abs(few[2::3].mean() - 1) < 0.1 and set(few[0::3]) == {0}
