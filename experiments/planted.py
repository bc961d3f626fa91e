"""A clean corpus, faults planted in it at known lines, and evaluation sentences in another dress."""

import random
import re
from collections.abc import Sequence
from pathlib import Path

from bert_jax.text.wordpiece import SPECIAL_PIECES, save_vocab

CONSONANTS, VOWELS = "bdfgklmnprst", "aeiou"
WORDS = [a + b + c + d for a in CONSONANTS for b in VOWELS for c in "blmn" for d in "aei"]
PUNCTUATION = (".", ",", "!", "?", "-", "'", '"', ";")
ACCENTED = "caf\u00e9"
CONTRACTION = re.compile(" (?=(?:n't|'s|'re|'ve|'ll|'d|'m)(?: |$))")
EVALUATED = "tula lobe dima fane gima kane rule bela"


def write_vocabulary(path: Path) -> Path:
    """The words of the corpus, all whole, in small letters."""
    save_vocab([*SPECIAL_PIECES, *WORDS, ACCENTED, *PUNCTUATION], path)
    return path


def sentence(draw: random.Random, length: int = 12) -> str:
    return " ".join(draw.choice(WORDS) for _ in range(length)) + "."


def clean(draw: random.Random, documents: int) -> list[list[str]]:
    """Documents of several sentences, every one of them different."""
    return [[sentence(draw) for _ in range(draw.randint(3, 9))] for _ in range(documents)]


def write(path: Path, documents: Sequence[Sequence[str]]) -> None:
    """One sentence per line, an empty line between documents; \\udcXX stands for a byte that is no UTF-8."""
    text = "\n\n".join("\n".join(document) for document in documents) + "\n"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))


def plant(documents: list[list[str]], draw: random.Random, max_seq_length: int) -> dict[str, str]:
    """Puts one fault of each kind into the documents, at random places.

    Returns:
        What is planted -> the text that stands in the first line that a report must name.
    """
    lines = {
        "decomposed accents": f"cafe\u0301 {sentence(draw)}",
        "compatibility forms": f"\uff46\uff41\uff4e\uff45 {sentence(draw)}",
        "capitals": f"FANE Lobe {sentence(draw)}",
        "sentence too long": sentence(draw, max_seq_length),
        "not UTF-8": f"caf\udce9 {sentence(draw)}",
        "NUL characters": f"lobe\0 {sentence(draw)}",
        "evaluation sentence": EVALUATED.replace(" ", "; ") + "!",
        "repeated line": sentence(draw),
    }
    for text in lines.values():
        documents.insert(draw.randrange(1, len(documents)), [sentence(draw), text, sentence(draw), sentence(draw)])
    for _ in range(12):
        documents.insert(
            draw.randrange(len(documents) // 2, len(documents)), [sentence(draw), lines["repeated line"], sentence(draw)]
        )
    copied = documents[0]
    more = {
        "duplicate": [text.replace(" ", ", ", 1) for text in copied],
        "near empty": ["lobe fane."],
        "one sentence": [sentence(draw)],
        "unknown": [
            "\u0414\u043e\u043c \u043a\u043e\u0442 \u043b\u0435\u0441 \u0441\u0430\u0434, \u0434\u0435\u043d\u044c.",
            sentence(draw),
        ],
    }
    for document in more.values():
        documents.insert(draw.randrange(len(documents) // 2, len(documents)), document)
    return lines | {name: document[0] for name, document in more.items()}


def line_of(path: Path, text: str) -> int:
    """The number of the first line of the file that is this text."""
    return path.read_bytes().split(b"\n").index(text.encode("utf-8", "surrogateescape")) + 1


def disguised(text: str, draw: random.Random) -> str:
    """The same words in another case and with other punctuation; the contractions of treebanks are written as people do."""
    text = CONTRACTION.sub("", text)
    words = [
        draw.choice((str.upper, str.lower, str.capitalize, str))(word.strip('.,;:!?"`'))
        for word in text.replace("-", " ").split()
    ]
    return " ".join(word + draw.choice(("", "", "", ",", ";", " --", "!", '"')) for word in words if word) + draw.choice(
        (".", "?!", "")
    )
