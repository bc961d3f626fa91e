import jax
import jax.numpy as jnp
import numpy as np

from bert_jax.optim.optimizers import make_optimizer


def test_two_steps_by_hand():
    """One weight and one bias, gradients far under the clip; numbers worked out from the rule of the released optimiser."""
    params = {"dense": {"kernel": jnp.array([2.0]), "bias": jnp.array([1.0])}}
    gradients = {"dense": {"kernel": jnp.array([0.1]), "bias": jnp.array([-0.2])}}
    optimizer = make_optimizer(lambda step: 0.01, weight_decay=0.5)
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


def test_a_large_gradient_is_scaled_to_norm_one_first_unless_clipping_is_off():
    params = {"kernel": jnp.zeros(2)}
    small, large = ({"kernel": size * jnp.array([0.6, 0.8])} for size in (1, 100))

    def first_mean(gradients, clip):
        """Of Adam's moments, since its update does not depend on the size of the gradient."""
        optimizer = make_optimizer(lambda step: 1.0, weight_decay=0.0, clip=clip)
        return next(leaf for leaf in jax.tree.leaves(optimizer.update(gradients, optimizer.init(params), params)[1]) if leaf.ndim)

    np.testing.assert_allclose(first_mean(large, 1.0), first_mean(small, 1.0), rtol=1e-6)
    np.testing.assert_allclose(first_mean(large, 0.0), 100 * first_mean(small, 0.0), rtol=1e-6)
