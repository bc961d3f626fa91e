"""Batches of labelled sentences and sentence pairs, as a pure function of (examples, seed, step)."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from bert_jax.data import keyed
from bert_jax.data.loader import Batch, made_ahead
from bert_jax.errors import UserError
from bert_jax.text.tokenizer import Tokenizer

MIN_SEQ_LENGTH = 5  # a piece of each sentence between [CLS], [SEP] and [SEP]


class Example(NamedTuple):
    """Its texts, and the number of the class or a score."""

    texts: tuple[str, ...]
    label: int | float


class Encoded(NamedTuple):
    """N examples as rows [CLS] A [SEP] or [CLS] A [SEP] B [SEP] of L places, padded at the end; [CLS] may stand last."""

    input_ids: np.ndarray  # int32[N, L]
    first_lengths: np.ndarray  # int32[N], A with the special pieces beside it
    lengths: np.ndarray  # int32[N], the whole row
    label_ids: np.ndarray  # int32[N]

    def batch(self, rows: np.ndarray, weights: np.ndarray) -> Batch:
        """The examples with these numbers, int[B]; of weight 0 those that only fill the last batch, float32[B]."""
        place = np.arange(self.input_ids.shape[-1])
        mask = (place < self.lengths[rows, None]) & (weights[:, None] > 0)
        return {
            "input_ids": self.input_ids[rows],
            "input_mask": mask.astype(np.int32),
            "segment_ids": (mask & (place >= self.first_lengths[rows, None])).astype(np.int32),
            "label_ids": self.label_ids[rows],
            "label_weights": weights,
        }


class EncodedTexts(NamedTuple):
    """N examples of T texts, each a row [CLS] text [SEP] of its own."""

    input_ids: np.ndarray  # int32[N, T, L]
    lengths: np.ndarray  # int32[N, T]
    labels: np.ndarray  # int32[N] classes, or float32[N] scores

    def batch(self, rows: np.ndarray, weights: np.ndarray) -> Batch:
        """As Encoded.batch, for sentence encoders."""
        mask = (np.arange(self.input_ids.shape[-1]) < self.lengths[rows, :, None]) & (weights[:, None, None] > 0)
        return {
            "input_ids": self.input_ids[rows],
            "input_mask": mask.astype(np.int32),
            "segment_ids": np.zeros(mask.shape, np.int32),
            "label_values" if self.labels.dtype == np.float32 else "label_ids": self.labels[rows],
        }


def encode(examples: Sequence[Example], tokenizer: Tokenizer, max_seq_length: int) -> Encoded:
    """Examples of one sentence each, or of two each, as rows of max_seq_length places; what does not fit is cut off."""
    if max_seq_length < MIN_SEQ_LENGTH:
        raise UserError("data.max_seq_length is too small", got=max_seq_length, expected=f"at least {MIN_SEQ_LENGTH}")
    input_ids = np.full((len(examples), max_seq_length), tokenizer.pad_id, np.int32)
    first_lengths, lengths = np.zeros(len(examples), np.int32), np.zeros(len(examples), np.int32)
    sides = [tokenizer.encode(texts) for texts in zip(*(example.texts for example in examples), strict=True)]
    for row, pieces in enumerate(zip(*sides, strict=True)):
        kept = truncated([len(side) for side in pieces], max_seq_length - 1 - len(pieces))
        ids = tokenizer.framed([side[:length] for side, length in zip(pieces, kept)])
        input_ids[row, : len(ids)] = ids
        first_lengths[row] = len(ids) if len(kept) == 1 else ids.index(tokenizer.sep_id) + 1
        lengths[row] = len(ids)
    return Encoded(input_ids, first_lengths, lengths, np.array([example.label for example in examples], np.int32))


def encode_texts(examples: Sequence[Example], tokenizer: Tokenizer, max_seq_length: int) -> EncodedTexts:
    """Examples of equally many texts, each text as a row of max_seq_length places; what does not fit is cut off."""
    labels = np.array([example.label for example in examples])
    sides = [
        encode([Example((text,), 0) for text in texts], tokenizer, max_seq_length)
        for texts in zip(*(example.texts for example in examples), strict=True)
    ]
    return EncodedTexts(
        np.stack([side.input_ids for side in sides], axis=1),
        np.stack([side.lengths for side in sides], axis=1),
        labels.astype(np.float32 if labels.dtype.kind == "f" else np.int32),
    )


def truncated(lengths: Sequence[int], room: int) -> list[int]:
    """How many pieces of each side are kept so that together they fit.

    A pair loses pieces one by one from the end of its longer side, from B where both are equally long (google-research/bert
    run_classifier._truncate_seq_pair); this is where that ends.
    """
    if sum(lengths) <= room:
        return list(lengths)
    if len(lengths) == 1:
        return [room]
    first, second = lengths
    first = min(first, max(room - second, (room + 1) // 2))
    return [first, room - first]


@dataclass(frozen=True)
class FinetuneLoader:
    """Training batches; examples are numbered through over all epochs, each epoch in an order of its own."""

    encoded: Encoded | EncodedTexts
    batch_size: int
    seed: int

    def batch(self, step: int, process_index: int = 0, process_count: int = 1) -> Batch:
        """The arrays of bert_jax/batch.py that the task needs: the rows of this process, in the global order.

        batch_size counts the rows of all processes and divides by their number.
        """
        share, size = self.batch_size // process_count, len(self.encoded.lengths)
        epochs, places = np.divmod(step * self.batch_size + process_index * share + np.arange(share), size)
        rows = np.empty(share, np.int64)
        for epoch in np.unique(epochs):
            here = epochs == epoch
            rows[here] = keyed.permute(places[here], size, keyed.key_of(self.seed, "finetune order", int(epoch)))
        return self.encoded.batch(rows, np.ones(share, np.float32))

    def iterate(self, start_step: int = 0) -> Iterator[Batch]:
        """Batches from `start_step` on, without end."""
        return made_ahead(self.batch, start_step)


def evaluation_batches(encoded: Encoded | EncodedTexts, batch_size: int) -> Iterator[Batch]:
    """Every example once, in order; the last batch is filled up with rows whose weights are 0."""
    size = len(encoded.lengths)
    for start in range(0, size, batch_size):
        rows = np.arange(start, start + batch_size)
        yield encoded.batch(np.minimum(rows, size - 1), (rows < size).astype(np.float32))
