"""An encoder drawn, and applied to a batch, as every objective needs it."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from bert_jax.models.encoder import Encoder, EncoderConfig, EncoderOutput
from bert_jax.models.features import from_batch
from bert_jax.models.heads import MaskedLMHead


def init_encoder(encoder: Encoder, rng) -> tuple[dict, EncoderOutput]:
    """(params, what they make of two pieces): the shapes of the second draw the heads."""
    ids_BL = jnp.zeros((1, 2), jnp.int32)
    of_kind = {"ids": lambda size: ids_BL, "vector": lambda size: jnp.zeros((1, 2, size), jnp.float32)}
    features = {feature.name: of_kind[feature.kind](feature.size) for feature in from_batch(encoder.config.features)}
    out, variables = encoder.init_with_output(rng, ids_BL, ids_BL, ids_BL, features=features, train=False)
    return variables["params"], out


def init_masked_lm(config: EncoderConfig, rng, out: EncoderOutput) -> dict:
    return MaskedLMHead(config).init(rng, out.hidden_BLD, jnp.zeros((1, 1), jnp.int32), out.word_table_VD)["params"]


def masked_lm_logits(config: EncoderConfig, params: dict, out: EncoderOutput, positions_BP) -> jax.Array:
    """float32[B, P, V] at these places of the row, by params["masked_lm"]."""
    return MaskedLMHead(config).apply({"params": params["masked_lm"]}, out.hidden_BLD, positions_BP, out.word_table_VD)


def encode(encoder: Encoder, params: dict, batch: dict, rng, **options) -> EncoderOutput:
    """The encoder on the rows of a batch, packed or not; with a key, and then only, with dropout."""
    return encoder.apply(
        {"params": params},
        batch["input_ids"],
        batch["segment_ids"],
        batch["input_mask"],
        *(batch.get(name) for name in ("position_ids", "sequence_ids", "cls_positions")),
        features={name.removeprefix("feature_"): batch[name] for name in batch if name.startswith("feature_")},
        train=rng is not None,
        rngs={} if rng is None else {"dropout": rng},
        **options,
    )


class Layers(NamedTuple):
    """What an encoder of N layers makes on the way.

    Attributes:
        hidden_NBLD: the embeddings, then what each layer gives out: N + 1 of them.
        query_NBLHK, key_NBLHK, value_NBLHK: of the attention of each layer.
    """

    hidden_NBLD: jax.Array
    query_NBLHK: jax.Array
    key_NBLHK: jax.Array
    value_NBLHK: jax.Array


def encode_layers(encoder: Encoder, params: dict, batch: dict, rng) -> tuple[EncoderOutput, Layers]:
    """`encode`, and what the layers made on the way, of model.block=post_norm; layers that share weights are told apart too."""
    out, made = encode(encoder, params, batch, rng, mutable=["intermediates"])
    (embedded_BLD,), layers = made["intermediates"]["embedded"], made["intermediates"]["layers"]
    if encoder.config.num_hidden_groups:
        layers = jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), layers["block"])
    (hidden_NBLD,), (query_key_value,) = layers["hidden"], layers["attention"]["query_key_value"]
    return out, Layers(jnp.concatenate([embedded_BLD[None], hidden_NBLD]), *query_key_value)
