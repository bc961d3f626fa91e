"""Rows of two segments, as google-research/bert builds them (create_pretraining_data.py, create_instances_from_document).

A document is read in chunks of sentences that just fill a row. A chunk is cut at a random place; half of the time what follows
the cut is B ("is next"), else B is a stretch of another document and the sentences after the cut go back to be read again.
One document in ten (short_seq_prob) is cut into shorter chunks of one random length. Pairs that are too long for a row lose
tokens from the longer side, each from the front or the back at random.

The plan says which sentences a row is made of; it is built once and kept as a file. One deviation: a split of a single document
has no other document to take a random B from. The original then takes one from the same document and calls it random; here no
row is random, and a warning says so.
"""

import hashlib
import warnings
from pathlib import Path
from typing import NamedTuple

import numpy as np

from bert_jax.data import keyed
from bert_jax.data.files import NpyWriter, disk_errors, new_file
from bert_jax.data.store import Split, load_mapped
from bert_jax.text.wordpiece import WordPiece

PLAN_VERSION = 1
SPECIALS_PER_ROW = 3  # [CLS] A [SEP] B [SEP]
RANDOM_NEXT_PROB = 0.5
MIN_TARGET_LENGTH = 2
DOCUMENTS_PER_BLOCK = 2**16
COLUMNS = 5


class PairPlan(NamedTuple):
    """Which sentences make up each row.

    `table` is int64[rows, 5], memory-mapped: first and end sentence of A, first and end sentence of B (numbered through over the
    split, end exclusive), and 1 where B is random. `key` decides what a row loses where it is too long.
    """

    table: np.ndarray
    key: np.uint64


class Rows(NamedTuple):
    """Rows before masking, int32 [B, L] and [B] under the names of bert_jax/batch.py."""

    input_ids: np.ndarray
    input_mask: np.ndarray
    segment_ids: np.ndarray
    next_sentence_labels: np.ndarray
    is_text: np.ndarray  # bool[B, L], False at [CLS], [SEP] and padding


def build_pairs(
    split: Split, *, max_seq_length: int, short_seq_prob: float, seed: int, duplicate: int, folder: str | Path
) -> PairPlan:
    """The plan for these settings, read from `folder` or built and kept there.

    Args:
        duplicate: number of the pairing; each pairs the same sentences anew.

    Raises:
        UserError: the disk refuses.
    """
    settings = (PLAN_VERSION, split.identity, max_seq_length, short_seq_prob, seed, duplicate)
    name = hashlib.sha256(repr(settings).encode()).hexdigest()[:24]
    path = Path(folder) / f"pairs-{name}.npy"
    if split.num_documents == 1:
        warnings.warn("the split holds a single document, so every next sentence is the true one", stacklevel=2)
    if not path.exists():
        key = keyed.key_of(seed, "pairs", duplicate)
        with disk_errors(path, "the row plan"), new_file(path) as temporary:
            writer = NpyWriter(temporary, np.int64, (COLUMNS,))
            for start in range(0, split.num_documents, DOCUMENTS_PER_BLOCK):
                block = np.arange(start, min(start + DOCUMENTS_PER_BLOCK, split.num_documents))
                writer.append(_pairs(split, block, max_seq_length - SPECIALS_PER_ROW, short_seq_prob, key))
            writer.close()
    return PairPlan(load_mapped(path), keyed.key_of(seed, "truncate", duplicate))


def _pairs(split: Split, document: np.ndarray, max_tokens: int, short_seq_prob: float, key: np.uint64) -> np.ndarray:
    """The rows of these documents, int64[rows, 5]. All documents advance together, one chunk per turn."""
    draw = {name: keyed.key_of(int(key), name) for name in ("short", "length", "cut", "random", "document", "sentence")}
    alone = split.num_documents == 1
    place, end = split.document_offsets[document], split.document_offsets[document + 1]
    short_length = MIN_TARGET_LENGTH + keyed.below(max_tokens - MIN_TARGET_LENGTH + 1, draw["length"], document)
    target = np.where(keyed.uniform(draw["short"], document) < short_seq_prob, short_length, max_tokens)
    turns, owners = [], []
    while len(document):
        turn = len(turns)
        chunk_end = _fill(split, place, end, target)
        if alone:  # a chunk of one sentence would need a random B
            chunk_end = np.minimum(np.maximum(chunk_end, place + 2), end)
        sentences = chunk_end - place
        cut = place + 1 + keyed.below(np.maximum(sentences - 1, 1), draw["cut"], document, turn)
        b_first, b_end = cut, chunk_end
        is_random = np.zeros(len(document), bool)
        if not alone:
            is_random = (sentences == 1) | (keyed.uniform(draw["random"], document, turn) < RANDOM_NEXT_PROB)
            room = target - (split.sentence_offsets[cut] - split.sentence_offsets[place])
            random_first, random_end = _from_another(split, document, turn, room, draw)
            b_first, b_end = np.where(is_random, random_first, cut), np.where(is_random, random_end, chunk_end)
        turns.append(np.stack([place, cut, b_first, b_end, is_random], axis=1))
        owners.append(document)
        place = np.where(is_random, cut, chunk_end)
        going = place < end
        document, place, end, target = document[going], place[going], end[going], target[going]
    rows = np.concatenate(turns)[np.argsort(np.concatenate(owners), kind="stable")]
    return rows[rows[:, 2] < rows[:, 3]]  # the last sentence of a document that is alone may be left without a B


