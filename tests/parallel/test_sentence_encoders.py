"""The objectives of sentence encoders have one gradient on any devices: in-batch negatives are those of the whole batch."""

from dataclasses import replace

import jax
import numpy as np
import optax
import pytest

from bert_jax.errors import UserError
from bert_jax.objectives import sentence_bert
from bert_jax.objectives.contrastive import simcse
from bert_jax.parallel import layout as layouts
from bert_jax.parallel.step import init_state, window_means
from tests.objectives.test_contrastive import STILL
from tests.parallel.test_layouts import difference

ROWS, LENGTH = 16, 8
OBJECTIVES = {  # name -> texts of a row, objective
    "simcse": (1, simcse(STILL, temperature=0.05, pooling="mean", mlp="always")),
    "simcse_triples": (3, simcse(STILL, temperature=0.05, pooling="mean", mlp="always")),
    "classification": (2, sentence_bert.classification(STILL, pooling="mean", num_classes=3)),
    "regression": (2, sentence_bert.regression(STILL, pooling="cls")),
    "triplet": (3, sentence_bert.triplet(STILL, pooling="max", margin=1.0)),
}


def batch(seed: int, texts: int) -> dict:
    """[B, L] for one text, else [B, T, L]; two rows per device of eight, of which the last three of all only fill the batch."""
    rng = np.random.default_rng(seed)
    mask = (np.arange(LENGTH) < rng.integers(3, LENGTH + 1, (ROWS, texts))[:, :, None]).astype(np.int32)
    mask[-3:] = 0
    ids = rng.integers(5, 20, (ROWS, texts, LENGTH), dtype=np.int32)
    whole = {"input_ids": ids, "input_mask": mask, "segment_ids": np.zeros_like(ids)}
    if texts == 1:
        return {name: array[:, 0] for name, array in whole.items()}
    return whole | {"label_ids": rng.integers(0, 3, ROWS, dtype=np.int32), "label_values": rng.random(ROWS, dtype=np.float32)}


def two_sgd_steps(name: str, mode: str, devices: int, objective=None, **options):
    """(metrics of the two steps together and held-out sums, params)."""
    texts, usual = OBJECTIVES[name]
    objective, optimizer = objective or usual, optax.sgd(0.02)
    layout = layouts.make_layout(mode, objective, optimizer, seed=0, batch_size=ROWS, devices=jax.devices()[:devices], **options)
    state = layout.place_state(init_state(objective, optimizer, 0))
    for step in range(2):
        state = layout.train_step(state, layout.place_batch(batch(step, texts)))
    held_out = layout.single(layout.eval_step(state.params, layout.place_batch(batch(2, texts))))
    state = jax.tree.map(np.asarray, layout.single(state))
    assert state.step == 2 and state.skipped == 0
    sums = {f"held_out_{name}": float(value) for name, value in held_out["sums"].items()}
    return window_means(objective, state.window) | sums, state.params


@pytest.fixture(scope="module")
def one_device():
    return {name: two_sgd_steps(name, "jit", 1) for name in OBJECTIVES}


@pytest.mark.parametrize(("mode", "options"), [("jit", {"fsdp": 2, "tensor": 2}), ("pmap", {})], ids=["jit", "pmap"])
@pytest.mark.parametrize("name", OBJECTIVES)
def test_eight_devices_give_the_gradient_of_one(one_device, name, mode, options):
    metrics, params = two_sgd_steps(name, mode, 8, **options)
    expected, reference = one_device[name]
    assert metrics.keys() == expected.keys() >= {"grad_norm", "loss"}
    for metric, value in metrics.items():
        assert value == pytest.approx(expected[metric], rel=2e-5), metric
    assert difference(params, reference) < 2e-5


@pytest.mark.parametrize("name", ["simcse", "simcse_triples"])
def test_negatives_of_the_own_device_alone_would_be_caught(one_device, name, monkeypatch):
    make_train_step = layouts.make_train_step  # the last that pmap gives it is `gather`
    monkeypatch.setattr(layouts, "make_train_step", lambda *args: make_train_step(*args[:-1]))
    metrics, params = two_sgd_steps(name, "pmap", 8)
    expected, reference = one_device[name]
    assert metrics["grad_norm"] != pytest.approx(expected["grad_norm"], rel=0.05)
    assert difference(params, reference) > 1e-2


def test_two_views_differ_alike_on_any_number_of_devices():
    """Under jit dropout does not depend on them."""
    objective = simcse(replace(STILL, hidden_dropout_prob=0.2), temperature=0.05, pooling="mean", mlp="none")
    (one, _), (eight, _) = (two_sgd_steps("simcse", "jit", devices, objective) for devices in (1, 8))
    assert one["positive_cosine"] < 0.99
    assert eight == pytest.approx(one, rel=2e-5)


def test_micro_batches_are_refused_where_rows_are_compared():
    refused = "(?s)compares all rows.*train.accumulate=2.*smaller train.train_batch_size"
    with pytest.raises(UserError, match=refused):
        two_sgd_steps("simcse", "jit", 1, accumulate=2)
    layouts.make_layout("jit", OBJECTIVES["triplet"][1], optax.sgd(1.0), seed=0, batch_size=ROWS, accumulate=2)
