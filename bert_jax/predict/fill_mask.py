"""Fill in the masked words of a text."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import numpy as np

from bert_jax.batch import padded
from bert_jax.errors import UserError
from bert_jax.predict.outputs import fitting, power_of_two

MARK = "[MASK]"
ROUND_TO = 32  # pieces: rows are padded to a multiple, so that few shapes are compiled


class Guess(NamedTuple):
    piece: str
    probability: float


class MaskedRow(NamedTuple):
    """A text as pieces with [CLS] and [SEP], and where in it the masks stand."""

    ids: list[int]
    positions: list[int]


def fill_mask(
    objective, params, tokenizer, texts: Sequence[str], *, max_seq_length: int, top_k: int = 5
) -> list[list[list[Guess]]]:
    """The likeliest pieces at each mask of each text: result[text][mask][rank].

    Args:
        texts: each with at least one [MASK], which stands for one piece.

    Raises:
        UserError: a text without [MASK], or one longer than max_seq_length pieces; or the model was not trained to fill them.
    """
    rows = [masked_row(tokenizer, text, max_seq_length) for text in texts]
    return fill_rows(jax.jit(objective.predict), params, tokenizer, rows, max_seq_length=max_seq_length, top_k=top_k)


def fill_rows(
    predict: Callable, params, tokenizer, rows: Sequence[MaskedRow], *, max_seq_length: int, top_k: int, batch_size: int = 32
) -> list[list[list[Guess]]]:
    """`fill_mask` of rows of `masked_row`, in their order; those of like length share a batch.

    Args:
        predict: (params, batch of bert_jax/batch.py) -> {"logits_BPV"}.
    """
    found: list[list[list[Guess]]] = [[] for _ in rows]
    by_length = np.argsort([-len(row.ids) for row in rows], kind="stable")
    size = fitting(len(rows), batch_size)
    for start in range(0, len(rows), size):
        numbers = by_length[start : start + size]
        mine = [rows[number] for number in numbers]
        length = min(-(-len(mine[0].ids) // ROUND_TO) * ROUND_TO, max_seq_length)
        predicted = predict(params, _batch(mine, size, length))
        if "logits_BPV" not in predicted:
            raise UserError(
                f"this model was not trained to fill in {MARK}",
                got=f"an objective that predicts {', '.join(predicted) or 'nothing'}",
                fix="fine-tune it, or train one with a masked-LM loss",
            )
        for number, row, logits_PV in zip(numbers, mine, predicted["logits_BPV"]):
            found[number] = _guesses(np.asarray(logits_PV[: len(row.positions)], np.float64), tokenizer, top_k)
    return found


def _guesses(logits_PV: np.ndarray, tokenizer, top_k: int) -> list[list[Guess]]:
    probs_PV = np.exp(logits_PV - logits_PV.max(-1, keepdims=True))
    probs_PV /= probs_PV.sum(-1, keepdims=True)
    best = np.argsort(-probs_PV, axis=-1)[:, :top_k]
    return [[Guess(tokenizer.pieces[v], float(probs_V[v])) for v in row] for row, probs_V in zip(best, probs_PV)]


def masked_row(tokenizer, text: str, max_seq_length: int, place: str = "") -> MaskedRow:
    """
    Args:
        place: of the text, for a message.

    Raises:
        UserError: it has no [MASK], or too many pieces.
    """
    said = f"{place}: {text[:60]}" if place else text[:60]
    parts = text.split(MARK)
    if len(parts) == 1:
        raise UserError(f"the text has no {MARK}", got=said, expected=f"the word to guess written as {MARK}")
    parts = [part.rstrip() for part in parts]  # to some tokenisers the blank before a word is part of the word, so of the mask
    first, *others = tokenizer.encode(parts)
    ids = tokenizer.framed([[*first, *(piece for encoded in others for piece in (tokenizer.mask_id, *encoded))]])
    positions = [number for number, piece in enumerate(ids) if piece == tokenizer.mask_id]
    if not positions[0]:
        raise UserError(
            f"this model reads from left to right, and there is nothing before {MARK}", got=said, fix="write a word before it"
        )
    if len(ids) > max_seq_length:
        raise UserError(
            "the text is too long for this encoder", got=f"{said}...: {len(ids)} pieces", expected=f"at most {max_seq_length}"
        )
    return MaskedRow(ids, positions)


def _batch(rows: Sequence[MaskedRow], size: int, length: int) -> dict[str, np.ndarray]:
    """With slots for a power of two of masks: few shapes are compiled."""
    slots = power_of_two(max(len(row.positions) for row in rows))
    batch = padded([row.ids for row in rows], size=size, length=length)
    batch["masked_lm_positions"] = np.zeros((size, slots), np.int32)
    for number, row in enumerate(rows):
        batch["masked_lm_positions"][number, : len(row.positions)] = row.positions
    return batch
