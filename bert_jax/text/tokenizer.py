"""The one interface of all kinds of tokenisers: text to piece numbers and back."""

import hashlib
import json
from abc import ABC, abstractmethod
from array import array
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import NamedTuple

import numpy as np

MEMO_ENTRIES = 2**18  # about 60 MB when full of English words
MEMO_CHARS = 32  # longer keys seldom come again


class SpecialPieces(NamedTuple):
    pad: str
    unk: str
    cls: str
    sep: str
    mask: str


BERT = SpecialPieces("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
ALBERT = SpecialPieces("<pad>", "<unk>", "[CLS]", "[SEP]", "[MASK]")
XLNET = SpecialPieces("<pad>", "<unk>", "<cls>", "<sep>", "<mask>")
ROBERTA = SpecialPieces("<pad>", "<unk>", "<s>", "</s>", "<mask>")


def id_dtype(vocab_size: int) -> np.dtype:
    """The narrower of uint16 and uint32 that holds every number."""
    return np.dtype(np.uint16 if vocab_size <= 2**16 else np.uint32)


class Encoded(NamedTuple):
    """One text in pieces, without the special ones around it. All three have one entry per piece."""

    ids: list[int]
    offsets: list[tuple[int, int]]  # characters of the original text, end exclusive, blanks around them left out
    word_starts: list[bool]


@dataclass(frozen=True)
class Tokenizer(ABC):
    """A vocabulary with the rules that apply it. The number of a piece is its place in `pieces`.

    No text becomes a special piece: "[MASK]" or "<s>" in a text are characters like others.

    Attributes:
        cls_last: [CLS] stands behind an example instead of before it, for encoders that read from left to right.
    """

    pieces: tuple[str, ...]
    do_lower_case: bool
    cls_last: bool = field(default=False, kw_only=True)

    @property
    @abstractmethod
    def special(self) -> SpecialPieces:
        """The names of the special pieces in this vocabulary."""

    @property
    @abstractmethod
    def settings(self) -> dict:
        """Everything beside `pieces` that decides which numbers a text becomes; plain JSON."""

    @abstractmethod
    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """The piece numbers of each text, without special pieces around them."""

    def encode_packed(self, texts: Sequence[str]) -> list[bytes]:
        """The numbers of `encode` as bytes, an `id_dtype` each."""
        return [array(self.id_dtype.char, ids).tobytes() for ids in self.encode(texts)]

    def framed(self, sides: Iterable[Sequence[int]]) -> list[int]:
        """The pieces of a text or of several as an example: [CLS] A [SEP] B [SEP], or A [SEP] B [SEP] [CLS]."""
        ids = [piece for side in sides for piece in (*side, self.sep_id)]
        return [*ids, self.cls_id] if self.cls_last else [self.cls_id, *ids]

    @abstractmethod
    def encode_with_offsets(self, texts: Sequence[str]) -> list[Encoded]:
        """The numbers of `encode`, and where in the original text each piece comes from.

        Pieces cut out of one character (a syllable block, a character of several bytes) all have the span of that character.
        """

    @abstractmethod
    def decode(self, ids: Sequence[int]) -> str:
        """Readable text, padding left out."""

    @abstractmethod
    def begins_word(self, piece: str) -> bool:
        """Whether a piece that is not special starts a word wherever it stands."""

    def __getstate__(self) -> dict:
        """What goes to another process: the fields alone. Memos and tables are made anew there, some of them cannot travel."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @property
    def size(self) -> int:
        return len(self.pieces)

    @cached_property
    def id_dtype(self) -> np.dtype:
        return id_dtype(self.size)

    @property
    def pad_id(self) -> int:
        return self.id_of[self.special.pad]

    @property
    def unk_id(self) -> int:
        return self.id_of[self.special.unk]

    @property
    def cls_id(self) -> int:
        return self.id_of[self.special.cls]

    @property
    def sep_id(self) -> int:
        return self.id_of[self.special.sep]

    @property
    def mask_id(self) -> int:
        return self.id_of[self.special.mask]

    @cached_property
    def id_of(self) -> dict[str, int]:
        return {piece: i for i, piece in enumerate(self.pieces)}

    @cached_property
    def starts_word(self) -> np.ndarray:
        """bool[V]: the piece starts a word. The first piece of a text does so whatever this table says."""
        alone = {*self.special} - {self.special.unk}
        return np.array([piece in alone or self.begins_word(piece) for piece in self.pieces])

    @cached_property
    def content_hash(self) -> str:
        """SHA-256 over the pieces and everything else that decides which numbers a text becomes."""
        settings = self.settings | {"do_lower_case": self.do_lower_case, "special": self.special}
        content = json.dumps([settings, self.pieces], ensure_ascii=True, sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()

    def pieces_of(self, ids: Iterable[int]) -> list[str]:
        return [self.pieces[i] for i in ids]

    def _encoded(self, ids: list[int], offsets: list[tuple[int, int]]) -> Encoded:
        return Encoded(ids, offsets, [place == 0 or bool(self.starts_word[i]) for place, i in enumerate(ids)])


class Memo(dict):
    """Remembers what `compute` gave for a word. When it is full it forgets everything: frequent words are soon back."""

    def __init__(self, compute: Callable[[str], Sequence[int]]):
        super().__init__()
        self._compute = compute

    def __missing__(self, word: str) -> Sequence[int]:
        value = self._compute(word)
        if len(word) <= MEMO_CHARS:
            if len(self) >= MEMO_ENTRIES:
                self.clear()
            self[word] = value
        return value
