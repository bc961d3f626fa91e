"""Batches of labelled sentences and sentence pairs, as a pure function of (examples, seed, step)."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np

from bert_jax.data import keyed
from bert_jax.data.loader import Batch, made_ahead
from bert_jax.errors import UserError
from bert_jax.text.tokenizer import Tokenizer

MAX_WINDOW = 64  # batches among which rows of like length find each other
MIN_SEQ_LENGTH = 5  # a piece of each sentence between [CLS], [SEP] and [SEP]


class Example(NamedTuple):
    """Its texts, the class as the file spells it or a score, None where it is asked for; and its name in the file."""

    texts: tuple[str, ...]
    label: str | float | None
    id: str = ""


class Rows(Protocol):
    """N rows that a model reads, in the order of their examples.

    Attributes:
        lengths: int32[N], or [N, T] where a row holds T texts.
        owners: int[N], the number of the example that each belongs to.
    """

    lengths: np.ndarray
    owners: np.ndarray

    def batch(self, rows: np.ndarray, weights: np.ndarray, length: int) -> Batch:
        """The rows with these numbers, int[B], each cut to `length` places, at least as many as the longest of them has; of
        weight 0 those that only fill the last batch, float32[B]."""


class Encoded(NamedTuple):
    """N examples as rows [CLS] A [SEP] or [CLS] A [SEP] B [SEP] of L places, padded at the end; [CLS] may stand last."""

    input_ids: np.ndarray  # int32[N, L]
    first_lengths: np.ndarray  # int32[N], A with the special pieces beside it
    lengths: np.ndarray  # int32[N], the whole row
    labels: np.ndarray  # int32[N] classes, or float32[N] scores; 0 where there is no label
    owners: np.ndarray  # int[N]

    def batch(self, rows: np.ndarray, weights: np.ndarray, length: int) -> Batch:
        """See Rows."""
        return {
            **read_places(self, rows, weights, length),
            _label_name(self.labels): self.labels[rows],
            "label_weights": weights,
        }


class EncodedTexts(NamedTuple):
    """N examples of T texts, each a row [CLS] text [SEP] of its own, or a pair."""

    input_ids: np.ndarray  # int32[N, T, L]
    first_lengths: np.ndarray  # int32[N, T], as in Encoded
    lengths: np.ndarray  # int32[N, T]
    labels: np.ndarray  # int32[N] classes or numbers of a text, or float32[N] scores
    weighted: bool = False  # whether its objective reads label_weights, as that of a choice does

    @property
    def owners(self) -> np.ndarray:
        return np.arange(len(self.lengths))

    def batch(self, rows: np.ndarray, weights: np.ndarray, length: int) -> Batch:
        """See Rows."""
        return {
            **read_places(self, rows, weights, length),
            _label_name(self.labels): self.labels[rows],
            **({"label_weights": weights} if self.weighted else {}),
        }


def read_places(encoded, rows: np.ndarray, weights: np.ndarray, length: int) -> Batch:
    """What an encoder reads of these rows, int32[B, length] or [B, T, length] each.

    Args:
        encoded: has input_ids [N, L] or [N, T, L], and lengths and first_lengths without the last axis.
    """
    place, real = np.arange(length), weights.reshape(-1, *[1] * (encoded.input_ids.ndim - 1)) > 0
    mask = (place < encoded.lengths[rows][..., None]) & real
    return {
        "input_ids": encoded.input_ids[rows][..., :length],
        "input_mask": mask.astype(np.int32),
        "segment_ids": (mask & (place >= encoded.first_lengths[rows][..., None])).astype(np.int32),
    }


def _label_name(labels: np.ndarray) -> str:
    return "label_values" if labels.dtype == np.float32 else "label_ids"


def encode(
    examples: Sequence[Example], tokenizer: Tokenizer, max_seq_length: int, labels: Sequence[str] = (), long_texts: str = "head"
) -> Encoded:
    """Examples of one sentence each, or of two each, as rows of max_seq_length places.

    Args:
        labels: the classes, in order; () where the labels of the examples are scores.
        long_texts: of LONG_TEXTS, what becomes of a single text that does not fit; pairs are cut off.
    """
    if max_seq_length < MIN_SEQ_LENGTH:
        raise UserError("data.max_seq_length is too small", got=max_seq_length, expected=f"at least {MIN_SEQ_LENGTH}")
    if long_texts not in LONG_TEXTS:
        raise UserError("data.long_texts is unknown", got=long_texts, expected=" or ".join(LONG_TEXTS))
    framed, first_lengths, owners = [], [], []
    sides = [tokenizer.encode(texts) for texts in zip(*(example.texts for example in examples), strict=True)]
    for number, pieces in enumerate(zip(*sides, strict=True)):
        room = max_seq_length - 1 - len(pieces)
        for parts in LONG_TEXTS[long_texts](pieces[0], room) if len(pieces) == 1 else [truncated(pieces, room)]:
            ids = tokenizer.framed(parts)
            framed.append(ids)
            first_lengths.append(len(ids) if len(parts) == 1 else ids.index(tokenizer.sep_id) + 1)
            owners.append(number)
    lengths = np.array([len(ids) for ids in framed], np.int32)
    input_ids = np.full((len(framed), max_seq_length), tokenizer.pad_id, np.int32)
    for row, ids in enumerate(framed):
        input_ids[row, : len(ids)] = ids
    numbers = label_numbers(examples, labels)
    return Encoded(input_ids, np.array(first_lengths, np.int32), lengths, numbers[owners], np.array(owners))


def truncated(pair: Sequence[list[int]], room: int) -> list[list[int]]:
    """A pair cut so that it fits."""
    return [side[:length] for side, length in zip(pair, kept_lengths([len(side) for side in pair], room))]


def _head_tail(pieces: list[int], room: int) -> list[list[list[int]]]:
    head = room // 4  # 128 of 510 pieces (Sun et al. 2019, arXiv 1905.05583, section 5.3.1)
    return [[pieces if len(pieces) <= room else pieces[:head] + pieces[head - room :]]]


LONG_TEXTS = {  # name -> (pieces of a text, room) -> rows of one part each
    "head": lambda pieces, room: [[pieces[:room]]],
    "head_tail": _head_tail,
    "chunks": lambda pieces, room: [[pieces[start : start + room]] for start in range(0, max(len(pieces), 1), room)],
}


def label_numbers(examples: Sequence[Example], labels: Sequence[str]) -> np.ndarray:
    """int32[N], the places of their labels among these; float32[N], the labels themselves where there are none. 0 for None."""
    if labels:
        place = {label: number for number, label in enumerate(labels)} | {None: 0}
        return np.array([place[example.label] for example in examples], np.int32)
    return np.array([example.label or 0 for example in examples], np.float32)


def encode_texts(
    examples: Sequence[Example], tokenizer: Tokenizer, max_seq_length: int, labels: Sequence[str] = ()
) -> EncodedTexts:
    """Examples of equally many texts, each text as a row of max_seq_length places; what does not fit is cut off."""
    sides = [
        encode([Example((text,), None) for text in texts], tokenizer, max_seq_length)
        for texts in zip(*(example.texts for example in examples), strict=True)
    ]
    return stacked(sides, label_numbers(examples, labels))


def stacked(sides: Sequence[Encoded], labels: np.ndarray, *, weighted: bool = False) -> EncodedTexts:
    """The T texts of N examples, side by side."""
    arrays = (np.stack([getattr(side, name) for side in sides], axis=1) for name in ("input_ids", "first_lengths", "lengths"))
    return EncodedTexts(*arrays, labels, weighted)


def kept_lengths(lengths: Sequence[int], room: int) -> list[int]:
    """How many pieces of each side of a pair are kept so that together they fit.

    It loses pieces one by one from the end of its longer side, from B where both are equally long (google-research/bert
    run_classifier._truncate_seq_pair); this is where that ends.
    """
    if sum(lengths) <= room:
        return list(lengths)
    first, second = lengths
    first = min(first, max(room - second, (room + 1) // 2))
    return [first, room - first]


@dataclass(frozen=True)
class FinetuneLoader:
    """Training batches; rows are numbered through over all epochs, each epoch in an order of its own.

    Attributes:
        row_length: places of every row; fewer where multiple_of is given.
        multiple_of: rows of like length then share a batch, that is padded to a multiple of it; 0: all to row_length. Of
            MAX_WINDOW batches in that order the rows are sorted by length and dealt out anew, and the batches shuffled.
    """

    encoded: Rows
    batch_size: int
    seed: int
    row_length: int
    multiple_of: int = 0

    def batch(self, step: int, process_index: int = 0, process_count: int = 1) -> Batch:
        """The arrays of bert_jax/batch.py that the task needs: the rows of this process, in the global order.

        batch_size counts the rows of all processes and divides by their number.
        """
        rows = self._rows(step)
        length = padded_length(self.encoded, rows, self.row_length, self.multiple_of)
        share = self.batch_size // process_count
        rows = rows[process_index * share : (process_index + 1) * share]
        return self.encoded.batch(rows, np.ones(share, np.float32), length)

    def _rows(self, step: int) -> np.ndarray:
        """int[batch_size]."""
        if not self.multiple_of:
            return self._ordered(step * self.batch_size + np.arange(self.batch_size))
        batches = min(max(len(self.encoded.lengths) // self.batch_size, 1), MAX_WINDOW)
        window, place = divmod(step, batches)
        rows = self._ordered(window * batches * self.batch_size + np.arange(batches * self.batch_size))
        by_length = rows[np.argsort(longest(self.encoded, rows), kind="stable")].reshape(batches, self.batch_size)
        return by_length[keyed.permute(np.array([place]), batches, keyed.key_of(self.seed, "finetune batches", window))[0]]

    def _ordered(self, numbers: np.ndarray) -> np.ndarray:
        """The rows that stand at these places of the training, counted from 0 over all epochs."""
        size = len(self.encoded.lengths)
        epochs, places = np.divmod(numbers, size)
        rows = np.empty(len(numbers), np.int64)
        for epoch in np.unique(epochs):
            here = epochs == epoch
            rows[here] = keyed.permute(places[here], size, keyed.key_of(self.seed, "finetune order", int(epoch)))
        return rows

    def iterate(self, start_step: int = 0) -> Iterator[Batch]:
        """Batches from `start_step` on, without end."""
        return made_ahead(self.batch, start_step)


def longest(encoded: Rows, rows: np.ndarray) -> np.ndarray:
    """int[N], pieces of each row, of its longest text where there are several."""
    lengths = encoded.lengths[rows]
    return lengths if lengths.ndim == 1 else lengths.max(axis=1)


def padded_length(encoded: Rows, rows: np.ndarray, row_length: int, multiple_of: int) -> int:
    if not multiple_of:
        return row_length
    return min(-(-int(longest(encoded, rows).max()) // multiple_of) * multiple_of, row_length)


def evaluation_batches(
    encoded: Rows, batch_size: int, row_length: int, multiple_of: int = 0
) -> Iterator[tuple[np.ndarray, Batch]]:
    """(numbers of the rows, batch) so that every row comes once: in order, or the longest first where those of like length share
    a batch; the last batch is filled up with rows whose weights are 0, and has fewer numbers."""
    order = np.arange(len(encoded.lengths))
    if multiple_of:
        order = np.argsort(-longest(encoded, order), kind="stable")
    for start in range(0, len(order), batch_size):
        rows = order[start : start + batch_size]
        yield rows, filled_batch(encoded, rows, batch_size, padded_length(encoded, rows, row_length, multiple_of))


def filled_batch(encoded: Rows, rows: np.ndarray, size: int, length: int) -> Batch:
    """The rows with these numbers, and behind them the last one again, of weight 0, up to `size`."""
    filled = np.concatenate([rows, np.repeat(rows[-1:], size - len(rows))])
    return encoded.batch(filled, (np.arange(size) < len(rows)).astype(np.float32), length)
