"""Vectors of sentences."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from bert_jax.models.encoder import Encoder, EncoderConfig

LENGTHS = 16  # rows are padded to a multiple of it: few shapes to compile, little padding


def sentence_embeddings(
    encoder: EncoderConfig, params: dict, tokenizer, texts: Sequence[str], *, max_seq_length: int = 0, batch_size: int = 32
) -> np.ndarray:
    """float32[N, D]: for each text the mean of the vectors of its pieces, [CLS] and [SEP] among them, scaled to length 1.

    Sentence-BERT (arXiv 1908.10084), section 3, its default pooling; scaled as in models that are compared by cosine.

    Args:
        params: of the encoder alone.
        texts: what is longer than max_seq_length pieces (0: than the encoder has positions) is cut off.
        batch_size: texts of like lengths that are computed together.
    """
    longest = max_seq_length or encoder.longest_row
    rows = [[tokenizer.cls_id, *ids[: longest - 2], tokenizer.sep_id] for ids in tokenizer.encode(texts)]
    by_length = sorted(range(len(rows)), key=lambda number: len(rows[number]))
    embed, found = jax.jit(_embed, static_argnums=0), np.empty((len(rows), encoder.hidden_size), np.float32)
    for start in range(0, len(rows), batch_size):
        numbers = by_length[start : start + batch_size]
        length = min(longest, -(-len(rows[numbers[-1]]) // LENGTHS) * LENGTHS)
        ids_BL, mask_BL = np.full((batch_size, length), tokenizer.pad_id, np.int32), np.zeros((batch_size, length), np.int32)
        mask_BL[:, 0] = 1  # of rows that only fill the last batch
        for place, number in enumerate(numbers):
            ids_BL[place, : len(rows[number])] = rows[number]
            mask_BL[place, : len(rows[number])] = 1
        found[numbers] = embed(encoder, params, ids_BL, mask_BL)[: len(numbers)]
    return found


def _embed(encoder: EncoderConfig, params: dict, ids_BL, mask_BL) -> jax.Array:
    hidden_BLD = Encoder(encoder).apply({"params": params}, ids_BL, jnp.zeros_like(ids_BL), mask_BL, train=False).hidden_BLD
    sums_BD = jnp.einsum("bld,bl->bd", hidden_BLD.astype(jnp.float32), mask_BL.astype(jnp.float32))
    return sums_BD / jnp.linalg.norm(sums_BD, axis=-1, keepdims=True)
