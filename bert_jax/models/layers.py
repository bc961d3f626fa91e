"""The small parts that every encoder and head is made of; each takes its sizes, dtype and initial spread from the config."""

import math
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name
from jax.experimental.layout import Layout, with_layout_constraint

from bert_jax.errors import UserError

# Under these names the policies of REMAT know what to keep for the backward pass.
WEIGHT_PRODUCTS, ATTENTION_PRODUCTS, DROPOUT_MASKS = "weight_products", "attention_products", "dropout_masks"

_keep = jax.checkpoint_policies.save_only_these_names
# What of each layer is kept for the backward pass, beside its input; the rest is computed anew.
REMAT = {
    "none": None,  # keep everything
    "elementwise": _keep(WEIGHT_PRODUCTS, ATTENTION_PRODUCTS, DROPOUT_MASKS),
    "dots": _keep(WEIGHT_PRODUCTS),
    "full": _keep(),
}


def gelu(x):
    """x times the normal distribution's cumulative function (Hendrycks and Gimpel 2016, arXiv 1606.08415)."""
    return 0.5 * x * (1 + jax.lax.erf(x * 0.5**0.5))  # flax's has erfc, which XLA computes in two branches


# "gelu" is the exact one; "gelu_new" is the tanh form of google-research/bert modeling.gelu.
ACTIVATIONS = {
    "gelu": gelu,
    "gelu_new": partial(nn.gelu, approximate=True),
    "relu": nn.relu,
    "tanh": nn.tanh,
}


def weight_init(config, spread: float = 1.0):
    """Normal, cut at two standard deviations (google-research/bert modeling.create_initializer), `spread` times as wide."""
    return nn.initializers.truncated_normal(spread * config.initializer_range)


def contract(config, spec: str, a, b, *, preferred_element_type=None) -> jax.Array:
    """einsum(spec, a, b), each letter of a and b being in the other, in the result or in both; operands in config.matmul_dtype.

    Where that is not the dtype of the activations the result is float32, and so are the gradients: their products too take
    operands in config.matmul_dtype and add up in float32.
    """
    if config.matmul_dtype in ("auto", config.dtype):
        operands = (a.astype(config.dtype), b.astype(config.dtype))
        return jnp.einsum(spec, *operands, preferred_element_type=preferred_element_type)
    return _contract_mixed(spec, config.matmul_dtype, a, b)


@partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _contract_mixed(spec: str, dtype: str, a, b) -> jax.Array:
    inputs, result = spec.split("->")
    (a_letters, a), (b_letters, b) = zip(inputs.split(","), (a.astype(dtype), b.astype(dtype)))
    shared = [letter for letter in a_letters if letter in b_letters]
    batch, summed = ["".join(x for x in shared if (x in result) == kept) for kept in (True, False)]
    own = lambda letters: "".join(letter for letter in letters if letter not in shared)  # noqa: E731
    if a_letters != batch + own(a_letters) + summed:
        # XLA for CPUs (jaxlib 0.10.2) multiplies in bfloat16 only where what is summed over comes last in the first operand, in
        # memory too; else in float32, at half the speed. A copy costs a tenth of that, of an operand or of a result whose axes
        # come out in another order: the less of it the better.
        sizes = dict(zip(a_letters + b_letters, a.shape + b.shape))
        made = math.prod(sizes[letter] for letter in result)
        as_is = a.size + made * (batch + own(a_letters) + own(b_letters) != result)
        swapped = b.size + made * (batch + own(b_letters) + own(a_letters) != result)
        if swapped < as_is:
            a_letters, a, b_letters, b = b_letters, b, a_letters, a
        order = batch + own(a_letters) + summed
        a_letters, a = order, _row_major(_transpose(a, a_letters, order))
    axes = [[tuple(map(letters.index, of)) for letters in (a_letters, b_letters)] for of in (summed, batch)]
    product = jax.lax.dot_general(a, b, axes, preferred_element_type=jnp.float32)
    # Row-major, or XLA changes the operands round again.
    return _transpose(_row_major(product), batch + own(a_letters) + own(b_letters), result)


def _transpose(x, letters: str, order: str):
    return jnp.transpose(x, [letters.index(letter) for letter in order])


def _row_major(x):
    return with_layout_constraint(x, Layout(major_to_minor=tuple(range(x.ndim))))


def _contract_mixed_forward(spec: str, dtype: str, a, b):
    return _contract_mixed(spec, dtype, a, b), (a.astype(dtype), b.astype(dtype))


def _contract_mixed_backward(spec: str, dtype: str, operands, gradient):
    """The gradient of a contraction by either operand is the contraction of the result's gradient with the other."""
    (a, b), (inputs, result) = operands, spec.split("->")
    a_letters, b_letters = inputs.split(",")
    by_a = _contract_mixed(f"{result},{b_letters}->{a_letters}", dtype, gradient, b)
    by_b = _contract_mixed(f"{a_letters},{result}->{b_letters}", dtype, a, gradient)
    return by_a, by_b


_contract_mixed.defvjp(_contract_mixed_forward, _contract_mixed_backward)


