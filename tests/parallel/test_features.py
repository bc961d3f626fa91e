"""An encoder with features has one gradient on one device and on eight, under jit and pmap."""

from dataclasses import replace

import jax
import numpy as np
import pytest

from bert_jax.models.features import Feature
from bert_jax.objectives.pretrain import bert
from tests.parallel.test_layouts import LENGTH, ROWS, difference
from tests.parallel.test_objectives import SMALL, batch, two_sgd_steps

FEATURES = (Feature("word_place", "ids", 5), Feature("profile", "vector", 3))


def with_features(step: int) -> dict:
    rng = np.random.default_rng(step)
    places, profile = rng.integers(0, 5, (ROWS, LENGTH)), rng.standard_normal((ROWS, LENGTH, 3))
    return batch("bert", step) | {"feature_word_place": places.astype(np.int32), "feature_profile": profile.astype(np.float32)}


def objective():
    return bert(replace(SMALL, features=FEATURES), next_sentence=False)


@pytest.fixture(scope="module")
def one_device():
    return two_sgd_steps(objective(), "jit", 1, with_features)


@pytest.mark.parametrize("mode", ["jit", "pmap"])
def test_eight_devices_give_the_gradient_of_one(one_device, mode):
    metrics, params = two_sgd_steps(objective(), mode, 8, with_features)
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
