"""A class for a sentence or a pair of sentences, from the vector of [CLS] (BERT paper, section 4.1)."""

import jax
import jax.numpy as jnp

from bert_jax.models.encoder import Encoder, EncoderConfig
from bert_jax.models.heads import ClassHead
from bert_jax.models.layers import Dropout
from bert_jax.objectives.apply import encode, init_encoder
from bert_jax.objectives.losses import cross_entropy_sums
from bert_jax.objectives.objective import Objective, Term


def classify(config: EncoderConfig, num_classes: int) -> Objective:
    """Mean cross-entropy of one new layer on the pooled vector, with dropout between them, as in google-research/bert
    run_classifier.create_model.

    Params are {"encoder", "classifier"}; predict gives logits_BC.
    """
    encoder, head = Encoder(config), ClassHead(config, num_classes)

    def init(rng):
        encoder_rng, head_rng = jax.random.split(rng)
        params, out = init_encoder(encoder, encoder_rng)
        return {"encoder": params, "classifier": head.init(head_rng, out.pooled_BD)["params"]}

    def logits(params, batch, rng):
        encoder_rng, head_rng = (None, None) if rng is None else jax.random.split(rng)
        pooled_BD = encode(encoder, params["encoder"], batch, encoder_rng).pooled_BD
        return class_logits(config, num_classes, params["classifier"], pooled_BD, head_rng)

    def counts(batch):
        weights = {"labels": batch["label_weights"], "tokens": batch["input_mask"]}
        return {name: jnp.sum(weight, dtype=jnp.float32) for name, weight in weights.items()}

    def sums(params, batch, context):
        loss, hits = cross_entropy_sums(logits(params, batch, context.rng), batch["label_ids"], batch["label_weights"])
        return {"loss": loss, "accuracy": hits}

    def predict(params, batch):
        return {"logits_BC": logits(params, batch, None)}

    return Objective(init, counts, sums, {"loss": Term("labels", 1.0), "accuracy": Term("labels")}, predict)


def class_logits(config: EncoderConfig, num_classes: int, params: dict, pooled_BD, rng) -> jax.Array:
    """float32[B, C]; with a key, and then only, with dropout on the pooled vectors."""
    if rng is not None:
        pooled_BD = Dropout(config.hidden_dropout_prob).apply({}, pooled_BD, train=True, rngs={"dropout": rng})
    return ClassHead(config, num_classes).apply({"params": params}, pooled_BD)
