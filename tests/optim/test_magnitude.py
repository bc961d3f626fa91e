"""Magnitude pruning: the schedule by hand, the part that is 0 exactly, and 0 for good."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from bert_jax.errors import UserError
from bert_jax.optim.magnitude import prune_by_magnitude, sparsity_at
from bert_jax.optim.optimizers import make_optimizer


def params():
    rng = np.random.default_rng(0)
    draw = lambda *shape: jnp.asarray(rng.standard_normal(shape), jnp.float32)  # noqa: E731
    layers = {"output": {"kernel": draw(2, 6, 8), "bias": draw(2, 8)}}
    first = {"output": {"kernel": draw(6, 8)}}
    embeddings = {"word": {"embedding": draw(9, 6)}}
    return {"encoder": {"layers": layers, "first_layer": first, "embeddings": embeddings}, "classifier": {"kernel": draw(6, 3)}}


def zeros(kernel) -> list[int]:
    return [int((np.asarray(matrix) == 0).sum()) for matrix in np.reshape(kernel, (-1, 6, 8))]


def test_the_schedule_is_the_cubic_of_the_paper():
    """0.8 between steps 10 and 30: at 20 half is done, 0.8 (1 - 0.5^3) = 0.7."""
    found = [float(sparsity_at(step, 0.8, 10, 30)) for step in (0, 10, 15, 20, 30, 99)]
    assert found == pytest.approx([0, 0, 0.8 * (1 - 0.75**3), 0.7, 0.8, 0.8])


def test_each_matrix_reaches_its_part_exactly_and_what_is_zero_stays_zero():
    optimizer = make_optimizer(
        lambda step: 0.1,
        name="adamw",
        magnitude={"sparsity": 0.5, "begin_step": 2, "end_step": 8, "every_steps": 3},
    )
    now, counts, was_zero = params(), [], None
    state = optimizer.init(now)
    update = jax.jit(optimizer.update)
    for step in range(1, 12):
        gradients = jax.tree.map(lambda leaf: jnp.cos(leaf * 7 + step), now)  # noqa: B023
        updates, state = update(gradients, state, now)
        now = optax.apply_updates(now, updates)
        kernel = np.asarray(now["encoder"]["layers"]["output"]["kernel"])
        assert was_zero is None or not kernel[was_zero].any()
        was_zero = kernel == 0
        counts.append(zeros(kernel) + zeros(now["encoder"]["first_layer"]["output"]["kernel"]))
    at = [int(np.floor(np.float32(0.5 * (1 - (1 - (step - 2) / 6) ** 3)) * 48)) for step in (3, 6)]  # of 48 weights
    assert counts == [[0] * 3] * 2 + [[at[0]] * 3] * 3 + [[at[1]] * 3] * 2 + [[24] * 3] * 4
    others = (
        now["classifier"]["kernel"],
        now["encoder"]["layers"]["output"]["bias"],
        now["encoder"]["embeddings"]["word"]["embedding"],
    )
    assert all(np.all(np.asarray(leaf) != 0) for leaf in others)


def test_the_smallest_weights_are_the_ones():
    now = {"layers": {"kernel": jnp.float32([[[3, -1], [2, -4]]])}}
    pruned = prune_by_magnitude(0.5, 0, 1, 1)
    updates, _ = pruned.update({"layers": {"kernel": jnp.full((1, 2, 2), 0.5)}}, pruned.init(now), now)
    assert optax.apply_updates(now, updates)["layers"]["kernel"].tolist() == [[[3.5, 0], [0, -3.5]]]


@pytest.mark.parametrize("given", [{"sparsity": 1.0}, {"sparsity": -0.1}, {"end_step": 3}, {"every_steps": 0}])
def test_what_makes_no_sense_is_refused(given):
    with pytest.raises(UserError, match=r"optim\.magnitude\."):
        prune_by_magnitude(**{"sparsity": 0.5, "begin_step": 3, "end_step": 9, "every_steps": 1} | given)
