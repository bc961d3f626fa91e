from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bert_jax.data import masking
from bert_jax.data.keyed import key_of
from bert_jax.data.masking import Masked, MaskRule, mask_rows
from bert_jax.errors import UserError
from tests.data.small import TWELVE

MASK = TWELVE.mask_id
TOKEN, WORD, NGRAM, SPAN = (MaskRule(mask_unit=unit) for unit in ("token", "whole_word", "ngram", "span"))


def mask(input_ids, candidates, begins=None, *, rule=TOKEN, rows=None, key=0, slots=20, vocab_size=1000) -> Masked:
    lengths = candidates.sum(axis=1) + 3
    rows = np.arange(len(input_ids)) if rows is None else rows
    return mask_rows(
        input_ids, candidates, begins, lengths, rows, key_of(key), rule,
        mask_id=MASK, vocab_size=vocab_size, max_predictions_per_seq=slots,
    )  # fmt: skip


def full_rows(count: int, length: int, piece: int = 500) -> tuple[np.ndarray, np.ndarray]:
    """Rows [CLS] pieces [SEP] pieces [SEP] without padding."""
    ids = np.full((count, length), piece, np.int32)
    candidates = np.ones(ids.shape, bool)
    for place, special in ((0, TWELVE.cls_id), (length // 2, TWELVE.sep_id), (length - 1, TWELVE.sep_id)):
        ids[:, place], candidates[:, place] = special, False
    return ids, candidates


def hidden_places(masked: Masked, row: int) -> list[int]:
    return masked.masked_lm_positions[row][masked.masked_lm_weights[row] == 1].tolist()


def pieces(masked: Masked, row: int = 0) -> str:
    return " ".join(TWELVE.pieces_of(masked.input_ids[row]))


#                       [CLS] a  b  c [SEP] d  e  f [SEP] [PAD]
BY_HAND = np.array([[2, 5, 6, 7, 3, 8, 9, 10, 3, 0]], np.int32)
BY_HAND_TEXT = np.array([[0, 1, 1, 1, 0, 1, 1, 1, 0, 0]], bool)


def test_one_row_by_hand():
    # 9 pieces x 0.35 = 3.15: three are hidden, one of the four slots stays empty.
    rule = MaskRule(masked_lm_prob=0.35)
    masked = mask(BY_HAND, BY_HAND_TEXT, rule=rule, rows=np.array([34]), slots=4, vocab_size=12)
    # Row 34 shows all three fates: a is masked, d stays, f becomes e.
    assert pieces(masked) == "[CLS] [MASK] b c [SEP] d e e [SEP] [PAD]"
    assert masked.masked_lm_positions.tolist() == [[1, 5, 7, 0]]
    assert TWELVE.pieces_of(masked.masked_lm_ids[0, :3]) == ["a", "d", "f"] and masked.masked_lm_ids[0, 3] == 0
    assert masked.masked_lm_weights.tolist() == [[1, 1, 1, 0]]


#                     [CLS] a ##g ##g b ##g [SEP] c ##g d  e [SEP]
WORDS_BY_HAND = np.array([[2, 5, 11, 11, 6, 11, 3, 7, 11, 8, 9, 3]], np.int32)
TEXT = np.array([[0, 1, 1, 1, 1, 1, 0, 1, 1, 1, 1, 0]], bool)
BEGINS = np.array([[0, 1, 0, 0, 1, 0, 0, 1, 0, 1, 1, 0]], bool)


@pytest.mark.parametrize("rule", [WORD, NGRAM, SPAN], ids=lambda rule: rule.mask_unit)
def test_words_by_hand(rule):
    """12 places x 0.35 = 4.2: every way to fill four places with whole words comes up, and no other."""
    tiled = (np.repeat(array, 300, axis=0) for array in (WORDS_BY_HAND, TEXT, BEGINS))
    masked = mask(*tiled, rule=replace(rule, masked_lm_prob=0.35), slots=5)
    found = {tuple(hidden_places(masked, row)) for row in range(300)}
    assert found == {(1, 2, 3, 9), (1, 2, 3, 10), (4, 5, 7, 8), (4, 5, 9, 10), (7, 8, 9, 10)}


@pytest.mark.parametrize(
    "rule, number, expected",
    [
        # b is masked, c stays, d is masked, e becomes b
        (WORD, 17, "[CLS] a ##g ##g [MASK] [MASK] [SEP] c ##g [MASK] b [SEP]"),
        # b stays, c and d become random pieces together, e is masked
        (NGRAM, 31, "[CLS] a ##g ##g b ##g [SEP] e a ##g [MASK] [SEP]"),
        # a becomes random pieces, d and e are masked together; nothing fits in the sixth slot
        (SPAN, 211, "[CLS] [SEP] ##g [CLS] b ##g [SEP] c ##g [MASK] [MASK] [SEP]"),
    ],
    ids=lambda value: getattr(value, "mask_unit", ""),
)
def test_one_row_of_words_by_hand(rule, number, expected):
    """Before masking: [CLS] a ##g ##g b ##g [SEP] c ##g d e [SEP]; six places may be hidden."""
    rule = replace(rule, masked_lm_prob=0.5)
    masked = mask(WORDS_BY_HAND, TEXT, BEGINS, rule=rule, rows=np.array([number]), slots=6, vocab_size=12)
    assert pieces(masked) == expected


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
@pytest.mark.parametrize("rule", [TOKEN, WORD, NGRAM, SPAN], ids=lambda rule: rule.mask_unit)
def test_the_count_is_that_of_the_released_code(rule, length, prob, slots, expected):
    ids, candidates = full_rows(4, length)
    masked = mask(ids, candidates, np.ones_like(candidates), rule=replace(rule, masked_lm_prob=prob), slots=slots)
    assert masked.masked_lm_weights.shape == (4, slots) and masked.masked_lm_weights.sum(axis=1).tolist() == [expected] * 4


@pytest.mark.parametrize("shares", [(0.8, 0.1), (1.0, 0.0), (0.0, 0.2), (0.5, 0.5)])
def test_the_hidden_are_masked_random_or_kept_as_the_rates_say(shares):
    ids, candidates = full_rows(2000, 103)
    rule = MaskRule(mask_token_prob=shares[0], random_token_prob=shares[1])
    masked = mask(ids, candidates, rule=rule, vocab_size=1000)
    row, slot = np.nonzero(masked.masked_lm_weights)
    shown = masked.input_ids[row, masked.masked_lm_positions[row, slot]]
    total = len(shown)
    assert total == 2000 * 15

    def near(count: int, share: float) -> bool:
        return abs(count - share * total) < 5 * np.sqrt(share * (1 - share) * total) + 1e-6 * total

    by_chance = shares[1] / 1000  # a random piece may be [MASK], or the one that stood there
    assert near((shown == MASK).sum(), shares[0] + by_chance)
    assert near((shown == 500).sum(), 1 - sum(shares) + by_chance)
    # Random pieces are drawn from the whole vocabulary, special ones too.
    random = shown[(shown != MASK) & (shown != 500)]
    assert np.histogram(random, bins=10, range=(0, 1000))[0].min() >= 0.75 * len(random) / 10


def test_every_place_is_chosen_equally_often():
    ids, candidates = full_rows(8000, 23)
    masked = mask(ids, candidates)
    row, slot = np.nonzero(masked.masked_lm_weights)
    counts = np.bincount(masked.masked_lm_positions[row, slot], minlength=23)
    assert (counts[~candidates[0]] == 0).all()
    assert np.abs(counts[candidates[0]] / 8000 - 3 / 20).max() < 0.02


@settings(deadline=None)
@given(st.data(), st.integers(1, 12), st.floats(0.01, 1.0), st.sampled_from([TOKEN, WORD, NGRAM, SPAN]))
def test_masks_keep_the_rules_on_any_row(data, slots, prob, rule):
    size, length = data.draw(st.tuples(st.integers(1, 5), st.integers(1, 14)))

    def table(cells: st.SearchStrategy) -> np.ndarray:
        row = st.lists(cells, min_size=length, max_size=length)
        return np.array(data.draw(st.lists(row, min_size=size, max_size=size)))

    ids, candidates, begins = table(st.integers(0, 11)), table(st.booleans()), table(st.booleans())
    rule = replace(rule, masked_lm_prob=prob)
    masked = mask(ids.astype(np.int32), candidates, begins, rule=rule, slots=slots, vocab_size=12)
    for i in range(size):
        used = masked.masked_lm_weights[i] == 1
        places = masked.masked_lm_positions[i][used]
        wanted = min(slots, max(1, round((candidates[i].sum() + 3) * prob)))
        assert len(places) <= wanted and (np.diff(places) > 0).all() and candidates[i][places].all()
        assert (masked.masked_lm_ids[i][used] == ids[i][places]).all()
        assert not masked.masked_lm_positions[i][~used].any() and not masked.masked_lm_ids[i][~used].any()
        assert not used[used.sum() :].any()  # used slots come first
        untouched = np.setdiff1d(np.arange(length), places)
        assert (masked.input_ids[i][untouched] == ids[i][untouched]).all()
        if rule.mask_unit != "token":
            hidden = np.isin(np.arange(length), places)
            inside = candidates[i, 1:] & candidates[i, :-1] & ~begins[i, 1:]  # the same word as the place before
            assert (hidden[1:] == hidden[:-1])[inside].all()
            words = np.split(np.arange(length), np.flatnonzero(~inside) + 1)
            left = wanted - len(places)
            # It stops only where no further word fits.
            assert not any(candidates[i, word[0]] and not hidden[word[0]] and len(word) <= left for word in words)


@pytest.mark.parametrize(
    "rule, expected",
    [
        (NGRAM, np.array([6, 3, 2]) / 11),
        (replace(NGRAM, max_ngram=2), np.array([2, 1]) / 3),
        (SPAN, 0.8 ** np.arange(10) * 0.2 / (1 - 0.8**10)),
        (replace(SPAN, span_p=0.5, max_span_words=2), np.array([2, 1]) / 3),
    ],
)
def test_units_have_as_many_words_as_the_papers_say(rule, expected, monkeypatch):
    """The mean of SpanBERT's lengths is 3.8 words (its section 3.1)."""
    drawn = []

    def watch(words, order, count, *_):
        drawn.extend(count[words.pieces > 0])
        return np.full(words.pieces.shape, -1)

    monkeypatch.setattr(masking, "_filled", watch)
    ids, candidates = full_rows(1000, 23)
    mask(ids, candidates, np.ones_like(candidates), rule=rule)
    assert len(drawn) == 20_000
    shares = np.bincount(drawn, minlength=len(expected) + 1)[1:] / 20_000
    assert len(shares) == len(expected) and np.abs(shares - expected).max() < 0.02
    if len(expected) == 10:
        assert abs(shares @ np.arange(1, 11) - 3.8) < 0.1


@pytest.mark.parametrize("rule", [WORD, SPAN], ids=lambda rule: rule.mask_unit)
def test_a_unit_shares_one_fate(rule):
    """Two pieces are hidden: of a word, or of a span that goes on and on. Then they have one fate, in the shares of the rates."""
    ids, candidates = np.full((5000, 20), 500, np.int32), np.ones((5000, 20), bool)
    begins = np.tile(np.arange(20) % 2 == 0, (5000, 1)) if rule is WORD else candidates
    rule = replace(rule, masked_lm_prob=0.1, span_p=1e-9, max_span_words=200)
    masked = mask(ids, candidates, begins, rule=rule, slots=2)
    first, second = masked.masked_lm_positions.T
    together = (second == first + 1) & (second < 19)  # the last place may be a span by itself
    assert together.sum() > 4000
    shown = np.take_along_axis(masked.input_ids, masked.masked_lm_positions, axis=1)[together]
    is_mask, kept = shown == MASK, shown == 500
    fates = np.stack([is_mask.all(axis=1), kept.all(axis=1), ~(is_mask | kept).any(axis=1)], axis=1)
    assert (fates.sum(axis=1) == 1).mean() > 0.99  # a random piece may by chance be [MASK], or what was there
    assert np.abs(fates.mean(axis=0) - [0.8, 0.1, 0.1]).max() < 0.03


def test_a_unit_ends_where_its_stretch_ends():
    """Two of eighteen pieces are hidden, nine on each side of a separator, by a span that goes on and on."""
    ids, candidates = np.full((5000, 19), 500, np.int32), np.tile(np.arange(19) != 9, (5000, 1))
    rule = replace(SPAN, masked_lm_prob=0.1, span_p=1e-9, max_span_words=200)
    masked = mask(ids, candidates, candidates, rule=rule, slots=2)
    across = (masked.masked_lm_positions == [8, 10]).all(axis=1).sum()
    assert across < 5000 / 18 / 2  # by chance one in 17 of the spans that begin at the last piece of the first side


def test_piece_zero_is_a_target_like_any_other():
    masked = mask(*full_rows(50, 23, piece=0))
    used = masked.masked_lm_weights == 1
    assert used.sum() == 150 and (masked.masked_lm_ids[used] == 0).all()


@pytest.mark.parametrize("rule", [TOKEN, SPAN], ids=lambda rule: rule.mask_unit)
def test_masks_depend_on_key_and_row_number_alone(rule):
    ids, candidates = full_rows(6, 40)
    begins = np.ones_like(candidates)
    whole = mask(ids, candidates, begins, rule=rule, rows=np.arange(6))
    part = mask(ids[:2], candidates[:2], begins[:2], rule=rule, rows=np.array([4, 1]))
    for one, other in zip(whole, part):
        assert np.array_equal(one[[4, 1]], other)
    assert not np.array_equal(mask(ids, candidates, begins, rule=rule, key=1).masked_lm_positions, whole.masked_lm_positions)


def test_the_rows_given_stay_as_they_are():
    ids, candidates = full_rows(3, 40)
    before = ids.copy()
    mask(ids, candidates)
    assert np.array_equal(ids, before)


@pytest.mark.parametrize(
    "name, value",
    [
        ("mask_unit", "words"),
        ("masked_lm_prob", 0.0),
        ("masked_lm_prob", 1.5),
        ("mask_token_prob", 0.95),
        ("mask_token_prob", -0.1),
        ("max_ngram", 0),
        ("span_p", 0.0),
        ("span_p", 1.0),
        ("max_span_words", 0),
    ],
)
def test_rules_out_of_range_are_refused_by_name(name, value):
    with pytest.raises(UserError, match=rf"{name}.*\n.*{value}"):
        MaskRule(**{name: value})
