"""How far an update moves each part: the same on every layout, and near the exact figure where only a sample is taken."""

import jax
import numpy as np
import optax
import pytest

from bert_jax.parallel.layout import make_layout
from bert_jax.parallel.step import init_state
from bert_jax.train import motion
from tests.parallel.test_layouts import ROWS, objective, uneven_batch


def ratios_of_a_step(mode: str, devices: int, **options) -> dict[str, float]:
    model, optimizer = objective(), optax.sgd(0.5)
    layout = make_layout(mode, model, optimizer, seed=0, batch_size=ROWS, devices=jax.devices()[:devices], **options)
    state = layout.place_state(init_state(model, optimizer, 0))
    before = motion.sample(state.params)
    state = layout.train_step(state, layout.place_batch(uneven_batch(0)))  # which uses up the old one
    return {name: float(ratio) for name, ratio in motion.update_ratios(before, state.params).items()}


@pytest.mark.parametrize(
    ("mode", "devices", "options"),
    [("jit", 8, {"fsdp": 4, "tensor": 2}), ("pmap", 8, {})],
    ids=lambda value: str(value).replace("'", ""),
)
def test_every_layout_sees_the_same_motion(mode, devices, options):
    one = ratios_of_a_step("jit", 1)
    parts = {f"encoder/embeddings/{table}" for table in ("word", "position", "segment")}
    assert set(one) == parts | {"encoder/layers", "encoder/pooler", "masked_lm/dense", "next_sentence/dense"}
    assert min(one.values()) > 0
    assert ratios_of_a_step(mode, devices, **options) == pytest.approx(one, rel=1e-5)


def test_the_norm_of_a_change_over_that_of_what_was():
    """A vector (3, 4) that becomes (3, 5) moves by a fifth of its length; nothing can be said of one that was 0."""
    params = {
        "encoder": {"layers": {"a": {"kernel": np.array([[3.0, 4.0]]), "bias": np.ones(2)}}},
        "head": {"kernel": np.zeros((1, 2))},
    }
    before = motion.sample(params)
    params["encoder"]["layers"]["a"] = {"kernel": np.array([[3.0, 5.0]]), "bias": np.zeros(2)}
    assert jax.tree.map(float, motion.update_ratios(before, params)) == pytest.approx({"encoder/layers": 0.2, "head": 0.0})


def test_a_sample_of_rows_gives_nearly_the_figure_of_all():
    rng = np.random.default_rng(0)
    old, change = rng.normal(0, 0.02, (30_522, 16)), rng.normal(0, 1e-4, (30_522, 16))
    table = lambda values: {"encoder": {"embeddings": {"word": {"embedding": values.astype(np.float32)}}}}  # noqa: E731
    before = motion.sample(table(old))
    assert before["encoder/embeddings/word"][0].size < 0.003 * old.size
    (ratio,) = motion.update_ratios(before, table(old + change)).values()
    assert float(ratio) == pytest.approx(np.linalg.norm(change) / np.linalg.norm(old), rel=0.15)
