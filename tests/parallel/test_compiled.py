"""What is compiled, counted: how often, how large, and which arrays it never makes."""

import re
from pathlib import Path

import jax
import numpy as np
import pytest

from bert_jax.models.encoder import REMAT
from bert_jax.objectives import causal_lm
from bert_jax.objectives import electra as electras
from bert_jax.optim.optimizers import make_optimizer
from bert_jax.parallel import layout as layouts
from bert_jax.parallel.layout import make_layout
from bert_jax.parallel.step import empty_window, init_state
from tests.parallel.test_layouts import LENGTH, ROWS, SLOTS, encoder_config, objective, uneven_batch

VOCAB = 101  # the size of nothing else


def cpu_flags() -> str:
    return Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""


def lowered(model, batch=None, **options):
    optimizer = make_optimizer(lambda step: 0.01)
    layout = make_layout("jit", model, optimizer, seed=0, batch_size=ROWS, devices=jax.devices()[:1], **options)
    state = jax.eval_shape(lambda: init_state(model, optimizer, 0))
    return layout.train_step.lower(*layout.abstract(state, batch or uneven_batch(0)))


def largest_over_vocabulary(text: str) -> int:
    """Elements of the largest array with an axis of the vocabulary, but for that axis."""
    shapes = [[int(size) for size in shape.split(",")] for shape in re.findall(r"\w\[([\d,]+)\]", text)]
    return max(int(np.prod(shape)) // VOCAB for shape in shapes if VOCAB in shape)


def with_logits_everywhere(model):
    """The same loss, with the vocabulary's product at all places of the row: masks do not change its value, only its cost."""

    def sums(params, batch, context):
        everywhere = np.tile(np.arange(LENGTH, dtype=np.int32), (ROWS, 1))
        full = batch | {"masked_lm_positions": everywhere, "masked_lm_ids": batch["input_ids"]}
        return model.sums(params, full | {"masked_lm_weights": np.ones((ROWS, LENGTH), np.float32)}, context)

    return model._replace(sums=sums)


@pytest.mark.parametrize("options", [{}, {"accumulate": 2}])
def test_no_array_of_rows_by_length_by_vocabulary_is_made(options):
    text = lowered(objective(vocab_size=VOCAB, hidden_size=16), **options).compile().as_text()
    assert largest_over_vocabulary(text) == ROWS * SLOTS // options.get("accumulate", 1)


def test_a_causal_model_makes_some_logits_at_a_time(monkeypatch):
    everywhere = np.tile(np.arange(LENGTH, dtype=np.int32), (ROWS, 1))
    named = {"masked_lm_positions": everywhere, "masked_lm_ids": everywhere, "masked_lm_weights": everywhere.astype(np.float32)}
    monkeypatch.setattr(causal_lm, "AT_ONCE", 4)
    model = causal_lm.causal_lm(encoder_config(vocab_size=VOCAB, left_to_right=True, num_hidden_layers=1))
    text = lowered(model, uneven_batch(0) | named).compile().as_text()
    assert largest_over_vocabulary(text) == ROWS * 4


def test_logits_at_every_place_would_be_caught():
    text = lowered(with_logits_everywhere(objective(vocab_size=VOCAB))).compile().as_text()
    assert largest_over_vocabulary(text) == ROWS * LENGTH


def electra():
    config = encoder_config(vocab_size=VOCAB, num_hidden_layers=1, pooler=False)
    return electras.electra(config, generator_size=0.5, encoder_weight=50.0, learns="replaced")


def numbered(batch: dict) -> dict:
    return batch | {"example_id": np.arange(ROWS, dtype=np.int32)}


def test_a_generator_makes_logits_at_masks_alone(monkeypatch):
    monkeypatch.setattr(electras, "BLOCK", VOCAB)  # one block, unpadded: the arrays from which pieces are drawn show too
    assert largest_over_vocabulary(lowered(electra(), numbered(uneven_batch(0))).as_text(dialect="hlo")) == ROWS * SLOTS


def test_a_generator_with_logits_at_every_place_would_be_caught(monkeypatch):
    monkeypatch.setattr(electras, "BLOCK", VOCAB)
    text = lowered(with_logits_everywhere(electra()), numbered(uneven_batch(0))).as_text(dialect="hlo")
    assert largest_over_vocabulary(text) == ROWS * LENGTH


def test_the_program_does_not_grow_with_depth_unless_unrolled():
    shallow, deep, unrolled = (
        len(lowered(objective(num_hidden_layers=layers, unroll_layers=unroll)).compile().as_text())
        for layers, unroll in ((3, False), (24, False), (3, True))
    )
    assert shallow < deep < 1.03 * shallow
    assert unrolled > 1.3 * shallow


def products(**model) -> int:
    """How many products of matrices the traced step has, one loop's body counted once."""
    return lowered(objective(**model)).as_text().count("stablehlo.dot_general")


@pytest.mark.parametrize("matmul_dtype", ["float32", "bfloat16"])
def test_no_product_but_the_scores_is_computed_twice_unless_that_is_asked_for(matmul_dtype):
    """A forward product has two in the backward pass; what `remat` computes anew is counted on top."""
    none, elementwise, dots, full = (products(remat=remat, matmul_dtype=matmul_dtype) for remat in REMAT)
    assert none + 1 == elementwise < dots < full


def test_the_backward_pass_keeps_less_the_more_it_computes_anew():
    wide = {"hidden_size": 64, "intermediate_size": 256, "num_hidden_layers": 8}
    sizes = [lowered(objective(remat=remat, **wide)).compile().memory_analysis().temp_size_in_bytes for remat in REMAT]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[1] < 0.8 * sizes[0]


def test_products_are_kept_in_the_dtype_of_their_operands():
    wide = {"hidden_size": 64, "intermediate_size": 512, "num_hidden_layers": 8}
    exact, mixed = (
        lowered(objective(matmul_dtype=dtype, **wide)).compile().memory_analysis().temp_size_in_bytes
        for dtype in ("float32", "bfloat16")
    )
    assert mixed < 0.8 * exact


def test_an_update_needs_no_copy_of_parameters_or_moments():
    text = lowered(objective(hidden_size=64, vocab_size=VOCAB)).compile().as_text()
    assert "%state_opt_state" in text  # else they have other names, and none would be found
    assert not re.findall(r"f32\[\d+,[\d,]+\]\S* copy\(%state_\S+", text)


@pytest.mark.skipif("avx512_bf16" not in cpu_flags(), reason="this CPU does not multiply in bfloat16: XLA takes float32")
def test_products_of_bfloat16_are_multiplied_in_bfloat16():
    """Where XLA has no kernel for the order of axes in memory it takes float32, at half the speed, and says nothing."""
    model = objective(matmul_dtype="bfloat16", hidden_size=64, intermediate_size=256, vocab_size=VOCAB)
    text = lowered(model).compile().as_text()
    products = [line for line in text.splitlines() if " dot(" in line and "ClassHead" not in line]  # two classes: too small
    assert (
        len(products) == 3 * (6 + 2 + 3) + 1
    )  # of a layer six with weights and two of attention; the pooler; two of the LM head; the scores anew
    kinds = dict(re.findall(r"(%[\w.-]+)(?: =|:) (\w+)\[", text))
    operand_kinds = {kinds[name] for line in products for name in re.search(r" dot\((%\S+), (%\S+)\)", line).groups()}
    assert operand_kinds == {"bf16"}


@pytest.mark.parametrize(("mode", "options"), [("jit", {}), ("jit", {"fsdp": 2, "tensor": 2}), ("pmap", {})])
def test_a_step_is_compiled_once_also_after_a_log_line_has_emptied_the_window(mode, options):
    model, optimizer = objective(), make_optimizer(lambda step: 0.01)
    layout = make_layout(mode, model, optimizer, seed=0, batch_size=ROWS, **options)
    lowerings = []

    def listen(event: str, seconds: float, **facts) -> None:
        # jit by the name of our function, pmap by that of its own inside
        if event.endswith("jaxpr_to_mlir_module_duration") and facts.get("fun_name") in ("jit(train_step)", "jit(_fun)"):
            lowerings.append(facts["fun_name"])

    state = layout.place_state(init_state(model, optimizer, 0))
    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        for step in range(4):
            state = layout.train_step(state, layout.place_batch(uneven_batch(step)))
            if step == 1:
                state = state._replace(window=layout.place_state(empty_window(model)))
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)
    assert len(lowerings) == 1, lowerings


