"""Vectors of texts, for searching and comparing."""

from collections.abc import Callable, Sequence

import jax
import numpy as np

from bert_jax.batch import padded
from bert_jax.models.encoder import Encoder, EncoderConfig
from bert_jax.models.pooling import check_pooling
from bert_jax.objectives.texts import row_vectors
from bert_jax.predict.outputs import BATCH_SIZE, Shapes


def embed(
    config: EncoderConfig, params: dict, tokenizer, texts: Sequence[str], *, pooling: str = "mean", batch_size: int = BATCH_SIZE
) -> np.ndarray:
    """float32[N, D], a vector for each text in its order: what `pooling` (models/pooling.py) makes of the encoder's output.

    Args:
        params: of the encoder alone.
    """
    check_pooling(pooling)
    encoder = Encoder(config)
    vectors = jax.jit(lambda params, batch: row_vectors(encoder, params, batch, pooling))
    return embed_by(vectors, params, tokenizer, texts, shapes=Shapes(config.longest_row, batch_size))


def embed_by(vectors: Callable, params, tokenizer, texts: Sequence[str], *, shapes: Shapes) -> np.ndarray:
    """float32[N, D] in the order of the texts, of which those of like length share a batch.

    Args:
        vectors: (params, batch of bert_jax/batch.py) -> float[B, D].
        shapes: what is beyond their longest row is cut off.
    """
    rows = framed(tokenizer, texts, shapes.longest)
    found: dict[int, np.ndarray] = {}
    for numbers, size, length in shapes.batches([len(row) for row in rows]):
        batch = padded([rows[number] for number in numbers], size=size, length=length)
        found |= zip(numbers.tolist(), np.asarray(vectors(params, batch), np.float32))
    return np.stack([found[number] for number in range(len(rows))])


def framed(tokenizer, texts: Sequence[str], longest: int) -> list[list[int]]:
    """Each text as a row of its own, of at most `longest` pieces."""
    return [tokenizer.framed([ids[: longest - 2]]) for ids in tokenizer.encode(texts)]
