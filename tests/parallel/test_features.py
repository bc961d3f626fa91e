"""An encoder with features has one gradient on one device and on eight, under jit and pmap."""

import jax
import numpy as np
import optax
import pytest
from jax.sharding import AxisType, PartitionSpec

from bert_jax.models.encoder import EncoderConfig
from bert_jax.models.features import Feature
from bert_jax.objectives.pretrain import bert
from bert_jax.parallel.layout import make_layout
from bert_jax.parallel.rules import shardings
from bert_jax.parallel.step import init_state, window_means
from tests.parallel.test_layouts import LENGTH, ROWS, VOCAB, difference, uneven_batch

SIZES = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
SIZES |= {"max_position_embeddings": LENGTH, "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
FEATURES = (Feature("word_place", "ids", 5), Feature("profile", "vector", 3))


def objective():
    return bert(EncoderConfig(VOCAB, features=FEATURES, **SIZES))


def test_tables_of_what_follows_from_pieces_are_whole_on_each_device():
    features = (Feature("pinyin", "ids", 5, file="f"), Feature("glyph", "vector", 4, file="f"))
    params = jax.eval_shape(bert(EncoderConfig(VOCAB, features=features, **SIZES)).init, jax.random.key(0))
    found = shardings(params, jax.make_mesh((2, 2, 2), ("data", "fsdp", "tensor"), axis_types=(AxisType.Auto,) * 3))
    found = found["encoder"]["embeddings"]["features"]
    assert [found[name]["given"].spec for name in ("pinyin_of_piece", "glyph_of_piece")] == [PartitionSpec()] * 2


def batch() -> dict:
    rng = np.random.default_rng(0)
    places, profile = rng.integers(0, 5, (ROWS, LENGTH)), rng.standard_normal((ROWS, LENGTH, 3))
    return uneven_batch(0) | {"feature_word_place": places.astype(np.int32), "feature_profile": profile.astype(np.float32)}


def one_sgd_step(mode: str, devices: int):
    learned, optimizer = objective(), optax.sgd(0.1)
    layout = make_layout(mode, learned, optimizer, seed=0, batch_size=ROWS, devices=jax.devices()[:devices])
    state = layout.place_state(init_state(learned, optimizer, 0))
    state = jax.tree.map(np.asarray, layout.single(layout.train_step(state, layout.place_batch(batch()))))
    return window_means(learned, state.window), state.params


@pytest.fixture(scope="module")
def one_device():
    return one_sgd_step("jit", 1)


@pytest.mark.parametrize("mode", ["jit", "pmap"])
def test_eight_devices_give_the_gradient_of_one(one_device, mode):
    metrics, params = one_sgd_step(mode, 8)
    expected, reference = one_device
    assert metrics["grad_norm"] == pytest.approx(expected["grad_norm"], rel=2e-5)
    assert metrics["loss"] == pytest.approx(expected["loss"], rel=2e-5)
    assert difference(params, reference) < 1e-5


def test_every_parameter_of_the_features_learns(one_device):
    drawn = jax.jit(objective().init)(jax.random.key(0))["encoder"]["embeddings"]["features"]
    learned = one_device[1]["encoder"]["embeddings"]["features"]
    assert set(drawn) == {"word_place", "profile"}
    for before, after in zip(jax.tree.leaves(drawn), jax.tree.leaves(learned), strict=True):
        assert (np.abs(np.asarray(before) - after).max(axis=-1) > 1e-6).all()  # each row of table and product
