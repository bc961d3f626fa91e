"""Vectors of texts, for searching and comparing."""

from collections.abc import Callable, Sequence

import jax
import numpy as np

from bert_jax.batch import padded
from bert_jax.models.encoder import Encoder, EncoderConfig
from bert_jax.models.pooling import check_pooling
from bert_jax.objectives.texts import row_vectors

ROUND_TO = 16  # pieces: rows are padded to a multiple, so that few shapes are compiled


def embed(
    config: EncoderConfig, params: dict, tokenizer, texts: Sequence[str], *, pooling: str = "mean", batch_size: int = 32
) -> np.ndarray:
    """float32[N, D], a vector for each text in its order: what `pooling` (models/pooling.py) makes of the encoder's output.

    Args:
        params: of the encoder alone.
    """
    check_pooling(pooling)
    encoder = Encoder(config)
    vectors = jax.jit(lambda params, batch: row_vectors(encoder, params, batch, pooling))
    return embed_by(vectors, params, tokenizer, texts, longest_row=config.longest_row, batch_size=batch_size)


def embed_by(vectors: Callable, params, tokenizer, texts: Sequence[str], *, longest_row: int, batch_size: int = 32) -> np.ndarray:
    """float32[N, D] in the order of the texts, of which those of like length share a batch.

    Args:
        vectors: (params, batch of bert_jax/batch.py) -> float[B, D].
        longest_row: pieces with [CLS] and [SEP]; what is beyond is cut off.
    """
    rows = [tokenizer.framed([ids[: longest_row - 2]]) for ids in tokenizer.encode(texts)]
    by_length = np.argsort([-len(row) for row in rows], kind="stable")
    found: list[np.ndarray] = []
    for start in range(0, len(rows), batch_size):
        mine = [rows[number] for number in by_length[start : start + batch_size]]
        length = min(-(-len(mine[0]) // ROUND_TO) * ROUND_TO, longest_row)
        batch = padded(mine, size=batch_size, length=length)
        found += [*np.asarray(vectors(params, batch), np.float32)[: len(mine)]]
    return np.stack(found)[np.argsort(by_length)]
