"""Memory and operations by arithmetic, against sums by hand and against a compiled program."""

import jax
import pytest

from bert_jax import config as configs
from bert_jax import hardware
from bert_jax.parallel.layout import make_layout
from bert_jax.plan.estimate import estimate, model_flops
from bert_jax.plan.hlo import product_flops
from bert_jax.plan.job import open_job
from tests.tiny import ROOT

NO_DROPOUT = ("model.hidden_dropout_prob=0.0", "model.attention_probs_dropout_prob=0.0")


def job(target: str, *overrides: str, config: str = "bert.py:base"):
    return open_job(configs.load(f"{ROOT}/configs/{config}", overrides), hardware.parse_target(target))


def by_hand(rows: int, length: int, predictions: int, pieces: int = 30522, layers=12, width=768, inner=3072) -> int:
    """Operations of a step of BERT: of each token four products of attention with weights, two of feed-forward, the scores and
    the mixture; of each row the pooler and two classes; of each prediction a dense layer and the table. Twice as many again
    in the backward pass."""
    token = layers * (2 * (4 * width**2 + 2 * width * inner) + 4 * length * width)
    row = 2 * width**2 + 2 * width * 2
    prediction = 2 * width**2 + 2 * width * pieces
    return 3 * rows * (length * token + row + predictions * prediction)


@pytest.mark.parametrize("number", [0, 1])
def test_the_operations_of_bert_are_those_of_its_formula(number):
    found = job("v5e:2x4", "model.remat=none")
    phase = found.rows.phases[number]
    wanted = by_hand(phase.batch_size, phase.max_seq_length, phase.max_predictions_per_seq)
    assert model_flops(found, phase) == pytest.approx(wanted, rel=1e-3)


def test_operations_are_those_of_the_products_of_an_unrolled_compiled_step():
    """Without dropout, on one CPU device."""
    small = ("model.num_hidden_layers=3", "text.vocab_size=500", "train.train_batch_size=4", "data.max_seq_length=32")
    options = ("model.remat=none", "data.later_phases=()", "model.dtype=float32", *small, *NO_DROPOUT)
    looped = job("v5e:1x1", *options, config="bert.py:tiny")
    unrolled = open_job(looped.config, looped.target, {"model.unroll_layers": True})
    phase = looped.rows.phases[0]
    layout = make_layout("jit", unrolled.objective, unrolled.optimizer, seed=0, batch_size=4, devices=jax.devices()[:1])
    text = layout.train_step.lower(*layout.abstract(unrolled.state(), unrolled.batch(phase))).compile().as_text()
    assert " while(" not in text
    assert product_flops(text) == pytest.approx(model_flops(looped, phase), rel=0.01)


def test_what_is_computed_anew_counts_as_work_and_not_as_the_models():
    plain, again = (job("v5e:2x4", f"model.remat={remat}") for remat in ("none", "full"))
    phase = plain.rows.phases[0]
    assert estimate(again, phase).flops > 1.25 * estimate(plain, phase).flops
    assert estimate(plain, phase).flops == model_flops(plain, phase)


def test_what_bert_base_keeps_for_the_backward_pass():
    """Of each token and layer, in bfloat16: the input, query, key, value, mixture, and two outputs of width D, one of width F; in
    bytes: what dropout decides, two of width D, and of attention one for each head and key."""
    found = job("v5e:2x4")
    of_token = 2 * (7 * 768 + 3072) + 2 * 768 + 12 * 128
    assert estimate(found, found.rows.phases[0]).memory["kept for the backward pass"] == pytest.approx(
        32 * 128 * 12 * of_token, rel=1e-3
    )


def test_parameters_and_moments_are_spread_over_fsdp_and_tensor():
    whole, spread = job("v5e:2x4"), job("v5e:2x4", "parallel.fsdp=4", "parallel.tensor=2")
    phase = whole.rows.phases[0]
    for part in ("parameters", "optimiser", "gradients"):
        assert estimate(spread, phase).memory[part] < 0.2 * estimate(whole, phase).memory[part]
    assert estimate(whole, phase).memory["optimiser"] == pytest.approx(2 * estimate(whole, phase).memory["parameters"], rel=1e-6)


def test_a_replica_alone_sends_nothing():
    alone = job("v5e:1x1", "train.train_batch_size=8", "data.later_phases=()")
    assert not any(estimate(alone, alone.rows.phases[0]).sent.values())
