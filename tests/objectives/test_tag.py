"""Tags of words: what counts in the loss, and that the chain of a row is that of its words."""

from dataclasses import replace
from itertools import product

import jax
import numpy as np
import pytest

from bert_jax import batch as contract
from bert_jax.batch import Context
from bert_jax.errors import UserError
from bert_jax.objectives.tag import tag, tag_crf
from tests.objectives.test_pretrain import CONFIG

CLASSES = 3
LIKE_TORCH = {"rtol": 1e-5, "atol": 1e-5}
# Two words of two pieces, two of one, and a piece of context between; a word alone; a row that only fills the batch.
WORD_IDS = np.array([[0, 1, 1, 0, 2, 3, 3, 4, 0], [0, 1, 0, 0, 0, 0, 0, 0, 0], [0] * 9], np.int32)
FIRST = (WORD_IDS > 0) & (WORD_IDS != np.pad(WORD_IDS[:, :-1], ((0, 0), (1, 0))))


def batch() -> dict:
    rng = np.random.default_rng(0)
    rows = {
        "input_ids": rng.integers(0, 20, (3, 9), dtype=np.int32),
        "input_mask": np.array([[1] * 9, [1] * 3 + [0] * 6, [0] * 9], np.int32),
        "segment_ids": np.zeros((3, 9), np.int32),
        "word_ids": WORD_IDS,
        "label_ids": np.where(FIRST, rng.integers(0, CLASSES, (3, 9)), 0).astype(np.int32),
        "label_weights": FIRST.astype(np.float32),
    }
    contract.check(rows)
    return rows


def drawn(objective):
    params = objective.init(jax.random.key(0))
    params["token_classifier"] = jax.tree.map(lambda leaf: 50 * leaf, params["token_classifier"])  # or logits are nearly equal
    return params


def run(objective, params, rows=None):
    rows = rows or batch()
    predicted, sums = jax.jit(lambda p: (objective.predict(p, rows), objective.sums(p, rows, Context())))(params)
    counts = {name: float(count) for name, count in objective.counts(rows).items()}
    return jax.tree.map(np.asarray, predicted), jax.tree.map(float, sums), counts


def paths(emissions_LC, crf) -> dict[tuple, float]:
    """The score of each path over the words."""
    found = {}
    for path in product(range(CLASSES), repeat=len(emissions_LC)):
        moves = sum(crf["transitions"][pair] for pair in zip(path, path[1:]))
        emitted = emissions_LC[np.arange(len(path)), list(path)].sum()
        found[path] = float(emitted + moves + crf["start"][path[0]] + crf["end"][path[-1]])
    return found


def test_the_loss_of_a_chain_is_a_mean_over_sentences_of_means_over_words_and_its_tags_are_the_best_path():
    objective = tag_crf(CONFIG, CLASSES)
    params = drawn(objective)
    params["crf"] = jax.tree.map(lambda leaf: 10 * leaf, params["crf"])
    predicted, sums, counts = run(objective, params)
    crf = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), params["crf"])
    rows, loss, hits = batch(), 0.0, 0
    for row in range(2):
        found = paths(predicted["logits_BLC"][row, FIRST[row]].astype(np.float64), crf)
        total = np.logaddexp.reduce(list(found.values()))
        gold, best = tuple(rows["label_ids"][row, FIRST[row]]), max(found, key=found.get)
        loss += (total - found[gold]) / len(gold)
        hits += sum(a == b for a, b in zip(gold, best))
        assert tuple(predicted["tags_BL"][row, FIRST[row]]) == best
        first = [sum(np.exp(value - total) for path, value in found.items() if path[0] == tag) for tag in range(CLASSES)]
        np.testing.assert_allclose(predicted["probabilities_BLC"][row, 1], first, atol=1e-5)
    assert sums["loss"] == pytest.approx(loss, rel=1e-5) and sums["accuracy"] == hits
    assert counts == {"labels": 5, "tokens": 12, "sentences": 2}
    assert float(objective.means(sums, counts)["loss"]) == pytest.approx(loss / 2, rel=1e-5)
    assert not predicted["tags_BL"][~FIRST].any() and not predicted["probabilities_BLC"][~FIRST].any()


def test_a_chain_without_transitions_is_a_softmax_over_each_word():
    chain, softmax = tag_crf(CONFIG, CLASSES), tag(CONFIG, CLASSES)
    params = drawn(chain)
    params["crf"] = jax.tree.map(np.zeros_like, params["crf"])
    one = {name: array[:1] for name, array in batch().items()}
    (by_chain, of_chain, _), (by_word, of_words, _) = (run(objective, params, one) for objective in (chain, softmax))
    np.testing.assert_array_equal(by_chain["logits_BLC"], by_word["logits_BLC"])
    assert of_chain["loss"] == pytest.approx(of_words["loss"] / 4, rel=1e-5)
    assert of_chain["accuracy"] == of_words["accuracy"]


@pytest.mark.parametrize("make", [tag, tag_crf])
def test_the_mean_of_its_pieces_stands_for_a_word(make):
    """A linear layer makes of the mean of some vectors the mean of their logits."""
    params = drawn(make(CONFIG, CLASSES))
    by_piece, mean = (run(make(CONFIG, CLASSES, word_vector), params)[0]["logits_BLC"] for word_vector in ("first", "mean"))
    np.testing.assert_allclose(mean[0, 1], by_piece[0, 1:3].mean(axis=0), **LIKE_TORCH)
    np.testing.assert_allclose(mean[0, 5], by_piece[0, 5:7].mean(axis=0), **LIKE_TORCH)
    np.testing.assert_allclose(mean[0, [4, 7]], by_piece[0, [4, 7]], **LIKE_TORCH)
    assert np.abs(mean[0, 1] - by_piece[0, 1]).max() > 0.01


@pytest.mark.parametrize("make", [tag, tag_crf])
def test_every_parameter_learns_and_dropout_acts_on_the_vectors(make):
    objective = make(replace(CONFIG, hidden_dropout_prob=0.5, pooler=False), CLASSES)
    params = drawn(objective)
    train = jax.jit(jax.value_and_grad(lambda p, rng: objective.sums(p, batch(), Context(rng))["loss"]))
    (one, gradients), (other, _) = (train(params, jax.random.key(seed)) for seed in (1, 2))
    assert float(one) != float(other)
    still = {
        jax.tree_util.keystr(path, simple=True, separator="/")
        for path, leaf in jax.tree_util.tree_leaves_with_path(gradients)
        if not np.isfinite(leaf).all() or not np.any(leaf)
    }
    assert still == set()


def test_an_unknown_word_vector_names_the_known_ones():
    with pytest.raises(UserError, match=r"(?s)word_vector.*last.*first or mean"):
        tag(CONFIG, CLASSES, "last")
