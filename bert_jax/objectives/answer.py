"""Where in the row the answer to a question begins and ends (BERT paper, section 4.2)."""

import jax

from bert_jax.models.encoder import Encoder, EncoderConfig
from bert_jax.models.heads import TokenHead
from bert_jax.objectives.apply import encode, init_encoder
from bert_jax.objectives.losses import cross_entropy_sums, totals
from bert_jax.objectives.objective import Objective, Term


def answer(config: EncoderConfig) -> Objective:
    """The mean of two cross-entropies, of the begin and of the end, each under a softmax over all places of the row, padding
    among them (google-research/bert run_squad.model_fn_builder).

    Params are {"encoder", "answer_span"}; predict gives start_logits_BL and end_logits_BL.
    """
    encoder, head = Encoder(config), TokenHead(config, 2)

    def init(rng):
        encoder_rng, head_rng = jax.random.split(rng)
        params, out = init_encoder(encoder, encoder_rng)
        return {"encoder": params, "answer_span": head.init(head_rng, out.hidden_BLD)["params"]}

    def logits(params, batch, rng) -> dict:
        out = encode(encoder, params["encoder"], batch, rng)
        logits_BLC = head.apply({"params": params["answer_span"]}, out.hidden_BLD)
        return {"start": logits_BLC[..., 0], "end": logits_BLC[..., 1]}

    def counts(batch):
        return totals({"labels": batch["label_weights"], "tokens": batch["input_mask"]})

    def sums(params, batch, context):
        found = {}
        for side, logits_BL in logits(params, batch, context.rng).items():
            loss, hits = cross_entropy_sums(logits_BL, batch[f"{side}_positions"], batch["label_weights"])
            found |= {f"{side}_loss": loss, f"{side}_accuracy": hits}
        return found

    def predict(params, batch):
        return {f"{side}_logits_BL": logits_BL for side, logits_BL in logits(params, batch, None).items()}

    terms = {}
    for side in ("start", "end"):
        terms |= {f"{side}_loss": Term("labels", 0.5), f"{side}_accuracy": Term("labels")}
    return Objective(init, counts, sums, terms, predict)
