import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bert_jax.data import keyed, rows
from bert_jax.data.rows import PairPlan, build_pairs, read_rows, truncated_lengths
from tests.data.small import TWELVE, make_store, split_of

DOCUMENTS = st.lists(st.lists(st.integers(1, 9), min_size=1, max_size=12), min_size=2, max_size=6)


def plan(split, tmp_path, length=16, short_seq_prob=0.1, seed=0, duplicate=0) -> np.ndarray:
    return build_pairs(
        split, max_seq_length=length, short_seq_prob=short_seq_prob, seed=seed, duplicate=duplicate, folder=tmp_path
    ).table


def rows_one_by_one(documents: list[list[int]], max_tokens: int, short_seq_prob: float, key: np.uint64) -> list[list[int]]:
    """The rules of create_instances_from_document in a plain loop, with the draws of the plan."""

    def draw(name: str) -> np.uint64:
        return keyed.key_of(int(key), name)

    firsts = np.cumsum([0, *map(len, documents)]).tolist()
    found = []
    for number, document in enumerate(documents):
        target = max_tokens
        if keyed.uniform(draw("short"), number) < short_seq_prob:
            target = 2 + int(keyed.below(max_tokens - 1, draw("length"), number))
        i, turn, chunk = 0, 0, []
        while i < len(document):
            chunk.append(i)
            if i == len(document) - 1 or sum(document[j] for j in chunk) >= target:
                a_end = 1
                if len(chunk) >= 2:
                    a_end = 1 + int(keyed.below(len(chunk) - 1, draw("cut"), number, turn))
                row = [firsts[number] + chunk[0], firsts[number] + chunk[0] + a_end]
                if len(chunk) == 1 or keyed.uniform(draw("random"), number, turn) < 0.5:
                    other = int(keyed.below(len(documents) - 1, draw("document"), number, turn))
                    other += other >= number
                    b_first = b_end = int(keyed.below(len(documents[other]), draw("sentence"), number, turn))
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
                chunk, turn = [], turn + 1
            i += 1
    return found


@settings(deadline=None)
@given(DOCUMENTS, st.integers(2, 20), st.sampled_from([0.0, 0.5, 1.0]), st.integers(0, 9))
def test_the_plan_is_that_of_the_original_loop(documents, max_tokens, short_seq_prob, seed):
    key = keyed.key_of(seed)
    found = rows._pairs(split_of(documents), np.arange(len(documents)), max_tokens, short_seq_prob, key)
    assert found.tolist() == rows_one_by_one(documents, max_tokens, short_seq_prob, key)


@settings(deadline=None)
@given(DOCUMENTS)
def test_every_sentence_is_read_and_what_follows_is_true(documents):
    split = split_of(documents)
    table = rows._pairs(split, np.arange(len(documents)), 12, 0.2, keyed.key_of(0))
    owner = np.repeat(np.arange(len(documents)), [len(document) for document in documents])
    seen = np.zeros(split.num_sentences, int)
    for a_first, a_end, b_first, b_end, is_random in table:
        assert a_first < a_end and b_first < b_end
        assert len(set(owner[a_first:a_end])) == len(set(owner[b_first:b_end])) == 1
        assert (owner[a_first] != owner[b_first]) == is_random
        seen[a_first:a_end] += 1
        if not is_random:
            assert b_first == a_end
            seen[b_first:b_end] += 1
    # Read on, put back or not: as part of its own document each sentence comes exactly once.
    assert (seen == 1).all()


@pytest.fixture(scope="module")
def many_rows(tmp_path_factory):
    rng = np.random.default_rng(0)
    split = split_of([rng.integers(1, 12, 40).tolist() for _ in range(400)])
    return split, plan(split, tmp_path_factory.mktemp("plans"), length=64, short_seq_prob=0.0)


def test_half_of_the_rows_with_a_choice_are_random(many_rows):
    split, table = many_rows
    # Only the last sentence of a document has none after it and must be paired at random.
    last = np.isin(table[:, 0], split.document_offsets[1:] - 1)
    assert (table[last, 4] == 1).all()
    choices = table[~last, 4]
    assert len(choices) > 2000 and abs(choices.mean() - 0.5) < 5 * 0.5 / np.sqrt(len(choices))


def test_random_sentences_come_from_all_over_the_split(many_rows):
    split, table = many_rows
    firsts = table[table[:, 4] == 1, 2]
    counts = np.histogram(firsts, bins=10, range=(0, split.num_sentences))[0]
    assert counts.min() > 0.7 * counts.mean() and counts.max() < 1.3 * counts.mean()


