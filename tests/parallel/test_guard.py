"""A step whose loss or gradient is not finite changes nothing but its own count."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from bert_jax.objectives.objective import Objective, Term
from bert_jax.optim.optimizers import make_optimizer
from bert_jax.parallel.layout import make_layout
from bert_jax.parallel.step import init_state, make_train_step, window_means
from tests.parallel.test_layouts import ROWS, objective, uneven_batch


def spoiled(batch: dict) -> dict:
    """One NaN in the last row, which only one device sees."""
    batch["next_sentence_weights"][-1] = np.nan
    return batch


def run(layout, state, batches):
    """The state on the host after each of the batches."""
    states = []
    for batch in batches:
        state = layout.train_step(state, layout.place_batch(batch))
        states.append(jax.tree.map(lambda leaf: np.array(leaf), layout.single(state)))
    return states


@pytest.mark.parametrize(("mode", "options"), [("jit", {"fsdp": 2, "tensor": 2, "accumulate": 2}), ("pmap", {})])
def test_training_goes_on_as_if_the_batch_had_not_been(mode, options):
    model, optimizer = objective(), make_optimizer(lambda step: 0.01 * (step + 1))
    layout = make_layout(mode, model, optimizer, seed=0, batch_size=ROWS, **options)
    start = jax.tree.map(np.asarray, init_state(model, optimizer, 0))
    with_bad = [uneven_batch(0), spoiled(uneven_batch(1)), spoiled(uneven_batch(2)), uneven_batch(3)]
    first, second, third, last = run(layout, layout.place_state(start), with_bad)
    assert [int(state.step) for state in (first, second, third, last)] == [1, 2, 3, 4]
    assert [int(state.skipped) for state in (first, second, third, last)] == [0, 1, 2, 0]
    assert last.window["step"]["steps"] == 2 and last.window["step"]["skipped"] == 2
    (*_, dropped) = run(layout, layout.place_state(start), [uneven_batch(0), uneven_batch(3)])
    jax.tree.map(np.testing.assert_array_equal, (last.params, last.opt_state), (dropped.params, dropped.opt_state))
    assert window_means(model, last.window) == window_means(model, dropped.window)


def slope(at: float, batch: dict, optimizer):
    """One step of minimising sqrt(x), whose value at 0 is finite and whose gradient there is not."""
    sqrt = Objective(
        init=lambda rng: {"x": jnp.float32(at)},
        counts=lambda batch: {"tokens": jnp.float32(1)},
        sums=lambda params, batch, context: {"loss": jnp.sqrt(params["x"])},
        terms={"loss": Term("tokens", 1.0)},
        predict=None,
    )
    state = make_train_step(sqrt, optimizer)(init_state(sqrt, optimizer, 0), batch, None, np.uint32(0))
    return state, window_means(sqrt, state.window)


def test_an_infinite_gradient_of_a_finite_loss_is_caught():
    state, means = slope(0.0, {}, optax.sgd(1.0))
    assert (int(state.skipped), float(state.params["x"])) == (1, 0.0)
    assert np.isnan(means["loss"]) and np.isnan(means["grad_norm"])  # no update, so no mean to report


def test_a_finite_one_is_taken():
    state, means = slope(0.25, {}, optax.sgd(0.1))
    assert (int(state.skipped), float(state.params["x"])) == (0, pytest.approx(0.15))
    assert means == pytest.approx({"loss": 0.5, "grad_norm": 1.0})
