"""The small parts that every encoder and head is made of; each takes its sizes, dtype and initial spread from the config."""

from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

# "gelu" is the exact one, with erf; "gelu_new" is the tanh form of google-research/bert modeling.gelu.
ACTIVATIONS = {
    "gelu": partial(nn.gelu, approximate=False),
    "gelu_new": partial(nn.gelu, approximate=True),
    "relu": nn.relu,
}


def weight_init(config):
    """Normal, cut at two standard deviations (google-research/bert modeling.create_initializer)."""
    return nn.initializers.truncated_normal(config.initializer_range)


class Dense(nn.Module):
    """x [..., I] to [..., features]: float32 weights, product in the dtype of the activations."""

    config: Any
    features: int

    @nn.compact
    def __call__(self, x):
        kernel_IO = self.param("kernel", weight_init(self.config), (x.shape[-1], self.features), jnp.float32)
        bias_O = self.param("bias", nn.initializers.zeros, (self.features,), jnp.float32)
        dtype = self.config.dtype
        y_RO = x.reshape(-1, x.shape[-1]).astype(dtype) @ kernel_IO.astype(dtype) + bias_O.astype(dtype)[None, :]
        return y_RO.reshape(*x.shape[:-1], self.features)


class Embedding(nn.Module):
    """A table float32[num, D]; called with integers of any shape, gives their rows in the dtype of the activations."""

    config: Any
    num: int

    def setup(self):
        self.embedding = self.param("embedding", weight_init(self.config), (self.num, self.config.hidden_size), jnp.float32)

    def __call__(self, ids):
        return jnp.take(self.embedding, ids, axis=0).astype(self.config.dtype)

    def table(self):
        return self.embedding


class LayerNorm(nn.Module):
    """LayerNorm over the last axis, statistics in float32 (Ba et al. 2016, arXiv 1607.06450)."""

    config: Any

    @nn.compact
    def __call__(self, x):
        scale_D = self.param("scale", nn.initializers.ones, (x.shape[-1],), jnp.float32)
        bias_D = self.param("bias", nn.initializers.zeros, (x.shape[-1],), jnp.float32)
        x32 = x.astype(jnp.float32)
        centred = x32 - x32.mean(-1, keepdims=True)
        variance = jnp.square(centred).mean(-1, keepdims=True)
        broadcast = (1,) * (x.ndim - 1) + (-1,)
        y = centred * jax.lax.rsqrt(variance + self.config.layer_norm_eps) * scale_D.reshape(broadcast) + bias_D.reshape(
            broadcast
        )
        return y.astype(self.config.dtype)
