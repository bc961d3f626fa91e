from dataclasses import replace

import jax
import numpy as np
import pytest

from bert_jax.batch import Context
from bert_jax.models.encoder import EncoderConfig
from bert_jax.objectives.losses import cross_entropy_sums
from bert_jax.objectives.pretrain import bert

CONFIG = EncoderConfig(
    vocab_size=20, hidden_size=8, num_hidden_layers=3, num_attention_heads=2, intermediate_size=12, max_position_embeddings=10
)
DENSE = {"kernel", "bias"}


@pytest.fixture(scope="module")
def params():
    return bert(CONFIG).init(jax.random.key(0))


def batch(rows=3, length=7, slots=2):
    rng = np.random.default_rng(0)
    return {
        "input_ids": rng.integers(0, 20, (rows, length), dtype=np.int32),
        "input_mask": np.tile((np.arange(length) < 5).astype(np.int32), (rows, 1)),
        "segment_ids": np.zeros((rows, length), np.int32),
        "masked_lm_positions": np.tile(np.array([1, 3], np.int32), (rows, 1)),
        "masked_lm_ids": rng.integers(0, 20, (rows, slots), dtype=np.int32),
        "masked_lm_weights": np.array([[1, 1], [1, 0], [0, 0]], np.float32),
        "next_sentence_labels": np.array([0, 1, 0], np.int32),
        "next_sentence_weights": np.array([1, 1, 0], np.float32),
    }


def test_the_parameters_are_those_of_the_papers_figure(params):
    """Checkpoints depend on this tree: a change here orphans every saved run."""
    shapes = {
        jax.tree_util.keystr(path, simple=True, separator="/"): leaf.shape
        for path, leaf in jax.tree_util.tree_leaves_with_path(params)
    }
    assert shapes == {
        "encoder/embeddings/word/embedding": (20, 8),
        "encoder/embeddings/position/embedding": (10, 8),
        "encoder/embeddings/segment/embedding": (2, 8),
        **{f"encoder/embeddings/norm/{name}": (8,) for name in ("scale", "bias")},
        **{f"encoder/layers/attention/{part}/kernel": (3, 8, 8) for part in ("query", "key", "value", "output")},
        **{f"encoder/layers/attention/{part}/bias": (3, 8) for part in ("query", "key", "value", "output")},
        **{f"encoder/layers/{norm}/{name}": (3, 8) for norm in ("attention_norm", "output_norm") for name in ("scale", "bias")},
        "encoder/layers/intermediate/kernel": (3, 8, 12),
        "encoder/layers/intermediate/bias": (3, 12),
        "encoder/layers/output/kernel": (3, 12, 8),
        "encoder/layers/output/bias": (3, 8),
        "encoder/pooler/kernel": (8, 8),
        "encoder/pooler/bias": (8,),
        "masked_lm/dense/kernel": (8, 8),
        "masked_lm/dense/bias": (8,),
        **{f"masked_lm/norm/{name}": (8,) for name in ("scale", "bias")},
        "masked_lm/bias": (20,),
        "next_sentence/dense/kernel": (8, 2),
        "next_sentence/dense/bias": (2,),
    }


def test_bert_tiny_has_the_published_number_of_parameters():
    """4,385,920 in encoder and pooler (google-research/bert README, L2-H128 with 30,522 pieces)."""
    tiny = EncoderConfig(vocab_size=30522, hidden_size=128, num_hidden_layers=2, num_attention_heads=2, intermediate_size=512)
    shapes = jax.eval_shape(bert(tiny).init, jax.random.key(0))
    assert sum(np.prod(leaf.shape) for leaf in jax.tree.leaves(shapes["encoder"])) == 4_385_920


def test_layers_start_different_from_each_other_with_a_spread_of_two_hundredths(params):
    kernel_NIO = np.asarray(params["encoder"]["layers"]["intermediate"]["kernel"])
    assert not np.allclose(kernel_NIO[0], kernel_NIO[1])
    assert 0.015 < kernel_NIO.std() < 0.02 and np.abs(kernel_NIO).max() <= 0.04 + 1e-6


