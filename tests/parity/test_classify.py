"""Ours against Hugging Face's classes with a new head on BERT and on ModernBERT with the same weights, in float32."""

import jax
import numpy as np
import pytest

from bert_jax import batch as contract
from bert_jax.batch import Context
from bert_jax.interop.huggingface import POOLED
from bert_jax.interop.names import BERT, MODERNBERT, MODERNBERT_POOLER, from_huggingface
from bert_jax.models.encoder import EncoderConfig
from bert_jax.objectives.answer import answer
from bert_jax.objectives.choose import choose
from bert_jax.objectives.classify import classify
from bert_jax.objectives.tag import tag
from tests.parity import case, theirs

CLASSES, LAYERS = 3, 2
OBJECTIVES = {  # the end of their class -> (ours, the head in its params)
    "SequenceClassification": (lambda config: classify(config, CLASSES), "classifier"),
    "TokenClassification": (lambda config: tag(config, CLASSES), "token_classifier"),
    "QuestionAnswering": (answer, "answer_span"),
    "MultipleChoice": (choose, "choice"),
}
FAMILIES = {  # -> (what our encoder has beside the sizes, what their config has)
    "Bert": ({}, {}),
    "ModernBert": (  # near are all tokens, for what padding far from them computes no two libraries agree on
        {
            "block": "pre_norm",
            "use_bias": False,
            "type_vocab_size": 0,
            "pooler_act": "gelu",
            "classifier_pooling": "mean",
            "layer_norm_eps": 1e-5,
            "local_attention": 40,
        },
        {"local_attention": 40, "classifier_pooling": "mean", "pad_token_id": 0},
    ),
}


def labelled(task: str, rows: dict) -> tuple[dict, dict]:
    """(the batch with labels of ours, theirs), with a row that counts for nothing, and of the pieces every other one alone."""
    size, length = rows["input_ids"].shape
    real = np.arange(size) < size - 1
    if task == "QuestionAnswering":
        sides = {"start_positions": np.array([2, 0, 5, 3], np.int32), "end_positions": np.array([4, 0, 6, 3], np.int32)}
        return rows | sides | {"label_weights": real.astype(np.float32)}, {
            name: np.where(real, place, length) for name, place in sides.items()
        }
    if task == "TokenClassification":
        labels = (np.arange(size)[:, None] + np.arange(length)[None]).astype(np.int32) % CLASSES
        counted = (rows["input_mask"] > 0) & (np.arange(length) % 2 > 0) & real[:, None]
        ours = {"label_ids": labels, "label_weights": counted.astype(np.float32)}
        return rows | ours, {"labels": np.where(counted, labels, -100)}
    if task == "MultipleChoice":
        rows = {name: array.reshape(2, 2, length) for name, array in rows.items()}
        labels, real = np.array([1, 0], np.int32), np.array([True, False])
    else:
        labels = np.arange(size, dtype=np.int32) % CLASSES
    return rows | {"label_ids": labels, "label_weights": real.astype(np.float32)}, {"labels": np.where(real, labels, -100)}


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("task", OBJECTIVES)
def test_logits_and_loss_equal_torch(task, family):
    torch = pytest.importorskip("torch", reason="the parity extra is not installed")
    transformers = pytest.importorskip("transformers", reason="the parity extra is not installed")
    torch.manual_seed(0)
    (make, head), (ours, of_peer) = OBJECTIVES[task], FAMILIES[family]
    classes = {} if task == "QuestionAnswering" else {"num_labels": CLASSES}
    kind = getattr(transformers, f"{family}For{task}")
    sizes = case.SIZES | {"num_hidden_layers": LAYERS, "initializer_range": 0.2}  # wide, so that the logits differ
    peer = kind(kind.config_class(attn_implementation="eager", **sizes | of_peer | classes)).eval()
    rows, labels = labelled(task, {name: case.batch()[name] for name in ("input_ids", "input_mask", "segment_ids")})
    contract.check(rows)
    inputs = {"input_ids": rows["input_ids"], "attention_mask": rows["input_mask"]} | labels
    if family == "Bert":
        inputs["token_type_ids"] = rows["segment_ids"]
    with torch.no_grad():
        expected = peer(**{name: torch.from_numpy(array.astype(np.int64)) for name, array in inputs.items()})

    objective = make(EncoderConfig(num_hidden_layers=LAYERS, pooler=head in POOLED, **case.SIZES | ours))
    names = BERT if family == "Bert" else MODERNBERT | (MODERNBERT_POOLER if head in POOLED else {})
    like = jax.eval_shape(objective.init, jax.random.key(0))
    params, batch = from_huggingface(theirs.tensors(peer), like, names), case.as_jax(rows)

    @jax.jit
    def run(params):
        sums, counts = objective.sums(params, batch, Context()), objective.counts(batch)
        return objective.predict(params, batch), objective.means(sums, counts)

    predicted, means = run(params)
    logits = [value.numpy() for name, value in sorted(expected.items()) if "logits" in name]
    for found, wanted in zip(predicted.values(), logits, strict=True):
        assert wanted.std() > 0.1
        np.testing.assert_allclose(found, wanted, atol=1e-4, rtol=0)
    assert float(means["loss"]) == pytest.approx(expected.loss.item(), abs=1e-5)
