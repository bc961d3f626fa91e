"""Encoding texts each by itself, and comparing their vectors: what the objectives of sentence encoders have in common."""

import jax
import jax.numpy as jnp

from bert_jax.errors import UserError
from bert_jax.models.encoder import Encoder
from bert_jax.models.pooling import pool
from bert_jax.objectives.apply import encode

SHORTEST_NORM = 1e-8  # below it vectors count as so long (torch.nn.functional.cosine_similarity)


def text_vectors(encoder: Encoder, params: dict, batch: dict, rng, pooling: str) -> jax.Array:
    """float32[B, T, D] of a batch of [B, T, L]; with a key, and then only, with dropout, drawn for each text by itself."""
    rows = as_rows(batch)
    vectors = pool(pooling, encode(encoder, params, rows, rng), rows["input_mask"])
    return vectors.reshape(*batch["input_ids"].shape[:-1], -1)


def as_rows(batch: dict) -> dict:
    """The texts of a batch of [B, T, L] one below the other, [B * T, L]."""
    return {name: batch[name].reshape(-1, batch[name].shape[-1]) for name in ("input_ids", "input_mask", "segment_ids")}


def row_vectors(encoder: Encoder, params: dict, batch: dict, pooling: str) -> jax.Array:
    """float32[B, D] of a batch of [B, L], without dropout."""
    return pool(pooling, encode(encoder, params, batch, None), batch["input_mask"])


def repeated(batch: dict, times: int) -> dict:
    """A batch of [B, L] as one of [B, T, L], each text so many times.

    Raises:
        UserError: there are several texts in a row.
    """
    if "sequence_ids" in batch:
        raise UserError(
            "an encoder of sentences reads one sentence a row", got="packed rows", expected="data.max_examples_per_row=1"
        )
    names = ("input_ids", "input_mask", "segment_ids")
    return {name: jnp.repeat(batch[name][:, None], times, axis=1) for name in names}


def real_rows(batch: dict) -> jax.Array:
    """float32[B], 0 for rows that only fill the last batch; texts of a row are real together."""
    first_BL = batch["input_mask"].reshape(len(batch["input_mask"]), -1)
    return first_BL[:, 0].astype(jnp.float32)


def row_counts(batch: dict) -> dict:
    return {"rows": jnp.sum(real_rows(batch)), "tokens": jnp.sum(batch["input_mask"], dtype=jnp.float32)}


def unit(vectors) -> jax.Array:
    """The vectors along the last axis scaled to length 1."""
    return vectors * jax.lax.rsqrt(jnp.maximum(jnp.sum(jnp.square(vectors), axis=-1, keepdims=True), SHORTEST_NORM**2))
