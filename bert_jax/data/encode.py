"""A unit of raw text to arrays: what one worker makes of it."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from typing import NamedTuple

import numpy as np

from bert_jax.data import parse, segment
from bert_jax.data.report import Report
from bert_jax.data.units import Unit
from bert_jax.text.tokenizer import Tokenizer

BATCH_CHARS = 2**18  # the tokenizer needs some hundred bytes per piece while it works
DIGEST_BYTES = 32


class Encoded(NamedTuple):
    """The documents of a unit that have pieces."""

    ids: np.ndarray  # uint16 or uint32 [tokens]
    word_starts: np.ndarray  # uint8[tokens], 1 where a piece begins a word
    sentence_lengths: np.ndarray  # int32[sentences], in tokens
    document_lengths: np.ndarray  # int32[documents], in sentences
    digests: bytes  # SHA-256 of the text of each document
    cjk_characters: int
    report: Report
    source: str
    share: float


@dataclass(frozen=True)
class Encoder:
    """Sent to each worker once; what it needs to work is made there."""

    tokenizer: Tokenizer
    segmenter: str
    on_bad_input: str

    def __call__(self, unit: Unit) -> Encoded:
        """Raises UserError for bad input, unless it is to be skipped."""
        report = Report(self.on_bad_input)
        documents = list(parse.documents(unit, report))
        texts = list(chain.from_iterable(documents))
        parts = [self._batch(batch) for batch in batches(texts)] or [self._batch([])]
        ids, starts, lengths = map(np.concatenate, zip(*parts))
        starts[(np.cumsum(lengths) - lengths)[lengths > 0]] = 1
        sentences = np.array([len(document) for document in documents], np.int32)
        kept = np.add.reduceat(lengths > 0, np.cumsum(sentences) - sentences, dtype=np.int32) if len(sentences) else sentences
        report.note("sentences without a piece", unit.source, int((lengths == 0).sum()))
        return Encoded(
            ids,
            starts,
            lengths[lengths > 0],
            kept[kept > 0],
            b"".join(digest(document) for document, count in zip(documents, kept) if count),
            sum(len(segment.CHARACTER.findall(text)) for text in texts if not text.isascii()),
            report,
            unit.source,
            unit.share,
        )

    @cached_property
    def _starts_word(self) -> np.ndarray:
        return self.tokenizer.starts_word.astype(np.uint8)

    @cached_property
    def _segments(self) -> segment.Segmenter | None:
        return segment.open_segmenter(self.segmenter)

    def _batch(self, texts: list[str]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(piece numbers, word starts, number of pieces of each text)"""
        if self._segments:
            return self._segmented(texts)
        pieces = self.tokenizer.encode_packed(texts)
        ids = self._ids(pieces)
        return ids, self._starts_word[ids], self._lengths(pieces)

    def _segmented(self, texts: list[str]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        segments = [self._segments(text) for text in texts]
        flat = list(chain.from_iterable(segments))
        pieces = self.tokenizer.encode_packed([text for text, _ in flat])
        lengths, ids = self._lengths(pieces), self._ids(pieces)
        starts = self._starts_word[ids]
        starts[np.repeat(np.array([is_word for _, is_word in flat], bool), lengths)] = 0
        starts[(np.cumsum(lengths) - lengths)[lengths > 0]] = 1
        of_segment = iter(lengths.tolist())
        return ids, starts, np.array([sum(next(of_segment) for _ in sentence) for sentence in segments], np.int32)

    def _ids(self, pieces: list[bytes]) -> np.ndarray:
        return np.frombuffer(b"".join(pieces), self.tokenizer.id_dtype)

    def _lengths(self, pieces: list[bytes]) -> np.ndarray:
        return np.fromiter(map(len, pieces), np.int32, len(pieces)) // self.tokenizer.id_dtype.itemsize


def digest(document: list[str]) -> bytes:
    return hashlib.sha256("".join(f"{sentence}\n" for sentence in document).encode()).digest()


def batches(texts: list[str]) -> Iterator[list[str]]:
    """The texts in order, some BATCH_CHARS at a time."""
    batch: list[str] = []
    size = 0
    for text in texts:
        batch.append(text)
        size += len(text)
        if size >= BATCH_CHARS:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch
