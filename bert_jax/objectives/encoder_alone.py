"""An encoder without a head and without a loss: one from elsewhere, to be used or fine-tuned."""

import jax.numpy as jnp

from bert_jax.models.encoder import Encoder, EncoderConfig
from bert_jax.objectives.apply import encode, init_encoder
from bert_jax.objectives.objective import Objective


def encoder_alone(config: EncoderConfig) -> Objective:
    """Params are {"encoder"}; predict gives hidden_BLD and, with a pooler, pooled_BD. Nothing is learned: there are no terms."""
    encoder = Encoder(config)

    def init(rng):
        return {"encoder": init_encoder(encoder, rng)[0]}

    def counts(batch):
        return {"tokens": jnp.sum(batch["input_mask"], dtype=jnp.float32)}

    def predict(params, batch):
        out = encode(encoder, params["encoder"], batch, None)
        return {"hidden_BLD": out.hidden_BLD} | ({"pooled_BD": out.pooled_BD} if config.pooler else {})

    return Objective(init, counts, lambda params, batch, context: {}, {}, predict)
