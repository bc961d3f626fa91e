import jax.numpy as jnp
import numpy as np

from bert_jax.models.rotary import rotated, rotation


def test_pairs_turn_like_complex_numbers():
    """RoFormer, equation 13, as multiplication by exp(i place theta_j), at places in any order."""
    rng = np.random.default_rng(0)
    x_BLHK, places_BL = rng.standard_normal((2, 5, 3, 8)).astype(np.float32), rng.integers(0, 400, (2, 5))
    angles = places_BL[:, :, None, None] * 160_000.0 ** (-2 * np.arange(4) / 8)
    turned = (x_BLHK[..., :4] + 1j * x_BLHK[..., 4:]) * np.exp(1j * angles)
    found = rotated(jnp.asarray(x_BLHK), rotation(jnp.asarray(places_BL), 8, 160_000.0))
    np.testing.assert_allclose(found, np.concatenate([turned.real, turned.imag], axis=-1), atol=1e-4)
