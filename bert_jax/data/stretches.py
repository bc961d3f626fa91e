"""What every row plan is made of: stretches of text, named by their first token and their length.

An example is one stretch or several, laid out as [CLS] stretch [SEP] stretch [SEP] ... The builders of a row mode (pairs.py,
contiguous.py) go through the split in blocks of sentences, so that their memory does not grow with the text or with a document.
"""

from collections.abc import Iterator

import numpy as np

from bert_jax.data import keyed
from bert_jax.data.store import Split

# Columns of a table of stretches, int64[S, 3]; FLAGS holds a sum of the three below.
FIRST_TOKEN, TOKENS, FLAGS = range(3)
OPENS, SECOND, LABEL = 1, 2, 4  # first of its example; the B side of a pair; the pair has label 1 (on its first stretch)

SENTENCES_PER_BLOCK = 2**16
MIN_TARGET_LENGTH = 2


def blocks(split: Split) -> Iterator[tuple[int, int]]:
    """First and end sentence of each block of the split."""
    for first in range(0, split.num_sentences, SENTENCES_PER_BLOCK):
        yield first, min(first + SENTENCES_PER_BLOCK, split.num_sentences)


def document_of(split: Split, sentences: np.ndarray) -> np.ndarray:
    """The document that each of these sentences belongs to."""
    return np.searchsorted(split.document_offsets, sentences, side="right") - 1


def document_at(split: Split, tokens: np.ndarray) -> np.ndarray:
    """The document that each of these places of the split lies in."""
    return document_of(split, np.searchsorted(split.sentence_offsets, tokens, side="right") - 1)


def target_lengths(document: np.ndarray, max_tokens: int, short_seq_prob: float, key: np.uint64) -> np.ndarray:
    """How many tokens the rows of each document aim at: all that fit, but for the share short_seq_prob of the documents one
    random length from 2 on (create_instances_from_document)."""
    short, length = (keyed.key_of(int(key), name) for name in ("short", "length"))
    drawn = MIN_TARGET_LENGTH + keyed.below(max_tokens - MIN_TARGET_LENGTH + 1, length, document)
    return np.where(keyed.uniform(short, document) < short_seq_prob, drawn, max_tokens)


def follow(place: int, following: np.ndarray, first: int) -> tuple[np.ndarray, int]:
    """The chain place, following[place - first], ... as far as it stays in the block that starts at `first`, and where it leads.

    Each row says where the next one begins. That is computed for all places of a block at once; only this walk is one by one."""
    jumps, visited, end = following.tolist(), [], first + len(following)
    while place < end:
        visited.append(place)
        place = jumps[place - first]
    return np.array(visited, np.int64), place


def starts(counts: np.ndarray) -> np.ndarray:
    """Where each of consecutive runs of these lengths begins."""
    return np.cumsum(counts) - counts


def ranges(first: np.ndarray, count: np.ndarray) -> np.ndarray:
    """The numbers first[0], first[0] + 1, ... (count[0] of them), then those from first[1] on, and so forth."""
    return np.repeat(first - starts(count), count) + np.arange(count.sum())
