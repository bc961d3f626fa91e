"""A unit of raw text to what is to be known of it: what one worker finds."""

import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from typing import NamedTuple

import numpy as np

from bert_jax.data import parse
from bert_jax.data.encode import batches
from bert_jax.data.report import SKIP, Report
from bert_jax.data.units import Unit
from bert_jax.doctor.overlap import END_OF_DOCUMENT, Grams, Hashes, Rolling, words
from bert_jax.text.tokenizer import Tokenizer

NEAR_EMPTY, ALONE, UNKNOWN, TOO_LONG = "near empty", "alone", "unknown", "too long"
NOT_COMPOSED, COMPATIBILITY, CASE = "not composed", "compatibility", "case"
MIN_PIECES = 10  # of a document that is not near empty
MAX_UNKNOWN_SHARE = 0.05  # of the pieces of a document
MIN_WORDS = 5  # of a sentence whose repetitions are counted: shorter ones come again in any text
MAX_CHARS = 1000  # of such a sentence
SHOWN_WORDS = 3
REWRITTEN = {  # another form of a text, in which pieces are known that are not in the given one
    COMPATIBILITY: lambda text: unicodedata.normalize("NFKC", text),
    CASE: str.lower,
}


class Fault(NamedTuple):
    kind: str
    line: int
    text: str  # what stands there


class Examined(NamedTuple):
    """What a unit holds: D documents of S sentences."""

    source: str
    share: float
    report: Report
    document_keys: np.ndarray  # uint64, a hash of the words of each document that is not near empty
    document_lines: np.ndarray  # int64, where these begin
    document_sentences: np.ndarray  # int64[D]
    sentence_pieces: np.ndarray  # int64[S]
    unknown: int  # pieces
    repeated: dict[str, tuple[int, int]]  # sentence -> how often, and the first line
    faults: list[Fault]
    overlaps: list[tuple[int, int, int]]  # n, the number of an n-gram that is looked for, the first line


