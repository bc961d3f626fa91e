"""Which pieces a row hides, and what stands in their place.

A unit is hidden as a whole and shares one fate: 80% become [MASK], 10% random pieces, 10% stay. The units:

token        single pieces (google-research/bert, create_masked_lm_predictions)
whole_word   words: the pieces of a word are hidden together or not at all (its do_whole_word_mask)
ngram        one to three words in a row, n of them with probability proportional to 1/n (ALBERT, arXiv 1909.11942, section 3.1)
span         one to ten words in a row, geometric with p = 0.2 cut off there (SpanBERT, arXiv 1907.10529, section 3.1)

The released code of BERT and ALBERT draws the fate of each piece of a word or n-gram by itself, so that a model may see parts of
what it is to predict; here SpanBERT's rule is used for all units.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from bert_jax.data import keyed
from bert_jax.errors import UserError


@dataclass(frozen=True)
class MaskRule:
    """Under the names of the config, section data.

    Attributes:
        mask_unit: "token", or a name of WORDS_PER_UNIT.
        masked_lm_prob: share of the pieces of a row that is chosen.
        mask_token_prob, random_token_prob: shares of the chosen ones; the rest stays (BERT, section 3.1 and table 8).
        max_ngram: words of the longest n-gram.
        span_p, max_span_words: the geometric distribution of the lengths of spans.
    """

    mask_unit: str = "token"
    masked_lm_prob: float = 0.15
    mask_token_prob: float = 0.8
    random_token_prob: float = 0.1
    max_ngram: int = 3
    span_p: float = 0.2
    max_span_words: int = 10

    def __post_init__(self):
        units = ("token", *WORDS_PER_UNIT)
        shares = self.mask_token_prob, self.random_token_prob
        for holds, name, expected in (
            (self.mask_unit in units, "mask_unit", " or ".join(units)),
            (0 < self.masked_lm_prob <= 1, "masked_lm_prob", "more than 0, at most 1"),
            (min(shares) >= 0 and sum(shares) <= 1, "mask_token_prob", "with data.random_token_prob at most 1, neither below 0"),
            (self.max_ngram >= 1, "max_ngram", "at least 1"),
            (0 < self.span_p < 1, "span_p", "more than 0, less than 1"),
            (self.max_span_words >= 1, "max_span_words", "at least 1"),
        ):
            if not holds:
                raise UserError(f"data.{name} is out of range", got=getattr(self, name), expected=expected)


# How likely a unit is to have 1, 2, ... words, but for a common factor.
WORDS_PER_UNIT = {
    "whole_word": lambda rule: np.ones(1),
    "ngram": lambda rule: 1 / np.arange(1, rule.max_ngram + 1),
    "span": lambda rule: (1 - rule.span_p) ** np.arange(rule.max_span_words),
}


class Masked(NamedTuple):
    """int32[B, L], then [B, P] each: int32, int32, float32. The names are those of bert_jax/batch.py."""

    input_ids: np.ndarray
    masked_lm_positions: np.ndarray
    masked_lm_ids: np.ndarray
    masked_lm_weights: np.ndarray


def mask_rows(
    input_ids: np.ndarray,
    candidates: np.ndarray,
    begins_word: np.ndarray | None,
    lengths: np.ndarray,
    rows: np.ndarray,
    key: np.uint64,
    rule: MaskRule,
    *,
    max_predictions_per_seq: int,
    mask_id: int,
    vocab_size: int,
) -> Masked:
    """Hides at most min(P, max(1, round(length * masked_lm_prob))) pieces of each row, halves rounded to even as Python does.

    Single pieces reach that number where there are enough; larger units stop where none fits any more.

    Args:
        input_ids: int32[B, L].
        candidates: bool[B, L], True where a piece may be chosen. A unit never reaches over a place that may not.
        begins_word: bool[B, L], True where a word begins; None for single pieces.
        lengths: int[B], pieces of each row with [CLS] and [SEP].
        rows: int[B], numbers of the rows; with `key` they decide everything.
    """
    wanted = np.maximum(1, np.rint(lengths * rule.masked_lm_prob).astype(np.int64))
    wanted = np.minimum(np.minimum(wanted, max_predictions_per_seq), candidates.sum(axis=1))
    if rule.mask_unit == "token":
        row, place = _single_pieces(candidates, wanted, rows, key)
        unit = place
    else:
        likely = WORDS_PER_UNIT[rule.mask_unit](rule)
        row, place, unit = _runs_of_words(candidates, begins_word, wanted, rows, key, likely / likely.sum())

    hidden = input_ids[row, place]
    fate = keyed.uniform(_named(key, "fate"), rows[row], unit)
    random_piece = keyed.below(vocab_size, _named(key, "piece"), rows[row], place)
    becomes_mask, stays = fate < rule.mask_token_prob, fate < 1 - rule.random_token_prob
    masked = input_ids.copy()
    masked[row, place] = np.select([becomes_mask, stays], [mask_id, hidden], random_piece)

    shape = len(rows), max_predictions_per_seq
    positions, ids, weights = np.zeros(shape, np.int32), np.zeros(shape, np.int32), np.zeros(shape, np.float32)
    slot = np.arange(len(row)) - np.searchsorted(row, row)
    positions[row, slot], ids[row, slot], weights[row, slot] = place, hidden, 1
    return Masked(masked, positions, ids, weights)


def _single_pieces(candidates: np.ndarray, wanted: np.ndarray, rows: np.ndarray, key: np.uint64) -> tuple[np.ndarray, np.ndarray]:
    """(row, place) of the `wanted` candidates of each row with the lowest lots, in order."""
    length, most = candidates.shape[1], int(wanted.max(initial=1))
    place = np.arange(length, dtype=np.uint64)
    low = np.uint64(2 ** length.bit_length() - 1)  # these bits make way for the place, so that no two lots are equal
    lots = keyed.bits(_named(key, "choose"), rows[:, None], place[None, :]) & ~low | place
    lots[~candidates] = np.iinfo(np.uint64).max
    lowest = np.sort(np.partition(lots, most - 1, axis=1)[:, :most], axis=1)
    chosen = np.where(np.arange(most) < wanted[:, None], (lowest & low).astype(np.int64), length)
    chosen.sort(axis=1)
    row, slot = np.nonzero(chosen < length)
    return row, chosen[row, slot]


def _runs_of_words(
    candidates: np.ndarray,
    begins_word: np.ndarray,
    wanted: np.ndarray,
    rows: np.ndarray,
    key: np.uint64,
    chances: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(row, place, first place of the unit) of each chosen piece, in order.

    The words of a row are drawn one after another. Each opens a unit of n words with probability chances[n - 1]; it is shorter
    where its stretch of candidates ends, where a word is hidden already, or where only fewer words fit.
    """
    words = _words(candidates, begins_word, padding=len(chances) - 1)
    some = words.pieces > 0
    row, word = np.nonzero(some)
    lots = np.full(some.shape, np.iinfo(np.uint64).max)
    lots[row, word] = keyed.bits(_named(key, "choose"), rows[row], words.first[row, word])
    drawn = np.argsort(lots, axis=1)  # equal are the lots of padding only, whose order does not matter
    count = np.ones(some.shape, np.int64)
    count[row, word] += np.searchsorted(
        np.cumsum(chances)[:-1], keyed.uniform(_named(key, "words"), rows[row], words.first[row, word]), side="right"
    )
    unit = _filled(words, drawn, count, some.sum(axis=1), wanted, len(chances))
    row, place = np.nonzero(candidates)
    first_place = unit[row, words.number[row, place]]
    chosen = first_place >= 0
    return row[chosen], place[chosen], first_place[chosen]


