"""An encoder without a head and without a loss: one from elsewhere, to be used or fine-tuned."""

import jax.numpy as jnp

from bert_jax.models.encoder import Encoder, EncoderConfig
from bert_jax.objectives.objective import Objective


def encode(config: EncoderConfig) -> Objective:
    """Params are {"encoder"}; predict gives hidden_BLD and, with a pooler, pooled_BD. Nothing is learned: there are no terms."""
    encoder = Encoder(config)

    def init(rng):
        ids_BL = jnp.zeros((1, 2), jnp.int32)
        return {"encoder": encoder.init(rng, ids_BL, ids_BL, ids_BL, train=False)["params"]}

    def counts(batch):
        return {"tokens": jnp.sum(batch["input_mask"], dtype=jnp.float32)}

    def predict(params, batch):
        inputs = (batch["input_ids"], batch["segment_ids"], batch["input_mask"])
        out = encoder.apply({"params": params["encoder"]}, *inputs, train=False)
        return {"hidden_BLD": out.hidden_BLD} | ({"pooled_BD": out.pooled_BD} if config.pooler else {})

    return Objective(init, counts, lambda params, batch, rng: {}, {}, predict)
