"""Entities marked by tags of words, and scores of them as conlleval.pl counts (Tjong Kim Sang and Buchholz 2000).

A tag is `O`, or a letter and a type: `B-PER`. A letter alone has the empty type, as in word segmentation.
Every sequence of tags is read, also one that its scheme never writes, by conlleval's rules: an entity begins at a B or S,
after an O, E or S, and where the type changes; it goes on until another begins or an O comes.
"""

from collections import Counter
from collections.abc import Sequence

from bert_jax.errors import UserError

# The letters of an entity's first, inner and last word, and of an entity of one word.
SCHEMES = {
    "IOB1": "IIII",  # and B for the first word where an entity of the same type ends just before (Ramshaw and Marcus 1995)
    "IOB2": "BIIB",
    "BIOES": "BIES",
    "BMES": "BMES",
}

Span = tuple[str, int, int]  # type, first word, the word after the last


def spans(tags: Sequence[str], scheme: str) -> list[Span]:
    """The entities of a sentence from left to right, each as (type, begin, end), end exclusive, in words."""
    found = []
    before, type_before = "O", ""
    for place, tag in enumerate(tags):
        letter, type_ = split(tag, scheme)
        if letter != "O":
            if letter in "BS" or before in "OES" or type_ != type_before:
                found.append((type_, place, place + 1))
            else:
                found[-1] = (type_, found[-1][1], place + 1)
        before, type_before = letter, type_
    return found


def split(tag: str, scheme: str) -> tuple[str, str]:
    """The letter and the type of a tag."""
    letter, _, type_ = tag.partition("-")
    if scheme not in SCHEMES:
        raise UserError("unknown scheme of tags", got=scheme, expected=" or ".join(SCHEMES))
    letters = {"B", *SCHEMES[scheme]}
    if letter != "O" and letter not in letters:
        raise UserError(f"{scheme} has no such tag", got=tag, expected=f"O, or one of {''.join(sorted(letters))} before a type")
    return letter, type_


def written(entities: Sequence[Span], length: int, scheme: str) -> list[str]:
    """The tags of a sentence of so many words whose entities these are, from left to right, none over another."""
    first, inner, last, single = SCHEMES[scheme]
    tags = ["O"] * length
    before = ("", -1)
    for type_, begin, end in entities:
        letters = single if end - begin == 1 else first + inner * (end - begin - 2) + last
        if scheme == "IOB1" and before == (type_, begin):
            letters = "B" + letters[1:]
        tags[begin:end] = [f"{letter}-{type_}" if type_ else letter for letter in letters]
        before = (type_, end)
    return tags


def retagged(tags: Sequence[str], source: str, target: str) -> list[str]:
    """The same entities in another scheme; in its own, tags that the scheme never writes are put right."""
    return written(spans(tags, source), len(tags), target)


def entity_scores(gold: Sequence[Sequence[str]], predicted: Sequence[Sequence[str]], scheme: str) -> dict[str, float]:
    """Precision, recall and F1 over the entities of all sentences, fractions of 1: right is the exact span with its type.

    Args:
        gold: the tags of each sentence.
        predicted: as many tags of the same sentences.
    """
    return ratios(*(sum(counts.values()) for counts in counted(gold, predicted, scheme)))


def type_scores(gold: Sequence[Sequence[str]], predicted: Sequence[Sequence[str]], scheme: str) -> dict[str, dict[str, float]]:
    """`entity_scores` of each type that is in gold or predicted, and how many entities of it gold has, as "support"."""
    right, of_gold, of_predicted = counted(gold, predicted, scheme)
    return {
        name: ratios(right[name], of_gold[name], of_predicted[name]) | {"support": of_gold[name]}
        for name in sorted(of_gold.keys() | of_predicted.keys())
    }


def counted(gold: Sequence[Sequence[str]], predicted: Sequence[Sequence[str]], scheme: str) -> tuple[Counter, Counter, Counter]:
    """How many entities of each type are right, in gold, and predicted."""
    counts = Counter(), Counter(), Counter()
    for number, (true, guess) in enumerate(zip(gold, predicted, strict=True)):
        if len(true) != len(guess):
            raise UserError(f"sentence {number} has another number of tags", got=len(guess), expected=str(len(true)))
        true, guess = spans(true, scheme), spans(guess, scheme)
        for count, entities in zip(counts, (set(true) & set(guess), true, guess)):
            count.update(type_ for type_, _, _ in entities)
    return counts


def ratios(right: int, gold: int, predicted: int) -> dict[str, float]:
    """Each is 0 where nothing is there to divide by."""
    return {
        "precision": right / predicted if predicted else 0.0,
        "recall": right / gold if gold else 0.0,
        "f1": 2 * right / (gold + predicted) if gold + predicted else 0.0,
    }
