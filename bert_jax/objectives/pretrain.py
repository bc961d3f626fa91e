"""Masked language model, with the label of a pair or without: next sentence (BERT paper, section 3.1) or sentence order (ALBERT,
arXiv 1909.11942, section 3.1), as the rows have it."""

import jax

from bert_jax.models.encoder import Encoder, EncoderConfig
from bert_jax.models.heads import ClassHead
from bert_jax.objectives.apply import encode, init_encoder, init_masked_lm, masked_lm_logits
from bert_jax.objectives.losses import cross_entropy_sums, masked_lm_sums, totals
from bert_jax.objectives.objective import Objective, Term


def bert(config: EncoderConfig, *, next_sentence: bool = True) -> Objective:
    """The paper's loss: mean masked-LM loss plus mean next-sentence loss, both with weight 1.

    Params are {"encoder", "masked_lm", "next_sentence"}; without next_sentence the last is absent (paper, table 5, "No NSP").
    predict gives logits_BPV and, with next_sentence, logits_BC over (is next, random). Rows may be packed (bert_jax/batch.py).
    """
    encoder, next_head = Encoder(config), ClassHead(config, 2)

    def init(rng):
        encoder_rng, lm_rng, next_rng = jax.random.split(rng, 3)
        encoder_params, out = init_encoder(encoder, encoder_rng)
        params = {"encoder": encoder_params, "masked_lm": init_masked_lm(config, lm_rng, out)}
        if next_sentence:
            params["next_sentence"] = next_head.init(next_rng, out.pooled_BD)["params"]
        return params

    def logits(params, batch, rng):
        out = encode(encoder, params["encoder"], batch, rng)
        lm_BPV = masked_lm_logits(config, params, out, batch["masked_lm_positions"])
        return lm_BPV, next_head.apply({"params": params["next_sentence"]}, out.pooled_BD) if next_sentence else None

    def counts(batch):
        weights = {"masked_lm": batch["masked_lm_weights"], "tokens": batch["input_mask"]}
        if next_sentence:
            weights["next_sentence"] = batch["next_sentence_weights"]
        return totals(weights)

    def sums(params, batch, context):
        lm_BPV, next_BC = logits(params, batch, context.rng)
        result = masked_lm_sums(lm_BPV, batch)
        if next_sentence:
            loss, hits = cross_entropy_sums(next_BC, batch["next_sentence_labels"], batch["next_sentence_weights"])
            result |= {"next_sentence_loss": loss, "next_sentence_accuracy": hits}
        return result

    def predict(params, batch):
        lm_BPV, next_BC = logits(params, batch, None)
        return {"logits_BPV": lm_BPV} | ({"logits_BC": next_BC} if next_sentence else {})

    terms = {"masked_lm_loss": Term("masked_lm", 1.0), "masked_lm_accuracy": Term("masked_lm")}
    if next_sentence:
        terms |= {"next_sentence_loss": Term("next_sentence", 1.0), "next_sentence_accuracy": Term("next_sentence")}
    return Objective(init, counts, sums, terms, predict)
