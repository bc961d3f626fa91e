"""A student learns the same however the step is laid out, and its teacher is an argument of the step that nothing changes."""

import re
from dataclasses import replace
from functools import cache

import jax
import numpy as np
import optax
import pytest

from bert_jax.models.encoder import EncoderConfig
from bert_jax.objectives.distill import LOSSES, distill
from bert_jax.objectives.pretrain import bert
from bert_jax.parallel.layout import make_layout
from bert_jax.parallel.step import init_state, window_means
from tests.parallel.test_layouts import LENGTH, ROWS, difference, uneven_batch

VOCAB = 101  # the size of nothing else
TEACHER = EncoderConfig(
    vocab_size=VOCAB,
    hidden_size=32,
    num_hidden_layers=4,
    num_attention_heads=2,
    intermediate_size=48,
    max_position_embeddings=LENGTH,
    hidden_dropout_prob=0.0,
    attention_probs_dropout_prob=0.0,
    initializer_range=0.2,  # wide, so that there is something to learn from it
    pooler=False,
)
NARROW = replace(TEACHER, num_hidden_layers=2, hidden_size=16)
STUDENTS = {  # its size, and the losses
    "narrow": (NARROW, dict.fromkeys(LOSSES, 0.5) | {"cosine": 0.0}),  # which needs one width
    "cosine": (replace(TEACHER, num_hidden_layers=2), dict.fromkeys(LOSSES, 0.0) | {"cosine": 1.0, "masked_lm": 1.0}),
}


def student(name: str):
    config, weights = STUDENTS[name]
    return distill(config, teacher=TEACHER, teacher_layers=(), temperature=2.0, weights=weights)


@cache
def teacher_params() -> dict:
    params = jax.jit(bert(TEACHER, next_sentence=False).init)(jax.random.key(7))
    return jax.tree.map(np.asarray, params)


def batch(step: int) -> dict:
    """Rows of other lengths on each device."""
    rows = uneven_batch(step)
    rows["input_mask"] = (np.arange(LENGTH)[None] < 5 + np.arange(ROWS)[:, None] % 8).astype(np.int32)
    return {name: rows[name] for name in rows if not name.startswith("next_sentence")}


def two_sgd_steps(name: str, mode: str, devices: int, **options):
    """(metrics, params of the student, of the teacher)."""
    objective, optimizer = student(name), optax.sgd(0.05)
    layout = make_layout(mode, objective, optimizer, seed=0, batch_size=ROWS, devices=jax.devices()[:devices], **options)
    state, frozen = layout.place_state(init_state(objective, optimizer, 0)), layout.place_state(teacher_params())
    for step in range(2):
        state = layout.train_step(state, layout.place_batch(batch(step)), frozen)
    state, frozen = (jax.tree.map(np.asarray, layout.single(tree)) for tree in (state, frozen))
    return window_means(objective, state.window), state.params, frozen


@pytest.fixture(scope="module")
def one_device():
    return {name: two_sgd_steps(name, "jit", 1) for name in STUDENTS}


@pytest.mark.parametrize(
    ("name", "mode", "devices", "options"),
    [
        ("narrow", "jit", 8, {}),
        ("narrow", "jit", 8, {"fsdp": 2, "tensor": 2}),
        ("narrow", "jit", 2, {"accumulate": 4}),
        ("narrow", "pmap", 8, {}),
        ("cosine", "pmap", 8, {}),
    ],
    ids=lambda value: str(value).replace("'", ""),
)
def test_every_layout_gives_the_gradient_of_one_device(one_device, name, mode, devices, options):
    metrics, params, frozen = two_sgd_steps(name, mode, devices, **options)
    expected, reference, _ = one_device[name]
    assert metrics.keys() == expected.keys() > {"loss", "grad_norm", "masked_lm_loss"}
    for metric, value in metrics.items():
        assert value == pytest.approx(expected[metric], rel=2e-5), metric
    assert difference(params, reference) < 2e-5
    jax.tree.map(np.testing.assert_array_equal, frozen, teacher_params())


def lowered(objective, frozen):
    optimizer = optax.sgd(0.05)
    layout = make_layout("jit", objective, optimizer, seed=0, batch_size=ROWS, devices=jax.devices()[:1])
    state, rows = layout.abstract(jax.eval_shape(lambda: init_state(objective, optimizer, 0)), batch(0))
    return layout.train_step.lower(state, rows, frozen)


def largest_constant(text: str) -> int:
    shapes = re.findall(r"stablehlo\.constant .*: tensor<([\dx]+)x\w+>", text)
    return max((int(np.prod([int(size) for size in shape.split("x")])) for shape in shapes), default=1)


def test_the_teacher_is_an_argument_and_no_constant_of_the_program():
    text = lowered(student("narrow"), teacher_params()).as_text()
    argument = f"tensor<{VOCAB}x{TEACHER.hidden_size}xf32>"
    assert argument in text.split("func.func public @main")[1].split("->")[0]
    assert largest_constant(text) < 1000


def test_a_teacher_in_a_closure_would_be_caught():
    objective, planted = student("narrow"), teacher_params()
    closed = objective._replace(sums=lambda params, rows, context: objective.sums(params, rows, context._replace(frozen=planted)))
    assert largest_constant(lowered(closed, None).as_text()) >= VOCAB * TEACHER.hidden_size


def soft_targets_alone():
    weights = dict.fromkeys(LOSSES, 0.0) | {"soft_target": 1.0, "masked_lm": 1.0}
    return distill(STUDENTS["cosine"][0], teacher=TEACHER, teacher_layers=(), temperature=2.0, weights=weights)


def test_of_the_teacher_only_the_forward_pass_is_computed():
    """Counted in products of matrices, one loop's body once."""
    alone, frozen = bert(STUDENTS["cosine"][0], next_sentence=False), teacher_params()
    with_teacher, without = (lowered(objective, frozen).as_text() for objective in (soft_targets_alone(), alone))
    forward = jax.jit(bert(TEACHER, next_sentence=False).predict).lower(frozen, batch(0)).as_text()
    assert products(with_teacher) == products(without) + products(forward)


def products(text: str) -> int:
    return text.count("stablehlo.dot_general")


def test_what_no_loss_looks_at_is_not_kept():
    """The queries of all layers of the teacher: [N, B, L, H, K]."""
    size = f"{TEACHER.num_hidden_layers},{ROWS},{LENGTH},2,{TEACHER.hidden_size // 2}]"
    used, unused = (
        lowered(objective, teacher_params()).compile().as_text() for objective in (student("narrow"), soft_targets_alone())
    )
    assert size in used and size not in unused
