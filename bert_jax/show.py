"""Rows of a batch as a person reads them."""

from collections.abc import Iterable, Sequence

import numpy as np
from rich.console import Console
from rich.text import Text

STYLES = {"[MASK]": "bold red", "changed": "bold magenta", "kept": "bold yellow"}


def print_rows(batch: dict, tokenizer, *, rows: Iterable[int], notes: Sequence[str] = (), console: Console | None = None) -> None:
    """Prints these rows of a pretraining batch in colour, each with its note.

    Segment A in the plain colour and B in cyan; at a predicted place what stands there now, then the true piece after a slash:
    red for [MASK], magenta where another piece was put, yellow where it was left as it is.
    """
    console = console or Console()
    console.print("segment A, ", Text("segment B", "cyan"), "; predicted: ", *_legend(), sep="")
    for row in rows:
        console.print(Text(f"\nrow {row}"), *_labels(batch, row), *notes[row : row + 1], sep="  ")
        console.print(_row(batch, row, tokenizer))


def _labels(batch: dict, row: int) -> list[Text]:
    """One for each pair of the row."""
    if "next_sentence_labels" not in batch:
        return []
    used = np.atleast_1d(batch["next_sentence_weights"][row]) > 0
    labels = np.atleast_1d(batch["next_sentence_labels"][row])[used].tolist()
    return [
        Text("next_sentence_label=").append(*(("1 random or swapped", "bold red") if label else ("0 is next", "bold green")))
        for label in labels
    ]


def _legend() -> list[Text]:
    return [
        Text("[MASK]/true", STYLES["[MASK]"]),
        Text(" another piece/true", STYLES["changed"]),
        Text(" the true piece kept", STYLES["kept"]),
    ]


def _row(batch: dict, row: int, tokenizer) -> Text:
    used = batch["masked_lm_weights"][row] > 0
    truth = dict(zip(batch["masked_lm_positions"][row][used].tolist(), batch["masked_lm_ids"][row][used].tolist()))
    length = int(batch["input_mask"][row].sum())
    line = Text()
    for position, (piece_id, segment) in enumerate(zip(batch["input_ids"][row][:length].tolist(), batch["segment_ids"][row])):
        piece = tokenizer.pieces[piece_id]
        style = "cyan" if segment else ""
        if position in truth:
            true_piece = tokenizer.pieces[truth[position]]
            kind = "kept" if truth[position] == piece_id else "[MASK]" if piece_id == tokenizer.mask_id else "changed"
            style, piece = STYLES[kind], piece if kind == "kept" else f"{piece}/{true_piece}"
        line.append(piece, style).append(" ")
    return line
