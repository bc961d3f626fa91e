import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bert_jax.data.keyed import key_of
from bert_jax.data.masking import Masked, mask_tokens
from tests.data.small import TWELVE

MASK = TWELVE.mask_id


def mask(input_ids, candidates, *, rows=None, key=0, prob=0.15, slots=20, vocab_size=1000) -> Masked:
    lengths = candidates.sum(axis=1) + 3
    rows = np.arange(len(input_ids)) if rows is None else rows
    return mask_tokens(
        input_ids, candidates, lengths, rows, key_of(key),
        mask_id=MASK, vocab_size=vocab_size, masked_lm_prob=prob, max_predictions_per_seq=slots,
    )  # fmt: skip


def full_rows(count: int, length: int, piece: int = 500) -> tuple[np.ndarray, np.ndarray]:
    """Rows [CLS] pieces [SEP] pieces [SEP] without padding."""
    ids = np.full((count, length), piece, np.int32)
    candidates = np.ones(ids.shape, bool)
    for place, special in ((0, TWELVE.cls_id), (length // 2, TWELVE.sep_id), (length - 1, TWELVE.sep_id)):
        ids[:, place], candidates[:, place] = special, False
    return ids, candidates


def test_one_row_by_hand():
    #              [CLS] a  b  c [SEP] d  e  f [SEP] [PAD]
    row = np.array([[2, 5, 6, 7, 3, 8, 9, 10, 3, 0]], np.int32)
    candidates = np.array([[0, 1, 1, 1, 0, 1, 1, 1, 0, 0]], bool)
    # 9 pieces x 0.35 = 3.15: three are hidden, one of the four slots stays empty.
    masked = mask(row, candidates, rows=np.array([34]), prob=0.35, slots=4, vocab_size=12)
    # Row 34 shows all three fates: a is masked, d stays, f becomes e.
    assert TWELVE.pieces_of(masked.input_ids[0]) == "[CLS] [MASK] b c [SEP] d e e [SEP] [PAD]".split()
    assert masked.masked_lm_positions.tolist() == [[1, 5, 7, 0]]
    assert TWELVE.pieces_of(masked.masked_lm_ids[0, :3]) == ["a", "d", "f"] and masked.masked_lm_ids[0, 3] == 0
    assert masked.masked_lm_weights.tolist() == [[1, 1, 1, 0]]


@pytest.mark.parametrize(
    "length, prob, slots, expected",
    [
        (103, 0.15, 20, 15),  # 15.45
        (10, 0.15, 20, 2),  # 1.5 is rounded to even, as Python does
        (10, 0.25, 20, 2),  # 2.5 too
        (10, 0.35, 20, 4),  # 3.5
        (8, 0.01, 20, 1),  # at least one
        (103, 0.15, 10, 10),  # at most P
        (8, 1.0, 20, 5),  # no more than there are
        (8, 1.0, 5, 5),
    ],
)
def test_the_count_is_that_of_the_released_code(length, prob, slots, expected):
    masked = mask(*full_rows(4, length), prob=prob, slots=slots)
    assert masked.masked_lm_weights.shape == (4, slots) and masked.masked_lm_weights.sum(axis=1).tolist() == [expected] * 4


def test_eighty_percent_masked_ten_kept_ten_random():
    ids, candidates = full_rows(6000, 103)
    masked = mask(ids, candidates, vocab_size=1000)
    row, slot = np.nonzero(masked.masked_lm_weights)
    shown = masked.input_ids[row, masked.masked_lm_positions[row, slot]]
    total = len(shown)
    assert total == 6000 * 15

    def near(count: int, share: float) -> bool:
        return abs(count - share * total) < 5 * np.sqrt(share * (1 - share) * total)

    assert near((shown == MASK).sum(), 0.8 + 0.1 / 1000) and near((shown == 500).sum(), 0.1 + 0.1 / 1000)
    # Random pieces are drawn from the whole vocabulary, special ones too.
    random = shown[(shown != MASK) & (shown != 500)]
    assert np.histogram(random, bins=10, range=(0, 1000))[0].min() > 0.8 * len(random) / 10


def test_every_place_is_chosen_equally_often():
    ids, candidates = full_rows(8000, 23)
    masked = mask(ids, candidates)
    row, slot = np.nonzero(masked.masked_lm_weights)
    counts = np.bincount(masked.masked_lm_positions[row, slot], minlength=23)
    assert (counts[~candidates[0]] == 0).all()
    assert np.abs(counts[candidates[0]] / 8000 - 3 / 20).max() < 0.02


@settings(deadline=None)
@given(st.data(), st.integers(1, 12), st.floats(0.01, 1.0))
def test_masks_keep_the_rules_on_any_row(data, slots, prob):
    size, length = data.draw(st.tuples(st.integers(1, 5), st.integers(1, 14)))

    def table(cells: st.SearchStrategy) -> np.ndarray:
        row = st.lists(cells, min_size=length, max_size=length)
        return np.array(data.draw(st.lists(row, min_size=size, max_size=size)))

    ids, candidates = table(st.integers(0, 11)), table(st.booleans())
    masked = mask(ids.astype(np.int32), candidates, prob=prob, slots=slots, vocab_size=12)
    for i in range(size):
        used = masked.masked_lm_weights[i] == 1
        places = masked.masked_lm_positions[i][used]
        assert (np.diff(places) > 0).all() and candidates[i][places].all()
        assert (masked.masked_lm_ids[i][used] == ids[i][places]).all()
        assert not masked.masked_lm_positions[i][~used].any() and not masked.masked_lm_ids[i][~used].any()
        assert not used[used.sum() :].any()  # used slots come first
        untouched = np.setdiff1d(np.arange(length), places)
        assert (masked.input_ids[i][untouched] == ids[i][untouched]).all()


def test_piece_zero_is_a_target_like_any_other():
    masked = mask(*full_rows(50, 23, piece=0))
    used = masked.masked_lm_weights == 1
    assert used.sum() == 150 and (masked.masked_lm_ids[used] == 0).all()


def test_masks_depend_on_key_and_row_number_alone():
    ids, candidates = full_rows(6, 40)
    whole = mask(ids, candidates, rows=np.arange(6))
    part = mask(ids[:2], candidates[:2], rows=np.array([4, 1]))
    for one, other in zip(whole, part):
        assert np.array_equal(one[[4, 1]], other)
    assert not np.array_equal(mask(ids, candidates, key=1).masked_lm_positions, whole.masked_lm_positions)


def test_the_rows_given_stay_as_they_are():
    ids, candidates = full_rows(3, 40)
    before = ids.copy()
    mask(ids, candidates)
    assert np.array_equal(ids, before)
