"""Learning a WordPiece vocabulary from text: the same text gives the same pieces in the same order, always.

The merging is done by the Rust trainer of `tokenizers`. Left to itself it numbers the characters in the order of a hash map,
which changes from run to run, and it breaks ties between equally frequent merges by those numbers. So words are counted here,
and the alphabet is handed to the trainer in a fixed order.
"""

import string
import unicodedata
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import accumulate

from tokenizers import Tokenizer, models, pre_tokenizers, trainers

from bert_jax.errors import UserError
from bert_jax.text.wordpiece import MAX_CHARS_PER_WORD, SPECIAL_PIECES, normalizer

CHARACTER_COVERAGE = 0.9999  # of all characters of the text; words with rarer ones become [UNK]
MIN_MERGE_COUNT = 2  # a piece seen once teaches nothing
WORDS_PER_CHUNK = 10_000
MAX_CHUNKS = 2**18  # counted before they are cleaned


class _BlanksAroundPunctuation(dict):
    """A table for str.translate, filled as characters are met. Punctuation as in _is_punctuation of the released code."""

    def __missing__(self, code: int) -> str:
        character = chr(code)
        is_punctuation = character in string.punctuation or unicodedata.category(character).startswith("P")
        self[code] = f" {character} " if is_punctuation else character
        return self[code]


def learn_wordpiece(texts: Iterable[str], vocab_size: int, do_lower_case: bool) -> list[str]:
    """The pieces of a vocabulary for these texts: the special pieces, the characters, then the merges by frequency.

    Args:
        texts: read once; memory grows with the number of different words only.
        vocab_size: wanted number of pieces; a small text may give fewer.

    Raises:
        UserError: there are no words, or the characters alone do not fit into vocab_size.
    """
    counts = count_words(texts, do_lower_case)
    if not counts:
        raise UserError("there are no words to learn a vocabulary from", fix="check data.input_file")
    alphabet = _alphabet(counts)
    fixed = [*SPECIAL_PIECES, *alphabet]
    if len(fixed) >= vocab_size:
        raise UserError(
            "the vocabulary is too small for the characters of this text",
            got=f"vocab_size {vocab_size}",
            expected=f"more than {len(fixed)}: {len(SPECIAL_PIECES)} special pieces and {len(alphabet)} for single characters",
            fix="raise text.vocab_size",
        )
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    trainer = trainers.WordPieceTrainer(
        vocab_size=vocab_size, min_frequency=MIN_MERGE_COUNT, special_tokens=fixed, show_progress=False
    )
    tokenizer.train_from_iterator(_spell_out(counts, frozenset(alphabet)), trainer)
    number_of = tokenizer.get_vocab()
    return sorted(number_of, key=number_of.get)


def count_words(texts: Iterable[str], do_lower_case: bool) -> Counter[str]:
    """How often each word comes, words being what WordPiece cuts into pieces.

    Cleaning is the slow part. It takes a text character by character, so each chunk between blanks is cleaned by itself, and once
    for all the times that it was met."""
    clean = normalizer(do_lower_case)
    blanks_around_punctuation = _BlanksAroundPunctuation()
    counts: Counter[str] = Counter()
    chunks: Counter[str] = Counter()

    def clean_chunks() -> None:
        for chunk, count in chunks.items():
            for word in clean.normalize_str(chunk).translate(blanks_around_punctuation).split():
                counts[word] += count
        chunks.clear()

    for text in texts:
        chunks.update(text.split(" "))
        if len(chunks) > MAX_CHUNKS:
            clean_chunks()
    clean_chunks()
    for word in [word for word in counts if len(word) > MAX_CHARS_PER_WORD]:
        del counts[word]  # [UNK] to WordPiece; the trainer would need minutes for a word of a million characters
    return counts


def _alphabet(counts: Counter[str]) -> list[str]:
    """The most frequent characters as pieces, sorted: each plain, and with ## where it comes inside a word."""
    characters: Counter[str] = Counter()
    inside: set[str] = set()
    for word, count in counts.items():
        for character in word:
            characters[character] += count
        inside.update(word[1:])
    by_frequency = sorted(characters, key=lambda character: (-characters[character], character))
    covered = list(accumulate(characters[character] for character in by_frequency))
    kept = by_frequency[: bisect_left(covered, CHARACTER_COVERAGE * characters.total()) + 1]
    return sorted([*kept, *("##" + character for character in kept if character in inside)])


def _spell_out(counts: Counter[str], alphabet: frozenset[str]) -> Iterator[str]:
    """Each word as often as it was seen: the trainer takes texts, not counts. Words with a character outside the alphabet
    are left out: WordPiece makes them [UNK] anyway."""
    for word in sorted(counts):
        if alphabet.issuperset(word):
            for start in range(0, counts[word], WORDS_PER_CHUNK):
                yield " ".join([word] * min(WORDS_PER_CHUNK, counts[word] - start))