def test_pairings_and_seeds_differ_and_files_are_used_again(tmp_path):
    split = split_of([[3, 4, 5, 6, 2] * 4, [7, 1, 2] * 9, [4] * 20])
    first = plan(split, tmp_path)
    files = sorted(tmp_path.iterdir())
    assert np.array_equal(plan(split, tmp_path), first) and sorted(tmp_path.iterdir()) == files and len(files) == 1
    for change in ({"duplicate": 1}, {"seed": 1}, {"length": 20}, {"short_seq_prob": 1.0}):
        assert not np.array_equal(plan(split, tmp_path, **change), first)
    assert len(list(tmp_path.iterdir())) == 5


def test_a_plan_does_not_depend_on_the_block_size(tmp_path, monkeypatch):
    split = split_of([[3, 4, 5, 6, 2] * (1 + i % 5) for i in range(20)])
    whole = plan(split, tmp_path / "whole")
    monkeypatch.setattr(rows, "DOCUMENTS_PER_BLOCK", 3)
    assert np.array_equal(plan(split, tmp_path / "blocks"), whole)


def test_a_plan_that_fails_leaves_no_file(tmp_path, monkeypatch):
    def fail(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(rows, "_pairs", fail)
    with pytest.raises(KeyboardInterrupt):
        plan(split_of([[1, 2], [3]]), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_single_document_never_gives_a_random_next(tmp_path):
    with pytest.warns(UserWarning, match="single document"):
        table = plan(split_of([[9, 3, 20, 30, 4, 5, 6, 2, 8, 9, 1]]), tmp_path)
    assert len(table) > 2 and table[:, 4].sum() == 0
    assert (table[:, 2] == table[:, 1]).all() and (table[:, 3] > table[:, 2]).all()


def test_a_single_sentence_gives_no_row(tmp_path):
    with pytest.warns(UserWarning, match="single document"):
        assert plan(split_of([[9]]), tmp_path).shape == (0, 5)


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


def test_what_is_cut_off_comes_from_both_ends_by_fair_coins():
    count = np.full(4000, 70)
    lost_in_front = rows.heads(keyed.key_of(0), np.arange(4000), 0, count=count)
    assert abs(lost_in_front.mean() - 35) < 0.5 and abs(lost_in_front.var() - 17.5) < 2
    few = rows.heads(keyed.key_of(0), np.arange(4000), 1, count=np.arange(4000) % 3)
    assert (few <= np.arange(4000) % 3).all() and abs(few[2::3].mean() - 1) < 0.1 and set(few[0::3]) == {0}


def test_a_row_reads_as_its_plan_says(tmp_path):
    store = make_store(tmp_path, [["a b", "c d e", "f a"], ["f f f f", "b"]], 0.5)
    long = next(split for split in (store.train, store.held_out) if split.num_sentences == 3)
    table = np.array([[0, 1, 1, 2, 0], [0, 2, 2, 3, 1]])
    laid_out = read_rows(long, PairPlan(table, np.uint64(0)), np.array([0, 1]), 12, TWELVE)
    assert [" ".join(TWELVE.pieces_of(row)) for row in laid_out.input_ids] == [
        "[CLS] a b [SEP] c d e [SEP] [PAD] [PAD] [PAD] [PAD]",
        "[CLS] a b c d e [SEP] f a [SEP] [PAD] [PAD]",
    ]
    assert laid_out.segment_ids.tolist() == [[0, 0, 0, 0, 1, 1, 1, 1, 0, 0, 0, 0], [0] * 7 + [1, 1, 1, 0, 0]]
    assert laid_out.input_mask.tolist() == [[1] * 8 + [0] * 4, [1] * 10 + [0] * 2]
    assert laid_out.next_sentence_labels.tolist() == [0, 1]
    assert laid_out.is_text.astype(int).tolist() == [[0, 1, 1, 0, 1, 1, 1, 0, 0, 0, 0, 0], [0, 1, 1, 1, 1, 1, 0, 1, 1, 0, 0, 0]]


def test_a_row_that_is_too_long_keeps_a_stretch_of_each_side():
    split = split_of([[30], [3]])
    seen = set()
    for key in range(40):
        laid_out = read_rows(split, PairPlan(np.array([[0, 1, 1, 2, 1]]), np.uint64(key)), np.array([0]), 12, TWELVE)
        row = laid_out.input_ids[0].tolist()
        assert (row[0], row[7], row[11]) == (TWELVE.cls_id, TWELVE.sep_id, TWELVE.sep_id)
        assert row[8:11] == split.tokens(np.arange(30, 33)).tolist()
        starts = [s for s in range(25) if row[1:7] == split.tokens(np.arange(s, s + 6)).tolist()]
        assert starts
        seen.add(tuple(starts))
    assert len(seen) > 3  # not always from one end
