"""The shape of an objective, and the one place where a sum is divided by a count."""

from collections.abc import Callable
from typing import NamedTuple


class Term(NamedTuple):
    """How one sum is reported: divided by which count, and with what weight it enters the loss."""

    count: str
    coefficient: float = 0.0


class Objective(NamedTuple):
    """Losses are sums and their counts come from the batch alone, so that one division by the count over all devices is exact.

    Attributes:
        init: rng -> params.
        counts: batch -> {count name: float32 sum of weights}, known before the forward pass.
        sums: (params, batch, context) -> {metric name: float32 sum}; context is a batch.Context.
        terms: metric name -> Term; "tokens" among the counts is the number of real tokens.
        predict: (params, batch) -> {name: array}, logits for those who use the trained model.
        compares_rows: whether the loss of a row depends on the other rows of the batch: it then gathers them over devices, and
            cannot be added up over micro-batches.
    """

    init: Callable
    counts: Callable
    sums: Callable
    terms: dict[str, Term]
    predict: Callable
    compares_rows: bool = False

    def loss(self, sums, counts):
        """What is minimised: the weighted sum of the means."""
        terms = self.terms.items()
        return sum(term.coefficient * mean(sums[name], counts[term.count]) for name, term in terms if term.coefficient)

    def means(self, sums, counts) -> dict:
        """Every metric as a mean, and "loss"; a count of zero gives zero."""
        means = {name: mean(sums[name], counts[term.count]) for name, term in self.terms.items()}
        return {"loss": self.loss(sums, counts), **means}


def mean(total, count):
    """total / count, and 0 where nothing was counted; for numbers, numpy and jax arrays alike."""
    return total / (count + (count == 0))
