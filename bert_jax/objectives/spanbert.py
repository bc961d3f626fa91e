"""SpanBERT (Joshi et al. 2020, arXiv 1907.10529, section 3): masked LM over hidden spans, and each piece of a span once more from
the two pieces beside the span."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from bert_jax.models.encoder import Encoder, EncoderConfig
from bert_jax.models.heads import SpanBoundaryHead
from bert_jax.objectives.apply import encode, init_encoder, init_masked_lm, masked_lm_logits
from bert_jax.objectives.losses import cross_entropy_sums, masked_lm_sums, totals
from bert_jax.objectives.objective import Objective, Term
from bert_jax.ranges import require, whole

RANGES = {"max_span_pieces": whole(1, 2**20)}  # rows of a table


def spanbert(config: EncoderConfig, *, max_span_pieces: int) -> Objective:
    """Masked-LM loss plus span-boundary loss, both with weight 1 (section 3.2).

    Params are {"encoder", "masked_lm", "span_boundary"}; predict gives the masked-LM logits_BPV.

    Args:
        max_span_pieces: only so many first pieces of a span are predicted from its boundaries, as in the released code.

    Raises:
        UserError: max_span_pieces is out of range.
    """
    require("objective", {"max_span_pieces": max_span_pieces}, RANGES)
    encoder, boundary = Encoder(config), SpanBoundaryHead(config, max_span_pieces)

    def init(rng):
        encoder_rng, lm_rng, boundary_rng = jax.random.split(rng, 3)
        params, out = init_encoder(encoder, encoder_rng)
        place_BP, beside_BPD = jnp.zeros((1, 1), jnp.int32), out.hidden_BLD[:, :1]
        span = boundary.init(boundary_rng, beside_BPD, beside_BPD, place_BP, out.word_table_VD)["params"]
        return {"encoder": params, "masked_lm": init_masked_lm(config, lm_rng, out), "span_boundary": span}

    def weights(batch):
        spans = find_spans(batch["masked_lm_positions"], batch["masked_lm_weights"])
        return spans, batch["masked_lm_weights"] * (spans.place_BP < max_span_pieces)

    def counts(batch):
        return totals(
            {"masked_lm": batch["masked_lm_weights"], "span_boundary": weights(batch)[1], "tokens": batch["input_mask"]}
        )

    def sums(params, batch, context):
        out = encode(encoder, params["encoder"], batch, context.rng)
        lm_BPV = masked_lm_logits(config, params, out, batch["masked_lm_positions"])
        spans, weights_BP = weights(batch)
        left_BPD, right_BPD = (
            jnp.take_along_axis(out.hidden_BLD, at_BP[:, :, None], axis=1) for at_BP in (spans.left_BP, spans.right_BP)
        )
        place_BP = jnp.minimum(spans.place_BP, max_span_pieces - 1)
        head = {"params": params["span_boundary"]}
        span_BPV = boundary.apply(head, left_BPD, right_BPD, place_BP, out.word_table_VD)
        loss, hits = cross_entropy_sums(span_BPV, batch["masked_lm_ids"], weights_BP)
        return masked_lm_sums(lm_BPV, batch) | {"span_boundary_loss": loss, "span_boundary_accuracy": hits}

    def predict(params, batch):
        out = encode(encoder, params["encoder"], batch, None)
        return {"logits_BPV": masked_lm_logits(config, params, out, batch["masked_lm_positions"])}

    terms = {}
    for name in ("masked_lm", "span_boundary"):
        terms |= {f"{name}_loss": Term(name, 1.0), f"{name}_accuracy": Term(name)}
    return Objective(init, counts, sums, terms, predict)


class Spans(NamedTuple):
    """For each slot, int32[B, P]: the places in the row beside its span, and its own place in the span, from 0."""

    left_BP: jax.Array
    right_BP: jax.Array
    place_BP: jax.Array


def find_spans(positions_BP, weights_BP) -> Spans:
    """Hidden places in a row without a gap are one span: those that touch are joined, as in the released code.

    Args:
        positions_BP: ascending in the used slots, which come first; what unused slots give means nothing.
    """
    used_BP = weights_BP > 0
    ahead_BP = jnp.where(used_BP, positions_BP, -1)
    follows_BP = ahead_BP == jnp.pad(ahead_BP, ((0, 0), (1, 0)), constant_values=-2)[:, :-1] + 1
    is_followed_BP = jnp.pad(follows_BP & used_BP, ((0, 0), (0, 1)))[:, 1:]
    first_BP = jax.lax.cummax(jnp.where(follows_BP, 0, positions_BP), axis=1)
    far = jnp.iinfo(jnp.int32).max
    last_BP = jax.lax.cummin(jnp.where(is_followed_BP | ~used_BP, far, positions_BP), axis=1, reverse=True)
    left_BP, right_BP = jnp.where(used_BP, first_BP - 1, 0), jnp.where(used_BP, last_BP + 1, 0)
    return Spans(left_BP, right_BP, jnp.where(used_BP, positions_BP - first_BP, 0))
