"""The rules of BERT's FullTokenizer written down once more, slowly and plainly, for comparison."""

import unicodedata
from functools import cache

CHINESE = (
    (0x3400, 0x4DBF),
    (0x4E00, 0x9FFF),
    (0xF900, 0xFAFF),
    (0x20000, 0x2A6DF),
    (0x2A700, 0x2B73F),
    (0x2B740, 0x2B81F),
    (0x2B820, 0x2CEAF),
    (0x2F800, 0x2FA1F),
)


def tokenize(text: str, vocabulary: frozenset[str], do_lower_case: bool) -> list[str]:
    return [piece for word in words(text, do_lower_case) for piece in longest_first(word, vocabulary)]


def words(text: str, do_lower_case: bool) -> list[str]:
    cleaned = "".join(clean(character) for character in text)
    found = []
    for word in cleaned.split():
        if do_lower_case:
            decomposed = unicodedata.normalize("NFD", word.lower())
            word = "".join(character for character in decomposed if unicodedata.category(character) != "Mn")
        found += "".join(f" {character} " if is_punctuation(character) else character for character in word).split()
    return found


@cache
def clean(character: str) -> str:
    category = unicodedata.category(character)
    if character in "\t\n\r" or category == "Zs":
        return " "
    if character in "\0\ufffd" or category in ("Cc", "Cf"):
        return ""
    return f" {character} " if any(first <= ord(character) <= last for first, last in CHINESE) else character


@cache
def is_punctuation(character: str) -> bool:
    ascii_symbol = 33 <= ord(character) <= 126 and not character.isalnum()
    return ascii_symbol or unicodedata.category(character).startswith("P")


@cache
def longest_first(word: str, vocabulary: frozenset[str]) -> list[str]:
    if len(word) > 200:
        return ["[UNK]"]
    pieces, start = [], 0
    while start < len(word):
        candidates = (("##" if start else "") + word[start:end] for end in range(len(word), start, -1))
        piece = next((candidate for candidate in candidates if candidate in vocabulary), None)
        if piece is None:
            return ["[UNK]"]
        pieces.append(piece)
        start += len(piece.removeprefix("##")) if start else len(piece)
    return pieces
