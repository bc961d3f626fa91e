"""The shape of an objective, and the one place where a sum is divided by a count."""

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from bert_jax.errors import UserError
from bert_jax.ranges import NOT_NEGATIVE


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


def weighted(objective: Objective, factors: Iterable[tuple[str, float]]) -> Objective:
    """The same with the weights of some of its losses multiplied.

    Args:
        factors: (name of a loss, number of at least 0) each.

    Raises:
        UserError: no such loss, or no such number.
    """
    losses, terms = [name for name, term in objective.terms.items() if term.coefficient], dict(objective.terms)
    for factor in factors:
        if not isinstance(factor, Sequence) or len(factor) != 2 or factor[0] not in losses or factor[1] not in NOT_NEGATIVE:
            raise UserError(
                "objective.loss_weights does not name losses and their weights",
                got=factor,
                expected=f"(NAME, NUMBER) each, for instance (('{losses[-1]}', 0.5),); NAME is {' or '.join(losses)}",
            )
        name, number = factor
        terms[name] = terms[name]._replace(coefficient=objective.terms[name].coefficient * number)
    return objective._replace(terms=terms)


def mean(total, count):
    """total / count, and 0 where nothing was counted; for numbers, numpy and jax arrays alike."""
    return total / (count + (count == 0))
