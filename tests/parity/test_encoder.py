"""Ours against Hugging Face's BertForPreTraining with the same weights, in float32."""

from pathlib import Path

import jax
import numpy as np
import pytest

from bert_jax.batch import Context
from bert_jax.interop.names import from_huggingface
from bert_jax.models.encoder import Encoder
from bert_jax.objectives.pretrain import bert
from tests.parity import case, theirs

GOLDENS = Path(__file__).parent / "goldens"
TOLERANCE = 1e-4  # of the issue; about 1e-6 is seen


def ours(layers: int, tensors: dict, batch: dict) -> tuple[dict, dict]:
    """(outputs, gradients in our structure)."""
    objective = bert(case.encoder_config(layers))
    params = from_huggingface(tensors, jax.eval_shape(objective.init, jax.random.key(0)))
    encoded = Encoder(case.encoder_config(layers)).apply(
        {"params": params["encoder"]}, batch["input_ids"], batch["segment_ids"], batch["input_mask"], train=False
    )
    loss, gradients = jax.value_and_grad(lambda p: objective.loss(objective.sums(p, batch, Context()), objective.counts(batch)))(
        params
    )
    return {
        "hidden_BLD": encoded.hidden_BLD,
        "pooled_BD": encoded.pooled_BD,
        "loss": loss,
        **objective.predict(params, batch),
    }, gradients


def compare_outputs(found: dict, expected: dict, batch: dict):
    real = batch["input_mask"] > 0  # at padding nothing is promised
    rows, used = np.arange(len(real))[:, None], batch["masked_lm_weights"] > 0
    picked = expected["logits_BLV"][rows, batch["masked_lm_positions"]]
    np.testing.assert_allclose(np.asarray(found["hidden_BLD"])[real], expected["hidden_BLD"][real], atol=TOLERANCE, rtol=0)
    np.testing.assert_allclose(found["pooled_BD"], expected["pooled_BD"], atol=TOLERANCE, rtol=0)
    np.testing.assert_allclose(np.asarray(found["logits_BPV"])[used], picked[used], atol=TOLERANCE, rtol=0)
    np.testing.assert_allclose(found["logits_BC"], expected["logits_BC"], atol=TOLERANCE, rtol=0)
    np.testing.assert_allclose(found["loss"], expected["loss"], atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize("layers", [2, 12])
def test_outputs_and_gradients_equal_those_recorded_from_torch(layers):
    golden = dict(np.load(GOLDENS / f"bert_{layers}_layers.npz", allow_pickle=False))
    shapes = {
        name: tuple(map(int, shape.split(","))) for name, shape in (entry.split(":") for entry in golden["shapes"].tolist())
    }
    outputs, gradients = ours(layers, case.weights_by_rule(shapes), case.as_jax(case.batch()))
    compare_outputs(outputs, golden, case.batch())

    from tests.parity.record import probe

    found = to_huggingface(gradients, shapes)
    global_norm = np.sqrt(sum(golden[f"gradient/{name}"][0] for name in shapes))
    for name in shapes:
        square, projection = golden[f"gradient/{name}"]
        scale = max(np.sqrt(square), 1e-6 * global_norm) * np.sqrt(found[name].size)  # the probe's norm is about sqrt(size / 2)
        assert abs(found[name].ravel().astype(np.float64) @ probe(found[name].size) - projection) <= TOLERANCE * scale, name


@pytest.mark.parametrize("weights", ["drawn by transformers", "made by rule"])
@pytest.mark.parametrize("layers", [2, 12])
def test_outputs_and_gradients_equal_torch_live(layers, weights):
    pytest.importorskip("torch", reason="the parity extra is not installed")
    pytest.importorskip("transformers", reason="the parity extra is not installed")
    bert_hf = theirs.model(layers, case.SIZES)
    if weights == "made by rule":
        bert_hf = theirs.model(layers, case.SIZES, case.weights_by_rule(theirs.shapes(bert_hf)))
    expected = theirs.outputs_and_gradients(bert_hf, case.batch())
    outputs, gradients = ours(layers, theirs.tensors(bert_hf), case.as_jax(case.batch()))
    compare_outputs(outputs, expected, case.batch())

    found = to_huggingface(gradients, theirs.shapes(bert_hf))
    global_norm = np.sqrt(sum(np.vdot(expected[f"gradient/{name}"], expected[f"gradient/{name}"]) for name in found))
    for name, gradient in found.items():
        reference = expected[f"gradient/{name}"]
        scale = max(np.linalg.norm(reference), 1e-6 * global_norm)
        assert np.linalg.norm(gradient - reference) <= TOLERANCE * scale, name


def to_huggingface(params: dict, shapes: dict) -> dict[str, np.ndarray]:
    """Our gradients under their names, by asking which of our numbers each of theirs becomes."""
    sizes = np.cumsum([0] + [int(np.prod(shape)) for shape in shapes.values()])
    numbered = {name: np.arange(start, end).reshape(shape) for (name, shape), start, end in zip(shapes.items(), sizes, sizes[1:])}
    where = np.concatenate([leaf.ravel() for leaf in jax.tree.leaves(from_huggingface(numbered, params))])
    values = np.empty(sizes[-1], np.float32)
    values[where] = np.concatenate([np.asarray(leaf).ravel() for leaf in jax.tree.leaves(params)])
    return {name: values[start:end].reshape(shape) for (name, shape), start, end in zip(shapes.items(), sizes, sizes[1:])}
