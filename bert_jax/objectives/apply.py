"""An encoder drawn, and applied to a batch, as every objective needs it."""

import jax.numpy as jnp

from bert_jax.models.encoder import Encoder, EncoderOutput
from bert_jax.models.heads import MaskedLMHead


def init_encoder(encoder: Encoder, rng) -> tuple[dict, EncoderOutput]:
    """(params, what they make of two pieces): the shapes of the second draw the heads."""
    ids_BL = jnp.zeros((1, 2), jnp.int32)
    out, variables = encoder.init_with_output(rng, ids_BL, ids_BL, ids_BL, train=False)
    return variables["params"], out


def init_masked_lm(head: MaskedLMHead, rng, out: EncoderOutput) -> dict:
    return head.init(rng, out.hidden_BLD, jnp.zeros((1, 1), jnp.int32), out.word_table_VD)["params"]


def encode(encoder: Encoder, params: dict, batch: dict, rng) -> EncoderOutput:
    """The encoder on the rows of a batch, packed or not; with a key, and then only, with dropout."""
    return encoder.apply(
        {"params": params},
        batch["input_ids"],
        batch["segment_ids"],
        batch["input_mask"],
        *(batch.get(name) for name in ("position_ids", "sequence_ids", "cls_positions")),
        train=rng is not None,
        rngs={} if rng is None else {"dropout": rng},
    )
