"""Vectors of texts, for searching and comparing."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from bert_jax.models.encoder import Encoder, EncoderConfig

ROUND_TO = 16  # pieces: rows are padded to a multiple, so that few shapes are compiled


def embed(config: EncoderConfig, params: dict, tokenizer, texts: Sequence[str], *, batch_size: int = 32) -> np.ndarray:
    """float32[N, D], the mean of the vectors of all pieces of each text, [CLS] and [SEP] among them (Sentence-BERT,
    arXiv 1908.10084, section 3); texts of like length share a batch.

    Args:
        params: of the encoder alone.
        texts: what the encoder has no positions for is cut off.
    """
    longest = config.longest_row
    rows = [[tokenizer.cls_id, *ids[: longest - 2], tokenizer.sep_id] for ids in tokenizer.encode(texts)]
    by_length = sorted(range(len(rows)), key=lambda number: len(rows[number]))
    vectors, found = jax.jit(_means, static_argnums=0), np.empty((len(rows), config.hidden_size), np.float32)
    for start in range(0, len(rows), batch_size):
        numbers = by_length[start : start + batch_size]
        length = min(longest, -(-len(rows[numbers[-1]]) // ROUND_TO) * ROUND_TO)
        ids_BL, mask_BL = np.full((batch_size, length), tokenizer.pad_id, np.int32), np.zeros((batch_size, length), np.int32)
        for place, number in enumerate(numbers):
            ids_BL[place, : len(rows[number])], mask_BL[place, : len(rows[number])] = rows[number], 1
        found[numbers] = vectors(config, params, ids_BL, mask_BL)[: len(numbers)]
    return found


def _means(config: EncoderConfig, params: dict, ids_BL, mask_BL) -> jax.Array:
    hidden_BLD = Encoder(config).apply({"params": params}, ids_BL, jnp.zeros_like(ids_BL), mask_BL, train=False).hidden_BLD
    weights_BL = mask_BL / jnp.maximum(mask_BL.sum(axis=1, keepdims=True), 1)
    return jnp.einsum("bld,bl->bd", hidden_BLD.astype(jnp.float32), weights_BL)
