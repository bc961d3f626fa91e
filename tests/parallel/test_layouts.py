"""Every way to lay a step out over devices, micro-batches, layers and processes is one and the same training."""

import jax
import numpy as np
import optax
import pytest

from bert_jax.errors import UserError
from bert_jax.models.encoder import EncoderConfig
from bert_jax.objectives.pretrain import bert
from bert_jax.parallel import hosts
from bert_jax.parallel import layout as layouts
from bert_jax.parallel import step as steps
from bert_jax.parallel.step import init_state, window_means

ROWS, LENGTH, SLOTS, VOCAB = 16, 12, 4, 50
PRE_NORM = {"block": "pre_norm", "local_attention": 4, "num_hidden_layers": 6, "type_vocab_size": 0, "use_bias": False}


def encoder_config(**model) -> EncoderConfig:
    sizes = {
        "vocab_size": VOCAB,
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 32,
        "max_position_embeddings": LENGTH,
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
    }
    return EncoderConfig(**sizes | model)


def objective(**model):
    return bert(encoder_config(**model))


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


def three_sgd_steps(mode: str, devices: int, *, model: dict | None = None, **options):
    """(metrics of the three steps together, params); where there are several processes, each puts in its rows."""
    learned, optimizer = objective(**(model or {})), optax.sgd(0.5)
    layout = layouts.make_layout(mode, learned, optimizer, seed=0, batch_size=ROWS, devices=jax.devices()[:devices], **options)
    state = layout.place_state(init_state(learned, optimizer, 0))
    for step in range(3):
        state = layout.train_step(state, layout.place_batch(hosts.own_rows(uneven_batch(step))))
    state = jax.tree.map(np.asarray, layout.single(state))
    assert state.step == 3 and state.skipped == 0
    return window_means(learned, state.window), state.params


def difference(params, reference) -> float:
    """The largest relative distance in norm of any tensor."""
    pairs = zip(jax.tree.leaves(params), jax.tree.leaves(reference), strict=True)
    return max(np.linalg.norm(a - b) / max(np.linalg.norm(b), 1e-3) for a, b in pairs)


def assert_same(result, reference):
    """Metrics, the norm of the gradient among them, and parameters: with SGD a gradient N times too big would show."""
    (metrics, params), (reference_metrics, reference_params) = result, reference
    assert metrics.keys() == reference_metrics.keys() >= {"loss", "grad_norm", "masked_lm_loss", "next_sentence_accuracy"}
    for name, value in metrics.items():
        assert value == pytest.approx(reference_metrics[name], rel=1e-5), name
    assert difference(params, reference_params) < 1e-5


@pytest.fixture(scope="module")
def one_device():
    return three_sgd_steps("jit", 1)


@pytest.mark.parametrize(
    ("mode", "devices", "options"),
    [
        ("jit", 8, {}),
        ("jit", 8, {"fsdp": 8}),
        ("jit", 8, {"fsdp": 2, "tensor": 2}),
        ("pmap", 8, {}),
        ("jit", 1, {"accumulate": 4}),
        ("jit", 8, {"fsdp": 2, "tensor": 2, "accumulate": 4}),
        ("pmap", 2, {"accumulate": 4}),
        ("jit", 1, {"model": {"remat": "none"}}),
        ("jit", 1, {"model": {"remat": "full"}}),
        ("jit", 1, {"model": {"unroll_layers": True}}),
        ("jit", 8, {"fsdp": 8, "model": {"remat": "dots", "unroll_layers": True}}),
    ],
    ids=lambda value: str(value).replace("'", ""),
)
def test_every_layout_gives_the_result_of_one_device(one_device, mode, devices, options):
    assert_same(three_sgd_steps(mode, devices, **options), one_device)


@pytest.fixture(scope="module")
def one_device_with_pre_norm():
    return three_sgd_steps("jit", 1, model=PRE_NORM)


@pytest.mark.parametrize(
    ("mode", "devices", "options"),
    [("jit", 8, {}), ("jit", 8, {"fsdp": 2, "tensor": 2}), ("pmap", 8, {}), ("jit", 1, {"accumulate": 4})],
    ids=lambda value: str(value).replace("'", ""),
)
def test_every_layout_gives_the_result_of_one_device_with_pre_norm_layers(one_device_with_pre_norm, mode, devices, options):
    assert_same(three_sgd_steps(mode, devices, model=PRE_NORM, **options), one_device_with_pre_norm)


@pytest.mark.parametrize("remat", ["none", "dots", "full"])
def test_what_is_kept_changes_nothing_with_pre_norm_layers(one_device_with_pre_norm, remat):
    assert_same(three_sgd_steps("jit", 1, model=PRE_NORM | {"remat": remat}), one_device_with_pre_norm)


