"""Parameters lie where the table says, Adam's moments beside them, and no parameter is forgotten."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, PartitionSpec

from bert_jax.errors import UserError
from bert_jax.models.encoder import EncoderConfig
from bert_jax.objectives.classify import classify
from bert_jax.optim.optimizers import OPTIMIZERS, make_optimizer
from bert_jax.parallel.layout import make_layout
from bert_jax.parallel.rules import RULES, _rule, shardings
from bert_jax.parallel.step import init_state
from tests.parallel.test_layouts import PRE_NORM, ROWS, objective, uneven_batch


def mesh(data: int, fsdp: int, tensor: int):
    devices = jax.devices()[: data * fsdp * tensor]
    return jax.make_mesh((data, fsdp, tensor), ("data", "fsdp", "tensor"), axis_types=(AxisType.Auto,) * 3, devices=devices)


def specs(tree, mesh) -> dict:
    return jax.tree.map(lambda sharding: sharding.spec, shardings(tree, mesh))


def test_each_product_of_a_layer_is_split_as_in_megatron_and_zero():
    params = jax.eval_shape(objective().init, jax.random.key(0))
    layers = specs(params, mesh(2, 2, 2))["encoder"]["layers"]
    first, second = PartitionSpec(None, "fsdp", "tensor"), PartitionSpec(None, "tensor", "fsdp")
    assert [layers["attention"][name]["kernel"] for name in ("query", "key", "value", "output")] == [first] * 3 + [second]
    assert [layers[name]["kernel"] for name in ("intermediate", "output")] == [first, second]
    assert layers["attention"]["query"]["bias"] == PartitionSpec(None, "tensor")
    assert layers["output"]["bias"] == layers["output_norm"]["scale"] == PartitionSpec()


def test_pre_norm_layers_are_split_alike_in_the_stack_and_below_it():
    params = jax.eval_shape(objective(**PRE_NORM).init, jax.random.key(0))
    found = specs(params, mesh(2, 2, 2))["encoder"]
    for layer, stacked in ((found["first_layer"], ()), (found["layers"], (None,))):
        first, second = PartitionSpec(*stacked, "fsdp", "tensor"), PartitionSpec(*stacked, "tensor", "fsdp")
        assert [layer["attention"][name]["kernel"] for name in ("query", "key", "value", "output")] == [first] * 3 + [second]
        assert [layer[name]["kernel"] for name in ("intermediate", "gate", "output")] == [first, first, second]
        assert layer["intermediate_norm"]["scale"] == PartitionSpec()


def moments_of(state) -> list[list]:
    """The leaves of each subtree of the optimiser's state that is built like the params."""
    like = jax.tree.structure(state.params)
    subtrees = jax.tree.leaves(state.opt_state, is_leaf=lambda tree: jax.tree.structure(tree) == like)
    return [jax.tree.leaves(tree) for tree in subtrees if jax.tree.structure(tree) == like]


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_moments_lie_like_their_parameters_before_and_after_a_step(name):
    model, optimizer = objective(), make_optimizer(lambda step: 0.01, name=name)
    layout = make_layout("jit", model, optimizer, seed=0, batch_size=ROWS, fsdp=2, tensor=2)
    placed = layout.place_state(init_state(model, optimizer, 0))
    before = jax.tree.map(lambda leaf: leaf.sharding, placed)
    after = layout.train_step(placed, layout.place_batch(uneven_batch(0)))
    wanted = [leaf.sharding for leaf in jax.tree.leaves(after.params)]
    for state in (before, jax.tree.map(lambda leaf: leaf.sharding, after)):
        assert moments_of(state) == [wanted, wanted]
    assert sum(leaf.spec == PartitionSpec() for leaf in wanted) < len(wanted) / 2
    on_one = sum(leaf.addressable_shards[0].data.nbytes for leaf in jax.tree.leaves(after))
    assert on_one < 0.5 * sum(leaf.nbytes for leaf in jax.tree.leaves(after))


def test_every_parameter_has_a_rule_and_every_rule_a_parameter():
    config = EncoderConfig(vocab_size=50, hidden_size=16, num_attention_heads=2, intermediate_size=32)
    found = set()
    for model in (objective(), objective(**PRE_NORM), objective(num_lstm_layers=1), classify(config, 3)):
        for path, leaf in jax.tree_util.tree_leaves_with_path(jax.eval_shape(model.init, jax.random.key(0))):
            axes = _rule(path)
            assert axes is not None and len(axes) <= leaf.ndim, path
            found.add(axes)
    assert found == {axes for _, axes in RULES}


def test_parameters_without_a_rule_are_listed():
    params = {"memory": {"slots": jnp.zeros((3, 3)), "first": jnp.zeros(3)}, "dense": {"kernel": jnp.zeros((4, 4))}}
    with pytest.raises(UserError, match="memory/first, memory/slots"):
        shardings(params, mesh(1, 2, 1))
    assert specs(params, mesh(2, 1, 1))["memory"]["first"] == PartitionSpec()  # nothing is split: no rule is needed


def test_an_axis_that_does_not_divide_stays_whole():
    params = {"word": {"embedding": jnp.zeros((7, 4))}, "masked_lm": {"bias": jnp.zeros(7)}}
    assert specs(params, mesh(1, 2, 2)) == {
        "word": {"embedding": PartitionSpec(None, "fsdp")},
        "masked_lm": {"bias": PartitionSpec()},
    }


def test_a_state_placed_and_fetched_is_the_same():
    model, optimizer = objective(), make_optimizer(lambda step: 0.01)
    state = jax.tree.map(np.asarray, init_state(model, optimizer, 0))
    layout = make_layout("jit", model, optimizer, seed=0, batch_size=ROWS, fsdp=4, tensor=2)
    jax.tree.map(np.testing.assert_array_equal, layout.single(layout.place_state(state)), state)
