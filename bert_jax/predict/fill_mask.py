"""Fill in the masked words of a text."""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import numpy as np

from bert_jax.batch import padded
from bert_jax.errors import UserError

MARK = "[MASK]"


class Guess(NamedTuple):
    piece: str
    probability: float


def fill_mask(
    objective, params, tokenizer, texts: Sequence[str], *, max_seq_length: int, top_k: int = 5
) -> list[list[list[Guess]]]:
    """The likeliest pieces at each mask of each text: result[text][mask][rank].

    Args:
        texts: each with at least one [MASK], which stands for one piece.

    Raises:
        UserError: a text without [MASK], or one longer than max_seq_length pieces; or the model was not trained to fill them.
    """
    rows = [_row(tokenizer, text, max_seq_length) for text in texts]
    slots = max(len(positions) for _, positions in rows)
    predict = jax.jit(objective.predict)
    results = []
    for ids, positions in rows:  # one fixed shape, hence one compilation
        predicted = predict(params, _batch(ids, positions, max_seq_length, slots))
        if "logits_BPV" not in predicted:
            raise UserError(
                f"this model was not trained to fill in {MARK}",
                got=f"an objective that predicts {', '.join(predicted) or 'nothing'}",
                fix="fine-tune it, or train one with a masked-LM loss",
            )
        logits_PV = np.asarray(predicted["logits_BPV"][0], np.float64)
        probs_PV = np.exp(logits_PV - logits_PV.max(-1, keepdims=True))
        probs_PV /= probs_PV.sum(-1, keepdims=True)
        best = np.argsort(-probs_PV, axis=-1)[: len(positions), :top_k]
        results.append([[Guess(tokenizer.pieces[v], float(probs_PV[p, v])) for v in row] for p, row in enumerate(best)])
    return results


def _row(tokenizer, text: str, max_seq_length: int) -> tuple[list[int], list[int]]:
    parts = text.split(MARK)
    if len(parts) == 1:
        raise UserError(f"the text has no {MARK}", got=text, expected=f"the word to guess written as {MARK}")
    parts = [part.rstrip() for part in parts]  # to some tokenisers the blank before a word is part of the word, so of the mask
    first, *others = tokenizer.encode(parts)
    ids = tokenizer.framed([[*first, *(piece for encoded in others for piece in (tokenizer.mask_id, *encoded))]])
    positions = [place for place, piece in enumerate(ids) if piece == tokenizer.mask_id]
    if not positions[0]:
        raise UserError(
            f"this model reads from left to right, and there is nothing before {MARK}", got=text, fix="write a word before it"
        )
    if len(ids) > max_seq_length:
        raise UserError(
            "the text is too long for this encoder",
            got=f"{len(ids)} pieces: {text[:60]}...",
            expected=f"at most {max_seq_length}",
        )
    return ids, positions


def _batch(ids: list[int], positions: list[int], length: int, slots: int) -> dict[str, np.ndarray]:
    batch = padded([ids], size=1, length=length)
    batch["masked_lm_positions"] = np.zeros((1, slots), np.int32)
    batch["masked_lm_positions"][0, : len(positions)] = positions
    return batch
