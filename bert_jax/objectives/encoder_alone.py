"""An encoder from elsewhere, to be used or fine-tuned: nothing is learned, and there is no loss."""

import jax
import jax.numpy as jnp

from bert_jax.models.encoder import Encoder, EncoderConfig
from bert_jax.models.heads import PieceHead
from bert_jax.objectives.apply import encode, init_encoder
from bert_jax.objectives.objective import Objective


def encoder_alone(config: EncoderConfig, *, replaced: bool) -> Objective:
    """Params are {"encoder"}, and "replaced" for the head of a discriminator (ELECTRA, arXiv 2003.10555).

    predict gives hidden_BLD; with a pooler pooled_BD; with the head logits_BL, above 0 where a piece seems replaced.
    """
    encoder, head = Encoder(config), PieceHead(config)

    def init(rng):
        encoder_rng, head_rng = jax.random.split(rng)
        params, out = init_encoder(encoder, encoder_rng)
        return {"encoder": params} | ({"replaced": head.init(head_rng, out.hidden_BLD)["params"]} if replaced else {})

    def counts(batch):
        return {"tokens": jnp.sum(batch["input_mask"], dtype=jnp.float32)}

    def predict(params, batch):
        out = encode(encoder, params["encoder"], batch, None)
        found = {"hidden_BLD": out.hidden_BLD} | ({"pooled_BD": out.pooled_BD} if config.pooler else {})
        return found | ({"logits_BL": head.apply({"params": params["replaced"]}, out.hidden_BLD)} if replaced else {})

    return Objective(init, counts, lambda params, batch, context: {}, {}, predict)
