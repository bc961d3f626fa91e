"""Losses as pure sums over a batch, in float32."""

import jax
import jax.numpy as jnp


def cross_entropy_sums(logits, labels, weights):
    """Sum of weighted negative log-likelihoods in nats, and of weighted hits.

    Args:
        logits: float[..., C].
        labels: int[...].
        weights: float[...].

    Returns:
        (loss sum, sum of hits), both float32 scalars. A row is a hit when its label has the highest logit; where n classes share
        the highest, the 1 / n that a random choice among them would score.
    """
    logits = logits.astype(jnp.float32)
    is_label = jax.nn.one_hot(labels, logits.shape[-1], dtype=bool)
    picked = jnp.sum(jnp.where(is_label, logits, 0.0), axis=-1)  # a gather's gradient would scatter into [..., C] zeros
    losses = jax.nn.logsumexp(logits, axis=-1) - picked
    highest = logits.max(axis=-1)  # argmax is several times slower on CPUs, and calls equal logits all right or all wrong
    sharing = jnp.sum(jnp.where(logits == highest[..., None], 1.0, 0.0), axis=-1)
    hits = jnp.where(picked == highest, 1.0, 0.0) / sharing
    return jnp.sum(losses * weights), jnp.sum(hits * weights)


def masked_lm_sums(logits_BPV, batch) -> dict:
    """{"masked_lm_loss", "masked_lm_accuracy"}: the sums of cross_entropy_sums over the used slots."""
    loss, hits = cross_entropy_sums(logits_BPV, batch["masked_lm_ids"], batch["masked_lm_weights"])
    return {"masked_lm_loss": loss, "masked_lm_accuracy": hits}


def binary_cross_entropy_sums(logits, labels, weights):
    """Sum of weighted negative log-likelihoods in nats under sigmoid(logits), and of weighted hits; all arrays of one shape.

    A logit above 0 says yes.
    """
    logits, labels = logits.astype(jnp.float32), labels.astype(bool)
    losses = -jax.nn.log_sigmoid(jnp.where(labels, logits, -logits))
    return jnp.sum(losses * weights), jnp.sum(jnp.where((logits > 0) == labels, weights, 0.0), dtype=jnp.float32)


def soft_cross_entropies(logits, target_logits):
    """float32[...]: the cross-entropy in nats of softmax(logits) under softmax(target_logits), each over the last axis."""
    return -jnp.sum(jax.nn.softmax(target_logits) * jax.nn.log_softmax(logits), axis=-1)


def divergences(logits, target_logits):
    """float32[...]: KL(softmax(target_logits) || softmax(logits)) in nats, each over the last axis.

    What both exclude with the lowest float32 adds nothing.
    """
    log_target = jax.nn.log_softmax(target_logits)
    return jnp.sum(jnp.exp(log_target) * (log_target - jax.nn.log_softmax(logits)), axis=-1)


def totals(weights: dict) -> dict:
    """name -> the float32 sum of the array there."""
    return {name: jnp.sum(weight, dtype=jnp.float32) for name, weight in weights.items()}