def _from_another(
    split: Split, document: np.ndarray, turn: int, room: np.ndarray, draw: dict[str, np.uint64]
) -> tuple[np.ndarray, np.ndarray]:
    """First and end sentence of a stretch of another document, from any of its sentences on, that just fills the room."""
    other = keyed.below(split.num_documents - 1, draw["document"], document, turn)
    other += other >= document
    first, end = split.document_offsets[other], split.document_offsets[other + 1]
    start = first + keyed.below(end - first, draw["sentence"], document, turn)
    return start, _fill(split, start, end, np.maximum(room, 1))


def _fill(split: Split, first: np.ndarray, last: np.ndarray, tokens: np.ndarray) -> np.ndarray:
    """The end of the shortest stretch from sentence `first` that holds at least `tokens`, but at most `last`."""
    return np.minimum(np.searchsorted(split.sentence_offsets, split.sentence_offsets[first] + tokens), last)


def read_rows(split: Split, plan: PairPlan, rows: np.ndarray, max_seq_length: int, tokenizer: WordPiece) -> Rows:
    """Lays out the rows with these numbers (int[B]): [CLS] A [SEP] B [SEP] and padding."""
    a_first, a_last, b_first, b_last, is_random = np.asarray(plan.table[rows]).T
    a_start, b_start = split.sentence_offsets[a_first], split.sentence_offsets[b_first]
    a_length, b_length = split.sentence_offsets[a_last] - a_start, split.sentence_offsets[b_last] - b_start
    a_kept, b_kept = truncated_lengths(a_length, b_length, max_seq_length - SPECIALS_PER_ROW)
    a_start = a_start + heads(plan.key, rows, 0, count=a_length - a_kept)
    b_start = b_start + heads(plan.key, rows, 1, count=b_length - b_kept)

    column = np.arange(max_seq_length)
    a_sep, b_sep = (a_kept + 1)[:, None], (a_kept + b_kept + 2)[:, None]
    in_a, in_b = (column > 0) & (column < a_sep), (column > a_sep) & (column < b_sep)
    places = np.where(in_a, a_start[:, None] + column - 1, b_start[:, None] + column - a_sep - 1)
    input_ids = np.full(places.shape, tokenizer.pad_id, np.int32)
    in_text = in_a | in_b
    input_ids[in_text] = split.tokens(places[in_text])
    input_ids[:, 0] = tokenizer.cls_id
    input_ids[(column == a_sep) | (column == b_sep)] = tokenizer.sep_id
    segment_ids = (column > a_sep) & (column <= b_sep)
    input_mask = (column <= b_sep).astype(np.int32)
    return Rows(input_ids, input_mask, segment_ids.astype(np.int32), is_random.astype(np.int32), in_text)


def truncated_lengths(a_length: np.ndarray, b_length: np.ndarray, max_tokens: int) -> tuple[np.ndarray, np.ndarray]:
    """What is left when the longer side loses a token, B where they are equal, until both fit (truncate_seq_pair)."""
    a_kept = np.where(
        a_length + b_length <= max_tokens,
        a_length,
        np.maximum(np.minimum(a_length, (max_tokens + 1) // 2), max_tokens - b_length),
    )
    return a_kept, np.minimum(b_length, max_tokens - a_kept)


def heads(key: np.uint64, rows: np.ndarray, side: int, *, count: np.ndarray) -> np.ndarray:
    """How many of `count` fair coins fall heads: tokens lost from the front, the others being lost from the back."""
    words = -(-int(count.max(initial=0)) // 64)
    coins = keyed.bits(key, rows[:, None], side, np.arange(words)[None, :])
    tossed = np.clip(count[:, None] - 64 * np.arange(words), 0, 64).astype(np.uint64)
    unused = np.uint64(64) - tossed
    kept = np.where(tossed > 0, coins >> np.minimum(unused, np.uint64(63)), np.uint64(0))
    return np.bitwise_count(kept).sum(axis=1, dtype=np.int64)
