"""What a model gives for many rows, on one device or as its params are placed."""

from collections.abc import Callable

import numpy as np

from bert_jax.data.finetune import Rows, evaluation_batches


def outputs_of(
    predict: Callable, params, rows: Rows, batch_size: int, row_length: int, multiple_of: int = 0
) -> list[dict[str, np.ndarray]]:
    """For each row, in order, what `predict` (params, batch) gives for it: arrays without the axis B, of the length that the row
    was padded to. The other arguments are those of data.finetune.evaluation_batches."""
    found: list[dict] = [{}] * len(rows.lengths)
    for numbers, batch in evaluation_batches(rows, batch_size, row_length, multiple_of):
        outputs = {name: np.asarray(array) for name, array in predict(params, batch).items()}
        for place, number in enumerate(numbers):
            found[number] = {name: array[place] for name, array in outputs.items()}
    return found


def power_of_two(count: int) -> int:
    """The least that is not below."""
    return 1 << max(count - 1, 0).bit_length()


def fitting(count: int, batch_size: int) -> int:
    """Rows of a batch for so many: fewer than batch_size where fewer will do, of few sizes, so that little is compiled."""
    return min(batch_size, power_of_two(count))
