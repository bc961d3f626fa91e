"""Which pieces a row hides, and what stands in their place (google-research/bert, create_masked_lm_predictions)."""

from typing import NamedTuple

import numpy as np

from bert_jax.data import keyed

MASK_PROB = 0.8  # of the chosen places; BERT, section 3.1
KEEP_PROB = 0.1  # the rest becomes a random piece


class Masked(NamedTuple):
    """int32[B, L], then [B, P] each: int32, int32, float32. The names are those of bert_jax/batch.py."""

    input_ids: np.ndarray
    masked_lm_positions: np.ndarray
    masked_lm_ids: np.ndarray
    masked_lm_weights: np.ndarray


def mask_tokens(
    input_ids: np.ndarray,
    candidates: np.ndarray,
    lengths: np.ndarray,
    rows: np.ndarray,
    key: np.uint64,
    *,
    mask_id: int,
    vocab_size: int,
    masked_lm_prob: float,
    max_predictions_per_seq: int,
) -> Masked:
    """Chooses min(P, max(1, round(length * masked_lm_prob))) candidates of each row; of these 80% become [MASK], 10% stay, 10%
    become any piece of the vocabulary. Halves are rounded to even, as Python does.

    Args:
        input_ids: int32[B, L].
        candidates: bool[B, L], True where a piece may be chosen.
        lengths: int[B], pieces of each row with [CLS] and [SEP].
        rows: int[B], numbers of the rows; with `key` they decide everything.
    """
    size, length = input_ids.shape
    wanted = np.maximum(1, np.rint(lengths * masked_lm_prob).astype(np.int64))
    count = np.minimum(np.minimum(wanted, max_predictions_per_seq), candidates.sum(axis=1))

    lots = keyed.bits(_named(key, "choose"), rows[:, None], np.arange(length)[None, :])
    in_drawn_order = np.argsort(np.where(candidates, lots, np.iinfo(np.uint64).max), axis=1, kind="stable")
    slots = min(max_predictions_per_seq, length)
    unused = length
    positions = np.full((size, max_predictions_per_seq), unused)
    positions[:, :slots] = np.where(np.arange(slots) < count[:, None], in_drawn_order[:, :slots], unused)
    positions.sort(axis=1)

    row, slot = np.nonzero(positions < unused)
    place = positions[row, slot]
    hidden = input_ids[row, place]
    fate = keyed.uniform(_named(key, "fate"), rows[row], place)
    random_piece = keyed.below(vocab_size, _named(key, "piece"), rows[row], place)
    masked = input_ids.copy()
    masked[row, place] = np.select([fate < MASK_PROB, fate < MASK_PROB + KEEP_PROB], [mask_id, hidden], random_piece)

    ids, weights = np.zeros(positions.shape, np.int32), np.zeros(positions.shape, np.float32)
    ids[row, slot], weights[row, slot] = hidden, 1
    return Masked(masked, np.where(positions < unused, positions, 0).astype(np.int32), ids, weights)


def _named(key: np.uint64, name: str) -> np.uint64:
    return keyed.key_of(int(key), name)
