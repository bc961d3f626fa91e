"""WordPiece by the rules released with BERT (google-research/bert, tokenization.py), remembering words it has cut before.

A text is cleaned and cut at blanks and around Chinese characters. What lies between, a chunk, becomes the same pieces wherever it
stands: lower case, accents and punctuation are settled inside it. So chunks are looked up, and only new ones are worked out.
"""

import json
import re
import string
import unicodedata
from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain
from pathlib import Path

from bert_jax.errors import UserError
from bert_jax.text import aligned
from bert_jax.text.files import read_vocabulary_text, write_vocabulary
from bert_jax.text.tokenizer import BERT, Encoded, Memo, SpecialPieces, Tokenizer

SPECIAL_PIECES = BERT
MAX_CHARS_PER_WORD = 200  # longer words become [UNK]; the value of WordpieceTokenizer in the released code
RULES_FILE = "wordpiece_rules.json"  # beside a vocabulary with another limit, and there only
CHINESE_BLOCKS = (  # first and last character, as in _is_chinese_char
    (0x4E00, 0x9FFF),
    (0x3400, 0x4DBF),
    (0x20000, 0x2A6DF),
    (0x2A700, 0x2B73F),
    (0x2B740, 0x2B81F),
    (0x2B820, 0x2CEAF),
    (0xF900, 0xFAFF),
    (0x2F800, 0x2FA1F),
)
SPACE_BEFORE = re.compile(r" ([.,:;!?%)\]}’”])")
SPACE_AFTER = re.compile(r"([(\[{‘“$#]) ")
SPACE_AROUND = re.compile(r"(?<=\w) (['’\-/_]) (?=\w)")


class _Table(dict):
    """A table for str.translate, filled as characters are met."""

    def __init__(self, rule: Callable[[str], str]):
        super().__init__()
        self._rule = rule

    def __missing__(self, code: int) -> str:
        self[code] = self._rule(chr(code))
        return self[code]


def _cleaned(character: str) -> str:
    """_clean_text and _tokenize_chinese_chars."""
    category = unicodedata.category(character)
    if character in "\t\n\r" or category == "Zs":
        return " "
    if character in "\0\ufffd" or category in ("Cc", "Cf"):
        return ""
    return f" {character} " if any(first <= ord(character) <= last for first, last in CHINESE_BLOCKS) else character


def _is_punctuation(character: str) -> bool:
    return character in string.punctuation or unicodedata.category(character).startswith("P")


def _is_accent(character: str) -> bool:
    return unicodedata.category(character) == "Mn"


class BasicTokenizer:
    """Text to the words that WordPiece cuts into pieces, in two steps."""

    def __init__(self, do_lower_case: bool):
        self._do_lower_case = do_lower_case
        self._clean = _Table(_cleaned)
        self._around_punctuation = _Table(lambda character: f" {character} " if _is_punctuation(character) else character)

    def chunks(self, text: str) -> list[str]:
        if not (text.isascii() and text.isprintable()):
            text = text.translate(self._clean)
        return text.split()

    def words(self, chunk: str) -> list[str]:
        if self._do_lower_case:
            chunk = chunk.lower()
            if not chunk.isascii():
                chunk = "".join(c for c in unicodedata.normalize("NFD", chunk) if not _is_accent(c))
        return chunk.translate(self._around_punctuation).split()

    def whole_word(self, text: str, max_chars: int = MAX_CHARS_PER_WORD) -> str | None:
        """The word that the text is, in the case and with the accents that text is read in. None where it is none, several or
        too long to be looked up."""
        words = [word for chunk in self.chunks(text) for word in self.words(chunk)]
        return words[0] if len(words) == 1 and len(words[0]) <= max_chars else None

    def aligned_words(self, text: str) -> list[aligned.Aligned]:
        """The words of the text, each letter with its place in it."""
        cleaned = [(c, place, place + 1) for place, old in enumerate(text) for c in self._clean[ord(old)]]
        found = []
        for chunk in aligned.words(cleaned):
            if self._do_lower_case:
                chunk = aligned.without_marks(aligned.lower_case(chunk), "NFD", _is_accent)
            spaced = [(c, start, end) for letter, start, end in chunk for c in self._around_punctuation[ord(letter)]]
            found += aligned.words(spaced)
        return found