def test_losses_by_hand():
    logits = np.log(np.array([[0.7, 0.2, 0.1], [0.1, 0.1, 0.8]], np.float32))
    loss, hits = cross_entropy_sums(logits, np.array([0, 1]), np.array([1.0, 3.0], np.float32))
    assert float(loss) == pytest.approx(-np.log(0.7) - 3 * np.log(0.1), rel=1e-5)
    assert float(hits) == 1.0


def test_equal_logits_score_what_chance_would():
    _, hits = cross_entropy_sums(np.zeros((2, 4), np.float32), np.array([0, 3]), np.array([1.0, 1.0], np.float32))
    assert float(hits) == 0.5


def test_sums_and_counts_leave_out_what_has_no_weight(params):
    objective, full = bert(CONFIG), batch()
    assert {name: float(count) for name, count in objective.counts(full).items()} == {
        "masked_lm": 3,
        "next_sentence": 2,
        "tokens": 15,
    }
    changed = {name: array.copy() for name, array in full.items()}
    changed["masked_lm_ids"][1, 1] += 1
    changed["masked_lm_ids"][2] += 1
    changed["next_sentence_labels"][2] = 1
    before, after = objective.sums(params, full, Context()), objective.sums(params, changed, Context())
    assert {name: float(value) for name, value in before.items()} == {name: float(value) for name, value in after.items()}


def test_what_stands_at_padding_changes_nothing(params):
    objective, changed = bert(CONFIG), batch()
    changed["input_ids"][:, 5:] = 19
    for name, value in objective.sums(params, batch(), Context()).items():
        assert float(value) == pytest.approx(float(objective.sums(params, changed, Context())[name]), rel=1e-6)


def test_the_loss_is_the_sum_of_the_two_means(params):
    objective = bert(CONFIG)
    means = objective.means(objective.sums(params, batch(), Context()), objective.counts(batch()))
    assert float(means["loss"]) == pytest.approx(float(means["masked_lm_loss"] + means["next_sentence_loss"]))


def test_without_next_sentence_its_parameters_and_metrics_are_absent():
    objective = bert(CONFIG, next_sentence=False)
    params = objective.init(jax.random.key(0))
    assert set(params) == {"encoder", "masked_lm"}
    assert set(objective.sums(params, batch(), Context())) == set(objective.terms) == {"masked_lm_loss", "masked_lm_accuracy"}


def test_dropout_acts_in_training_only_and_follows_its_key(params):
    objective = bert(CONFIG)
    loss = lambda rng: float(objective.sums(params, batch(), Context(rng))["masked_lm_loss"])  # noqa: E731
    assert loss(None) == loss(None)
    assert loss(jax.random.key(1)) == loss(jax.random.key(1)) != loss(jax.random.key(2))


def test_unrolled_layers_compute_what_the_loop_computes(params):
    loop, unrolled = bert(CONFIG), bert(replace(CONFIG, unroll_layers=True))
    gradients = [
        jax.jit(jax.grad(lambda p, o=objective: o.loss(o.sums(p, batch(), Context()), o.counts(batch()))))(params)
        for objective in (loop, unrolled)
    ]
    for one, other in zip(*map(jax.tree.leaves, gradients)):
        assert np.linalg.norm(one - other) <= 1e-5 * max(np.linalg.norm(one), 1e-3)  # the key biases' true gradient is zero


def test_no_array_over_all_positions_and_the_whole_vocabulary_is_made():
    """The projection to the vocabulary runs on the predicted places alone (seen failing when it ran on all)."""
    config = EncoderConfig(vocab_size=977, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=12)
    objective, data = bert(config), batch(rows=3, length=31, slots=2)
    params = objective.init(jax.random.key(0))
    gradient = jax.grad(lambda p: objective.loss(objective.sums(p, data, Context(jax.random.key(0))), objective.counts(data)))
    text = jax.jit(gradient).lower(params).compile().as_text()
    assert "3,2,977" in text or "6,977" in text
    assert "31,977" not in text and "93,977" not in text
