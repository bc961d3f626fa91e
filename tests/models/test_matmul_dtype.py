"""Products in bfloat16 that add up in float32, beside float32 activations."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bert_jax.errors import UserError
from bert_jax.models.encoder import EncoderConfig
from bert_jax.models.layers import contract

CONFIG = {"vocab_size": 50, "hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 32}
SPECS = ("ri,io->ro", "bpd,vd->bpv", "blhk,bmhk->bhlm", "bhlm,bmhk->blhk")


def operands(spec: str):
    """Integers up to 255, which bfloat16 holds exactly, in arrays of 3, 4, ... along each letter."""
    sizes = {letter: 3 + place for place, letter in enumerate(dict.fromkeys(spec.replace(",", "").partition("->")[0]))}
    rng = np.random.default_rng(0)
    return [jnp.float32(rng.integers(-255, 256, [sizes[letter] for letter in part])) for part in spec.split("->")[0].split(",")]


@pytest.mark.parametrize("spec", SPECS)
def test_what_bfloat16_holds_exactly_is_multiplied_and_differentiated_as_in_float32(spec):
    """Sums and their gradients far above 255 come out exact: nothing was added up in bfloat16."""
    mixed = EncoderConfig(**CONFIG, matmul_dtype="bfloat16")

    def weighed(contraction):
        def total(a, b):
            result = contraction(a, b)
            weights = jnp.arange(result.size, dtype=jnp.float32).reshape(result.shape) % 128
            return jnp.sum(weights * result), result

        return jax.value_and_grad(total, argnums=(0, 1), has_aux=True)

    ours = weighed(lambda a, b: contract(mixed, spec, a, b))(*operands(spec))
    plain = weighed(lambda a, b: jnp.einsum(spec, a, b))(*operands(spec))
    jax.tree.map(np.testing.assert_array_equal, ours, plain)
    assert {leaf.dtype for leaf in jax.tree.leaves(ours)} == {jnp.dtype("float32")}


def test_operands_really_are_rounded_to_bfloat16():
    mixed, ones = EncoderConfig(**CONFIG, matmul_dtype="bfloat16"), jnp.ones((1, 1))
    assert contract(mixed, "ri,io->ro", ones * 257, ones) == 256


def test_an_unknown_dtype_of_operands_is_refused():
    with pytest.raises(UserError, match="auto or float32 or bfloat16"):
        EncoderConfig(**CONFIG, matmul_dtype="int8")
