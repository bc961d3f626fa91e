"""The contract between data and models: what a batch holds, and what an objective is given beside it.

Legend of the shape letters used in array names everywhere in this package:
B rows of the batch, T texts of a row, L length in tokens, E examples packed in a row, P predicted positions per row,
D width of the encoder, H attention heads, K width of one head, J of all heads, F feed-forward width, V pieces of the vocabulary,
N layers, C classes, G vectors gathered from all devices, W width of a feature.

The names are those of the data files of google-research/bert.

A row holds one example, or several packed one behind the other. Only packed batches have sequence_ids, position_ids and
cls_positions, and their pairs have a label for each example: [B, E] where a row of one example has [B]. Only batches for
sentence encoders and of choices have an axis T: their examples are texts, each a row of its own. Features of tokens
(models/features.py) are called feature_NAME.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from bert_jax.errors import UserError


class Field(NamedTuple):
    shape: str  # a letter for each axis; "B or BE" where some batches have one axis more
    dtype: str
    meaning: str


FIELDS = {
    "input_ids": Field("BL or BTL", "int32", "piece numbers, masks already drawn"),
    "input_mask": Field("BL or BTL", "int32", "1 at real tokens, 0 at padding and throughout rows that only fill the last batch"),
    "segment_ids": Field("BL or BTL", "int32", "0 in sentence A and its [SEP], 1 in B and its [SEP]; at [CLS] as beside it"),
    "sequence_ids": Field("BL", "int32", "number of the example in its row, from 1 on; 0 at padding"),
    "position_ids": Field("BL", "int32", "place in the example, which begins at 0; 0 at padding"),
    "cls_positions": Field("BE", "int32", "where the [CLS] of each example stands in the row; unused slots 0"),
    "example_id": Field("B", "int32", "number of the row in its row plan; what is drawn for a row is keyed by it"),
    "masked_lm_positions": Field("BP", "int32", "places to predict, ascending, none the first of an example; unused slots 0"),
    "masked_lm_ids": Field("BP", "int32", "the original pieces at those places; unused slots 0"),
    "masked_lm_weights": Field("BP", "float32", "1 in used slots, 0 in unused ones"),
    "next_sentence_labels": Field("B or BE", "int32", "0 where B follows A in its document, 1 where B is random or swapped"),
    "next_sentence_weights": Field(
        "B or BE", "float32", "1 for a real example, 0 for one that only fills a slot or the last batch"
    ),
    "label_ids": Field("B or BL", "int32", "class of the row or of each piece, number of the right text, when fine-tuning"),
    "label_values": Field("B", "float32", "score of the row, when learning one"),
    "label_weights": Field(
        "B or BL", "float32", "1 for a real row or a piece with a class, 0 for other pieces and what only fills the last batch"
    ),
    "word_ids": Field("BL", "int32", "number of the word to tag that the piece belongs to, from 1 on; 0 at all other pieces"),
    "start_positions": Field("B", "int32", "place in the row where the answer begins; that of [CLS] where there is none"),
    "end_positions": Field("B", "int32", "place of the last piece of the answer; that of [CLS] where there is none"),
}
FEATURE_IDS = Field("BL", "int32", "row of a table for each token; 0 where a mask hides it, if it would betray the piece")
FEATURE_VECTORS = Field("BLW", "float32", "a vector for each token")


class Context(NamedTuple):
    """What an objective is given beside parameters and batch; as it is by default: for evaluation on one device.

    Attributes:
        rng: key for dropout, another one on each device and for each micro-batch; None in evaluation, without dropout.
        row_rng: key for what is drawn for a row: the same on all devices and for all micro-batches, so that together with
            example_id it draws alike under every layout. In evaluation one key for good.
        frozen: parameters that are used and not trained, those of a teacher.
        gather: rows of this device -> the rows of all devices, in order.
    """

    rng: Any = None
    row_rng: Any = None
    frozen: Any = None
    gather: Callable = lambda rows: rows


def check(batch: dict[str, np.ndarray]) -> None:
    """Raises UserError unless every array has the dtype and shape of the table, with one size for each shape letter."""
    sizes: dict[str, int] = {}
    for name, array in batch.items():
        field = _field(name, array)
        shapes = [shape for shape in field.shape.split(" or ") if len(shape) == array.ndim]
        if not shapes or str(array.dtype) != field.dtype:
            raise UserError(
                f"batch[{name!r}] does not have the agreed form",
                got=f"{array.dtype}{list(array.shape)}",
                expected=f"{field.dtype}[{', '.join(field.shape.split()[0])}]: {field.meaning}",
            )
        for letter, size in zip(shapes[0].removesuffix("W"), array.shape):  # each feature has a width of its own
            if sizes.setdefault(letter, size) != size:
                raise UserError(
                    f"batch[{name!r}] disagrees with the other arrays on {letter}", got=size, expected=str(sizes[letter])
                )


def _field(name: str, array: np.ndarray) -> Field:
    if name.startswith("feature_"):
        return FEATURE_VECTORS if array.ndim == 3 else FEATURE_IDS
    if name not in FIELDS:
        raise UserError(f"the batch holds an array that no model reads: {name}", expected=f"only {', '.join(FIELDS)}")
    return FIELDS[name]


def padded(rows: Sequence[Sequence[int]], *, size: int, length: int) -> dict[str, np.ndarray]:
    """Rows of pieces as what an encoder reads, int32[size, length] each: the rows from place 0 on, all of segment 0."""
    batch = {name: np.zeros((size, length), np.int32) for name in ("input_ids", "input_mask", "segment_ids")}
    for number, row in enumerate(rows):
        batch["input_ids"][number, : len(row)], batch["input_mask"][number, : len(row)] = row, 1
    return batch
