import math

import numpy as np
import optax
import pytest

from bert_jax.errors import UserError
from bert_jax.optim.schedules import SCHEDULES, make_schedule

PEAK, WARMUP, TOTAL = 1e-4, 10, 110


def rates(name: str, steps, **options) -> list[float]:
    schedule = make_schedule(name, PEAK, WARMUP, TOTAL, **options)
    return [float(schedule(step)) for step in steps]


def test_berts_rate_warms_up_from_zero_and_meets_a_decay_that_has_already_begun():
    schedule = make_schedule("bert", 1e-4, num_warmup_steps=10, num_train_steps=100)
    found = [float(schedule(step)) for step in (0, 5, 9, 10, 55, 100, 200)]
    assert found == pytest.approx([0, 5e-5, 9e-5, 9e-5, 4.5e-5, 0, 0], rel=1e-5)


ONE_PEAK = [name for name in SCHEDULES if name != "linear_twice"]


def test_linear_twice_is_linear_in_each_part():
    options = {"second_begins": 60 / TOTAL, "second_learning_rate": 4e-5, "second_num_warmup_steps": 5}
    found = rates("linear_twice", [0, 5, 10, 35, 59, 60, 65, 87.5, 110, 200], **options)
    assert found == pytest.approx([0, 5e-5, 1e-4, 5e-5, 2e-6, 0, 4e-5, 2e-5, 0, 0], abs=1e-11)


@pytest.mark.parametrize("name", ONE_PEAK)
def test_without_warmup_the_first_rate_is_the_peak(name):
    assert float(make_schedule(name, 1e-4, 0, 100)(0)) == pytest.approx(1e-4)


@pytest.mark.parametrize("name", ONE_PEAK)
def test_a_warmup_as_long_as_the_training_stays_finite(name):
    schedule = make_schedule(name, 1e-4, 100, 100)
    assert [float(schedule(step)) for step in (0, 50, 99)] == pytest.approx([0, 5e-5, 9.9e-5])
    assert np.isfinite(float(schedule(100)))


@pytest.mark.parametrize(
    ("name", "options", "shape"),
    [
        ("linear", {}, lambda done: 1 - done),
        ("polynomial", {"power": 2.0}, lambda done: (1 - done) ** 2),
        ("cosine", {}, lambda done: (1 + math.cos(math.pi * done)) / 2),
        ("constant", {}, lambda done: 1),
        ("warmup_stable_decay", {"decay_fraction": 0.2}, lambda done: 1 if done < 0.8 else 1 - math.sqrt((done - 0.8) / 0.2)),
    ],
)
def test_after_a_linear_warmup_the_rate_takes_its_shape(name, options, shape):
    steps = [0, 1, 9, 10, 11, 35, 60, 90, 100, 109, 110, 300]
    expected = [PEAK * (step / 10 if step < 10 else shape(min((step - 10) / 100, 1))) for step in steps]
    assert rates(name, steps, **options) == pytest.approx(expected, rel=1e-4, abs=1e-10)


def test_cosine_and_polynomial_are_those_of_optax():
    cosine = optax.warmup_cosine_decay_schedule(0.0, PEAK, WARMUP, TOTAL, end_value=1e-5)
    fall = optax.polynomial_schedule(PEAK, 1e-5, 3.0, TOTAL - WARMUP)
    polynomial = optax.join_schedules([optax.linear_schedule(0.0, PEAK, WARMUP), fall], [WARMUP])
    steps = range(0, 130, 3)
    assert rates("cosine", steps, end_learning_rate=1e-5) == pytest.approx([float(cosine(s)) for s in steps], rel=1e-4)
    ours = rates("polynomial", steps, end_learning_rate=1e-5, power=3.0)
    assert ours == pytest.approx([float(polynomial(s)) for s in steps], rel=1e-4)


def test_a_decay_over_no_steps_is_refused():
    with pytest.raises(UserError, match="decay_fraction"):
        make_schedule("warmup_stable_decay", PEAK, WARMUP, TOTAL, decay_fraction=0.0)


def test_an_unknown_schedule_and_an_option_without_use_are_named():
    with pytest.raises(UserError, match="bert or linear"):
        make_schedule("step", PEAK, WARMUP, TOTAL)
    with pytest.raises(UserError, match="cosine does not read optim.power"):
        make_schedule("cosine", PEAK, WARMUP, TOTAL, power=2.0)
