"""The right one of several texts, as the ending of a situation is chosen (BERT paper, section 4.4)."""

from bert_jax.models.encoder import EncoderConfig
from bert_jax.models.heads import ClassHead
from bert_jax.objectives.classify import labelled
from bert_jax.objectives.objective import Objective
from bert_jax.objectives.texts import as_rows


def choose(config: EncoderConfig) -> Objective:
    """Mean cross-entropy of label_ids under the softmax over the texts [B, T, L] of an example: each has a score, the product of
    its pooled vector with one that is learned.

    Params are {"encoder", "choice"}; predict gives logits_BC, a class being a text.
    """
    return labelled(
        config,
        ClassHead(config, 1),
        name="choice",
        predicted="logits_BC",
        vectors=lambda out: out.pooled_BD,
        rows=as_rows,
        shaped=lambda logits, batch: logits.reshape(batch["input_ids"].shape[:-1]),
    )
