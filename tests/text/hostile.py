"""Strings that tokenisers get wrong, a seeded mixture of everything Unicode has; and natural text of four languages."""

import lzma
import random
import sys
import unicodedata

from tests.paths import DATA

MIXTURES = [  # code points
    *[range(32, 127)] * 3,
    range(0, 33),  # controls
    range(127, 256),
    range(0x300, 0x370),  # combining marks
    (0x130, 0x131, 0x3A3, 0x3C3, 0x1C5, 0x1E9E, 0xFB01, 0xBD, 0x2460, 0x37E, 0x1FEF, 0x212A),  # odd case and decompositions
    (0x85, 0xA0, 0xAD, 0x200B, 0x200D, 0x2028, 0x2029, 0x202E, 0x3000, 0xFEFF, 0xFFFD, 0xFFFE),  # odd blanks and invisible ones
    range(0x600, 0x700),
    range(0x900, 0xA00),
    range(0xE00, 0xE80),
    range(0x1100, 0x1200),
    range(0x1D165, 0x1D173),  # marks of class 216 and 226
    range(0xAC00, 0xD7A4),
    range(0x4E00, 0x9FFF),
    range(0x2B810, 0x2B930),
    range(0x2F800, 0x2FA20),
    range(0x3000, 0x3100),
    range(0xD800, 0xE000),  # halves of characters
    range(0xE000, 0xE100),  # private use
    range(0x1F300, 0x1F700),
    range(0x2000, 0x2070),
    range(sys.maxunicode + 1),
]
FRAGMENTS = [
    "[MASK]",
    "<mask>",
    "<s>",
    "[PAD]",
    "##ing",
    "▁",
    "Ġ",
    "``",
    "''",
    "'s",
    "1,000",
    "the",
    "  ",
    "e\u0301",
    "ΑΣ.Β",
    "ΟΔΟΣ",
]


def strings(count: int, seed: int = 0) -> list[str]:
    rng = random.Random(seed)
    return [_string(rng) for _ in range(count)]


def _string(rng: random.Random) -> str:
    mixture = rng.choices(MIXTURES, k=rng.randint(1, 3))
    parts = [chr(rng.choice(rng.choice(mixture))) for _ in range(rng.randint(0, 40))]
    for _ in range(rng.randint(0, 4)):
        parts.insert(rng.randint(0, len(parts)), rng.choice([*FRAGMENTS, " ", " "]))
    if rng.random() < 0.02:
        parts.append(rng.choice("aé中\u0301") * rng.randint(190, 2000))
    return "".join(parts)


def known_to_every_unicode(text: str) -> bool:
    """Python and the Rust and C++ libraries carry different versions of Unicode: only old and unchanged characters compare."""
    return all(
        unicodedata.ucd_3_2_0.category(c) not in ("Cn", "Co", "Cs")
        and unicodedata.ucd_3_2_0.category(c) == unicodedata.category(c)
        for c in text
    )


def natural(lines_per_file: int) -> list[str]:
    """Lines of English, German, French and Chinese."""
    found = (DATA / "text/wiki_en/sample_1mb.txt").read_text(encoding="utf-8").split("\n")[:lines_per_file]
    for name in ("books_de/spyri_heidi2", "books_fr/FRA00401_Allais", "books_zh/xiyouji", "wiki_zh/shard-00"):
        with lzma.open(DATA / f"text/{name}.txt.xz", "rt", encoding="utf-8", newline="\n") as file:
            found += [next(file).rstrip("\n") for _ in range(lines_per_file)]
    return found
