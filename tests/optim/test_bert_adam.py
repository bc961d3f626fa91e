import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bert_jax.optim.bert_adam import bert_adam, decays
from bert_jax.optim.schedules import bert as bert_schedule


def test_the_rate_warms_up_from_zero_and_meets_a_decay_that_has_already_begun():
    schedule = bert_schedule(1e-4, num_warmup_steps=10, num_train_steps=100)
    rates = [float(schedule(step)) for step in (0, 5, 9, 10, 55, 100, 200)]
    assert rates == pytest.approx([0, 5e-5, 9e-5, 9e-5, 4.5e-5, 0, 0], rel=1e-5)


def test_without_warmup_the_first_rate_is_the_peak():
    assert float(bert_schedule(1e-4, 0, 100)(0)) == pytest.approx(1e-4)


def test_two_steps_by_hand():
    """One weight and one bias, gradients far under the clip; numbers worked out from the rule of the released optimiser."""
    params = {"dense": {"kernel": jnp.array([2.0]), "bias": jnp.array([1.0])}}
    gradients = {"dense": {"kernel": jnp.array([0.1]), "bias": jnp.array([-0.2])}}
    optimizer = bert_adam(lambda step: 0.01, weight_decay=0.5)
    state = optimizer.init(params)
    for _ in range(2):
        updates, state = optimizer.update(gradients, state, params)
        params = jax.tree.map(jnp.add, params, updates)

    kernel, bias, kernel_m, kernel_v, bias_m, bias_v = 2.0, 1.0, 0.0, 0.0, 0.0, 0.0
    for _ in range(2):
        kernel_m, kernel_v = 0.9 * kernel_m + 0.1 * 0.1, 0.999 * kernel_v + 0.001 * 0.1**2
        bias_m, bias_v = 0.9 * bias_m + 0.1 * -0.2, 0.999 * bias_v + 0.001 * 0.2**2
        kernel -= 0.01 * (kernel_m / (kernel_v**0.5 + 1e-6) + 0.5 * kernel)
        bias -= 0.01 * bias_m / (bias_v**0.5 + 1e-6)
    np.testing.assert_allclose([params["dense"]["kernel"][0], params["dense"]["bias"][0]], [kernel, bias], rtol=1e-6)


def test_a_large_gradient_is_scaled_to_norm_one_first():
    params = {"kernel": jnp.zeros(2)}
    optimizer = bert_adam(lambda step: 1.0, weight_decay=0.0)
    small, _ = optimizer.update({"kernel": jnp.array([0.6, 0.8])}, optimizer.init(params), params)
    large, _ = optimizer.update({"kernel": jnp.array([60.0, 80.0])}, optimizer.init(params), params)
    np.testing.assert_allclose(small["kernel"], large["kernel"], rtol=1e-6)


def test_biases_and_layer_norms_do_not_decay_although_stacked_layers_give_them_two_axes():
    params = {"layers": {"norm": {"scale": jnp.ones((3, 4)), "bias": jnp.ones((3, 4))}, "dense": {"kernel": jnp.ones((3, 4, 4))}}}
    assert decays(params) == {"layers": {"norm": {"scale": False, "bias": False}, "dense": {"kernel": True}}}
