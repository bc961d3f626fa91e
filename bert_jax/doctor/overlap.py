"""Which texts of evaluation sets stand in a corpus, by n-grams of their words.

Words: the text in Unicode's compatibility form (NFKC) and case-folded; apostrophes are dropped, and the blanks that treebanks put
inside contractions ("do n't" and "don't" are both "dont"); other punctuation separates. A word is a run of letters and digits; a
Chinese character or a kana is a word by itself.

An n-gram is n words in a row inside one document, over the ends of sentences. For most texts n is 8, for those that are mostly
such characters 13; a text with fewer words is one n-gram as a whole, from 5 words and 8 characters on: shorter ones are not
looked for. A text stands in the corpus when at least 70% of its n-grams do, at whatever places: the rule of PaLM for 8-grams
(Chowdhery et al. 2022, arXiv 2204.02311, section 8). n-grams are compared by 64 bits of a hash.
"""

import hashlib
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from bert_jax.text.tokenizer import Memo
from bert_jax.text.wordpiece import CHINESE_BLOCKS

CHARACTERS = "".join(f"{chr(first)}-{chr(last)}" for first, last in (*CHINESE_BLOCKS, (0x3040, 0x30FF)))
WORD = re.compile(rf"[{CHARACTERS}]|[^\W_{CHARACTERS}]+")
CHARACTER = re.compile(f"[{CHARACTERS}]")
CONTRACTION = re.compile(r"\s+(?=n['’]t\b|['’](?:s|re|ve|ll|d|m)\b)")
APOSTROPHES = str.maketrans("", "", "'’‘`´")
LONGEST, SHORTEST = 8, 5  # words of an n-gram
LONGEST_OF_CHARACTERS, SHORTEST_OF_CHARACTERS = 13, 8
STANDS_THERE = 0.7
BASE = np.uint64(0x9E3779B97F4A7C15)  # odd, so that it has an inverse modulo 2^64
INVERSE = np.uint64(pow(int(BASE), -1, 2**64))
TABLE_BITS = 24
END_OF_DOCUMENT = "\n"  # no word, so that no n-gram of a text holds it


def words(text: str) -> list[str]:
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text)
    text = text.casefold()
    if "'" in text or "’" in text:
        text = CONTRACTION.sub("", text)
    return WORD.findall(text.translate(APOSTROPHES) if not text.isalnum() else text)


def gram_length(words: Sequence[str]) -> int:
    """n for a text of these words; 0 where it is too short."""
    mostly_characters = 2 * sum(CHARACTER.match(word) is not None for word in words) > len(words)
    longest, shortest = (LONGEST_OF_CHARACTERS, SHORTEST_OF_CHARACTERS) if mostly_characters else (LONGEST, SHORTEST)
    return min(len(words), longest) if len(words) >= shortest else 0


class Hashes:
    """Words to numbers, the same in every process."""

    def __init__(self):
        self._hash_of = Memo(lambda word: int.from_bytes(hashlib.blake2b(word.encode(), digest_size=8).digest(), "little"))

    def __call__(self, words: Sequence[str]) -> np.ndarray:
        """uint64[words]."""
        return np.fromiter(map(self._hash_of.__getitem__, words), np.uint64, len(words))


class Rolling:
    """The hash of any stretch of words: the sum of hash(word i) * BASE^i, i counted from its first word, modulo 2^64."""

    def __init__(self, hashes: np.ndarray):
        """Args: hashes: uint64[W]."""
        self._sums = np.zeros(len(hashes) + 1, np.uint64)
        np.cumsum(hashes * _powers(BASE, len(hashes)), out=self._sums[1:])
        self._shift = _powers(INVERSE, len(hashes) + 1)

    def grams(self, length: int) -> np.ndarray:
        """uint64[W - length + 1], of the stretches of so many words from each place on."""
        count = max(len(self._sums) - length, 0)
        return (self._sums[length:] - self._sums[:count]) * self._shift[:count]

    def stretches(self, begin: np.ndarray, end: np.ndarray) -> np.ndarray:
        """uint64[N], of the words from begin to end, int[N] each."""
        return (self._sums[end] - self._sums[begin]) * self._shift[begin]


