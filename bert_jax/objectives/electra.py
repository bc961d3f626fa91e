"""ELECTRA (Clark et al. 2020, arXiv 2003.10555; google-research/electra run_pretraining.py): a small generator fills the masks,
and the encoder tells its pieces from the original ones; with the ablations of the paper's section 3.4."""

from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import jax
import jax.numpy as jnp

from bert_jax.errors import UserError
from bert_jax.models.encoder import Encoder, EncoderConfig
from bert_jax.models.heads import PieceHead
from bert_jax.objectives.apply import encode, init_encoder, init_masked_lm, masked_lm_logits
from bert_jax.objectives.losses import binary_cross_entropy_sums, cross_entropy_sums, masked_lm_sums, totals
from bert_jax.objectives.objective import Objective, Term
from bert_jax.ranges import NOT_NEGATIVE, PART_OR_ALL, require

SHARED = ("word", "position", "segment", "features", "norm")  # of the embeddings: the generator has those of the encoder
RANGES = {"generator_size": PART_OR_ALL, "encoder_weight": NOT_NEGATIVE}
BLOCK = 256  # pieces of the vocabulary whose probabilities are added up at once when one is drawn


def electra(config: EncoderConfig, *, generator_size: float, encoder_weight: float, learns: str) -> Objective:
    """Masked-LM loss of the generator, plus `encoder_weight` times the loss of the encoder on the row with the generator's pieces
    in place of the masks. No gradient passes through the pieces drawn.

    Params are {"encoder", "generator": {"encoder", "masked_lm"}} and the heads of the task. predict gives logits_BPV, which are
    the generator's whatever the encoder learns, and where the encoder has a PieceHead its logits_BL: above 0 where a piece seems
    replaced, or with all_tokens_mlm, where it is to be copied.

    Args:
        generator_size: width and feed-forward of the generator as a share of the encoder's.
        learns: of TASKS.

    Raises:
        UserError: no such task, no generator of that size, a weight below 0, or features that masks hide.
    """
    require("objective", {"generator_size": generator_size, "encoder_weight": encoder_weight}, RANGES)
    if learns not in TASKS:
        raise UserError("objective.learns is unknown", got=learns, expected=" or ".join(TASKS))
    if hidden := [feature.name for feature in config.features if feature.hidden]:
        raise UserError(
            "a feature that is hidden with its piece would show where the masks were to who is to tell replaced pieces",
            got=f"model.features.{hidden[0]}.hidden=True",
            fix="leave the feature out, or set hidden=False if it does not betray the piece",
        )
    task, encoder, small = TASKS[learns], Encoder(config), generator_config(config, generator_size)
    generator = Encoder(small)

    def init(rng):
        encoder_rng, generator_rng, lm_rng, head_rng = jax.random.split(rng, 4)
        params, out = init_encoder(encoder, encoder_rng)
        drawn, small_out = init_encoder(generator, generator_rng)
        if own := {name: part for name, part in drawn.pop("embeddings").items() if name not in SHARED}:
            drawn["embeddings"] = own
        lm = init_masked_lm(small, lm_rng, small_out)
        return {"encoder": params, "generator": {"encoder": drawn, "masked_lm": lm}, **task.init(config, head_rng, out)}

    def generated(params, batch, rng):
        own = generator_params(params)
        out = encode(generator, own["encoder"], batch, rng)
        return masked_lm_logits(small, own, out, batch["masked_lm_positions"])

    def counts(batch):
        return totals({"masked_lm": batch["masked_lm_weights"], "tokens": batch["input_mask"]})

    def sums(params, batch, context):
        generator_rng, rng = (None, None) if context.rng is None else jax.random.split(context.rng)
        logits_BPV = generated(params, batch, generator_rng)
        pieces_BP = sample(jax.lax.stop_gradient(logits_BPV), context.row_rng, batch["example_id"])
        filled = batch | {"input_ids": at_masks(batch, pieces_BP)}
        original_BL = at_masks(batch, batch["masked_lm_ids"])
        learned = task.sums(config, params, encode(encoder, params["encoder"], filled, rng), filled, original_BL)
        return masked_lm_sums(logits_BPV, batch) | learned

    def predict(params, batch):
        found = {"logits_BPV": generated(params, batch, None)}
        if "replaced" in params:
            hidden_BLD = encode(encoder, params["encoder"], batch, None).hidden_BLD
            found["logits_BL"] = PieceHead(config).apply({"params": params["replaced"]}, hidden_BLD)
        return found

    terms = {"masked_lm_loss": Term("masked_lm", 1.0), "masked_lm_accuracy": Term("masked_lm")}
    terms |= {name: Term(task.count, encoder_weight if name.endswith("_loss") else 0.0) for name in task.metrics}
    return Objective(init, counts, sums, terms, predict)


