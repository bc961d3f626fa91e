"""The three losses of Sentence-BERT against torch's own, on vectors of the encoder."""

import jax
import numpy as np
import pytest

from bert_jax.batch import Context
from bert_jax.errors import UserError
from bert_jax.objectives import sentence_bert
from tests.objectives.test_contrastive import ROWS, STILL, sums_of, texts

LABELS = np.array([0, 2, 1, 1, 0], np.int32)
SCORES = np.array([0.0, 0.3, 1.0, 0.72, 0.5], np.float32)


def ours(objective, batch) -> tuple[dict[str, float], list[np.ndarray], dict]:
    """(means, float32[B, D] for each text, params)."""
    params, predict = jax.jit(objective.init)(jax.random.key(0)), jax.jit(objective.predict)
    vectors = []
    for t in range(batch["input_ids"].shape[1]):
        text = {name: batch[name][:, t] for name in ("input_ids", "input_mask", "segment_ids")}
        vectors.append(np.asarray(predict(params, text)["embedding_BD"]))
    means = objective.means(sums_of(objective, params, batch), objective.counts(batch))
    return {name: float(value) for name, value in means.items()}, vectors, params


@pytest.fixture(scope="module")
def torch():
    return pytest.importorskip("torch", reason="the parity extra is not installed")


def test_classification_is_a_softmax_over_both_vectors_and_their_distance(torch):
    objective = sentence_bert.classification(STILL, pooling="mean", num_classes=3)
    means, (u, v), params = ours(objective, texts(2) | {"label_ids": LABELS})
    head = params["pair_classifier"]["dense"]
    linear = torch.tensor(np.asarray(head["kernel"]).T), torch.tensor(np.asarray(head["bias"]))
    u, v = torch.tensor(u), torch.tensor(v)
    logits = torch.nn.functional.linear(torch.cat([u, v, (u - v).abs()], dim=1), *linear)
    expected = torch.nn.functional.cross_entropy(logits, torch.tensor(LABELS, dtype=torch.long))
    assert means["loss"] == pytest.approx(float(expected), rel=1e-5) and logits.std() > 0.1
    assert means["accuracy"] == pytest.approx((logits.argmax(dim=1).numpy() == LABELS).mean())


def test_regression_is_the_squared_error_of_the_cosine(torch):
    means, (u, v), _ = ours(sentence_bert.regression(STILL, pooling="mean"), texts(2) | {"label_values": SCORES})
    cosine = torch.nn.functional.cosine_similarity(torch.tensor(u), torch.tensor(v))
    assert means["loss"] == pytest.approx(float(torch.nn.functional.mse_loss(cosine, torch.tensor(SCORES))), rel=1e-5)


@pytest.mark.parametrize("margin", [1.0, 0.1])
def test_triplets_keep_the_negative_further_away_by_the_margin(torch, margin):
    objective = sentence_bert.triplet(STILL, pooling="mean", margin=margin)
    means, vectors, _ = ours(objective, texts(3) | {"label_ids": LABELS})
    anchor, positive, negative = map(torch.tensor, vectors)
    expected = torch.nn.functional.triplet_margin_loss(anchor, positive, negative, margin=margin, p=2, eps=0)
    assert means["loss"] == pytest.approx(float(expected), rel=1e-5)
    nearer = (anchor - positive).norm(dim=1) < (anchor - negative).norm(dim=1)
    assert means["accuracy"] == pytest.approx(float(nearer.float().mean())) and 0 < nearer.sum() < ROWS


@pytest.mark.parametrize(
    ("objective", "count", "labels"),
    [
        (sentence_bert.classification(STILL, pooling="max", num_classes=3), 2, {"label_ids": LABELS}),
        (sentence_bert.regression(STILL, pooling="cls"), 2, {"label_values": SCORES}),
        (sentence_bert.triplet(STILL, pooling="mean", margin=1.0), 3, {}),
    ],
    ids=["classification", "regression", "triplet"],
)
def test_rows_that_fill_the_last_batch_count_nowhere(objective, count, labels):
    full = texts(count, filling=2) | labels
    short = {name: array[:-2] for name, array in full.items()}
    params = jax.jit(objective.init)(jax.random.key(0))
    assert sums_of(objective, params, full) == pytest.approx(sums_of(objective, params, short), rel=1e-5)
    assert float(objective.counts(full)["rows"]) == ROWS - 2


def test_equal_texts_have_a_gradient():
    """Distances of 0, where the root of a sum of squares has none."""
    same = {name: np.repeat(array, 3, axis=1) for name, array in texts(1).items()}
    objective = sentence_bert.triplet(STILL, pooling="mean", margin=1.0)
    loss_of = lambda params: objective.sums(params, same, Context())["loss"]  # noqa: E731
    loss, gradient = jax.jit(jax.value_and_grad(loss_of))(jax.jit(objective.init)(jax.random.key(0)))
    assert float(loss) == ROWS
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))


def test_an_unknown_pooling_is_refused():
    with pytest.raises(UserError, match="cls or mean or max"):
        sentence_bert.regression(STILL, pooling="sum")
