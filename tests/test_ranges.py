"""Numbers that make a run learn nothing, or something else, are refused by the key under which people give them."""

import math
from dataclasses import replace

import pytest
from ml_collections import ConfigDict

from bert_jax.build import build_task_optimizer
from bert_jax.errors import UserError
from bert_jax.models import encoder
from bert_jax.models.encoder import EncoderConfig
from bert_jax.objectives import contrastive, distill, electra, sentence_bert, spanbert
from bert_jax.optim import optimizers, schedules
from bert_jax.ranges import BELOW_ONE, NONE_TO_ALL, NOT_NEGATIVE, PART, PART_OR_ALL, POSITIVE, require, whole

CONFIG = EncoderConfig(20, hidden_size=8, num_attention_heads=2, intermediate_size=8)
MODERN = replace(CONFIG, block="pre_norm", local_attention=4)
WEIGHTS = dict.fromkeys(distill.LOSSES, 1.0)


def make_encoder(**values):
    return replace(MODERN if values.keys() & {*encoder.pre_norm.FIELDS} else CONFIG, **values)


def make_schedule(**values):
    name = next((name for name, key in SCHEDULES.items() if key in values), "linear_twice")
    shape = {"second_begins": 0.5, "second_learning_rate": 1.0, "second_num_warmup_steps": 0} if name == "linear_twice" else {}
    return schedules.make_schedule(name, **{"learning_rate": 1.0, "num_warmup_steps": 1, "num_train_steps": 10} | shape | values)


def make_electra(**values):
    return electra.electra(CONFIG, **{"generator_size": 0.5, "encoder_weight": 1.0, "learns": "replaced"} | values)


def make_student(**values):
    return distill.distill(CONFIG, teacher=CONFIG, teacher_layers=(), **{"weights": WEIGHTS} | values)


SCHEDULES = {"warmup_stable_decay": "decay_fraction", "polynomial": "power", "linear": "end_learning_rate"}
CHECKED = [  # section, the ranges of its keys, what is made of them
    ("model", encoder.RANGES, make_encoder),
    ("optim", optimizers.RANGES, lambda **values: optimizers.make_optimizer(lambda step: 1.0, **values)),
    ("optim", schedules.RANGES, make_schedule),
    ("objective", electra.RANGES, make_electra),
    ("objective", spanbert.RANGES, lambda **values: spanbert.spanbert(CONFIG, **values)),
    ("objective", contrastive.RANGES, lambda **values: contrastive.simcse(CONFIG, pooling="cls", mlp="none", **values)),
    ("objective", sentence_bert.RANGES, lambda **values: sentence_bert.triplet(CONFIG, pooling="cls", **values)),
    ("objective", distill.RANGES, make_student),
]


KEYS = [(section, name, make) for section, ranges, make in CHECKED for name in ranges]


@pytest.mark.parametrize(("section", "name", "make"), KEYS, ids=[f"{section}.{name}" for section, name, _ in KEYS])
def test_no_key_may_be_nan_infinite_or_below_zero(section, name, make):
    below = -2 if name == "frozen_layers" else -1  # -1 layers: none are frozen, the embeddings neither
    for value in (math.nan, math.inf, below, "1"):
        with pytest.raises(UserError, match=rf"{section}\.{name} is out of range\n  got:      {value}\n"):
            make(**{name: value})


@pytest.mark.parametrize(
    ("allowed", "inside", "outside"),
    [
        (NOT_NEGATIVE, (0, 0.5, 7), (-1e-9, 1e39)),
        (POSITIVE, (1e-30, 7), (0, 0.0)),
        (BELOW_ONE, (0, 0.0, 0.999), (1.0, 7.0, -0.5)),
        (PART, (0.001, 0.999), (0.0, 1.0)),
        (PART_OR_ALL, (0.001, 1), (0.0, 1.001)),
        (NONE_TO_ALL, (0, 1), (-0.001, 1.001)),
        (whole(1, 8), (1, 8), (0, 9, 2.0)),
        (whole(0), (0, 10**9), (-1,)),
    ],
)
def test_a_range_has_these_ends(allowed, inside, outside):
    assert all(value in allowed for value in inside)
    assert not any(value in allowed for value in outside)


def test_a_value_without_a_range_may_be_any():
    require("optim", {"name": "lamb"}, {"eps": POSITIVE})


@pytest.mark.parametrize("name", ["hidden_dropout_prob", "attention_probs_dropout_prob", "attention_output_dropout_prob"])
def test_nothing_is_dropped_out_whole(name):
    with pytest.raises(UserError, match=rf"model\.{name} is out of range"):
        make_encoder(**{name: 1.0})


@pytest.mark.parametrize(
    "name", ["vocab_size", "hidden_size", "num_attention_heads", "intermediate_size", "max_position_embeddings"]
)
def test_a_size_of_nothing_is_refused(name):
    with pytest.raises(UserError, match=rf"model\.{name} is out of range"):
        make_encoder(**{name: 0})


def test_some_positions_are_left_for_tokens():
    sizes = {"max_position_embeddings": 40}
    assert make_encoder(**sizes, position_offset=39).longest_row == 1
    with pytest.raises(UserError, match=r"leaves no positions for tokens\n.*40 of model\.max_position_embeddings=40\n.*most 39"):
        make_encoder(**sizes, position_offset=40)


def test_a_loss_of_a_student_does_not_weigh_nan():
    with pytest.raises(UserError, match="do not say how the losses are weighted"):
        make_student(temperature=1.0, weights=WEIGHTS | {"hidden": math.nan})


def test_a_generator_without_width_is_refused():
    with pytest.raises(UserError, match=r"generator_size gives no generator\n  got:      0\.01: width 0"):
        make_electra(generator_size=0.01)


@pytest.mark.parametrize("share", [math.nan, -0.1, 1.5])
def test_the_warmup_of_a_task_is_a_share_of_its_steps(share):
    config = ConfigDict({"optim": {"learning_rate": 1.0, "warmup_proportion": share}})
    with pytest.raises(UserError, match=r"optim\.warmup_proportion is out of range"):
        build_task_optimizer(config, 10)