class _Words(NamedTuple):
    """The words of each row, W of them with padding."""

    number: np.ndarray  # int[B, L], of the word that a candidate place belongs to
    first: np.ndarray  # int[B, W], first place
    pieces: np.ndarray  # int[B, W], 0 for padding
    stretch: np.ndarray  # int[B, W], number of the stretch of candidates, -1 for padding


def _words(candidates: np.ndarray, begins_word: np.ndarray, *, padding: int) -> _Words:
    before = np.zeros_like(candidates)
    before[:, 1:] = candidates[:, :-1]
    begins = candidates & (begins_word | ~before)  # what a stretch begins with is a word, though it may be the rest of one
    number = np.cumsum(begins, axis=1) - 1
    shape = len(candidates), int(begins.sum(axis=1).max(initial=0)) + padding
    row, place = np.nonzero(begins)
    first, stretch = np.zeros(shape, np.int64), np.full(shape, -1)
    first[row, number[row, place]] = place
    stretch[row, number[row, place]] = np.cumsum(~candidates, axis=1)[row, place]
    row, place = np.nonzero(candidates)
    pieces = np.bincount(row * shape[1] + number[row, place], minlength=shape[0] * shape[1]).reshape(shape)
    return _Words(number, first, pieces, stretch)


def _filled(
    words: _Words, drawn: np.ndarray, count: np.ndarray, num_words: np.ndarray, wanted: np.ndarray, longest: int
) -> np.ndarray:
    """int[B, W]: the first place of the unit that hides the word, -1 where none does. All rows take their turns together."""
    unit, left = np.full(words.pieces.shape, -1), wanted.copy()
    ahead = np.arange(longest)
    going = np.arange(len(wanted))
    for turn in range(int(num_words.max(initial=0))):
        going = going[(left[going] > 0) & (turn < num_words[going])]
        if not len(going):
            break
        row, opener = going[:, None], drawn[going, turn][:, None]
        run = opener + ahead
        pieces = words.pieces[row, run]
        free = (unit[row, run] < 0) & (words.stretch[row, run] == words.stretch[row, opener])
        kept = np.logical_and.accumulate(free, axis=1)
        kept &= (ahead < count[row, opener]) & (np.cumsum(pieces, axis=1) <= left[row])
        left[going] -= (pieces * kept).sum(axis=1)
        i, j = np.nonzero(kept)
        unit[going[i], run[i, j]] = words.first[going[i], opener[i, 0]]
    return unit


def _named(key: np.uint64, name: str) -> np.uint64:
    return keyed.key_of(int(key), name)
