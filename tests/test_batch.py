import numpy as np
import pytest

from bert_jax import batch
from bert_jax.errors import UserError


def good():
    return {
        "input_ids": np.zeros((2, 5), np.int32),
        "masked_lm_weights": np.zeros((2, 3), np.float32),
        "next_sentence_labels": np.zeros(2, np.int32),
    }


def test_a_batch_of_the_table_passes():
    batch.check(good())


def test_labels_of_packed_rows_have_one_axis_more():
    packed = good() | {"next_sentence_labels": np.zeros((2, 4), np.int32), "cls_positions": np.zeros((2, 4), np.int32)}
    batch.check(packed)
    with pytest.raises(UserError, match="disagrees with the other arrays on E"):
        batch.check(packed | {"next_sentence_labels": np.zeros((2, 3), np.int32)})


@pytest.mark.parametrize(
    ("name", "array", "message"),
    [
        ("input_ids", np.zeros((2, 5), np.int64), r"got:      int64\[2, 5\]"),
        ("input_ids", np.zeros(5, np.int32), r"int32\[B, L\]"),
        ("next_sentence_labels", np.zeros(3, np.int32), "disagrees with the other arrays on B"),
        ("labels", np.zeros(2, np.int32), "no model reads: labels"),
    ],
)
def test_a_batch_off_the_table_is_refused_by_name(name, array, message):
    with pytest.raises(UserError, match=message):
        batch.check({**good(), name: array})
