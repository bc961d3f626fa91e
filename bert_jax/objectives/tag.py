"""A class for each piece, such as the first one of every word, as named entities are found (BERT paper, section 5.3)."""

from bert_jax.models.encoder import EncoderConfig
from bert_jax.models.heads import TokenHead
from bert_jax.objectives.classify import labelled
from bert_jax.objectives.objective import Objective


def tag(config: EncoderConfig, num_classes: int) -> Objective:
    """Mean cross-entropy over the pieces of label_weights 1.

    Params are {"encoder", "token_classifier"}; predict gives logits_BLC.
    """
    head = TokenHead(config, num_classes)
    return labelled(config, head, name="token_classifier", predicted="logits_BLC", vectors=lambda out: out.hidden_BLD)
