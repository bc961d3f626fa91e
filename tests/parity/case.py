"""A small BertForPreTraining and a batch for it, made by rule so that no file of weights is needed."""

import jax.numpy as jnp
import numpy as np

from bert_jax.models.encoder import EncoderConfig

SIZES = dict(
    vocab_size=67,
    hidden_size=32,
    num_attention_heads=4,
    intermediate_size=48,
    max_position_embeddings=24,
    hidden_dropout_prob=0.0,
    attention_probs_dropout_prob=0.0,
)
LENGTHS = np.array([20, 13, 7, 18])


def encoder_config(layers: int) -> EncoderConfig:
    return EncoderConfig(num_hidden_layers=layers, **SIZES)


def weights_by_rule(shapes: dict[str, tuple]) -> dict[str, np.ndarray]:
    """Values that look random, near those of a fresh model: products of 0.02 (scales about 1)."""
    tensors = {}
    for number, name in enumerate(sorted(shapes)):
        index = np.arange(np.prod(shapes[name], dtype=int), dtype=np.float64)
        noise = np.modf(np.sin(index * 12.9898 + number * 78.233) * 43758.5453)[0]
        around = 1.0 if name.endswith("LayerNorm.weight") else 0.0
        tensors[name] = (around + 0.035 * noise).reshape(shapes[name]).astype(np.float32)
    return tensors


def batch() -> dict[str, np.ndarray]:
    """Four rows with padding, five slots each, one row with unused slots."""
    rows, length, slots = len(LENGTHS), 20, 5
    place, row = np.arange(length)[None], np.arange(rows)[:, None]
    mask = (place < LENGTHS[:, None]).astype(np.int32)
    weights = np.ones((rows, slots), np.float32)
    weights[2, 3:] = 0
    return {
        "input_ids": ((place * 7 + row * 13) % 62 + 5).astype(np.int32) * mask,
        "input_mask": mask,
        "segment_ids": ((place >= LENGTHS[:, None] // 2) * mask).astype(np.int32),
        "masked_lm_positions": (1 + np.arange(slots)[None] + row % 2).astype(np.int32),
        "masked_lm_ids": ((np.arange(slots)[None] * 11 + row * 5) % 62 + 5).astype(np.int32),
        "masked_lm_weights": weights,
        "next_sentence_labels": np.array([0, 1, 1, 0], np.int32),
        "next_sentence_weights": np.ones(rows, np.float32),
    }


def as_jax(batch):
    return {name: jnp.asarray(array) for name, array in batch.items()}
