"""Changing a text without forgetting where each of its characters came from.

An aligned text is a list of (character, start, end), where start and end bound the stretch of the original that became the
character.
"""

import unicodedata
from collections.abc import Callable, Iterator
from itertools import groupby

Aligned = list[tuple[str, int, int]]


def aligned(text: str) -> Aligned:
    return [(character, place, place + 1) for place, character in enumerate(text)]


def text_of(letters: Aligned) -> str:
    return "".join(character for character, _, _ in letters)


def span(letters: Aligned) -> tuple[int, int]:
    """Where in the original the letters (at least one) came from."""
    return min(start for _, start, _ in letters), max(end for _, _, end in letters)


def lower_case(letters: Aligned) -> Aligned:
    """str.lower. What a sigma becomes depends on its neighbours, how many characters a letter becomes never does."""
    lowered = iter(text_of(letters).lower())
    return [(next(lowered), start, end) for character, start, end in letters for _ in character.lower()]


def without_marks(letters: Aligned, form: str, is_mark: Callable[[str], bool]) -> Aligned:
    """unicodedata.normalize(form) for the decomposed forms NFD and NFKD, and the marks left out."""
    parts = [(part, start, end) for character, start, end in letters for part in unicodedata.normalize(form, character)]
    # Canonical order: what combines with the same letter is sorted by its class, and class 0 is never passed.
    runs = (run for _, run in groupby(parts, key=lambda part: unicodedata.combining(part[0]) == 0))
    ordered = (part for run in runs for part in sorted(run, key=lambda part: unicodedata.combining(part[0])))
    return [part for part in ordered if not is_mark(part[0])]


def composed(letters: Aligned, normalize: Callable[[str], str]) -> Aligned:
    """Normalisation form NFC, by a function that does it to a string.

    Where a letter and its marks change, what becomes of them has the span of them all.
    """
    result: Aligned = []
    for cluster in _clusters(letters):
        before = text_of(cluster)
        after = normalize(before)
        result += cluster if after == before else [(character, *span(cluster)) for character in after]
    return result


def _clusters(letters: Aligned) -> Iterator[Aligned]:
    """The stretches between which NFC changes nothing: what it joins to something before is a mark or the rest of a syllable."""
    cluster: Aligned = []
    for letter in letters:
        joins = unicodedata.category(letter[0])[0] == "M" or "\u1161" <= letter[0] <= "\u11c2"  # Korean vowels and finals
        if cluster and not joins:
            yield cluster
            cluster = []
        cluster.append(letter)
    if cluster:
        yield cluster


def replaced(letters: Aligned, old: str, new: str) -> Aligned:
    """str.replace of `old` by the one character `new`."""
    result: Aligned = []
    rest = iter(letters)
    for number, stretch in enumerate(text_of(letters).split(old)):
        if number:
            result.append((new, *span([next(rest) for _ in old])))
        result += [next(rest) for _ in stretch]
    return result


def words(letters: Aligned) -> Iterator[Aligned]:
    """str.split."""
    for is_blank, run in groupby(letters, key=lambda letter: letter[0].isspace()):
        if not is_blank:
            yield list(run)
