"""Causal language model: each piece from those before it (BERT paper, section 5.1, "LTR & No NSP"; Radford et al. 2018, GPT,
section 3.1)."""

import jax
import jax.numpy as jnp

from bert_jax.errors import UserError
from bert_jax.models.encoder import Encoder, EncoderConfig
from bert_jax.objectives.apply import encode, init_encoder, init_masked_lm, masked_lm_logits
from bert_jax.objectives.losses import cross_entropy_sums, totals
from bert_jax.objectives.objective import Objective, Term

AT_ONCE = 32  # places of each row whose logits exist at the same time
SLOTS = ("masked_lm_positions", "masked_lm_ids", "masked_lm_weights")


def causal_lm(config: EncoderConfig) -> Objective:
    """Mean cross-entropy of the pieces at masked_lm_positions, each by the vector before it and the output layer of masked LM.

    Which pieces these are the rows say: with data.masked_lm_prob=1 all of the text but the first of each example. [SEP] and [CLS]
    are not among them, so that the loss is per piece of text, as that of masked LM. Params are {"encoder", "masked_lm"}; predict
    gives logits_BPV.

    Raises:
        UserError: the encoder sees what is to be predicted.
    """
    if not config.left_to_right or config.num_lstm_layers:
        got = f"model.left_to_right={config.left_to_right}, model.num_lstm_layers={config.num_lstm_layers}"
        raise UserError("objective.name=causal_lm predicts what comes next", got=got, expected="True and 0")
    encoder = Encoder(config)

    def init(rng):
        encoder_rng, lm_rng = jax.random.split(rng)
        params, out = init_encoder(encoder, encoder_rng)
        return {"encoder": params, "masked_lm": init_masked_lm(config, lm_rng, out)}

    def logits(params, out, positions_BP):
        before_BP = jnp.maximum(positions_BP - 1, 0)  # unused slots point to 0
        return masked_lm_logits(config, params, out, before_BP)

    def counts(batch):
        return totals({"causal_lm": batch["masked_lm_weights"], "tokens": batch["input_mask"]})

    def sums(params, batch, context):
        out = encode(encoder, params["encoder"], batch, context.rng)

        def add(so_far, slots):
            positions_BP, ids_BP, weights_BP = slots
            found = cross_entropy_sums(logits(params, out, positions_BP), ids_BP, weights_BP)
            return jax.tree.map(jnp.add, so_far, found), None

        slots = tuple(_in_parts(batch[name]) for name in SLOTS)
        loss, hits = jax.lax.scan(jax.checkpoint(add), (jnp.zeros(()), jnp.zeros(())), slots)[0]
        return {"causal_lm_loss": loss, "causal_lm_accuracy": hits}

    def predict(params, batch):
        out = encode(encoder, params["encoder"], batch, None)
        return {"logits_BPV": logits(params, out, batch["masked_lm_positions"])}

    terms = {"causal_lm_loss": Term("causal_lm", 1.0), "causal_lm_accuracy": Term("causal_lm")}
    return Objective(init, counts, sums, terms, predict)


def _in_parts(slots_BP) -> jax.Array:
    """[parts, B, at most AT_ONCE], filled up with unused slots."""
    rows, slots = slots_BP.shape
    size = min(slots, AT_ONCE)
    return jnp.pad(slots_BP, ((0, 0), (0, -slots % size))).reshape(rows, -1, size).swapaxes(0, 1)
