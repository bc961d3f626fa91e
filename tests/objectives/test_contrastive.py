"""SimCSE against equations 1 and 5 of the paper, written down again in numpy from the encoder's own output."""

from dataclasses import replace
from functools import partial

import jax
import numpy as np
import pytest

from bert_jax.batch import Context
from bert_jax.errors import UserError
from bert_jax.models.encoder import Encoder
from bert_jax.objectives.contrastive import simcse
from tests.objectives.test_pretrain import CONFIG

STILL = replace(
    CONFIG,
    num_hidden_layers=1,
    hidden_dropout_prob=0.0,
    attention_probs_dropout_prob=0.0,
    initializer_range=0.3,  # wide, so that sentences differ
    pooler=False,
)
ROWS, LENGTH = 5, 7


def texts(count: int, filling: int = 0) -> dict:
    """[B, T, L]; the last `filling` rows only fill the batch."""
    rng = np.random.default_rng(0)
    lengths = rng.integers(3, LENGTH + 1, (ROWS, count))
    lengths[ROWS - filling :] = 0
    mask = (np.arange(LENGTH) < lengths[:, :, None]).astype(np.int32)
    ids = rng.integers(5, 20, (ROWS, count, LENGTH), dtype=np.int32)
    return {"input_ids": ids, "input_mask": mask, "segment_ids": np.zeros_like(ids)}


def sentences(**changes) -> dict:
    return {name: array[:, 0] for name, array in texts(1, **changes).items()}


def build(temperature=0.05, pooling="cls", mlp="none", config=STILL):
    objective = simcse(config, temperature=temperature, pooling=pooling, mlp=mlp)
    return objective, jax.jit(objective.init)(jax.random.key(0))


def sums_of(objective, params, batch, rng=None) -> dict[str, float]:
    sums = jax.jit(lambda params, batch, rng: objective.sums(params, batch, Context(rng)))(params, batch, rng)
    return {name: float(value) for name, value in sums.items()}


def cosines(params, batch, pooling: str, mlp: bool) -> np.ndarray:
    """float64[T, B, B]: the first text of each row with text t of each row."""
    encode = jax.jit(partial(Encoder(STILL).apply, train=False))
    vectors = []
    for t in range(batch["input_ids"].shape[1]):
        ids, mask, segments = (batch[name][:, t] for name in ("input_ids", "input_mask", "segment_ids"))
        hidden = np.asarray(encode({"params": params["encoder"]}, ids, segments, mask).hidden_BLD, np.float64)
        real = [row[there > 0] for row, there in zip(hidden, mask)]
        pooled = np.stack([row[0] if pooling == "cls" else row.mean(axis=0) for row in real])
        if mlp:
            pooled = np.tanh(pooled @ np.asarray(params["mlp"]["dense"]["kernel"]) + np.asarray(params["mlp"]["dense"]["bias"]))
        vectors.append(pooled / np.linalg.norm(pooled, axis=1, keepdims=True))
    return np.stack([vectors[0] @ other.T for other in vectors])


def equation_5(cosine_TBB, temperature: float) -> np.ndarray:
    """Minus the log of each row's own share; with two texts it is equation 1."""
    weights = np.exp(cosine_TBB[1:] / temperature)
    return -np.log(np.diag(weights[0]) / weights.sum(axis=(0, 2)))


@pytest.mark.parametrize(
    ("count", "temperature", "pooling", "mlp"),
    [(2, 0.05, "cls", "none"), (2, 0.5, "mean", "always"), (3, 0.05, "cls", "training"), (3, 1.0, "mean", "none")],
)
def test_the_loss_of_texts_is_that_of_the_paper(count, temperature, pooling, mlp):
    objective, params = build(temperature, pooling, mlp)
    batch = texts(count)
    cosine_TBB = cosines(params, batch, pooling, mlp != "none")
    losses = equation_5(cosine_TBB, temperature)
    means = objective.means(sums_of(objective, params, batch), objective.counts(batch))
    assert float(means["loss"]) == pytest.approx(losses.mean(), rel=1e-5) and losses.std() > 0.01
    own = np.diag(cosine_TBB[1])
    others = (cosine_TBB[1:].sum(axis=(0, 2)) - own) / (ROWS * (count - 1) - 1)
    assert float(means["positive_cosine"]) == pytest.approx(own.mean(), rel=1e-4)
    assert float(means["negative_cosine"]) == pytest.approx(others.mean(), rel=1e-4)


def test_a_sentence_is_compared_with_a_second_view_of_itself():
    """Without dropout both views are one vector; with dropout they are as two copies of it that are read in one batch."""
    objective, params = build()
    losses = equation_5(np.repeat(cosines(params, texts(1), "cls", False), 2, axis=0), 0.05)
    sums = sums_of(objective, params, sentences())
    assert sums["contrastive_loss"] == pytest.approx(losses.sum(), rel=1e-5)
    assert sums["positive_cosine"] == pytest.approx(ROWS, rel=1e-6)

    moving, _ = build(config=replace(STILL, hidden_dropout_prob=0.3))
    first, again, second = (sums_of(moving, params, sentences(), jax.random.key(seed)) for seed in (1, 1, 2))
    assert first == again and first["contrastive_loss"] != second["contrastive_loss"]
    assert first["positive_cosine"] < 0.99 * ROWS
    copies = {name: np.repeat(array[:, None], 2, axis=1) for name, array in sentences().items()}
    assert sums_of(moving, params, copies, jax.random.key(1)) == pytest.approx(first, rel=1e-6)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_rows_that_fill_the_last_batch_are_nobodys_negatives(count):
    objective, params = build(temperature=1.0, pooling="mean")  # so that one row more would weigh
    full = sentences(filling=2) if count == 1 else texts(count, filling=2)
    short = {name: array[:-2] for name, array in full.items()}
    assert sums_of(objective, params, full) == pytest.approx(sums_of(objective, params, short), rel=1e-5)
    assert float(objective.counts(full)["rows"]) == ROWS - 2


def test_vectors_of_sentences_have_the_mlp_only_where_it_always_stands():
    found = {}
    for mlp in ("training", "always", "none"):
        objective, params = build(mlp=mlp)
        found[mlp] = np.asarray(objective.predict(params, sentences())["embedding_BD"])
        assert ("mlp" in params) == (mlp != "none")
    np.testing.assert_array_equal(found["training"], found["none"])
    kernel = np.asarray(build(mlp="always")[1]["mlp"]["dense"]["kernel"])
    np.testing.assert_allclose(found["always"], np.tanh(found["none"] @ kernel), rtol=1e-4, atol=1e-6)


def test_settings_out_of_range_and_packed_rows_are_refused():
    for setting in ({"temperature": 0.0}, {"mlp": "sometimes"}, {"pooling": "first"}):
        with pytest.raises(UserError, match=str(*setting.values())):
            build(**setting)
    objective, params = build()
    with pytest.raises(UserError, match="data.max_examples_per_row=1"):
        objective.sums(params, sentences() | {"sequence_ids": np.ones((ROWS, LENGTH), np.int32)}, Context())
