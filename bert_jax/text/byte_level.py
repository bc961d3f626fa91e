"""Byte-level BPE as released with GPT-2 and RoBERTa, run by the Rust library `tokenizers`: no text is ever unknown.

`vocab_file` is the vocab.json (piece -> number); merges.txt lies beside it in the same folder, and text_rules.json where text is
changed or searched before it is cut, as by the vocabulary of ModernBERT.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import NamedTuple

from tokenizers import AddedToken, decoders, models, normalizers, pre_tokenizers
from tokenizers import Tokenizer as RustTokenizer

from bert_jax.errors import UserError
from bert_jax.text import aligned
from bert_jax.text.files import read_vocabulary_text, write_vocabulary
from bert_jax.text.tokenizer import BERT, ROBERTA, Encoded, Memo, SpecialPieces, Tokenizer

BLANK = "\u0120"  # how a space is written in a piece
NAMES = (ROBERTA, BERT)  # the first whose pieces are all in the vocabulary
MERGES_FILE = "merges.txt"
MERGES_HEADER = "#version: 0.2"
RULES_FILE = "text_rules.json"  # there only where a rule is not the default
LONGEST_LITERAL = 100  # characters: the expression that looks for literals is nested as deep as the longest
NOT_UTF8 = frozenset(map(chr, (0xC0, 0xC1, *range(0xF5, 0x100))))  # bytes of no text; ModernBERT has no pieces for them
SURROGATE = re.compile("[\ud800-\udfff]")  # half a character: UTF-8 has no place for it
# The words of GPT-2's encoder.py, for text that is ASCII: there \p{L} is [A-Za-z] and \p{N} is [0-9].
ASCII_WORD = re.compile(
    r"'(?:[stmd]|re|ve|ll)| ?[A-Za-z]+| ?[0-9]+| ?[^ \t-\rA-Za-z0-9]+|[ \t-\r]+(?![^ \t-\r])|[ \t-\r]+", re.ASCII
)


class Rules(NamedTuple):
    """What vocab.json and merges.txt do not say of how text is cut.

    Attributes:
        nfc: text is brought to the normalisation form NFC.
        literals: pieces that are found in the text as they are spelled, at each place the longest, before words are; what lies
            between them is cut by itself. ASCII, in the order of their numbers. None is special: no text becomes such a piece.
    """

    nfc: bool = False
    literals: tuple[str, ...] = ()


PLAIN = Rules()


def longest_of(words: Sequence[str]) -> str:
    """A regular expression for the longest of the words that stands at a place.

    It branches where the words do. As a list of the words it would be tried word by word at every blank, where many are runs of
    blanks, and take as long as all the rest of the cutting.
    """
    rests: dict[str, list[str]] = {}
    for word in words:
        if word:
            rests.setdefault(word[0], []).append(word[1:])
    branches = "|".join(re.escape(first) + longest_of(rest) for first, rest in rests.items())
    return f"(?:{branches}){'?' if '' in words else ''}" if branches else ""


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
    rules: Rules = PLAIN

    @property
    def special(self) -> SpecialPieces:
        return self.names

    @property
    def settings(self) -> dict:
        # Left out where they are the default: vocabularies from before there were rules keep their hash.
        rules = {"rules": self.rules._asdict()} if self.rules != PLAIN else {}
        return {"kind": "bytelevel", "merges": self.merges} | rules

    def begins_word(self, piece: str) -> bool:
        return piece.startswith(BLANK) or piece in self.rules.literals

    @cached_property
    def _tokenizer(self) -> RustTokenizer:
        # No piece is declared special: a text that spells "<mask>" is text, and cannot smuggle one into a corpus.
        tokenizer = RustTokenizer(models.BPE(vocab=self.id_of, merges=list(self.merges)))
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, trim_offsets=False, use_regex=True)
        if self.rules.nfc:
            tokenizer.normalizer = normalizers.NFC()
        tokenizer.add_tokens([AddedToken(literal, normalized=True) for literal in self.rules.literals])
        return tokenizer

    @cached_property
    def _literal(self) -> re.Pattern:
        return re.compile(f"({longest_of(self.rules.literals)})")

    @cached_property
    def _ascii_words(self) -> Memo:
        return Memo(lambda word: tuple(self._tokenizer.encode(word).ids))

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        texts = [prepared(text, self.do_lower_case) for text in texts]
        others = iter(self._tokenizer.encode_batch_fast([text for text in texts if not text.isascii()]))
        return [self._encode_ascii(text) if text.isascii() else next(others).ids for text in texts]

    def _encode_ascii(self, text: str) -> list[int]:
        if not self.rules.literals:
            return self._encode_ascii_words(text)
        ids = []
        for number, stretch in enumerate(self._literal.split(text)):  # every other one is a literal
            ids += [self.id_of[stretch]] if number % 2 else self._encode_ascii_words(stretch)
        return ids

    def _encode_ascii_words(self, text: str) -> list[int]:
        return list(chain.from_iterable(map(self._ascii_words.__getitem__, ASCII_WORD.findall(text))))

    def encode_with_offsets(self, texts: Sequence[str]) -> list[Encoded]:
        return [self._with_offsets(text) for text in texts]

    def _with_offsets(self, text: str) -> Encoded:
        letters = aligned.aligned(SURROGATE.sub("\ufffd", text))
        if self.rules.nfc:  # by hand: the library gives a composed character the span of its first part
            letters = aligned.composed(letters, normalizers.NFC().normalize_str)
        if self.do_lower_case:
            letters = aligned.lower_case(letters)
        encoding = self._tokenizer.encode(aligned.text_of(letters))
        spans = [aligned.span(letters[start:end]) for start, end in encoding.offsets]
        return self._encoded(encoding.ids, [(end - len(text[start:end].lstrip(" ")), end) for start, end in spans])

    def decode(self, ids: Sequence[int]) -> str:
        """The very text that was encoded, but for case and NFC. Bytes that are no UTF-8 become U+FFFD, padding is left out."""
        return decoders.ByteLevel().decode([self.pieces[i] for i in ids if i != self.pad_id])


def load(vocab_file: str | Path, do_lower_case: bool) -> ByteLevel:
    """Reads vocab.json, the merges.txt beside it, and text_rules.json where there is one.

    Raises:
        UserError: a file is unreadable, damaged or of another vocabulary, a special piece is missing, or case is to go although
            the rules are for text as it is written.
    """
    path = Path(vocab_file)
    pieces = _read_pieces(path)
    names = next((names for names in NAMES if set(pieces).issuperset(names)), None)
    if names is None:
        expected = "all of " + ", or all of ".join(" ".join(names) for names in NAMES)
        raise UserError("the vocabulary lacks special pieces", got=path, expected=expected)
    missing = set(pre_tokenizers.ByteLevel.alphabet()).difference(pieces, NOT_UTF8)
    if missing:
        expected = "all that occur in UTF-8"
        raise UserError("the vocabulary lacks single bytes", got=f"{path}: {len(missing)} missing", expected=expected)
    rules = _read_rules(path.with_name(RULES_FILE), pieces, names)
    if do_lower_case and rules != PLAIN:
        expected = f"False: by {path.with_name(RULES_FILE)} text is cut as it is written"
        raise UserError("the vocabulary is not one for lower case", got="text.do_lower_case=True", expected=expected)
    return ByteLevel(pieces, do_lower_case, names, _read_merges(path.with_name(MERGES_FILE), frozenset(pieces)), rules)


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


def _read_rules(path: Path, pieces: tuple[str, ...], special: SpecialPieces) -> Rules:
    if not path.exists():
        return PLAIN
    try:
        found = json.loads(read_vocabulary_text(path))
    except ValueError:
        found = None
    fault = _fault(found, pieces, special)
    if fault:
        expected = 'JSON, {"nfc": true or false, "literals": [pieces of vocab.json, none of them special, all ASCII]}'
        expected += f", none of more than {LONGEST_LITERAL} characters"
        raise UserError("the rules beside the vocabulary are none", got=f"{path}: {fault}", expected=expected)
    literals = frozenset(found["literals"])
    return Rules(found["nfc"], tuple(piece for piece in pieces if piece in literals))


def _fault(found: object, pieces: tuple[str, ...], special: SpecialPieces) -> str | None:
    if not isinstance(found, dict) or found.keys() != {*Rules._fields}:
        return "not these two rules"
    if not isinstance(found["nfc"], bool):
        return f"nfc is {found['nfc']!r}"
    if not isinstance(found["literals"], list):
        return f"literals are {found['literals']!r}"
    usable = {piece for piece in pieces if piece.isascii() and len(piece) <= LONGEST_LITERAL}.difference(special, [""])
    wrong = [literal for literal in found["literals"] if not isinstance(literal, str) or literal not in usable]
    return f"literal {wrong[0]!r}" if wrong else None


def save(pieces: Sequence[str], merges: Sequence[tuple[str, str]], path: str | Path, rules: Rules = PLAIN) -> None:
    """Writes the merges and the rules, then the pieces: where vocab.json is, the other files are too."""
    path = Path(path)
    lines = "".join(f"{left} {right}\n" for left, right in merges)
    write_vocabulary(path.with_name(MERGES_FILE), f"{MERGES_HEADER}\n{lines}".encode())
    if rules != PLAIN:
        write_vocabulary(path.with_name(RULES_FILE), (json.dumps(rules._asdict()) + "\n").encode())
    else:
        path.with_name(RULES_FILE).unlink(missing_ok=True)  # of another vocabulary
    number_of = {piece: number for number, piece in enumerate(pieces)}
    write_vocabulary(path, (json.dumps(number_of, ensure_ascii=False) + "\n").encode())
