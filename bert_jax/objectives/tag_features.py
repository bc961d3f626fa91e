"""Tags from an encoder that stays as it is: "feature-based", BERT paper, section 5.3 and table 7."""

from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import jax
import jax.numpy as jnp

from bert_jax.errors import UserError
from bert_jax.models.encoder import Encoder, EncoderConfig
from bert_jax.models.lstm import BiLSTM
from bert_jax.objectives.apply import encode_layers
from bert_jax.objectives.objective import Objective
from bert_jax.objectives.tag import SOFTMAX, Vectors, tagger
from bert_jax.ranges import require, whole

LSTM_LAYERS = 2  # section 5.3
RANGES = {"lstm_width": whole(2)}


class Picked(NamedTuple):
    """Some of the embeddings and the N layers above them, and how they become one vector for each piece."""

    layers: slice
    least: int  # layers that the encoder must have
    joined: Callable  # (hidden_NBLD, params of the mixture) -> vectors_BLD
    mixed: bool = False  # whether there is a mixture to learn


def _only(hidden_NBLD, mix) -> jax.Array:
    return hidden_NBLD[0]


def _side_by_side(hidden_NBLD, mix) -> jax.Array:
    return jnp.concatenate(list(hidden_NBLD), axis=-1)


def _weighted(hidden_NBLD, mix) -> jax.Array:
    """A learned factor times the mean under learned weights, which a softmax makes positive with sum 1 (ELMo: Peters et al. 2018,
    arXiv 1802.05365, equation 1); the paper does not say how its sum is weighted."""
    weights_N = jax.nn.softmax(mix["layer_weights"]) * mix["scale"]
    return jnp.einsum("n,nbld->bld", weights_N, hidden_NBLD.astype(jnp.float32)).astype(hidden_NBLD.dtype)


LAYERS = {  # the rows of table 7
    "embeddings": Picked(slice(0, 1), 0, _only),
    "second_to_last": Picked(slice(-2, -1), 1, _only),
    "last": Picked(slice(-1, None), 1, _only),
    "weighted_sum_last_four": Picked(slice(-4, None), 4, _weighted, mixed=True),
    "concat_last_four": Picked(slice(-4, None), 4, _side_by_side),
    "weighted_sum_all": Picked(slice(1, None), 1, _weighted, mixed=True),  # without the embeddings
}


def tag_features(config: EncoderConfig, num_classes: int, layers: str = "concat_last_four", lstm_width: int = 768) -> Objective:
    """`tag`, from what a frozen encoder without dropout gives out: a bidirectional LSTM of two layers, newly drawn, reads it from
    [CLS] to the last [SEP], then comes dropout, then the classifier.

    The encoder gets no gradient, so that an optimiser without weight decay leaves it as it is.

    Params are {"encoder", "lstm", "token_classifier"}, and where layers are weighted {"mixture": {"layer_weights", "scale"}};
    predict gives logits_BLC.

    Args:
        layers: of LAYERS.
        lstm_width: of both directions side by side; the paper says 768, and not of what.

    Raises:
        UserError: the encoder does not have such layers, or there is no such choice.
    """
    require("objective", {"lstm_width": lstm_width}, RANGES)
    if layers not in LAYERS:
        raise UserError("objective.layers is unknown", got=layers, expected=" or ".join(LAYERS))
    picked = LAYERS[layers]
    if config.block != "post_norm":
        raise UserError(
            "features are taken from layers of BERT's kind only", got=f"model.block={config.block}", expected="post_norm"
        )
    if config.num_hidden_layers < max(picked.least, 1):
        raise UserError(
            f"the encoder has too few layers for objective.layers={layers}",
            got=f"model.num_hidden_layers={config.num_hidden_layers}",
            expected=f"at least {max(picked.least, 1)}",
        )
    lstm = BiLSTM(replace(config, hidden_size=lstm_width, num_attention_heads=1, num_lstm_layers=LSTM_LAYERS))
    chosen = len(range(config.num_hidden_layers + 1)[picked.layers])

    def init(rng, out):
        mix = {"layer_weights": jnp.zeros(chosen), "scale": jnp.ones(())}
        vectors_BLD = picked.joined(jnp.repeat(out.hidden_BLD[None], chosen, axis=0), mix)
        read_BLD, variables = lstm.init_with_output(rng, vectors_BLD, jnp.ones(vectors_BLD.shape[:2], jnp.int32))
        return {"lstm": variables["params"]} | ({"mixture": mix} if picked.mixed else {}), read_BLD

    def of(params, batch, rng):
        _, made = encode_layers(Encoder(config), params["encoder"], batch, None)
        vectors_BLD = picked.joined(jax.lax.stop_gradient(made.hidden_NBLD)[picked.layers], params.get("mixture"))
        return lstm.apply({"params": params["lstm"]}, vectors_BLD, batch["input_mask"])

    return tagger(config, num_classes, Vectors(init, of), SOFTMAX)
