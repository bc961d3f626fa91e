"""WordPiece as released with BERT (google-research/bert, tokenization.py), run by the Rust library `tokenizers`.

Where the two are known to differ: the library drops private-use characters, knows punctuation and accents as of an older
Unicode, and leaves 256 rare Chinese characters (U+2B820 to U+2B91F) joined to their neighbours.
"""

import hashlib
import json
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

from bert_jax.errors import UserError

SPECIAL_PIECES = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
MAX_CHARS_PER_WORD = 200  # longer words become [UNK]; the value of WordpieceTokenizer in the released code
SPACE_BEFORE = re.compile(r" ([.,:;!?%)\]}’”])")
SPACE_AFTER = re.compile(r"([(\[{‘“$#]) ")
SPACE_AROUND = re.compile(r"(?<=\w) (['’\-/_]) (?=\w)")


def normalizer(do_lower_case: bool) -> normalizers.Normalizer:
    """BasicTokenizer's clean-up: control characters out, blanks around Chinese characters, and for uncased text
    lower case without accents."""
    return normalizers.BertNormalizer(
        clean_text=True, handle_chinese_chars=True, strip_accents=do_lower_case, lowercase=do_lower_case
    )


@dataclass(frozen=True)
class WordPiece:
    """A vocabulary with the rules that apply it. The number of a piece is its place in `pieces`."""

    pieces: tuple[str, ...]
    do_lower_case: bool

    @property
    def size(self) -> int:
        return len(self.pieces)

    @property
    def pad_id(self) -> int:
        return self.id_of["[PAD]"]

    @property
    def unk_id(self) -> int:
        return self.id_of["[UNK]"]

    @property
    def cls_id(self) -> int:
        return self.id_of["[CLS]"]

    @property
    def sep_id(self) -> int:
        return self.id_of["[SEP]"]

    @property
    def mask_id(self) -> int:
        return self.id_of["[MASK]"]

    @cached_property
    def id_of(self) -> dict[str, int]:
        return {piece: i for i, piece in enumerate(self.pieces)}

    @cached_property
    def content_hash(self) -> str:
        """SHA-256 over the pieces and everything else that decides which numbers a text becomes."""
        settings = {"kind": "wordpiece", "do_lower_case": self.do_lower_case, "max_chars_per_word": MAX_CHARS_PER_WORD}
        content = json.dumps([settings, self.pieces], ensure_ascii=True, sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()

    @cached_property
    def _tokenizer(self) -> Tokenizer:
        model = models.WordPiece(vocab=self.id_of, unk_token="[UNK]", max_input_chars_per_word=MAX_CHARS_PER_WORD)
        tokenizer = Tokenizer(model)
        tokenizer.normalizer = normalizer(self.do_lower_case)
        tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        # No piece is declared special: a text that spells "[MASK]" is text, and cannot smuggle one into a corpus.
        return tokenizer

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """The piece numbers of each text, without [CLS] and [SEP]."""
        return [encoding.ids for encoding in self._tokenizer.encode_batch_fast(texts, add_special_tokens=False)]

    def pieces_of(self, ids: Sequence[int]) -> list[str]:
        return [self.pieces[i] for i in ids]

    def decode(self, ids: Sequence[int]) -> str:
        """Readable text: continuations joined to their words, blanks around punctuation tidied, padding left out.

        Case, accents and the original blanks are gone for good, so this does not undo `encode`."""
        words: list[str] = []
        for piece in self.pieces_of(ids):
            if piece.startswith("##") and words:
                words[-1] += piece[2:]
            elif piece != "[PAD]":
                words.append(piece)
        text = SPACE_AFTER.sub(r"\1", SPACE_BEFORE.sub(r"\1", " ".join(words)))
        return SPACE_AROUND.sub(r"\1", text)


def load(vocab_file: str | Path, do_lower_case: bool) -> WordPiece:
    """Reads a vocabulary of one piece per line, the form of BERT's vocab.txt.

    Raises:
        UserError: the file is absent, unreadable or empty, a piece is there twice, or a special piece is missing.
    """
    path = Path(vocab_file)
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise UserError("the vocabulary file cannot be read", got=f"{path}: {error.strerror}", fix="check vocab_file") from error
    except UnicodeDecodeError as error:
        raise UserError("the vocabulary file is not UTF-8", got=f"{path}: {error.reason} at byte {error.start}") from error
    # Only \n ends a line: some published vocabularies hold other Unicode line breaks as pieces.
    pieces = [line.removesuffix("\r") for line in text.split("\n")]
    while pieces and not pieces[-1]:
        pieces.pop()
    _check(pieces, path)
    return WordPiece(tuple(pieces), do_lower_case)


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
    missing = [piece for piece in SPECIAL_PIECES if piece not in first_line]
    if missing:
        raise UserError(
            f"the vocabulary lacks {', '.join(missing)}",
            got=path,
            expected=f"a line for each of {' '.join(SPECIAL_PIECES)}",
            fix="take the vocab.txt that belongs to a BERT model, or leave text.vocab_file empty to learn one",
        )


def save_vocab(pieces: Sequence[str], path: str | Path) -> None:
    """Writes one piece per line. A reader sees the whole file or none."""
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "w", encoding="utf-8", newline="\n") as file:
            file.write("".join(f"{piece}\n" for piece in pieces))
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise UserError("the vocabulary cannot be written", got=f"{path}: {error.strerror}") from error
