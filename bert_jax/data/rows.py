"""Rows of a plan as arrays: the pieces of their stretches between [CLS], [SEP] and padding."""

from typing import NamedTuple

import numpy as np

from bert_jax.data.plans import Plan
from bert_jax.data.store import Split
from bert_jax.data.stretches import LABEL, OPENS, SECOND, ranges, starts
from bert_jax.text.tokenizer import Tokenizer


class Rows(NamedTuple):
    """Rows before masking; where dtype and meaning are those of bert_jax/batch.py the name is, too."""

    input_ids: np.ndarray  # int32[B, L]
    input_mask: np.ndarray  # int32[B, L]
    segment_ids: np.ndarray  # int32[B, L]
    is_text: np.ndarray  # bool[B, L], False at [CLS], [SEP] and padding
    places: np.ndarray  # int64[T], where in the split each piece of text stands, in the order of is_text
    begins: np.ndarray  # int32[B, E], where each example begins, unused slots 0
    cls_positions: np.ndarray  # int32[B, E], unused slots 0
    labels: np.ndarray  # int32[B, E], of the pairs
    used: np.ndarray  # float32[B, E], 1 for an example, 0 for an unused slot


def read_rows(
    split: Split, plan: Plan, rows: np.ndarray, max_seq_length: int, max_examples_per_row: int, tokenizer: Tokenizer
) -> Rows:
    """Lays out the rows with these numbers (int[B]): [CLS] stretch [SEP] ... for each example, then padding; or stretch [SEP] ...
    [CLS], as the tokenizer has it. [CLS] belongs to the segment of the stretch beside it."""
    size = len(rows)
    first, count = plan.row_offsets[rows], plan.row_offsets[rows + 1] - plan.row_offsets[rows]
    row = np.repeat(np.arange(size), count)
    start, tokens, flags = plan.stretches[ranges(first, count)].T
    opens = flags & OPENS
    closes = np.append(opens[1:], OPENS)
    taken = (closes if tokenizer.cls_last else opens) + tokens + 1
    begin = starts(taken)
    begin -= begin[starts(count)][row]
    text = begin if tokenizer.cls_last else begin + opens
    sep = text + tokens
    lengths = np.bincount(row, weights=taken, minlength=size).astype(np.int64)

    places = ranges(start, tokens)
    in_order = ranges(row * max_seq_length + text, tokens)
    input_ids, is_text = np.full((size, max_seq_length), tokenizer.pad_id, np.int32), np.zeros((size, max_seq_length), bool)
    input_ids.ravel()[in_order], is_text.ravel()[in_order] = split.tokens(places), True
    input_ids[row, sep] = tokenizer.sep_id
    input_mask = (np.arange(max_seq_length) < lengths[:, None]).astype(np.int32)

    second = (flags & SECOND) > 0
    segment_ids = _between(row[second], text[second], taken[second], input_ids.shape)
    heads, tails = np.flatnonzero(opens), np.flatnonzero(closes)
    slot = row[heads], ranges(np.zeros(size, np.int64), np.bincount(row[heads], minlength=size))
    cls = sep[tails] + 1 if tokenizer.cls_last else begin[heads]
    input_ids[row[heads], cls] = tokenizer.cls_id
    begins, cls_positions, labels = (np.zeros((size, max_examples_per_row), np.int32) for _ in range(3))
    used = np.zeros((size, max_examples_per_row), np.float32)
    begins[slot], cls_positions[slot], used[slot] = begin[heads], cls, 1
    labels[slot] = (flags[heads] & LABEL) > 0
    return Rows(input_ids, input_mask, segment_ids, is_text, places, begins, cls_positions, labels, used)


def _between(row: np.ndarray, begin: np.ndarray, count: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """int32[shape], 1 at `count` places from `begin` on."""
    marks = np.zeros(shape, np.int32)
    marks.ravel()[ranges(row * shape[1] + begin, count)] = 1
    return marks


def packing_arrays(rows: Rows) -> dict[str, np.ndarray]:
    """What tells the examples of a row apart, under the names of bert_jax/batch.py."""
    size, length = rows.input_ids.shape
    row, slot = np.nonzero(rows.used)
    begin = rows.begins[row, slot]
    opens, begins = np.zeros((size, length), np.int32), np.zeros((size, length), np.int32)
    opens[row, begin], begins[row, begin] = 1, begin
    position_ids = np.arange(length, dtype=np.int32) - np.maximum.accumulate(begins, axis=1)
    return {
        "sequence_ids": np.cumsum(opens, axis=1, dtype=np.int32) * rows.input_mask,
        "position_ids": position_ids * rows.input_mask,
        "cls_positions": rows.cls_positions,
    }