@dataclass(frozen=True)
class Examiner:
    """Sent to each worker once.

    Attributes:
        room: pieces of a sentence beyond which some are in no row; 0 where rows go on with the rest.
        in_pairs: whether rows are pairs of sentences of one document.
        grams: what is looked for.
    """

    tokenizer: Tokenizer
    room: int
    in_pairs: bool
    grams: Grams

    def __call__(self, unit: Unit) -> Examined:
        report = Report(SKIP)
        documents = list(parse.placed(unit, report))
        texts = list(chain.from_iterable(document.sentences for document in documents))
        lines = np.fromiter(chain.from_iterable(document.lines for document in documents), np.int64, len(texts))
        sentences = np.array([len(document.sentences) for document in documents], np.int64)
        pieces, unknown = self._counts(texts)
        first = np.cumsum(sentences) - sentences
        document_pieces, document_unknown = (np.add.reduceat(each, first) if len(first) else first for each in (pieces, unknown))
        near_empty = document_pieces < MIN_PIECES
        alone = (sentences == 1) & ~near_empty if self.in_pairs else np.zeros(len(sentences), bool)
        too_long = (pieces > self.room) & (self.room > 0)
        faults = [
            *(Fault(NEAR_EMPTY, int(lines[first[n]]), texts[first[n]]) for n in np.flatnonzero(near_empty)),
            *(Fault(ALONE, int(lines[first[n]]), texts[first[n]]) for n in np.flatnonzero(alone)),
            *(Fault(TOO_LONG, int(lines[n]), f"{pieces[n]:,} pieces: {texts[n]}") for n in np.flatnonzero(too_long)),
            *self._misread(texts, lines, pieces, unknown),
        ]
        for n in np.flatnonzero(~near_empty & (document_unknown > MAX_UNKNOWN_SHARE * document_pieces)):
            shown = first[n] + int(np.flatnonzero(unknown[first[n] : first[n] + sentences[n]])[0])
            share = document_unknown[n] / document_pieces[n]
            faults.append(
                Fault(UNKNOWN, int(lines[shown]), f"{share:.0%} of its pieces, as in {self._unknown_words(texts[shown])}")
            )
        keys, overlaps, repeated = self._by_words(documents, texts, lines)
        return Examined(
            unit.source,
            unit.share,
            report,
            keys[~near_empty],
            lines[first[~near_empty]],
            sentences,
            pieces,
            int(unknown.sum()),
            repeated,
            sorted(faults, key=lambda fault: fault.line),
            overlaps,
        )

    @cached_property
    def _hashes(self) -> Hashes:
        return Hashes()

    def __getstate__(self) -> dict:
        """What goes to another process: the fields alone."""
        return {name: getattr(self, name) for name in ("tokenizer", "room", "in_pairs", "grams")}

    def _counts(self, texts: list[str]) -> tuple[np.ndarray, np.ndarray]:
        """(pieces, unknown pieces) of each text, int64[texts] each."""
        packed = list(chain.from_iterable(self.tokenizer.encode_packed(batch) for batch in batches(texts)))
        ids = np.frombuffer(b"".join(packed), self.tokenizer.id_dtype)
        ends = np.cumsum(np.fromiter(map(len, packed), np.int64, len(packed))) // self.tokenizer.id_dtype.itemsize
        so_far = np.concatenate([[0], np.cumsum(ids == self.tokenizer.unk_id)])
        return np.diff(ends, prepend=0), np.diff(so_far[ends], prepend=0)

    def _misread(self, texts: list[str], lines: np.ndarray, pieces: np.ndarray, unknown: np.ndarray) -> Iterator[Fault]:
        """Sentences that the vocabulary would know better in another form."""
        apart = {n for n, text in enumerate(texts) if not (text.isascii() or unicodedata.is_normalized("NFC", text))}
        numbers = sorted(apart | set(np.flatnonzero(unknown).tolist()))
        composed = [unicodedata.normalize("NFC", texts[n]) for n in numbers]
        of_composed = dict(zip(numbers, zip(composed, *self._counts(composed))))
        for n in apart:
            if of_composed[n][1:] != (pieces[n], unknown[n]):
                yield Fault(NOT_COMPOSED, int(lines[n]), texts[n])
        for kind, rewrite in REWRITTEN.items():
            changed = {n: rewrite(text) for n, (text, _, left) in of_composed.items() if left and rewrite(text) != text}
            _, still_unknown = self._counts(list(changed.values()))
            for n, left in zip(changed, still_unknown):
                if left < of_composed[n][2]:
                    yield Fault(kind, int(lines[n]), texts[n])

    def _unknown_words(self, text: str) -> str:
        ids, offsets, _ = self.tokenizer.encode_with_offsets([text])[0]
        found = [text[begin:end] for number, (begin, end) in zip(ids, offsets) if number == self.tokenizer.unk_id]
        return ", ".join(map(repr, dict.fromkeys(found[:SHOWN_WORDS])))

    def _by_words(self, documents: list[parse.Placed], texts: list[str], lines: np.ndarray):
        """(uint64[D] keys of the documents, overlaps, repeated): what does not depend on case and punctuation."""
        of_sentence = [words(text) for text in texts]
        counts = np.fromiter(map(len, of_sentence), np.int64, len(texts))
        repeated: dict[str, tuple[int, int]] = {}
        for text, count, line in zip(texts, counts.tolist(), lines.tolist()):
            if count >= MIN_WORDS and len(text) <= MAX_CHARS:
                often, first = repeated.get(text, (0, line))
                repeated[text] = often + 1, first
        flat, begins, ends, line_of_word, sentence = [], [], [], [], 0
        for document in documents:
            begins.append(len(flat))
            for line in document.lines:
                flat += of_sentence[sentence]
                line_of_word += [line] * len(of_sentence[sentence])
                sentence += 1
            ends.append(len(flat))
            flat.append(END_OF_DOCUMENT)
            line_of_word.append(0)
        rolling = Rolling(self._hashes(flat))
        overlaps = [
            (length, number, line_of_word[place])
            for length, (numbers, places) in self.grams.found_in(rolling).items()
            for number, place in zip(numbers.tolist(), places.tolist())
        ]
        return rolling.stretches(np.array(begins, np.int64), np.array(ends, np.int64)), overlaps, repeated