def test_a_mean_of_device_means_would_be_caught(one_device, monkeypatch):
    """The bug of the peers, planted: counts of the own device only, gradients averaged."""

    make_train_step = layouts.make_train_step

    def step_of_means(objective, optimizer, reduce, *others):
        counted = []  # the first thing reduced is the counts: left as they are on each device

        def reduce_wrongly(tree):
            counted.append(tree)
            return tree if len(counted) == 1 else jax.lax.pmean(tree, "data")

        return make_train_step(objective, optimizer, reduce_wrongly, *others)

    monkeypatch.setattr(layouts, "make_train_step", step_of_means)
    metrics, params = three_sgd_steps("pmap", 8)
    assert difference(params, one_device[1]) > 1e-3


def test_a_mean_of_micro_batch_means_would_be_caught(one_device, monkeypatch):
    """The same bug over time: each micro-batch divided by its own counts, as optax.MultiSteps would."""
    monkeypatch.setattr(steps, "_add_up", mean_of_means)
    assert difference(three_sgd_steps("jit", 1, accumulate=4)[1], one_device[1]) > 1e-3


def mean_of_means(gradient, batch, rng, accumulate):
    total = batch["masked_lm_weights"].sum()
    parts = []
    for index in range(accumulate):
        rows = jax.tree.map(lambda array: array[index::accumulate], batch)  # noqa: B023
        share = total / rows["masked_lm_weights"].sum() / accumulate
        gradients, sums = gradient(rows, rng)
        parts.append((jax.tree.map(lambda leaf: leaf * share, gradients), sums))  # noqa: B023
    return jax.tree.map(lambda *leaves: sum(leaves), *parts)


def test_dropout_masks_do_not_depend_on_the_number_of_devices():
    dropout = {"hidden_dropout_prob": 0.2, "attention_probs_dropout_prob": 0.2}
    assert_same(three_sgd_steps("jit", 8, fsdp=2, model=dropout), three_sgd_steps("jit", 1, model=dropout))


def test_activations_in_bfloat16_stay_near_and_parameters_in_float32(one_device):
    metrics, params = three_sgd_steps("jit", 2, model={"dtype": "bfloat16"})
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {np.dtype("float32")}
    assert metrics["loss"] == pytest.approx(one_device[0]["loss"], rel=0.01)
    assert metrics["grad_norm"] == pytest.approx(one_device[0]["grad_norm"], rel=0.05)
    assert difference(params, one_device[1]) < 0.2


def test_products_in_bfloat16_stay_nearer(one_device):
    metrics, params = three_sgd_steps("jit", 2, model={"matmul_dtype": "bfloat16"})
    assert metrics["loss"] == pytest.approx(one_device[0]["loss"], rel=0.002)
    assert metrics["grad_norm"] == pytest.approx(one_device[0]["grad_norm"], rel=0.01)
    assert 1e-5 < difference(params, one_device[1]) < 0.05


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


def test_one_copy_of_what_pmap_has_everywhere_is_taken_from_one_device():
    """A program over all devices for each array would wait for the slowest of them, hundreds of times for a checkpoint."""
    model, optimizer = objective(), optax.sgd(0.5)
    layout = layouts.make_layout("pmap", model, optimizer, seed=0, batch_size=ROWS)
    state = layout.train_step(layout.place_state(init_state(model, optimizer, 0)), layout.place_batch(uneven_batch(0)))
    one = layout.single(state)
    assert all(len(leaf.devices()) == 1 for leaf in jax.tree.leaves(one))
    jax.tree.map(lambda leaf, all_of: np.testing.assert_array_equal(leaf, np.asarray(all_of)[-1]), one, state)


def refused(**options) -> str:
    with pytest.raises(UserError) as error:
        layouts.make_layout(
            **{"mode": "jit", "batch_size": 16} | options, objective=objective(), optimizer=optax.sgd(1.0), seed=0
        )
    return str(error.value)


def test_what_does_not_divide_names_what_does():
    assert "12 rows on 8 devices" in refused(batch_size=12) and "8 or 16" in refused(batch_size=12)
    later = refused(later_batch_sizes=[8, 12])
    assert "data.later_phases[1] does not divide" in later and "12 rows on 8 devices" in later
    assert "16 rows on 4 devices in 3 micro-batches" in refused(tensor=2, accumulate=3)
    assert "12 or 24" in refused(tensor=2, accumulate=3)
    assert "parallel.fsdp=3" in refused(fsdp=3)
    assert "nothing below 1" in refused(accumulate=0)


def test_a_mode_that_cannot_names_those_that_can():
    assert "jit or pmap" in refused(mode="pjit")
    assert "parallel.mode=jit" in refused(mode="pmap", fsdp=2)
