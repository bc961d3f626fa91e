"""Packing changes where examples stand and nothing else: losses and gradients are those of one example a row."""

import jax
import numpy as np
import pytest

from bert_jax import batch as contract
from bert_jax.batch import Context
from bert_jax.data.loader import Loader, LoaderConfig, Phase
from bert_jax.data.masking import MaskRule
from bert_jax.models.encoder import EncoderConfig
from bert_jax.objectives.pretrain import bert
from tests.data.small import TWELVE, make_store

LENGTH = 48
MODEL = EncoderConfig(
    vocab_size=TWELVE.size,
    hidden_size=16,
    num_hidden_layers=2,
    num_attention_heads=2,
    intermediate_size=24,
    max_position_embeddings=LENGTH,
    initializer_range=0.5,  # at 0.02 attention is even whatever it sees, and a leak would hardly show
)
CONFIG = LoaderConfig(
    (Phase(0, LENGTH, 8, 6),), short_seq_prob=0.5, dupe_factor=1, seed=0, rows="pairs", max_examples_per_row=4,
    mask=MaskRule(mask_unit="whole_word"),
)  # fmt: skip


@pytest.fixture(scope="module")
def packed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    batch = Loader(make_store(folder / "store").train, TWELVE, CONFIG, folder / "plans").batch(0)
    contract.check(batch)
    assert batch["next_sentence_weights"].sum() >= 12 and (batch["input_mask"] == 0).any()
    return batch


@pytest.fixture(scope="module")
def params():
    return jax.jit(bert(MODEL).init)(jax.random.key(0))


def unpacked(packed: dict) -> dict:
    """Each example of the packed batch as a row of its own, at its beginning; the masks go along."""
    examples = [(row, slot) for row, slot in zip(*np.nonzero(packed["next_sentence_weights"]))]
    size, slots = len(examples), packed["masked_lm_ids"].shape[1]
    rows = {name: np.zeros((size, LENGTH), np.int32) for name in ("input_ids", "input_mask", "segment_ids")}
    rows |= {name: np.zeros((size, slots), np.int32) for name in ("masked_lm_positions", "masked_lm_ids")}
    rows["masked_lm_weights"] = np.zeros((size, slots), np.float32)
    for number, (row, slot) in enumerate(examples):
        places = np.flatnonzero(packed["sequence_ids"][row] == slot + 1)
        for name in ("input_ids", "input_mask", "segment_ids"):
            rows[name][number, : len(places)] = packed[name][row, places]
        here = (packed["masked_lm_weights"][row] > 0) & np.isin(packed["masked_lm_positions"][row], places)
        rows["masked_lm_positions"][number, : here.sum()] = packed["masked_lm_positions"][row][here] - places[0]
        rows["masked_lm_ids"][number, : here.sum()] = packed["masked_lm_ids"][row][here]
        rows["masked_lm_weights"][number, : here.sum()] = 1
    labels = np.array([packed["next_sentence_labels"][example] for example in examples], np.int32)
    return rows | {"next_sentence_labels": labels, "next_sentence_weights": np.ones(size, np.float32)}


def losses(params, batch: dict):
    """(loss, metrics) of one batch, without dropout."""
    objective = bert(MODEL)
    sums, counts = objective.sums(params, batch, Context()), objective.counts(batch)
    return objective.loss(sums, counts), objective.means(sums, counts)


def gradients_and_metrics(params, batch: dict):
    return jax.jit(jax.grad(losses, has_aux=True))(params, batch)


def distance(one, other) -> float:
    """The largest relative distance in norm of any tensor. The gradient of a key's bias is zero but for rounding."""
    pairs = zip(jax.tree.leaves(one), jax.tree.leaves(other))
    return max(float(np.linalg.norm(a - b) / max(np.linalg.norm(b), 1e-2)) for a, b in pairs)


@pytest.fixture(scope="module")
def reference(params, packed):
    return gradients_and_metrics(params, unpacked(packed))


def test_packed_rows_have_the_losses_and_gradients_of_single_ones(params, packed, reference):
    gradients, metrics = gradients_and_metrics(params, packed)
    assert metrics.keys() == reference[1].keys() >= {"masked_lm_loss", "next_sentence_loss", "next_sentence_accuracy"}
    for name, value in metrics.items():
        assert float(value) == pytest.approx(float(reference[1][name]), rel=1e-5), name
    assert distance(gradients, reference[0]) < 1e-5


@pytest.mark.parametrize("lost", ["sequence_ids", "position_ids"])
def test_a_leak_between_examples_would_be_caught(params, packed, reference, lost):
    """Planted: attention over the whole row, or positions that go on through it."""
    _, metrics = jax.jit(losses)(params, {name: array for name, array in packed.items() if name != lost})
    for name in ("masked_lm_loss", "next_sentence_loss"):
        assert abs(float(metrics[name] / reference[1][name]) - 1) > 1e-3
