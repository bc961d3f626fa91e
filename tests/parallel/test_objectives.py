"""Every objective has one gradient, however the step is laid out over devices and micro-batches."""

from dataclasses import replace
from functools import partial

import jax
import numpy as np
import optax
import pytest

from bert_jax.models.encoder import EncoderConfig
from bert_jax.objectives.answer import answer
from bert_jax.objectives.causal_lm import causal_lm
from bert_jax.objectives.choose import choose
from bert_jax.objectives.electra import electra
from bert_jax.objectives.pretrain import bert
from bert_jax.objectives.spanbert import spanbert
from bert_jax.objectives.tag import tag
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
OBJECTIVES = {
    "electra": lambda: electra(SMALL, generator_size=0.5, encoder_weight=50.0, learns="replaced"),
    "all_tokens_mlm": lambda: electra(SMALL, generator_size=0.5, encoder_weight=1.0, learns="all_tokens_mlm"),
    "spanbert": lambda: spanbert(SMALL, max_span_pieces=2),
    "tag": lambda: tag(SMALL, 3),
    "answer": lambda: answer(SMALL),
    "choose": lambda: choose(replace(SMALL, pooler=True)),
    "causal_lm": lambda: causal_lm(replace(SMALL, left_to_right=True)),
    "with_lstm": lambda: bert(replace(SMALL, num_lstm_layers=1), next_sentence=False),
}
LABELLED = ("tag", "answer", "choose")


def batch(name: str, step: int) -> dict:
    rows = uneven_batch(step)
    rows["masked_lm_positions"] += 1  # the first piece of a row is never hidden
    rows["example_id"] = 100 * step + np.arange(ROWS, dtype=np.int32)
    if name not in LABELLED:
        return {key: array for key, array in rows.items() if not key.startswith("next_sentence")}
    rows = {key: rows[key] for key in ("input_ids", "input_mask", "segment_ids")}
    if name == "choose":
        rows = {key: np.stack([np.roll(array, shift, axis=0) for shift in range(3)], axis=1) for key, array in rows.items()}
    return rows | labels(name)


def labels(name: str) -> dict:
    """The first rows, those of whole devices, count for nothing; of pieces count ever more from row to row."""
    row, place = np.arange(ROWS, dtype=np.int32), np.arange(LENGTH, dtype=np.int32)
    real = row > 4
    if name == "tag":
        weights = real[:, None] & (place[None] < row[:, None])
        return {"label_ids": (row[:, None] + place[None]) % 3, "label_weights": weights.astype(np.float32)}
    of_rows = {"label_weights": real.astype(np.float32)}
    if name == "answer":
        return of_rows | {"start_positions": row % 5, "end_positions": row % 7}
    return of_rows | {"label_ids": row % 3}


def two_sgd_steps(objective, mode: str, devices: int, batch, **options):
    optimizer = optax.sgd(0.1)
    layout = make_layout(mode, objective, optimizer, seed=0, batch_size=ROWS, devices=jax.devices()[:devices], **options)
    state = layout.place_state(init_state(objective, optimizer, 0))
    for step in range(2):
        state = layout.train_step(state, layout.place_batch(batch(step)))
    state = jax.tree.map(np.asarray, layout.single(state))
    return window_means(objective, state.window), state.params


@pytest.fixture(scope="module")
def one_device():
    return {name: two_sgd_steps(make(), "jit", 1, partial(batch, name)) for name, make in OBJECTIVES.items()}


@pytest.mark.parametrize(
    ("mode", "devices", "options"),
    [("jit", 8, {"fsdp": 2, "tensor": 2}), ("pmap", 8, {}), ("jit", 2, {"accumulate": 4})],
    ids=lambda value: str(value).replace("'", ""),
)
@pytest.mark.parametrize("name", OBJECTIVES)
def test_every_layout_gives_the_gradient_of_one_device(one_device, name, mode, devices, options):
    metrics, params = two_sgd_steps(OBJECTIVES[name](), mode, devices, partial(batch, name), **options)
    expected, reference = one_device[name]
    assert metrics.keys() == expected.keys() >= {"loss", "grad_norm"}
    for metric, value in metrics.items():
        assert value == pytest.approx(expected[metric], rel=2e-5), metric
    assert difference(params, reference) < 1e-5
