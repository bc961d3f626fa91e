"""Held-out metrics as exact sums: the same numbers on any number of devices."""

from collections.abc import Iterable

import jax
import numpy as np


def evaluate(objective, layout, params, batches: Iterable[dict], frozen=None) -> dict[str, float]:
    """Means over all rows of all batches; rows of weight 0 that fill the last batch count nowhere.

    Args:
        params, frozen: placed by the layout.
        batches: numpy batches of one shape.

    The sums of the batches are added up on the host in float64.
    """
    totals = None
    for batch in batches:
        result = layout.single(layout.eval_step(params, layout.place_batch(batch), frozen))
        result = jax.tree.map(lambda x: np.asarray(x, np.float64), result)
        totals = result if totals is None else jax.tree.map(np.add, totals, result)
    return {name: float(value) for name, value in objective.means(totals["sums"], totals["counts"]).items()}
