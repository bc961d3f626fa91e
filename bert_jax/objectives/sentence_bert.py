"""Sentence-BERT (Reimers and Gurevych 2019, arXiv 1908.10084, section 3): one encoder reads each text of an example by itself,
and what is learned is learned from their vectors."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from bert_jax.models.encoder import Encoder, EncoderConfig
from bert_jax.models.heads import ClassHead
from bert_jax.models.pooling import check_pooling
from bert_jax.objectives.apply import init_encoder
from bert_jax.objectives.losses import cross_entropy_sums
from bert_jax.objectives.objective import Objective, Term
from bert_jax.objectives.texts import real_rows, row_counts, row_vectors, text_vectors, unit
from bert_jax.ranges import NOT_NEGATIVE, require

RANGES = {"margin": NOT_NEGATIVE}
SHORTEST_DISTANCE = 1e-6  # the length of a difference has no gradient at 0 (torch.nn.functional.pairwise_distance has this, too)


def classification(config: EncoderConfig, *, pooling: str, num_classes: int) -> Objective:
    """Mean cross-entropy of label_ids under softmax(W (u, v, |u - v|)) for pairs of texts.

    Params are {"encoder", "pair_classifier"}. As in the released code W has a bias.
    """
    head = ClassHead(config, num_classes)

    def init_head(rng, vector_BD):
        return {"pair_classifier": head.init(rng, jnp.concatenate([vector_BD] * 3, axis=-1))["params"]}

    def sums(params, vectors_BTD, batch, weights_B):
        u_BD, v_BD = jnp.moveaxis(vectors_BTD, 1, 0)
        features = jnp.concatenate([u_BD, v_BD, jnp.abs(u_BD - v_BD)], axis=-1)
        logits_BC = head.apply({"params": params["pair_classifier"]}, features)
        loss, hits = cross_entropy_sums(logits_BC, batch["label_ids"], weights_B)
        return {"loss": loss, "accuracy": hits}

    return _siamese(config, pooling, sums, ("loss", "accuracy"), init_head)


def regression(config: EncoderConfig, *, pooling: str) -> Objective:
    """Mean squared difference of the cosine of a pair's vectors and its label_values. Params are {"encoder"}."""

    def sums(params, vectors_BTD, batch, weights_B):
        u_BD, v_BD = jnp.moveaxis(unit(vectors_BTD), 1, 0)
        cosine_B = jnp.sum(u_BD * v_BD, axis=-1)
        return {"loss": jnp.sum(jnp.square(cosine_B - batch["label_values"]) * weights_B)}

    return _siamese(config, pooling, sums, ("loss",))


def triplet(config: EncoderConfig, *, pooling: str, margin: float) -> Objective:
    """Mean of max(|a - p| - |a - n| + margin, 0) by Euclidean distance, for anchor, positive and negative; and the share of the
    triplets whose positive is nearer (table 4). Params are {"encoder"}."""
    require("objective", {"margin": margin}, RANGES)

    def distance(x_BD, y_BD):
        return jnp.sqrt(jnp.maximum(jnp.sum(jnp.square(x_BD - y_BD), axis=-1), SHORTEST_DISTANCE**2))

    def sums(params, vectors_BTD, batch, weights_B):
        anchor_BD, positive_BD, negative_BD = jnp.moveaxis(vectors_BTD, 1, 0)
        near_B, far_B = distance(anchor_BD, positive_BD), distance(anchor_BD, negative_BD)
        loss = jnp.sum(jnp.maximum(near_B - far_B + margin, 0) * weights_B)
        return {"loss": loss, "accuracy": jnp.sum(jnp.where(near_B < far_B, weights_B, 0))}

    return _siamese(config, pooling, sums, ("loss", "accuracy"))


def _siamese(
    config: EncoderConfig,
    pooling: str,
    sums_of: Callable,
    metrics: tuple[str, ...],
    init_head: Callable = lambda rng, vector_BD: {},
) -> Objective:
    """
    Args:
        pooling: of pooling.POOLINGS.
        sums_of: (params, vectors_BTD, batch, weights_B) -> {metric: float32 sum over rows}.
        metrics: their names, "loss" first.
        init_head: (rng, a vector float32[1, D]) -> the params beside the encoder.
    """
    check_pooling(pooling)
    encoder = Encoder(config)

    def init(rng):
        encoder_rng, head_rng = jax.random.split(rng)
        params, out = init_encoder(encoder, encoder_rng)
        return {"encoder": params, **init_head(head_rng, out.hidden_BLD[:, 0])}

    def sums(params, batch, context):
        vectors_BTD = text_vectors(encoder, params["encoder"], batch, context.rng, pooling)
        return sums_of(params, vectors_BTD, batch, real_rows(batch))

    def predict(params, batch):
        return {"embedding_BD": row_vectors(encoder, params["encoder"], batch, pooling)}

    terms = {name: Term("rows", float(name == "loss")) for name in metrics}
    return Objective(init, row_counts, sums, terms, predict)
