"""jit on 1 and 8 devices and pmap on 8 are one and the same training."""

import jax
import numpy as np
import optax
import pytest

from bert_jax.errors import UserError
from bert_jax.models.encoder import EncoderConfig
from bert_jax.objectives.pretrain import bert
from bert_jax.parallel import layout as layouts
from bert_jax.parallel.step import init_state, window_means

ROWS, LENGTH, SLOTS, VOCAB = 16, 12, 4, 50


def objective():
    return bert(
        EncoderConfig(
            vocab_size=VOCAB,
            hidden_size=16,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=32,
            max_position_embeddings=LENGTH,
            hidden_dropout_prob=0.0,
            attention_probs_dropout_prob=0.0,
        )
    )


def uneven_batch(seed: int) -> dict:
    """Two rows per device of eight: the first two devices have no masked token at all, the others one to eight."""
    rng = np.random.default_rng(seed)
    weights = np.zeros((ROWS, SLOTS), np.float32)
    for row in range(4, ROWS):
        weights[row, : row % SLOTS + 1] = 1
    next_weights = np.ones(ROWS, np.float32)
    next_weights[-3:] = 0
    return {
        "input_ids": rng.integers(5, VOCAB, (ROWS, LENGTH), dtype=np.int32),
        "input_mask": np.ones((ROWS, LENGTH), np.int32),
        "segment_ids": np.zeros((ROWS, LENGTH), np.int32),
        "masked_lm_positions": np.tile(np.arange(SLOTS, dtype=np.int32), (ROWS, 1)),
        "masked_lm_ids": rng.integers(5, VOCAB, (ROWS, SLOTS), dtype=np.int32),
        "masked_lm_weights": weights,
        "next_sentence_labels": rng.integers(0, 2, ROWS, dtype=np.int32),
        "next_sentence_weights": next_weights,
    }


def three_sgd_steps(mode: str, devices: int):
    """(metrics of the three steps together, params)."""
    model, optimizer = objective(), optax.sgd(0.5)
    layout = layouts.make_layout(mode, model, optimizer, seed=0, batch_size=ROWS, devices=jax.devices()[:devices])
    state = layout.place_state(init_state(model, optimizer, 0))
    for step in range(3):
        state = layout.train_step(state, layout.place_batch(uneven_batch(step)))
    state = jax.tree.map(np.asarray, layout.single(state))
    return window_means(model, state.window), state.params


def difference(params, reference) -> float:
    """The largest relative distance in norm of any tensor."""
    pairs = zip(jax.tree.leaves(params), jax.tree.leaves(reference))
    return max(np.linalg.norm(a - b) / max(np.linalg.norm(b), 1e-3) for a, b in pairs)


@pytest.fixture(scope="module")
def one_device():
    return three_sgd_steps("jit", 1)


@pytest.mark.parametrize(("mode", "devices"), [("jit", 8), ("pmap", 8), ("pmap", 2)])
def test_every_layout_gives_the_result_of_one_device(one_device, mode, devices):
    metrics, params = three_sgd_steps(mode, devices)
    reference_metrics, reference_params = one_device
    assert metrics.keys() == reference_metrics.keys() >= {"loss", "grad_norm", "masked_lm_loss", "next_sentence_accuracy"}
    for name, value in metrics.items():
        assert value == pytest.approx(reference_metrics[name], rel=1e-5), name
    assert difference(params, reference_params) < 1e-5


def test_a_mean_of_device_means_would_be_caught(one_device, monkeypatch):
    """The bug of the peers, planted: counts of the own device only, gradients averaged."""

    make_train_step = layouts.make_train_step

    def step_of_means(objective, optimizer, seed, reduce, device_index):
        counted = []  # the first thing reduced is the counts: left as they are on each device

        def reduce_wrongly(tree):
            counted.append(tree)
            return tree if len(counted) == 1 else jax.lax.pmean(tree, "data")

        return make_train_step(objective, optimizer, seed, reduce_wrongly, device_index)

    monkeypatch.setattr(layouts, "make_train_step", step_of_means)
    metrics, params = three_sgd_steps("pmap", 8)
    assert difference(params, one_device[1]) > 1e-3


@pytest.mark.parametrize("mode", ["jit", "pmap"])
def test_held_out_sums_ignore_the_rows_that_fill_the_last_batch(mode):
    model, optimizer = objective(), optax.sgd(0.5)
    layout = layouts.make_layout(mode, model, optimizer, seed=0, batch_size=ROWS)
    params = layout.place_state(init_state(model, optimizer, 0).params)
    before = layout.single(layout.eval_step(params, layout.place_batch(uneven_batch(0))))
    batch = uneven_batch(0)  # another copy: jax may read the arrays it was given in place, and later
    batch["input_ids"][-3:] = 7
    batch["masked_lm_weights"][-3:] = 0
    batch["masked_lm_ids"][-3:] = 9
    after = layout.single(layout.eval_step(params, layout.place_batch(batch)))
    assert float(before["sums"]["next_sentence_loss"]) == pytest.approx(float(after["sums"]["next_sentence_loss"]), rel=1e-6)
    assert before["counts"]["masked_lm"] - after["counts"]["masked_lm"] == uneven_batch(0)["masked_lm_weights"][-3:].sum()


def test_a_batch_that_does_not_divide_names_the_nearest_that_do():
    with pytest.raises(UserError, match="12 rows on 8 devices") as error:
        layouts.make_layout("jit", objective(), optax.sgd(1.0), seed=0, batch_size=12)
    assert "8 or 16" in str(error.value)


def test_an_unknown_mode_names_the_known_ones():
    with pytest.raises(UserError, match="jit or pmap"):
        layouts.make_layout("pjit", objective(), optax.sgd(1.0), seed=0, batch_size=8)
