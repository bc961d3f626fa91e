from dataclasses import replace

import jax
import numpy as np
import pytest

from bert_jax.batch import Context
from bert_jax.objectives.classify import classify
from bert_jax.objectives.pretrain import bert
from tests.objectives.test_pretrain import CONFIG


@pytest.fixture(scope="module")
def objective():
    return classify(CONFIG, 3)


@pytest.fixture(scope="module")
def params(objective):
    params = objective.init(jax.random.key(0))
    params["classifier"]["dense"]["kernel"] = 50 * params["classifier"]["dense"]["kernel"]  # fresh logits are nearly equal
    return params


def batch():
    rng = np.random.default_rng(0)
    return {
        "input_ids": rng.integers(0, 20, (4, 7), dtype=np.int32),
        "input_mask": np.tile((np.arange(7) < 5).astype(np.int32), (4, 1)),
        "segment_ids": np.tile((np.arange(7) // 3 == 1).astype(np.int32), (4, 1)),
        "label_ids": np.array([0, 1, 2, 0], np.int32),
        "label_weights": np.array([1, 1, 1, 0], np.float32),
    }


def test_the_encoder_is_that_of_pretraining(params):
    ours, theirs = (jax.tree.map(np.shape, tree) for tree in (params, jax.eval_shape(bert(CONFIG).init, jax.random.key(0))))
    assert set(params) == {"encoder", "classifier"}
    assert ours["encoder"] == theirs["encoder"]
    assert ours["classifier"] == {"dense": {"kernel": (8, 3), "bias": (3,)}}


def test_loss_and_accuracy_are_those_of_the_weighted_rows_alone(objective, params):
    logits = np.asarray(objective.predict(params, batch())["logits_BC"], np.float64)[:3]
    log_probabilities = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    sums, counts = objective.sums(params, batch(), Context()), objective.counts(batch())
    assert {name: float(count) for name, count in counts.items()} == {"labels": 3, "tokens": 20}
    assert float(sums["loss"]) == pytest.approx(-log_probabilities[np.arange(3), [0, 1, 2]].sum(), rel=1e-5)
    assert float(sums["accuracy"]) == (logits.argmax(-1) == [0, 1, 2]).sum()
    assert float(objective.means(sums, counts)["loss"]) == pytest.approx(float(sums["loss"]) / 3)


def test_dropout_follows_its_key_and_acts_on_the_pooled_vector_too(params):
    """With one row, what is dropped before the classifier is exactly what gives its kernel no gradient."""
    objective = classify(replace(CONFIG, hidden_dropout_prob=0.5), 3)
    one = {name: array[:1] for name, array in batch().items()}

    @jax.jit
    def train(head, rng):
        return jax.value_and_grad(lambda head: objective.sums(params | {"classifier": head}, one, Context(rng))["loss"])(head)

    losses, gradients = zip(*(train(params["classifier"], jax.random.key(seed)) for seed in (1, 1, 2, 3)))
    assert losses[0] == losses[1] and len(set(map(float, losses))) == 3
    dropped = [int(np.sum(np.all(gradient["dense"]["kernel"] == 0, axis=1))) for gradient in gradients]
    assert 0 < sum(dropped[1:]) < 3 * CONFIG.hidden_size


def test_weights_of_classes_are_those_of_torch_by_hand(objective, params):
    """sum w[label] * loss / sum w[label], which torch.nn.CrossEntropyLoss(weight) documents."""
    weights = (1.0, 2.0, 5.0)
    weighted, rows = classify(CONFIG, 3, weights), batch()
    logits = np.asarray(objective.predict(params, rows)["logits_BC"], np.float64)
    losses = np.log(np.exp(logits).sum(axis=-1)) - logits[np.arange(len(logits)), rows["label_ids"]]
    factors = np.array(weights)[rows["label_ids"]] * rows["label_weights"]
    found = weighted.means(weighted.sums(params, rows, Context()), weighted.counts(rows))
    assert set(found) == {"loss"}
    assert float(found["loss"]) == pytest.approx((losses * factors).sum() / factors.sum(), rel=1e-5)