def kept(config, product, name: str) -> jax.Array:
    """A product under the name by which remat keeps it; where operands are bfloat16 it is kept so too, in half the memory."""
    if config.matmul_dtype in ("auto", config.dtype):
        return checkpoint_name(product.astype(config.dtype), name)
    return _keep_rounded(config.matmul_dtype, name, product)


def _kept_rounded(dtype: str, name: str, x) -> jax.Array:
    # As integers: XLA for CPUs cannot slice bfloat16, and would turn what all layers keep into float32 at once.
    bits = jax.lax.bitcast_convert_type(x.astype(dtype), f"uint{8 * jnp.dtype(dtype).itemsize}")
    return jax.lax.bitcast_convert_type(checkpoint_name(bits, name), dtype).astype(x.dtype)


_keep_rounded = jax.custom_vjp(_kept_rounded, nondiff_argnums=(0, 1))
_keep_rounded.defvjp(lambda *arguments: (_kept_rounded(*arguments), None), lambda dtype, name, _, gradient: (gradient,))


def as_int8(x, axis: int) -> jax.Array:
    """x as its nearest int8 says, with a scale of its own for each index of this axis, its largest size / 127.5 (qwix, as AQT);
    the gradient passes as if nothing were rounded (Bengio et al. 2013, arXiv 1308.3432, section 2.3).

    Raises:
        UserError: qwix is not installed.
    """
    try:
        import qwix
    except ImportError:
        fix = "pip install -e '.[int8]'"
        raise UserError("model.quantize=int8 is of another package", got="qwix is not installed", fix=fix) from None
    x32 = x.astype(jnp.float32)
    rounded = qwix.dequantize(qwix.quantize(x32, jnp.int8, channelwise_axes=[axis]))
    return x + jax.lax.stop_gradient(rounded - x32).astype(x.dtype)


class Dense(nn.Module):
    """x [..., I] to [..., features]: float32 weights, drawn `spread` times as wide as config.initializer_range says; a bias where
    config.use_bias or always_bias; result in the dtype of the activations. With config.quantize both operands are as int8 would
    have them, weights by output, what is given by token."""

    config: Any
    features: int
    spread: float = 1.0
    always_bias: bool = False

    @nn.compact
    def __call__(self, x):
        kernel_IO = self.param("kernel", weight_init(self.config, self.spread), (x.shape[-1], self.features), jnp.float32)
        x_RI = x.reshape(-1, x.shape[-1])
        if self.config.quantize:
            x_RI, kernel_IO = as_int8(x_RI, 0), as_int8(kernel_IO, 1)
        y_RO = kept(self.config, contract(self.config, "ri,io->ro", x_RI, kernel_IO), WEIGHT_PRODUCTS)
        if self.config.use_bias or self.always_bias:
            bias_O = self.param("bias", nn.initializers.zeros, (self.features,), jnp.float32)
            y_RO += bias_O.astype(self.config.dtype)[None, :]
        return y_RO.reshape(*x.shape[:-1], self.features)


class Dropout(nn.Module):
    """Each element 0 with probability `rate`, the others divided by 1 - rate; only in training, with a "dropout" rng.

    Sixteen random bits decide on an element, so that `rate` stands to the nearest 1 / 65,536; the generator costs a CPU more
    than the products of a small model, and jax would draw 64 bits for each.
    """

    rate: float

    @nn.compact
    def __call__(self, x, *, train: bool):
        if not train or not self.rate:
            return x
        kept = checkpoint_name(random_16_bits(self.make_rng("dropout"), x.shape) >= round(self.rate * 2**16), DROPOUT_MASKS)
        return jnp.where(kept, x / (1 - self.rate), jnp.zeros((), x.dtype))


def random_16_bits(key, shape: tuple[int, ...]) -> jax.Array:
    """uint32[shape], uniform below 65,536: the halves of half as many words."""
    *rows, columns = shape
    words = jax.random.bits(key, (*rows, -(-columns // 2)))
    return jnp.concatenate([words >> 16, words & 0xFFFF], axis=-1)[..., :columns]


class Embedding(nn.Module):
    """A table float32[num, table_width]; called with integers of any shape, gives their rows in the dtype of the activations."""

    config: Any
    num: int

    def setup(self):
        self.embedding = self.param("embedding", weight_init(self.config), (self.num, self.config.table_width), jnp.float32)

    def __call__(self, ids):
        return jnp.take(self.embedding, ids, axis=0).astype(self.config.dtype)

    def table(self):
        return self.embedding


class LayerNorm(nn.Module):
    """LayerNorm over the last axis, statistics in float32 (Ba et al. 2016, arXiv 1607.06450); a bias where config.use_bias."""

    config: Any

    @nn.compact
    def __call__(self, x):
        scale_D = self.param("scale", nn.initializers.ones, (x.shape[-1],), jnp.float32)
        x32 = x.astype(jnp.float32)
        centred = x32 - x32.mean(-1, keepdims=True)
        variance = jnp.square(centred).mean(-1, keepdims=True)
        broadcast = (1,) * (x.ndim - 1) + (-1,)
        y = centred * jax.lax.rsqrt(variance + self.config.layer_norm_eps) * scale_D.reshape(broadcast)
        if self.config.use_bias:
            y += self.param("bias", nn.initializers.zeros, (x.shape[-1],), jnp.float32).reshape(broadcast)
        return y.astype(self.config.dtype)
