"""SimCSE (Gao et al. 2021, arXiv 2104.08821; princeton-nlp/SimCSE simcse/models.py): a sentence is to be nearer to its own second
view than to the sentences around it."""

import jax
import jax.numpy as jnp

from bert_jax.errors import UserError
from bert_jax.models.encoder import Encoder, EncoderConfig
from bert_jax.models.heads import SentenceHead
from bert_jax.models.pooling import FAR_BELOW, check_pooling
from bert_jax.objectives.apply import init_encoder
from bert_jax.objectives.objective import Objective, Term
from bert_jax.objectives.texts import real_rows, repeated, row_counts, row_vectors, text_vectors, unit
from bert_jax.ranges import POSITIVE, require

MLP = ("training", "always", "none")
RANGES = {"temperature": POSITIVE}


def simcse(config: EncoderConfig, *, temperature: float, pooling: str, mlp: str) -> Objective:
    """Cross-entropy of finding a sentence's second view among those of all sentences of the batch, by cosine over temperature.

    Sentences [B, L] are read twice, under different dropout (unsupervised, section 3). Of texts [B, T, L] the first is compared
    with the second, its view, and with the others, which are hard negatives of all rows (supervised, section 4, equation 5).

    Params are {"encoder"}, and "mlp" where there is one; predict gives embedding_BD of sentences. Metrics are the loss, and the
    mean cosine of a sentence with its own view and with all other ones. Without dropout a sentence is its own view: the
    unsupervised held-out loss says only how far apart the sentences lie.

    Args:
        temperature: tau of equation 1.
        pooling: of pooling.POOLINGS.
        mlp: whether a dense layer with tanh stands on the pooled vector: in "training" alone, as unsupervised in the paper,
            "always", as supervised, or "none" (table 6).

    Raises:
        UserError: a setting is out of range.
    """
    check_pooling(pooling)
    require("objective", {"temperature": temperature}, RANGES)
    if mlp not in MLP:
        raise UserError("objective.mlp is unknown", got=mlp, expected=" or ".join(MLP))
    encoder, head = Encoder(config), SentenceHead(config)

    def init(rng):
        encoder_rng, head_rng = jax.random.split(rng)
        params, out = init_encoder(encoder, encoder_rng)
        return {"encoder": params} | ({} if mlp == "none" else {"mlp": head.init(head_rng, out.hidden_BLD[:, 0])["params"]})

    def sums(params, batch, context):
        texts = batch if batch["input_ids"].ndim == 3 else repeated(batch, 2)
        vectors_BTD = text_vectors(encoder, params["encoder"], texts, context.rng, pooling)
        if mlp != "none":
            vectors_BTD = head.apply({"params": params["mlp"]}, vectors_BTD)
        return contrastive_sums(unit(vectors_BTD.astype(jnp.float32)), real_rows(batch), temperature, context.gather)

    def predict(params, batch):
        vectors_BD = row_vectors(encoder, params["encoder"], batch, pooling)
        return {"embedding_BD": head.apply({"params": params["mlp"]}, vectors_BD) if mlp == "always" else vectors_BD}

    terms = {"contrastive_loss": Term("rows", 1.0), "positive_cosine": Term("rows"), "negative_cosine": Term("rows")}
    return Objective(init, row_counts, sums, terms, predict, compares_rows=True)


def contrastive_sums(unit_BTD, real_B, temperature: float, gather) -> dict:
    """Sums over this device's real rows, each of them compared with the real rows of all devices.

    A device adds up its own rows only: what they owe to the vectors of others flows back to those through `gather`.

    Args:
        unit_BTD: vectors of length 1.
        real_B: 1 for real rows; the others are nobody's negatives.
        gather: of batch.Context.
    """
    own_BD, view_BD, *hard = jnp.moveaxis(unit_BTD, 1, 0)
    others_GD = jnp.concatenate([gather(vectors_BD) for vectors_BD in (view_BD, *hard)])
    real_G = jnp.concatenate([gather(real_B)] * (1 + len(hard)))
    # In bfloat16 cosines would be off by up to 0.004, and at a temperature of 0.05 logits by 0.08.
    cosine_BG = jnp.einsum("bd,gd->bg", own_BD, others_GD, precision=jax.lax.Precision.HIGHEST)
    positive_B = jnp.sum(own_BD * view_BD, axis=-1)
    logits_BG = jnp.where(real_G[None, :] > 0, cosine_BG / temperature, FAR_BELOW)
    losses_B = jax.nn.logsumexp(logits_BG, axis=-1) - positive_B / temperature
    negatives = jnp.maximum(jnp.sum(real_G) - 1, 1)
    negative_B = (jnp.sum(cosine_BG * real_G[None, :], axis=-1) - positive_B) / negatives
    of_rows = {"contrastive_loss": losses_B, "positive_cosine": positive_B, "negative_cosine": negative_B}
    return {name: jnp.sum(value_B * real_B) for name, value_B in of_rows.items()}