def generator_params(params: dict) -> dict:
    """{"encoder", "masked_lm"} of the generator by itself, with the embeddings that it has of the encoder."""
    own = params["generator"]["encoder"]
    shared = {name: part for name, part in params["encoder"]["embeddings"].items() if name in SHARED}
    return params["generator"] | {"encoder": own | {"embeddings": shared | own.get("embeddings", {})}}


def generator_config(config: EncoderConfig, size: float) -> EncoderConfig:
    """The same depth, tables and width of a head, a share of the width (google-research/electra run_pretraining.py,
    get_generator_config)."""
    width = round(config.hidden_size * size)
    heads = max(1, width * config.num_attention_heads // config.hidden_size)
    if width < 1 or width % heads:
        raise UserError(
            "objective.generator_size gives no generator",
            got=f"{size}: width {width}, {heads} heads",
            expected="a share whose width its heads divide",
        )
    return replace(
        config,
        hidden_size=width,
        num_attention_heads=heads,
        intermediate_size=round(config.intermediate_size * size),
        embedding_size=config.table_width,
        pooler=False,
    )


def sample(logits_BPV, key, example_id_B) -> jax.Array:
    """int32[B, P]: a piece for each slot, by the probabilities of the logits; a row's draws depend on key and number alone.

    One uniform number for each slot, and where it falls among the cumulative probabilities: first among sums of BLOCK pieces,
    then in that block. Gumbel noise, as in the released code, would be a random number for each piece of the vocabulary.
    """
    rows, slots, vocab = logits_BPV.shape
    uniform_BP = jax.vmap(lambda number: jax.random.uniform(jax.random.fold_in(key, number), (slots,)))(example_id_B)
    weights = jnp.exp(logits_BPV - logits_BPV.max(axis=-1, keepdims=True))
    blocks = jnp.pad(weights, ((0, 0), (0, 0), (0, -vocab % BLOCK))).reshape(rows, slots, -1, BLOCK)
    up_to = jnp.cumsum(blocks.sum(axis=-1), axis=-1)
    falls = uniform_BP[..., None] * up_to[..., -1:]
    block = jnp.minimum(jnp.sum(up_to <= falls, axis=-1, keepdims=True), blocks.shape[2] - 1)
    falls -= jnp.where(block > 0, jnp.take_along_axis(up_to, jnp.maximum(block - 1, 0), axis=-1), 0.0)
    inside = jnp.cumsum(jnp.take_along_axis(blocks, block[..., None], axis=2)[:, :, 0], axis=-1)
    place = jnp.minimum(jnp.sum(inside <= falls, axis=-1), BLOCK - 1)
    return jnp.minimum(block[..., 0] * BLOCK + place, vocab - 1).astype(jnp.int32)


def at_masks(batch, pieces_BP) -> jax.Array:
    """input_ids_BL with these pieces in the used slots."""
    ids_BL = batch["input_ids"]
    place_BP = jnp.where(batch["masked_lm_weights"] > 0, batch["masked_lm_positions"], ids_BL.shape[1])
    return ids_BL.at[jnp.arange(len(ids_BL))[:, None], place_BP].set(pieces_BP, mode="drop")


class Task(NamedTuple):
    """What the encoder learns.

    Attributes:
        count: name of the count that its sums are divided by.
        metrics: names of its sums; the loss ends in "_loss".
        init: (config, rng, EncoderOutput) -> params of its heads.
        sums: (config, params, EncoderOutput, batch with the pieces drawn, original_BL) -> {metric: float32 sum}.
    """

    count: str
    metrics: tuple[str, ...]
    init: Callable
    sums: Callable


def _init_replaced(config, rng, out) -> dict:
    return {"replaced": PieceHead(config).init(rng, out.hidden_BLD)["params"]}


def _init_masked_lm(config, rng, out) -> dict:
    return {"masked_lm": init_masked_lm(config, rng, out)}


def _replaced(config, params, out, batch, original_BL) -> dict:
    """Of every piece, whether it is the original one; a piece drawn right counts as original (section 2)."""
    logits_BL = PieceHead(config).apply({"params": params["replaced"]}, out.hidden_BLD)
    return _replaced_sums(logits_BL, batch["input_ids"] != original_BL, batch["input_mask"])


def _replaced_at_masks(config, params, out, batch, original_BL) -> dict:
    """The same at the masks alone ("ELECTRA 15%")."""
    logits_BL = PieceHead(config).apply({"params": params["replaced"]}, out.hidden_BLD)
    at = batch["masked_lm_positions"]
    picked = [jnp.take_along_axis(x, at, axis=1) for x in (logits_BL, batch["input_ids"] != original_BL)]
    return _replaced_sums(*picked, batch["masked_lm_weights"])


def _replaced_sums(logits, replaced, weights) -> dict:
    loss, hits = binary_cross_entropy_sums(logits, replaced, weights)
    return {"replaced_loss": loss, "replaced_accuracy": hits, "replaced_share": jnp.sum(jnp.where(replaced, weights, 0.0))}


def _replace_mlm(config, params, out, batch, original_BL) -> dict:
    """The original pieces at the masks, as BERT does, without ever seeing [MASK] ("Replace MLM")."""
    logits_BPV = masked_lm_logits(config, params, out, batch["masked_lm_positions"])
    loss, hits = cross_entropy_sums(logits_BPV, batch["masked_lm_ids"], batch["masked_lm_weights"])
    return {"restored_loss": loss, "restored_accuracy": hits}


def _all_tokens_mlm(config, params, out, batch, original_BL) -> dict:
    """The original piece at every place: with probability sigmoid(gate) the piece that stands there, else by the softmax
    ("All-Tokens MLM")."""
    gate_BL = PieceHead(config).apply({"params": params["replaced"]}, out.hidden_BLD)
    everywhere_BL = jnp.broadcast_to(jnp.arange(original_BL.shape[1]), original_BL.shape)
    logits_BLV = masked_lm_logits(config, params, out, everywhere_BL)
    is_original = jax.nn.one_hot(original_BL, logits_BLV.shape[-1], dtype=bool)
    log_softmax_BL = jnp.sum(jnp.where(is_original, logits_BLV, 0.0), axis=-1) - jax.nn.logsumexp(logits_BLV, axis=-1)
    otherwise_BL = jax.nn.log_sigmoid(-gate_BL) + log_softmax_BL
    copied_BL = jnp.logaddexp(jax.nn.log_sigmoid(gate_BL), otherwise_BL)
    log_prob_BL = jnp.where(batch["input_ids"] == original_BL, copied_BL, otherwise_BL)
    return {"restored_loss": -jnp.sum(log_prob_BL * batch["input_mask"])}


def _init_both(config, rng, out) -> dict:
    replaced_rng, lm_rng = jax.random.split(rng)
    return _init_replaced(config, replaced_rng, out) | _init_masked_lm(config, lm_rng, out)


REPLACED = ("replaced_loss", "replaced_accuracy", "replaced_share")
TASKS = {
    "replaced": Task("tokens", REPLACED, _init_replaced, _replaced),
    "replaced_at_masks": Task("masked_lm", REPLACED, _init_replaced, _replaced_at_masks),
    "replace_mlm": Task("masked_lm", ("restored_loss", "restored_accuracy"), _init_masked_lm, _replace_mlm),
    "all_tokens_mlm": Task("tokens", ("restored_loss",), _init_both, _all_tokens_mlm),
}
