"""Fill in the masked words of a text."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import numpy as np

from bert_jax.batch import padded
from bert_jax.errors import UserError
from bert_jax.predict.outputs import BATCH_SIZE, Shapes

MARK = "[MASK]"
SLOTS = 2  # masks that a row of a batch has room for; a text with more of them is read several times, so that one shape will do


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
    return fill_rows(jax.jit(objective.predict), params, tokenizer, rows, shapes=Shapes(max_seq_length, BATCH_SIZE), top_k=top_k)


def fill_rows(
    predict: Callable, params, tokenizer, rows: Sequence[MaskedRow], *, shapes: Shapes, top_k: int
) -> list[list[list[Guess]]]:
    """`fill_mask` of rows of `masked_row`, in their order; those of like length share a batch.

    Args:
        predict: (params, batch of bert_jax/batch.py) -> {"logits_BPV"}.
    """
    parts = [(number, part) for number, row in enumerate(rows) for part in in_slots(row)]
    found: dict[int, list[list[Guess]]] = {}
    for numbers, size, length in shapes.batches([len(row.ids) for _, row in parts]):
        mine = [parts[number][1] for number in numbers]
        predicted = predict(params, masked_batch(mine, size, length))
        if "logits_BPV" not in predicted:
            raise UserError(
                f"this model was not trained to fill in {MARK}",
                got=f"an objective that predicts {', '.join(predicted) or 'nothing'}",
                fix="fine-tune it, or train one with a masked-LM loss",
            )
        for number, row, logits_PV in zip(numbers, mine, np.asarray(predicted["logits_BPV"])):
            found[int(number)] = _guesses(logits_PV[: len(row.positions)].astype(np.float64), tokenizer, top_k)
    filled: list[list[list[Guess]]] = [[] for _ in rows]
    for place, (number, _) in enumerate(parts):
        filled[number] += found[place]
    return filled


def in_slots(row: MaskedRow) -> list[MaskedRow]:
    """The row as often as its masks take."""
    return [MaskedRow(row.ids, row.positions[first : first + SLOTS]) for first in range(0, len(row.positions), SLOTS)]


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


def masked_batch(rows: Sequence[MaskedRow], size: int, length: int) -> dict[str, np.ndarray]:
    batch = padded([row.ids for row in rows], size=size, length=length)
    batch["masked_lm_positions"] = np.zeros((size, SLOTS), np.int32)
    for number, row in enumerate(rows):
        batch["masked_lm_positions"][number, : len(row.positions)] = row.positions
    return batch
