"""Byte-level BPE as released with GPT-2 and RoBERTa, run by the Rust library `tokenizers`: no text is ever unknown.

`vocab_file` is the vocab.json (piece -> number); merges.txt lies beside it in the same folder.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain
from pathlib import Path

from tokenizers import Tokenizer as RustTokenizer
from tokenizers import decoders, models, pre_tokenizers

from bert_jax.errors import UserError
from bert_jax.text import aligned
from bert_jax.text.files import read_vocabulary_text, write_vocabulary
from bert_jax.text.tokenizer import BERT, ROBERTA, Encoded, Memo, SpecialPieces, Tokenizer

BLANK = "\u0120"  # how a space is written in a piece
NAMES = (ROBERTA, BERT)  # the first whose pieces are all in the vocabulary
MERGES_FILE = "merges.txt"
MERGES_HEADER = "#version: 0.2"
SURROGATE = re.compile("[\ud800-\udfff]")  # half a character: UTF-8 has no place for it
# The words of GPT-2's encoder.py, for text that is ASCII: there \p{L} is [A-Za-z] and \p{N} is [0-9].
ASCII_WORD = re.compile(
    r"'(?:[stmd]|re|ve|ll)| ?[A-Za-z]+| ?[0-9]+| ?[^ \t-\rA-Za-z0-9]+|[ \t-\r]+(?![^ \t-\r])|[ \t-\r]+", re.ASCII
)


def prepared(text: str, do_lower_case: bool) -> str:
    """The text as it is cut into pieces."""
    if not text.isascii():
        text = SURROGATE.sub("\ufffd", text)
    return text.lower() if do_lower_case else text


@dataclass(frozen=True)
class ByteLevel(Tokenizer):
    """`merges` in the order in which they are applied."""

    names: SpecialPieces
    merges: tuple[tuple[str, str], ...] = field(repr=False)

    @property
    def special(self) -> SpecialPieces:
        return self.names

    @property
    def settings(self) -> dict:
        return {"kind": "bytelevel", "merges": self.merges}

    def begins_word(self, piece: str) -> bool:
        return piece.startswith(BLANK)

    @cached_property
    def _tokenizer(self) -> RustTokenizer:
        # No piece is declared special: a text that spells "<mask>" is text, and cannot smuggle one into a corpus.
        tokenizer = RustTokenizer(models.BPE(vocab=self.id_of, merges=list(self.merges)))
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, trim_offsets=False, use_regex=True)
        return tokenizer

    @cached_property
    def _ascii_words(self) -> Memo:
        return Memo(lambda word: tuple(self._tokenizer.encode(word).ids))

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        texts = [prepared(text, self.do_lower_case) for text in texts]
        others = iter(self._tokenizer.encode_batch_fast([text for text in texts if not text.isascii()]))
        return [self._encode_ascii(text) if text.isascii() else next(others).ids for text in texts]

    def _encode_ascii(self, text: str) -> list[int]:
        return list(chain.from_iterable(map(self._ascii_words.__getitem__, ASCII_WORD.findall(text))))

    def encode_with_offsets(self, texts: Sequence[str]) -> list[Encoded]:
        return [self._with_offsets(text) for text in texts]

    def _with_offsets(self, text: str) -> Encoded:
        letters = aligned.aligned(SURROGATE.sub("\ufffd", text))
        if self.do_lower_case:
            letters = aligned.lower_case(letters)
        encoding = self._tokenizer.encode(aligned.text_of(letters))
        spans = [aligned.span(letters[start:end]) for start, end in encoding.offsets]
        return self._encoded(encoding.ids, [(end - len(text[start:end].lstrip(" ")), end) for start, end in spans])

    def decode(self, ids: Sequence[int]) -> str:
        """The very text that was encoded, but for case. Bytes that are no UTF-8 become U+FFFD, padding is left out."""
        return decoders.ByteLevel().decode([self.pieces[i] for i in ids if i != self.pad_id])


def load(vocab_file: str | Path, do_lower_case: bool) -> ByteLevel:
    """Reads vocab.json and the merges.txt beside it.

    Raises:
        UserError: a file is unreadable, damaged or of another vocabulary, or a special piece is missing.
    """
    path = Path(vocab_file)
    pieces = _read_pieces(path)
    names = next((names for names in NAMES if set(pieces).issuperset(names)), None)
    if names is None:
        expected = "all of " + ", or all of ".join(" ".join(names) for names in NAMES)
        raise UserError("the vocabulary lacks special pieces", got=path, expected=expected)
    missing = set(pre_tokenizers.ByteLevel.alphabet()).difference(pieces)
    if missing:
        raise UserError("the vocabulary lacks single bytes", got=f"{path}: {len(missing)} of 256 missing", expected="all of them")
    return ByteLevel(pieces, do_lower_case, names, _read_merges(path.with_name(MERGES_FILE), frozenset(pieces)))


def _read_pieces(path: Path) -> tuple[str, ...]:
    try:
        number_of = json.loads(read_vocabulary_text(path))
    except ValueError:
        number_of = None
    piece_of = {number: piece for piece, number in number_of.items()} if isinstance(number_of, dict) else {}
    if not piece_of or set(piece_of) != set(range(len(number_of))):
        raise UserError(
            "the vocabulary file is no table of pieces",
            got=path,
            expected="JSON, piece -> number, every number from 0 on once: the vocab.json of a byte-level BPE",
        )
    return tuple(piece_of[number] for number in range(len(piece_of)))


def _read_merges(path: Path, pieces: frozenset[str]) -> tuple[tuple[str, str], ...]:
    merges = []
    for number, line in enumerate(read_vocabulary_text(path).split("\n"), 1):
        line = line.removesuffix("\r")
        if not line or (number == 1 and line.startswith("#version")):
            continue
        parts = line.split(" ")
        if len(parts) != 2 or not pieces.issuperset((*parts, "".join(parts))):
            raise UserError(
                "the merges do not belong to the vocabulary",
                got=f"{path}, line {number}: {line[:80]!r}",
                expected="two pieces of vocab.json with a blank between them, which joined are a third",
            )
        merges.append(tuple(parts))
    return tuple(merges)


def save(pieces: Sequence[str], merges: Sequence[tuple[str, str]], path: str | Path) -> None:
    """Writes the merges, then the pieces: where vocab.json is, merges.txt is too."""
    path = Path(path)
    lines = "".join(f"{left} {right}\n" for left, right in merges)
    write_vocabulary(path.with_name(MERGES_FILE), f"{MERGES_HEADER}\n{lines}".encode())
    number_of = {piece: number for number, piece in enumerate(pieces)}
    write_vocabulary(path, (json.dumps(number_of, ensure_ascii=False) + "\n").encode())
