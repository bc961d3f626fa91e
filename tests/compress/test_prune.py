"""What is cut is what matters least, and nothing else changes."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bert_jax.batch import Context
from bert_jax.compress import prune
from bert_jax.compress.prune import Parts
from bert_jax.errors import UserError
from bert_jax.models.encoder import EncoderConfig
from bert_jax.objectives.classify import classify
from bert_jax.objectives.contrastive import simcse

BERT = EncoderConfig(
    30,
    hidden_size=16,
    num_hidden_layers=2,
    num_attention_heads=4,
    intermediate_size=12,
    max_position_embeddings=12,
    initializer_range=0.3,
)
ENCODERS = {
    "bert": BERT,
    "albert": replace(BERT, embedding_size=8, num_hidden_groups=1),
    "modern": replace(BERT, block="pre_norm", type_vocab_size=0, local_attention=8, use_bias=False),
    "cut before": replace(BERT, num_attention_heads=3, head_size=2),
}
IDS = np.arange(5, 25, dtype=np.int32).reshape(2, 10)
BATCH = {
    "input_ids": IDS,
    "input_mask": (np.arange(10) < [[10], [7]]).astype(np.int32),
    "segment_ids": np.zeros_like(IDS),
    "label_ids": np.int32([0, 2]),
    "label_weights": np.float32([1, 1]),
}


def logits(objective, params):
    return jax.jit(objective.predict)(params, BATCH)["logits_BC"]


def drawn(config: EncoderConfig):
    """(objective, params) whose biases are not zero."""
    objective = classify(config, 3)
    params = jax.jit(objective.init)(jax.random.key(0))
    rng = np.random.default_rng(1)
    return objective, jax.tree.map(lambda leaf: leaf + np.float32(0.1 * rng.standard_normal(leaf.shape)), params)


def only(config: EncoderConfig, params: dict) -> dict[str, Parts]:
    """Different heads and neurons of each layer."""
    rng = np.random.default_rng(3)
    pick = lambda count, of: np.sort(rng.permutation(of)[:count])  # noqa: E731
    heads, neurons = config.num_attention_heads, config.intermediate_size
    return {
        name: Parts(*(np.stack([pick(few, all_) for _ in part]) for few, all_, part in zip((2, 5), (heads, neurons), ones)))
        for name, ones in prune.ones(params["encoder"], config).items()
    }


def gates_of(kept: dict[str, Parts], ones: dict[str, Parts]) -> dict[str, Parts]:
    """1 for what is kept, 0 for what is not."""
    one_hot = lambda numbers, like: np.eye(like.shape[1], dtype=np.float32)[numbers].sum(1)  # noqa: E731
    return jax.tree.map(one_hot, kept, ones)


@pytest.mark.parametrize("name", ENCODERS)
def test_what_is_multiplied_by_zero_can_be_cut(name):
    config = ENCODERS[name]
    objective, params = drawn(config)
    kept = only(config, params)
    gates = gates_of(kept, prune.ones(params["encoder"], config))
    zeroed = params | {"encoder": prune._with_stacks(params["encoder"], lambda part, stack: prune._gated(stack, gates[part]))}
    smaller, sizes = prune.cut(zeroed, config, kept)
    assert (sizes.num_attention_heads, sizes.head_width, sizes.intermediate_size) == (2, config.head_width, 5)
    wanted = jax.eval_shape(classify(sizes, 3).init, jax.random.key(0))
    assert jax.tree.map(jnp.shape, smaller) == jax.tree.map(jnp.shape, wanted)
    before, after = logits(objective, zeroed), logits(classify(sizes, 3), smaller)
    np.testing.assert_allclose(after, before, atol=1e-6)
    assert np.abs(logits(objective, params) - before).max() > 1e-3  # what was cut did matter


@pytest.mark.parametrize("name", ["bert", "albert", "modern"])
def test_a_head_and_a_neuron_that_give_out_nothing_are_cut_first(name):
    config = ENCODERS[name]
    objective, params = drawn(config)
    useless = {
        part: [(number + 1) % 4 for number in range(len(ones.heads_NH))]
        for part, ones in prune.ones(params["encoder"], config).items()
    }

    def planted(part: str, stack: dict) -> dict:
        stack = jax.tree.map(np.array, stack)
        for layer, number in enumerate(useless[part]):
            for leaf in stack["attention"]["value"].values():
                leaf[layer, ..., number * config.head_width : (number + 1) * config.head_width] = 0
            for leaf in stack["intermediate"].values():
                leaf[layer, ..., number] = 0  # and gelu(0) is 0
        return stack

    params = params | {"encoder": prune._with_stacks(params["encoder"], planted)}
    scores = prune.importance(objective, params, config, [BATCH])
    kept = prune.highest(scores, 3, 11)
    for part, numbers in useless.items():
        for layer, number in enumerate(numbers):
            assert scores[part].heads_NH[layer, number] == scores[part].neurons_NF[layer, number] == 0
            assert sorted({*range(4)} - {*kept[part].heads_NH[layer]}) == [number]
            assert sorted({*range(12)} - {*kept[part].neurons_NF[layer]}) == [number]


def test_importance_is_the_mean_over_examples_of_how_the_loss_moves_with_a_gate():
    objective, params = drawn(BERT)
    found = prune.importance(objective, params, BERT, [BATCH])["layers"]
    ones = prune.ones(params["encoder"], BERT)["layers"]

    @jax.jit
    def loss(gates, row):
        gated = params | {"encoder": prune._with_stacks(params["encoder"], lambda _, stack: prune._gated(stack, gates))}
        return objective.loss(objective.sums(gated, row, Context()), objective.counts(row))

    def moved(part: int, layer: int, number: int, row: dict) -> float:
        by = lambda step: ones._replace(**{ones._fields[part]: jnp.asarray(ones[part]).at[layer, number].add(step)})  # noqa: E731
        return float(loss(by(1e-2), row) - loss(by(-1e-2), row)) / 2e-2

    rows = [{name: array[[number]] for name, array in BATCH.items()} for number in range(2)]
    for part, layer, number in ((0, 0, 1), (0, 1, 2), (1, 1, 7), (1, 0, 0)):
        expected = np.mean([abs(moved(part, layer, number, row)) for row in rows])
        assert found[part][layer, number] == pytest.approx(expected, rel=2e-2, abs=1e-5)


def test_the_highest_of_each_layer_are_kept_in_their_order():
    scores = {"layers": Parts(np.array([[0.1, 3.0, 2.0], [5.0, 4.0, 6.0]]), np.array([[1.0, 1.0, 2.0], [0.0, 2.0, 1.0]]))}
    kept = prune.highest(scores, 2, 1)["layers"]
    assert kept.heads_NH.tolist() == [[1, 2], [0, 2]] and kept.neurons_NF.tolist() == [[2], [1]]


def test_what_has_no_scores_is_refused():
    objective, params = drawn(BERT)
    with pytest.raises(UserError, match="there are no layers to prune"):
        prune.importance(objective, params, replace(BERT, num_hidden_layers=0), [BATCH])
    compared = simcse(BERT, temperature=0.05, pooling="cls", mlp="none")
    with pytest.raises(UserError, match="compares rows with each other"):
        prune.importance(compared, params, BERT, [BATCH])
