"""Ours against Hugging Face's BertForSequenceClassification with the same weights, in float32."""

import jax
import numpy as np
import pytest

from bert_jax.batch import Context
from bert_jax.interop.names import from_huggingface
from bert_jax.objectives.classify import classify
from tests.parity import case

CLASSES, LAYERS, TOLERANCE = 3, 2, 1e-4  # about 1e-6 is seen


def test_logits_and_loss_equal_torch_live():
    torch = pytest.importorskip("torch", reason="the parity extra is not installed")
    transformers = pytest.importorskip("transformers", reason="the parity extra is not installed")
    torch.manual_seed(0)
    sizes = case.SIZES | {"num_labels": CLASSES, "initializer_range": 0.2}  # wide, so that the logits differ
    theirs = transformers.BertForSequenceClassification(transformers.BertConfig(num_hidden_layers=LAYERS, **sizes)).eval()
    batch = {name: case.batch()[name] for name in ("input_ids", "input_mask", "segment_ids")}
    labels = np.arange(len(batch["input_ids"]), dtype=np.int32) % CLASSES
    inputs = {name: torch.tensor(array, dtype=torch.long) for name, array in batch.items()}
    with torch.no_grad():
        expected = theirs(
            inputs["input_ids"], inputs["input_mask"], inputs["segment_ids"], labels=torch.tensor(labels, dtype=torch.long)
        )

    objective = classify(case.encoder_config(LAYERS), CLASSES)
    tensors = {name: parameter.detach().numpy() for name, parameter in theirs.named_parameters()}
    like = {"encoder": jax.eval_shape(objective.init, jax.random.key(0))["encoder"]}
    head = {"kernel": tensors["classifier.weight"].T, "bias": tensors["classifier.bias"]}
    params = from_huggingface(tensors, like) | {"classifier": {"dense": head}}
    ours = batch | {"label_ids": labels, "label_weights": np.ones(len(labels), np.float32)}
    assert expected.logits.std() > 0.1
    np.testing.assert_allclose(objective.predict(params, ours)["logits_BC"], expected.logits, atol=TOLERANCE, rtol=0)
    means = objective.means(objective.sums(params, ours, Context()), objective.counts(ours))
    assert float(means["loss"]) == pytest.approx(float(expected.loss), abs=TOLERANCE)
