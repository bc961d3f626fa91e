"""Examples of two segments, as google-research/bert builds them (create_pretraining_data.py, create_instances_from_document).

A document is read in chunks of sentences that just fill a row. A chunk is cut at a random place; half of the time what follows
the cut is B ("is next"), else B is a stretch of another document and the sentences after the cut go back to be read again.
One document in ten (short_seq_prob) is cut into shorter chunks of one random length. Pairs that are too long for a row lose
tokens from the longer side, each from the front or the back at random.

ALBERT's sentence order (arXiv 1909.11942, section 3.1) takes the same chunks; B always follows A, and half of the pairs are
swapped. google-research/albert pairs a chunk of a single sentence with another document; here it takes the next sentence in, and
the last sentence of a document never stays alone, so that every pair is a question of order. A document of one sentence gives
no pair.

One deviation for BERT's pairs: a split of a single document has no other document to take a random B from. The original then
takes one from the same document and calls it random; here no pair is random, its chunks are those of sentence order, and a
warning says so.
"""

import warnings
from collections.abc import Iterator

import numpy as np

from bert_jax.data import keyed
from bert_jax.data.store import Split
from bert_jax.data.stretches import LABEL, OPENS, SECOND, blocks, document_of, follow, target_lengths

SPECIALS = 3  # [CLS] A [SEP] B [SEP]
RANDOM_NEXT_PROB = 0.5
SWAPPED_PROB = 0.5


def next_sentence_pairs(split: Split, max_seq_length: int, short_seq_prob: float, key: np.uint64) -> Iterator[np.ndarray]:
    """Blocks of stretches (stretches.py), two for each pair: A and B. Label 0 = B is next, 1 = B is random."""
    alone = split.num_documents == 1
    if alone:
        warnings.warn("the split holds a single document, so every next sentence is the true one", stacklevel=2)
    for sides in _sides(split, max_seq_length - SPECIALS, short_seq_prob, key, may_be_random=not alone):
        yield _fitted(split, *sides, max_seq_length - SPECIALS, key)


def sentence_order_pairs(split: Split, max_seq_length: int, short_seq_prob: float, key: np.uint64) -> Iterator[np.ndarray]:
    """Blocks of stretches (stretches.py), two for each pair: A and B. Label 0 = in order, 1 = swapped."""
    draw = keyed.key_of(int(key), "swapped")
    for a, b, _ in _sides(split, max_seq_length - SPECIALS, short_seq_prob, key, may_be_random=False):
        swapped = keyed.uniform(draw, a[0]) < SWAPPED_PROB
        yield _fitted(split, np.where(swapped, b, a), np.where(swapped, a, b), swapped, max_seq_length - SPECIALS, key)


def _sides(
    split: Split, max_tokens: int, short_seq_prob: float, key: np.uint64, *, may_be_random: bool
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Per block: first and end sentence of A and of B (int64[2, pairs] each), and bool[pairs], where B is random."""
    draw = {name: keyed.key_of(int(key), name) for name in ("cut", "random", "document", "sentence")}
    place = 0
    for first, last in blocks(split):
        sentence = np.arange(first, last)
        document = document_of(split, sentence)
        end = split.document_offsets[document + 1]
        target = target_lengths(document, max_tokens, short_seq_prob, key)
        chunk_end = _fill(split, sentence, end, target)
        if not may_be_random:
            chunk_end = np.minimum(np.maximum(chunk_end, sentence + 2), end)
            chunk_end = np.where(chunk_end + 1 == end, end, chunk_end)
        cut = sentence + 1 + keyed.below(np.maximum(chunk_end - sentence - 1, 1), draw["cut"], sentence)
        is_random = np.zeros(len(sentence), bool)
        if may_be_random:
            is_random = (chunk_end - sentence == 1) | (keyed.uniform(draw["random"], sentence) < RANDOM_NEXT_PROB)
        read, place = follow(place, np.where(is_random, cut, chunk_end), first)
        read = read[is_random[read - first] | (cut < chunk_end)[read - first]] - first
        document, target, cut, is_random = document[read], target[read], cut[read], is_random[read]
        a, b = np.stack([sentence[read], cut]), np.stack([cut, chunk_end[read]])
        room = target - (split.sentence_offsets[cut] - split.sentence_offsets[a[0]])
        b[:, is_random] = _from_another(split, document[is_random], a[0, is_random], room[is_random], draw)
        yield a, b, is_random


def _from_another(
    split: Split, document: np.ndarray, sentence: np.ndarray, room: np.ndarray, draw: dict[str, np.uint64]
) -> tuple[np.ndarray, np.ndarray]:
    """First and end sentence of a stretch of another document, from any of its sentences on, that just fills the room."""
    other = keyed.below(split.num_documents - 1, draw["document"], sentence)
    other += other >= document
    first, end = split.document_offsets[other], split.document_offsets[other + 1]
    start = first + keyed.below(end - first, draw["sentence"], sentence)
    return start, _fill(split, start, end, np.maximum(room, 1))


def _fill(split: Split, first: np.ndarray, last: np.ndarray, tokens: np.ndarray) -> np.ndarray:
    """The end of the shortest stretch from sentence `first` that holds at least `tokens`, but at most `last`."""
    return np.minimum(np.searchsorted(split.sentence_offsets, split.sentence_offsets[first] + tokens), last)


def _fitted(split: Split, a: np.ndarray, b: np.ndarray, label: np.ndarray, max_tokens: int, key: np.uint64) -> np.ndarray:
    """The pairs as stretches, int64[2 * pairs, 3], cut to what fits a row."""
    draw = keyed.key_of(int(key), "truncate")
    a_first, b_first = split.sentence_offsets[a[0]], split.sentence_offsets[b[0]]
    a_length, b_length = split.sentence_offsets[a[1]] - a_first, split.sentence_offsets[b[1]] - b_first
    a_kept, b_kept = truncated_lengths(a_length, b_length, max_tokens)
    a_first = a_first + heads(draw, a[0], 0, count=a_length - a_kept)
    b_first = b_first + heads(draw, a[0], 1, count=b_length - b_kept)
    rows = np.stack([a_first, a_kept, OPENS + LABEL * label, b_first, b_kept, np.full_like(a_kept, SECOND)], axis=1)
    return rows.reshape(-1, 3)


def truncated_lengths(a_length: np.ndarray, b_length: np.ndarray, max_tokens: int) -> tuple[np.ndarray, np.ndarray]:
    """What is left when the longer side loses a token, B where they are equal, until both fit (truncate_seq_pair)."""
    a_kept = np.where(
        a_length + b_length <= max_tokens,
        a_length,
        np.maximum(np.minimum(a_length, (max_tokens + 1) // 2), max_tokens - b_length),
    )
    return a_kept, np.minimum(b_length, max_tokens - a_kept)


def heads(key: np.uint64, example: np.ndarray, side: int, *, count: np.ndarray) -> np.ndarray:
    """How many of `count` fair coins fall heads: tokens lost from the front, the others being lost from the back."""
    result = np.zeros(len(count), np.int64)
    some = np.flatnonzero(count)
    words = -(-int(count.max(initial=0)) // 64)
    for word in range(words):  # 64 coins at a time, for those who still have some to toss
        some = some[count[some] > 64 * word]
        unused = np.uint64(64) - np.minimum(count[some] - 64 * word, 64).astype(np.uint64)
        result[some] += np.bitwise_count(keyed.bits(key, example[some], side, word) >> unused)
    return result
