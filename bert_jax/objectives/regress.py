"""A score for a sentence or a pair of sentences, from the vector of [CLS] (BERT paper, section 4.1: STS-B)."""

import jax.numpy as jnp

from bert_jax.models.encoder import EncoderConfig
from bert_jax.models.heads import ClassHead
from bert_jax.objectives.classify import labelled
from bert_jax.objectives.objective import Objective, Term


def regress(config: EncoderConfig) -> Objective:
    """Mean squared error of label_values from one new output of the pooled vector, with dropout between them, as in
    google-research/electra finetune/classification/classification_tasks.py RegressionTask.

    Params are {"encoder", "classifier"}, as transformers keeps them; predict gives scores_B.
    """

    def squares(scores_B, batch):
        return {"loss": jnp.sum(jnp.square(scores_B - batch["label_values"]) * batch["label_weights"])}

    return labelled(
        config,
        ClassHead(config, 1),
        name="classifier",
        predicted="scores_B",
        vectors=lambda out: out.pooled_BD,
        shaped=lambda logits, batch: logits[:, 0],
        measured=squares,
        terms={"loss": Term("labels", 1.0)},
    )