def _powers(base: np.uint64, count: int) -> np.ndarray:
    """uint64[count]: 1, base, base^2, ... modulo 2^64."""
    powers = np.full(count, base)
    powers[:1] = 1
    return np.cumprod(powers, dtype=np.uint64)


@dataclass(frozen=True)
class Grams:
    """The n-grams to look for, by n; each a sorted uint64[G] without repetition. Sent to every worker."""

    of_length: dict[int, np.ndarray]

    def found_in(self, rolling: Rolling) -> dict[int, tuple[np.ndarray, np.ndarray]]:
        """For each n: the numbers of the n-grams that are there, ascending, and the first place of each."""
        found = {}
        for length, grams in self.of_length.items():
            here = rolling.grams(length)
            places = np.flatnonzero(self._tables[length][here >> np.uint64(64 - TABLE_BITS)])
            numbers = np.minimum(np.searchsorted(grams, here[places]), len(grams) - 1)
            there = grams[numbers] == here[places]
            numbers, first = np.unique(numbers[there], return_index=True)
            found[length] = numbers, places[there][first]
        return found

    def __getstate__(self) -> dict:
        return {"of_length": self.of_length}

    @cached_property
    def _tables(self) -> dict[int, np.ndarray]:
        """bool[2^TABLE_BITS] of the highest bits, which rule almost every n-gram of a corpus out by one look."""
        tables = {}
        for length, grams in self.of_length.items():
            tables[length] = np.zeros(2**TABLE_BITS, bool)
            tables[length][grams >> np.uint64(64 - TABLE_BITS)] = True
        return tables


class Text(NamedTuple):
    """
    Attributes:
        set: the evaluation set it belongs to.
        place: its file and line.
    """

    set: str
    place: str
    text: str


class Standing(NamedTuple):
    """A text that stands in the corpus: the share of its n-grams that do, and where most of them are first met."""

    text: Text
    share: float
    place: str


class Texts:
    """The texts to look for, and what of them was found so far."""

    def __init__(self, texts: Iterable[Text]):
        """Texts of the same words in the same set count once, the first of them."""
        self.texts, self.too_short = [], 0
        hashes, seen, grams = Hashes(), set(), []
        for text in texts:
            found = words(text.text)
            if (text.set, tuple(found)) in seen:
                continue
            seen.add((text.set, tuple(found)))
            if length := gram_length(found):
                self.texts.append(text)
                grams.append((length, Rolling(hashes(found)).grams(length)))
            else:
                self.too_short += 1
        self._lengths = [length for length, _ in grams]
        self._numbers: list[np.ndarray] = [np.empty(0, np.int64)] * len(grams)
        of_length = {}
        for length in sorted(set(self._lengths)):
            members = [number for number, (other, _) in enumerate(grams) if other == length]
            of_length[length], inverse = np.unique(np.concatenate([grams[number][1] for number in members]), return_inverse=True)
            ends = np.cumsum([len(grams[number][1]) for number in members])
            for number, numbers in zip(members, np.split(inverse, ends[:-1])):
                self._numbers[number] = numbers
        self.grams = Grams(of_length)
        self._places: dict[int, dict[int, str]] = {length: {} for length in of_length}

    def add(self, length: int, number: int, place: str) -> None:
        """An n-gram was found; the first place is kept."""
        self._places[length].setdefault(number, place)

    def standing(self) -> list[Standing]:
        """Those of which STANDS_THERE and more was found."""
        found = []
        for text, length, numbers in zip(self.texts, self._lengths, self._numbers):
            places = self._places[length]
            there = [places[number] for number in numbers.tolist() if number in places]
            if there and len(there) >= STANDS_THERE * len(numbers):
                found.append(Standing(text, len(there) / len(numbers), Counter(there).most_common(1)[0][0]))
        return found