def test_micro_batches_are_cut_without_moving_rows_between_devices():
    model, optimizer = objective(), make_optimizer(lambda step: 0.01)
    layout = make_layout("jit", model, optimizer, seed=0, batch_size=ROWS, accumulate=2)
    state = jax.eval_shape(lambda: init_state(model, optimizer, 0))
    text = layout.train_step.lower(*layout.abstract(state, uneven_batch(0))).compile().as_text()
    assert "all-reduce" in text
    assert not re.search(r"all-to-all|collective-permute|all-gather", text)


def test_activations_are_held_split_by_rows(monkeypatch):
    """Else spread parameters pull them into a split by width: more memory, and a gather for each."""
    model, optimizer = objective(hidden_size=64, intermediate_size=256), make_optimizer(lambda step: 0.01)
    state = jax.eval_shape(lambda: init_state(model, optimizer, 0))
    compiled = []
    for modules in (layouts.SPLIT_BY_ROW, ()):
        monkeypatch.setattr(layouts, "SPLIT_BY_ROW", modules)
        layout = make_layout("jit", model, optimizer, seed=0, batch_size=ROWS, fsdp=8)
        compiled.append(layout.train_step.lower(*layout.abstract(state, uneven_batch(0))).compile())
    held, free = (program.memory_analysis().temp_size_in_bytes for program in compiled)
    assert held < 0.6 * free
