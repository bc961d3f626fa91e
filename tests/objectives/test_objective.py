import pytest

from bert_jax.errors import UserError
from bert_jax.objectives.objective import Objective, Term, weighted

TERMS = {"masked_lm_loss": Term("masked_lm", 1.0), "replaced_loss": Term("tokens", 50.0), "accuracy": Term("tokens")}
SUMS, COUNTS = {"masked_lm_loss": 6.0, "replaced_loss": 4.0, "accuracy": 3.0}, {"masked_lm": 2.0, "tokens": 8.0}


@pytest.fixture
def objective():
    return Objective(init=None, counts=None, sums=None, terms=TERMS, predict=None)


def test_factors_multiply_the_weights_that_losses_have_and_no_metric(objective):
    assert objective.loss(SUMS, COUNTS) == 3.0 + 50 * 0.5
    lighter = weighted(objective, [("replaced_loss", 0.2)])
    assert lighter.loss(SUMS, COUNTS) == pytest.approx(3.0 + 10 * 0.5)
    assert weighted(objective, [("masked_lm_loss", 0)]).loss(SUMS, COUNTS) == 25.0
    expected = objective.means(SUMS, COUNTS) | {"loss": lighter.loss(SUMS, COUNTS)}
    assert lighter.means(SUMS, COUNTS) == expected


@pytest.mark.parametrize(
    "factors",
    [[("next_sentence_loss", 1.0)], [("accuracy", 1.0)], [("replaced_loss", -1.0)], [("replaced_loss", float("nan"))], ["ab", 3]],
)
def test_what_is_no_loss_or_no_weight_is_refused_and_the_losses_are_named(objective, factors):
    with pytest.raises(UserError, match="masked_lm_loss or replaced_loss"):
        weighted(objective, factors)
