"""A class for a sentence or a pair of sentences, from the vector of [CLS] (BERT paper, section 4.1)."""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from bert_jax.errors import UserError
from bert_jax.models.encoder import Encoder, EncoderConfig
from bert_jax.models.heads import ClassHead
from bert_jax.models.layers import Dropout
from bert_jax.objectives.apply import encode, init_encoder
from bert_jax.objectives.losses import cross_entropy_sums, totals
from bert_jax.objectives.objective import Objective, Term
from bert_jax.ranges import POSITIVE


def _class_sums(logits, batch) -> dict:
    loss, hits = cross_entropy_sums(logits, batch["label_ids"], batch["label_weights"])
    return {"loss": loss, "accuracy": hits}


CLASS_TERMS = {"loss": Term("labels", 1.0), "accuracy": Term("labels")}


def classify(config: EncoderConfig, num_classes: int, class_weights: Sequence[float] = ()) -> Objective:
    """Mean cross-entropy of one new layer on the pooled vector, with dropout between them, as in google-research/bert
    run_classifier.create_model.

    Params are {"encoder", "classifier"}; predict gives logits_BC.

    Args:
        class_weights: what the loss of a row of each class is multiplied by, and what it counts for in the mean (as
            torch.nn.CrossEntropyLoss has it); () is 1 for all.
    """
    head = ClassHead(config, num_classes)
    plain = labelled(config, head, name="classifier", predicted="logits_BC", vectors=lambda out: out.pooled_BD)
    if not class_weights:
        return plain
    if len(class_weights) != num_classes or any(weight not in POSITIVE for weight in class_weights):
        raise UserError(
            "objective.class_weights does not fit the classes",
            got=tuple(class_weights),
            expected=f"{num_classes} numbers above 0",
        )
    factors_C = np.array(class_weights, np.float32)

    def weighted(batch):
        return {**batch, "label_weights": batch["label_weights"] * jnp.asarray(factors_C)[batch["label_ids"]]}

    return plain._replace(
        counts=lambda batch: plain.counts(weighted(batch)),
        sums=lambda params, batch, context: {"loss": plain.sums(params, weighted(batch), context)["loss"]},
        terms={"loss": CLASS_TERMS["loss"]},  # a weighted share of right rows would be no accuracy
    )


def labelled(
    config: EncoderConfig,
    head,
    *,
    name: str,
    predicted: str,
    vectors: Callable,
    rows: Callable = lambda batch: batch,
    shaped: Callable = lambda logits, batch: logits,
    measured: Callable = _class_sums,
    terms: dict[str, Term] = CLASS_TERMS,
) -> Objective:
    """What a head makes of the encoder's vectors, with dropout between them; by default with the mean cross-entropy of label_ids
    under its softmax.

    Args:
        name: of the head in params, beside "encoder".
        predicted: name of the logits.
        vectors: EncoderOutput -> what the head is given.
        rows: batch -> what the encoder reads.
        shaped: (what the head gives, batch) -> the logits.
        measured: (logits, batch) -> the sums of `terms`.
    """
    encoder = Encoder(config)

    def init(rng):
        encoder_rng, head_rng = jax.random.split(rng)
        params, out = init_encoder(encoder, encoder_rng)
        return {"encoder": params, name: head.init(head_rng, vectors(out))["params"]}

    def logits(params, batch, rng):
        encoder_rng, head_rng = (None, None) if rng is None else jax.random.split(rng)
        given = dropped(config, vectors(encode(encoder, params["encoder"], rows(batch), encoder_rng)), head_rng)
        return shaped(head.apply({"params": params[name]}, given), batch)

    def counts(batch):
        return totals({"labels": batch["label_weights"], "tokens": batch["input_mask"]})

    def sums(params, batch, context):
        return measured(logits(params, batch, context.rng), batch)

    def predict(params, batch):
        return {predicted: logits(params, batch, None)}

    return Objective(init, counts, sums, terms, predict)


def dropped(config: EncoderConfig, given, rng) -> jax.Array:
    """What a head is given: with a key, and then only, with dropout."""
    return given if rng is None else Dropout(config.hidden_dropout_prob).apply({}, given, train=True, rngs={"dropout": rng})