@dataclass(frozen=True)
class WordPiece(Tokenizer):
    """
    Attributes:
        max_chars_per_word: of longer words nothing is looked up; 100 in vocabularies that come by way of transformers.
    """

    max_chars_per_word: int = field(default=MAX_CHARS_PER_WORD, kw_only=True)

    @property
    def special(self) -> SpecialPieces:
        return BERT

    @property
    def settings(self) -> dict:
        return {"kind": "wordpiece", "max_chars_per_word": self.max_chars_per_word}

    def begins_word(self, piece: str) -> bool:
        return not piece.startswith("##")

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        return [array(self.id_dtype.char, packed).tolist() for packed in self.encode_packed(texts)]

    def encode_packed(self, texts: Sequence[str]) -> list[bytes]:
        chunks, packed_of = self._basic.chunks, self._chunks.__getitem__
        return [b"".join(map(packed_of, chunks(text))) for text in texts]

    def encode_with_offsets(self, texts: Sequence[str]) -> list[Encoded]:
        return [self._with_offsets(text) for text in texts]

    def _with_offsets(self, text: str) -> Encoded:
        ids, offsets = [], []
        for word in self._basic.aligned_words(text):
            pieces = self._words[aligned.text_of(word)]
            ids += pieces
            if pieces == (self.unk_id,):
                offsets.append(aligned.span(word))
                continue
            start = 0
            for piece in self.pieces_of(pieces):
                end = start + len(piece.removeprefix("##") if start else piece)
                offsets.append(aligned.span(word[start:end]))
                start = end
        return self._encoded(ids, offsets)

    @cached_property
    def _basic(self) -> BasicTokenizer:
        return BasicTokenizer(self.do_lower_case)

    @cached_property
    def _chunks(self) -> Memo:
        def packed(chunk: str) -> bytes:
            ids = chain.from_iterable(map(self._words.__getitem__, self._basic.words(chunk)))
            return array(self.id_dtype.char, ids).tobytes()

        return Memo(packed)

    @cached_property
    def _words(self) -> Memo:
        return Memo(self._cut)

    @cached_property
    def _inside(self) -> dict[str, int]:
        return {piece[2:]: i for i, piece in enumerate(self.pieces) if piece.startswith("##")}

    @cached_property
    def _longest(self) -> int:
        return max(map(len, self.pieces))

    def whole_word(self, text: str) -> str | None:
        return self._basic.whole_word(text, self.max_chars_per_word)

    def cut(self, piece: str) -> tuple[int, ...]:
        """The numbers of the pieces that a piece of any vocabulary becomes: as a word, or, after ##, as the rest of one."""
        rest = piece.removeprefix("##")
        return self._cut(rest, inside=True) if rest != piece and rest else self._cut(piece)

    def _cut(self, word: str, inside: bool = False) -> tuple[int, ...]:
        """The longest piece that the rest of the word starts with, again and again; [UNK] when there is none."""
        if len(word) > self.max_chars_per_word:
            return (self.unk_id,)
        ids, start, table = [], 0, self._inside if inside else self.id_of
        while start < len(word):
            for end in range(min(len(word), start + self._longest), start, -1):
                number = table.get(word[start:end])
                if number is not None:
                    break
            else:
                return (self.unk_id,)
            ids.append(number)
            start, table = end, self._inside
        return tuple(ids)

    def decode(self, ids: Sequence[int]) -> str:
        """Readable text: continuations joined to their words, blanks around punctuation tidied, padding left out.

        Case, accents and the original blanks are gone for good, so this does not undo `encode`."""
        words: list[str] = []
        for piece in self.pieces_of(ids):
            if piece.startswith("##") and words:
                words[-1] += piece[2:]
            elif piece != BERT.pad:
                words.append(piece)
        text = SPACE_AFTER.sub(r"\1", SPACE_BEFORE.sub(r"\1", " ".join(words)))
        return SPACE_AROUND.sub(r"\1", text)


def load(vocab_file: str | Path, do_lower_case: bool) -> WordPiece:
    """Reads a vocabulary of one piece per line, the form of BERT's vocab.txt, and the RULES_FILE beside it where there is one.

    Raises:
        UserError: the file is absent, unreadable or empty, a piece is there twice, a special piece is missing, or the rules are
            none.
    """
    path = Path(vocab_file)
    return WordPiece(read_pieces(path), do_lower_case, max_chars_per_word=_read_limit(path.with_name(RULES_FILE)))


def _read_limit(path: Path) -> int:
    if not path.exists():
        return MAX_CHARS_PER_WORD
    try:
        found = json.loads(read_vocabulary_text(path))
    except ValueError:
        found = None
    limit = found.get("max_chars_per_word") if isinstance(found, dict) and len(found) == 1 else None
    if type(limit) is not int or limit < 1:
        expected = 'JSON, {"max_chars_per_word": a whole number from 1 on}'
        raise UserError("the rules beside the vocabulary are none", got=path, expected=expected)
    return limit


def read_pieces(path: Path) -> tuple[str, ...]:
    """The lines of a file, all different, with the special pieces of BERT among them; raises UserError as `load` says."""
    # Only \n ends a line: some published vocabularies hold other Unicode line breaks as pieces.
    pieces = [line.removesuffix("\r") for line in read_vocabulary_text(path).split("\n")]
    while pieces and not pieces[-1]:
        pieces.pop()
    _check(pieces, path)
    return tuple(pieces)


def _check(pieces: list[str], path: Path) -> None:
    if not pieces:
        raise UserError("the vocabulary file is empty", got=path, expected="one piece per line")
    first_line: dict[str, int] = {}
    for number, piece in enumerate(pieces, 1):
        if not piece:
            raise UserError("the vocabulary holds an empty line", got=f"{path}, line {number}", expected="one piece per line")
        if first_line.setdefault(piece, number) != number:
            raise UserError(
                f"the vocabulary holds the piece {piece!r} twice", got=f"{path}, lines {first_line[piece]} and {number}"
            )
    missing = [piece for piece in BERT if piece not in first_line]
    if missing:
        raise UserError(
            f"the vocabulary lacks {', '.join(missing)}",
            got=path,
            expected=f"a line for each of {' '.join(BERT)}",
            fix="take the vocab.txt that belongs to a BERT model, or leave text.vocab_file empty to learn one",
        )


def save_vocab(pieces: Sequence[str], path: str | Path, max_chars_per_word: int = MAX_CHARS_PER_WORD) -> None:
    """Writes the limit, if it is not the released one, then one piece per line: where the pieces are, their limit is too."""
    path = Path(path)
    if max_chars_per_word != MAX_CHARS_PER_WORD:
        rules = {"max_chars_per_word": max_chars_per_word}
        write_vocabulary(path.with_name(RULES_FILE), (json.dumps(rules) + "\n").encode())
    else:
        path.with_name(RULES_FILE).unlink(missing_ok=True)  # of another vocabulary
    write_vocabulary(path, "".join(f"{piece}\n" for piece in pieces).encode())
