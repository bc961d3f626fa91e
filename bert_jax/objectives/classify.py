"""A class for a sentence or a pair of sentences, from the vector of [CLS] (BERT paper, section 4.1)."""

import jax
import jax.numpy as jnp

from bert_jax.models.encoder import Encoder, EncoderConfig
from bert_jax.models.heads import ClassHead
from bert_jax.models.layers import Dropout
from bert_jax.objectives.losses import cross_entropy_sums
from bert_jax.objectives.objective import Objective, Term


def classify(config: EncoderConfig, num_classes: int) -> Objective:
    """Mean cross-entropy of one new layer on the pooled vector, with dropout between them, as in google-research/bert
    run_classifier.create_model.

    Params are {"encoder", "classifier"}; predict gives logits_BC.
    """
    encoder, head = Encoder(config), ClassHead(config, num_classes)
    dropout = Dropout(config.hidden_dropout_prob)

    def init(rng):
        encoder_rng, head_rng = jax.random.split(rng)
        ids_BL = jnp.zeros((1, 2), jnp.int32)
        out, variables = encoder.init_with_output(encoder_rng, ids_BL, ids_BL, ids_BL, train=False)
        return {"encoder": variables["params"], "classifier": head.init(head_rng, out.pooled_BD)["params"]}

    def logits(params, batch, rng):
        inputs = (batch["input_ids"], batch["segment_ids"], batch["input_mask"])
        if rng is None:
            pooled_BD = encoder.apply({"params": params["encoder"]}, *inputs, train=False).pooled_BD
        else:
            encoder_rng, head_rng = jax.random.split(rng)
            out = encoder.apply({"params": params["encoder"]}, *inputs, train=True, rngs={"dropout": encoder_rng})
            pooled_BD = dropout.apply({}, out.pooled_BD, train=True, rngs={"dropout": head_rng})
        return head.apply({"params": params["classifier"]}, pooled_BD)

    def counts(batch):
        weights = {"labels": batch["label_weights"], "tokens": batch["input_mask"]}
        return {name: jnp.sum(weight, dtype=jnp.float32) for name, weight in weights.items()}

    def sums(params, batch, rng):
        loss, hits = cross_entropy_sums(logits(params, batch, rng), batch["label_ids"], batch["label_weights"])
        return {"loss": loss, "accuracy": hits}

    def predict(params, batch):
        return {"logits_BC": logits(params, batch, None)}

    return Objective(init, counts, sums, {"loss": Term("labels", 1.0), "accuracy": Term("labels")}, predict)
