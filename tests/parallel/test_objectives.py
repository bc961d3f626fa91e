"""Every objective has one gradient, however the step is laid out over devices and micro-batches."""

import jax
import numpy as np
import optax
import pytest

from bert_jax.models.encoder import EncoderConfig
from bert_jax.objectives.electra import electra
from bert_jax.objectives.spanbert import spanbert
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
}


def batch(step: int) -> dict:
    rows = uneven_batch(step)
    rows["masked_lm_positions"] += 1  # the first piece of a row is never hidden
    rows["example_id"] = 100 * step + np.arange(ROWS, dtype=np.int32)
    return {name: rows[name] for name in rows if not name.startswith("next_sentence")}


def two_sgd_steps(objective, mode: str, devices: int, **options):
    optimizer = optax.sgd(0.1)
    layout = make_layout(mode, objective, optimizer, seed=0, batch_size=ROWS, devices=jax.devices()[:devices], **options)
    state = layout.place_state(init_state(objective, optimizer, 0))
    for step in range(2):
        state = layout.train_step(state, layout.place_batch(batch(step)))
    state = jax.tree.map(np.asarray, layout.single(state))
    return window_means(objective, state.window), state.params


@pytest.fixture(scope="module")
def one_device():
    return {name: two_sgd_steps(make(), "jit", 1) for name, make in OBJECTIVES.items()}


@pytest.mark.parametrize(
    ("mode", "devices", "options"),
    [("jit", 8, {"fsdp": 2, "tensor": 2}), ("pmap", 8, {}), ("jit", 2, {"accumulate": 4})],
    ids=lambda value: str(value).replace("'", ""),
)
@pytest.mark.parametrize("name", OBJECTIVES)
def test_every_layout_gives_the_gradient_of_one_device(one_device, name, mode, devices, options):
    metrics, params = two_sgd_steps(OBJECTIVES[name](), mode, devices, **options)
    expected, reference = one_device[name]
    assert metrics.keys() == expected.keys() >= {"loss", "grad_norm"}
    for metric, value in metrics.items():
        assert value == pytest.approx(expected[metric], rel=2e-5), metric
    assert difference(params, reference) < 1e-5
