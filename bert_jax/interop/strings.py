"""Texts on which two tokenisers are compared: pieces of the vocabulary, words of many scripts, blanks and punctuation."""

import random
import string
import unicodedata
from collections.abc import Sequence

LONGEST_WORD = 60  # characters, but for one word in LONG_EVERY texts
LONG_EVERY, LONG = 50, (90, 210)  # around the 100 and 200 characters beyond which WordPiece gives a word up
SCRIPTS = [  # first and last character
    (0x21, 0x7E),
    (0x21, 0x7E),
    (0xA1, 0xFF),
    (0x100, 0x17F),
    (0x370, 0x3FF),
    (0x400, 0x45F),
    (0x5D0, 0x5EA),
    (0x621, 0x652),
    (0x905, 0x94D),
    (0xE01, 0xE3A),
    (0x1E00, 0x1EF9),
    (0x2010, 0x205E),
    (0x3041, 0x30FE),
    (0x4E00, 0x9FA5),
    (0xAC00, 0xD7A3),
    (0xFF01, 0xFF9F),
]
BLANKS = (" ", " ", " ", " ", "  ", "\t", "\n", "\u00a0", "\u3000", "")
MARKS = "#\u0120\u2581"  # what pieces carry that no text does


def strings(pieces: Sequence[str], count: int, seed: int = 0) -> list[str]:
    """So many texts, the same ones every time.

    Left out is what the released code and transformers do not agree on: characters younger than Unicode 3.2, private and unpaired
    ones; marks that stand by themselves, which are accents to one and none to the other; the capital sigma, whose small letter
    depends on where it stands, or does not.
    """
    draw = random.Random(seed)
    texts = [_string(draw, pieces) for _ in range(count)]
    texts[::LONG_EVERY] = [f"{text} {_long_word(draw)}" for text in texts[::LONG_EVERY]]
    return texts


def _string(draw: random.Random, pieces: Sequence[str]) -> str:
    words = []
    for _ in range(draw.randint(0, 12)):
        word = "".join(_part(draw, pieces) for _ in range(draw.choice((1, 1, 1, 2, 3))))[:LONGEST_WORD]
        words += [word, draw.choice(BLANKS)]
    return unicodedata.normalize("NFC", "".join(filter(_is_settled, "".join(words))))


def _long_word(draw: random.Random) -> str:
    return "".join(draw.choices(string.ascii_lowercase, k=draw.randint(*LONG)))


def _part(draw: random.Random, pieces: Sequence[str]) -> str:
    if draw.random() < 0.5:
        piece = draw.choice(pieces)
        return draw.choice((str, str.upper, str.capitalize))(piece if piece in "#" else piece.lstrip(MARKS))
    script = draw.choice(SCRIPTS)
    return "".join(chr(draw.randint(*script)) for _ in range(draw.randint(1, 8)))


def _is_settled(character: str) -> bool:
    category = unicodedata.ucd_3_2_0.category(character)
    known = category[0] not in "CM" and category == unicodedata.category(character)
    return character in "\t\n" or (known and character != "\u03a3")
