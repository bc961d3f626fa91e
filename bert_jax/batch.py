"""The contract between data and models: what a batch holds.

Legend of the shape letters used in array names everywhere in this package:
B rows of the batch, L length of a row in tokens, P predicted positions per row, D width of the encoder, H attention heads,
K width of one head, F feed-forward width, V pieces of the vocabulary, N layers, C classes.

The names are those of the data files of google-research/bert.
"""

from typing import NamedTuple

import numpy as np

from bert_jax.errors import UserError


class Field(NamedTuple):
    shape: str
    dtype: str
    meaning: str


FIELDS = {
    "input_ids": Field("BL", "int32", "piece numbers, masks already drawn"),
    "input_mask": Field("BL", "int32", "1 at real tokens, 0 at padding"),
    "segment_ids": Field("BL", "int32", "0 in sentence A with its [CLS] and [SEP], 1 in sentence B with its [SEP]"),
    "masked_lm_positions": Field("BP", "int32", "places in the row to predict, ascending; unused slots 0"),
    "masked_lm_ids": Field("BP", "int32", "the original pieces at those places; unused slots 0"),
    "masked_lm_weights": Field("BP", "float32", "1 in used slots, 0 in unused ones"),
    "next_sentence_labels": Field("B", "int32", "0 where B follows A in its document, 1 where B is random"),
    "next_sentence_weights": Field("B", "float32", "1 for a real row, 0 for a row that only fills the last batch"),
    "label_ids": Field("B", "int32", "class of the row, when fine-tuning"),
    "label_weights": Field("B", "float32", "1 for a real row, 0 for a row that only fills the last batch"),
}


def check(batch: dict[str, np.ndarray]) -> None:
    """Raises UserError unless every array has the dtype and shape of the table, with one size for each shape letter."""
    sizes: dict[str, int] = {}
    for name, array in batch.items():
        if name not in FIELDS:
            raise UserError(f"the batch holds an array that no model reads: {name}", expected=f"only {', '.join(FIELDS)}")
        field = FIELDS[name]
        if array.ndim != len(field.shape) or str(array.dtype) != field.dtype:
            raise UserError(
                f"batch[{name!r}] does not have the agreed form",
                got=f"{array.dtype}{list(array.shape)}",
                expected=f"{field.dtype}[{', '.join(field.shape)}]: {field.meaning}",
            )
        for letter, size in zip(field.shape, array.shape):
            if sizes.setdefault(letter, size) != size:
                raise UserError(
                    f"batch[{name!r}] disagrees with the other arrays on {letter}", got=size, expected=str(sizes[letter])
                )
