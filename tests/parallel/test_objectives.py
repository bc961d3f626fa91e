"""Every objective has one gradient, however the step is laid out over devices and micro-batches."""

from dataclasses import replace
from functools import cache

import jax
import numpy as np
import optax
import pytest

from bert_jax.models.encoder import EncoderConfig
from bert_jax.objectives.answer import answer
from bert_jax.objectives.causal_lm import causal_lm
from bert_jax.objectives.choose import choose
from bert_jax.objectives.classify import classify
from bert_jax.objectives.distill import LOSSES, distill_classes
from bert_jax.objectives.electra import electra
from bert_jax.objectives.pretrain import bert
from bert_jax.objectives.spanbert import spanbert
from bert_jax.objectives.tag import tag, tag_crf
from bert_jax.objectives.tag_features import tag_features
from bert_jax.parallel.layout import make_layout
from bert_jax.parallel.step import init_state, window_means
from tests.parallel.test_layouts import LENGTH, ROWS, VOCAB, difference, uneven_batch

SMALL = EncoderConfig(
    vocab_size=VOCAB,
    hidden_size=16,
    num_hidden_layers=2,
    num_attention_heads=2,
    intermediate_size=32,
    max_position_embeddings=LENGTH,
    hidden_dropout_prob=0.0,
    attention_probs_dropout_prob=0.0,
    pooler=False,
)
POOLED = replace(SMALL, pooler=True)
TEACHER = replace(POOLED, hidden_size=24, initializer_range=0.2)  # wide, so that there is something to learn from it
ON_CLASSES = dict.fromkeys({"label", *LOSSES} - {"masked_lm", "cosine"}, 0.5) | {"cosine": 0.0}  # which needs one width
OBJECTIVES = {
    "electra": lambda: electra(SMALL, generator_size=0.5, encoder_weight=50.0, learns="replaced"),
    "replaced_at_masks": lambda: electra(SMALL, generator_size=0.5, encoder_weight=50.0, learns="replaced_at_masks"),
    "replace_mlm": lambda: electra(SMALL, generator_size=0.5, encoder_weight=1.0, learns="replace_mlm"),
    "all_tokens_mlm": lambda: electra(SMALL, generator_size=0.5, encoder_weight=1.0, learns="all_tokens_mlm"),
    "spanbert": lambda: spanbert(SMALL, max_span_pieces=2),
    "tag": lambda: tag(SMALL, 3),
    "tag_crf": lambda: tag_crf(SMALL, 3, "mean"),
    "tag_features": lambda: tag_features(SMALL, 3, "weighted_sum_all", 6),
    "answer": lambda: answer(SMALL),
    "choose": lambda: choose(POOLED),
    "classify": lambda: classify(POOLED, 3),
    "distill_classes": lambda: distill_classes(POOLED, 3, teacher=TEACHER, temperature=2.0, weights=ON_CLASSES),
    "packed_pairs": lambda: bert(POOLED),
    "causal_lm": lambda: causal_lm(replace(SMALL, left_to_right=True)),
    "with_lstm": lambda: bert(replace(SMALL, num_lstm_layers=1), next_sentence=False),
}
LABELLED = ("tag", "tag_crf", "tag_features", "answer", "choose", "classify", "distill_classes")


def batch(name: str, step: int) -> dict:
    rows = uneven_batch(step)
    rows["masked_lm_positions"] += 1  # the first piece of a row is never hidden
    rows["example_id"] = 100 * step + np.arange(ROWS, dtype=np.int32)
    if name == "packed_pairs":
        return rows | packed(rows)
    if name not in LABELLED:
        return {key: array for key, array in rows.items() if not key.startswith("next_sentence")}
    rows = {key: rows[key] for key in ("input_ids", "input_mask", "segment_ids")}
    if name == "choose":
        rows = {key: np.stack([np.roll(array, shift, axis=0) for shift in range(3)], axis=1) for key, array in rows.items()}
    return rows | labels(name)


def packed(rows: dict) -> dict:
    """Two examples a row, the second one there in every third row, and pairs to label in ever other rows than pieces."""
    row, place, example = np.arange(ROWS), np.arange(LENGTH), np.arange(2)
    second, there = place >= LENGTH // 2, (example[None] == 0) | (row[:, None] % 3 == 0)
    mask = there[:, second.astype(int)]
    return {
        "input_mask": mask.astype(np.int32),
        "sequence_ids": np.where(mask, 1 + second, 0).astype(np.int32),
        "position_ids": np.where(mask, place % (LENGTH // 2), 0).astype(np.int32),
        "cls_positions": np.where(there, example * (LENGTH // 2), 0).astype(np.int32),
        "next_sentence_labels": ((row[:, None] + example) % 2).astype(np.int32),
        "next_sentence_weights": (there & (row[:, None] > 4)).astype(np.float32),
    }


def labels(name: str) -> dict:
    """The first rows, those of whole devices, count for nothing; of pieces count ever more from row to row."""
    row, place = np.arange(ROWS, dtype=np.int32), np.arange(LENGTH, dtype=np.int32)
    real = row > 4
    if name.startswith("tag"):
        weights = real[:, None] & (place[None] < row[:, None])
        word_ids = np.where(weights, 1 + place[None] // 2, 0).astype(np.int32)
        return {"label_ids": (row[:, None] + place[None]) % 3, "label_weights": weights.astype(np.float32), "word_ids": word_ids}
    of_rows = {"label_weights": real.astype(np.float32)}
    if name == "answer":
        return of_rows | {"start_positions": row % 5, "end_positions": row % 7}
    return of_rows | {"label_ids": row % 3}


def teacher_of(name: str) -> dict | None:
    if name != "distill_classes":
        return None
    return jax.tree.map(np.asarray, jax.jit(classify(TEACHER, 3).init)(jax.random.key(7)))


def two_sgd_steps(name: str, mode: str, devices: int, **options):
    objective, optimizer = OBJECTIVES[name](), optax.sgd(0.1)
    layout = make_layout(mode, objective, optimizer, seed=0, batch_size=ROWS, devices=jax.devices()[:devices], **options)
    state, frozen = (layout.place_state(tree) for tree in (init_state(objective, optimizer, 0), teacher_of(name)))
    for step in range(2):
        state = layout.train_step(state, layout.place_batch(batch(name, step)), frozen)
    state = jax.tree.map(np.asarray, layout.single(state))
    return window_means(objective, state.window), state.params


@cache
def on_one_device(name: str):
    return two_sgd_steps(name, "jit", 1)


@pytest.mark.parametrize(
    ("mode", "devices", "options"),
    [("jit", 8, {"fsdp": 2, "tensor": 2}), ("pmap", 8, {}), ("jit", 8, {"accumulate": 2})],
    ids=lambda value: str(value).replace("'", ""),
)
@pytest.mark.parametrize("name", OBJECTIVES)
def test_every_layout_gives_the_gradient_of_one_device(name, mode, devices, options):
    metrics, params = two_sgd_steps(name, mode, devices, **options)
    expected, reference = on_one_device(name)
    assert metrics.keys() == expected.keys() >= {"loss", "grad_norm"}
    for metric, value in metrics.items():
        assert value == pytest.approx(expected[metric], rel=2e-5), metric
    assert difference(params, reference) < 1e-5
