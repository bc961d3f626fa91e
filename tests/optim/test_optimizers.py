"""AdamW is optax's, LAMB is the algorithm of its paper, and what is decided per layer is decided for each layer of a stack."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from bert_jax.errors import UserError
from bert_jax.optim import optimizers
from bert_jax.optim.optimizers import make_optimizer
from bert_jax.optim.paths import decays, depth_rates
from tests.parallel.test_layouts import PRE_NORM, objective

LAYERS, STEPS = 3, 5


def draw(seed: int, scale: float) -> dict:
    """Parameters named like an encoder's; the size of each layer of the stack is another, so that their norms differ."""
    rng = np.random.default_rng(seed)
    sizes = np.array([0.1, 1.0, 10.0], np.float32)[:, None, None]

    def normal(*shape):
        return scale * rng.standard_normal(shape).astype(np.float32)

    return {
        "encoder": {
            "embeddings": {"word": {"embedding": normal(7, 4)}},
            "layers": {
                "output": {"kernel": sizes * normal(LAYERS, 4, 4), "bias": normal(LAYERS, 4)},
                "norm": {"scale": normal(LAYERS, 4)},
            },
            "pooler": {"kernel": normal(4, 4)},
        },
        "masked_lm": {"dense": {"kernel": normal(4, 4)}, "bias": normal(7)},
    }


def apart(tree: dict) -> dict:
    """The same parameters with the stack cut into layers of their own, under a name that says nothing of a stack."""
    cut = {f"layer_{i}": jax.tree.map(lambda leaf: leaf[i], tree["encoder"]["layers"]) for i in range(LAYERS)}  # noqa: B023
    return tree | {"encoder": {name: part for name, part in tree["encoder"].items() if name != "layers"} | cut}


def trained(optimizer, params: dict, change=lambda gradients: gradients) -> dict:
    state = optimizer.init(params)
    for step in range(STEPS):
        updates, state = jax.jit(optimizer.update)(change(draw(1 + step, 0.3)), state, params)
        params = optax.apply_updates(params, updates)
    return params


def assert_close(tree, expected):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=2e-6), tree, expected)


def rate(step):
    return 0.1 / (step + 1)


def test_adamw_is_that_of_optax():
    theirs = optax.chain(optax.clip_by_global_norm(0.5), optax.adamw(rate, 0.8, 0.95, 1e-4, weight_decay=0.3, mask=decays))
    ours = make_optimizer(rate, name="adamw", b1=0.8, b2=0.95, eps=1e-4, weight_decay=0.3, clip=0.5)
    assert_close(trained(ours, draw(0, 1.0)), trained(theirs, draw(0, 1.0)))


def lamb_of_the_paper(name: str, w: np.ndarray, gradients: list[np.ndarray]) -> np.ndarray:
    """One tensor by arXiv 1904.00962, algorithm 2, in float64; biases and norms as google-research/albert exempts them."""
    w, m, v = w.astype(np.float64), 0.0, 0.0
    exempt = name in ("bias", "scale")
    for t, g in enumerate(gradients, 1):
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g.astype(np.float64) ** 2
        r = (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-6) + (0 if exempt else 0.01) * w
        w = w - rate(t - 1) * (1 if exempt else np.linalg.norm(w) / np.linalg.norm(r)) * r
    return w


def test_lamb_is_the_algorithm_of_its_paper_for_each_tensor_of_each_layer():
    ours = apart(trained(make_optimizer(rate, name="lamb", clip=0.0), draw(0, 1.0)))
    start, gradients = apart(draw(0, 1.0)), [apart(draw(1 + step, 0.3)) for step in range(STEPS)]
    theirs = jax.tree_util.tree_map_with_path(lambda path, w, *g: lamb_of_the_paper(path[-1].key, w, g), start, *gradients)
    assert_close(ours, theirs)


@pytest.mark.parametrize("name", optimizers.OPTIMIZERS)
def test_a_stack_of_layers_is_trained_like_its_layers_apart(name):
    optimizer = make_optimizer(rate, name=name)
    assert_close(apart(trained(optimizer, draw(0, 1.0))), trained(optimizer, apart(draw(0, 1.0)), apart))


def test_one_ratio_for_the_whole_stack_would_be_caught(monkeypatch):
    monkeypatch.setattr(optimizers, "stacked", lambda path: False)
    with pytest.raises(AssertionError):
        test_a_stack_of_layers_is_trained_like_its_layers_apart("lamb")


def test_lamb_moves_weights_of_zero_by_the_plain_update():
    params = {"kernel": jnp.zeros((2, 2))}
    optimizer = make_optimizer(lambda step: 0.1, name="lamb")
    updates, _ = optimizer.update({"kernel": jnp.full((2, 2), 0.5)}, optimizer.init(params), params)
    np.testing.assert_allclose(updates["kernel"], -0.1, rtol=1e-5)


def test_biases_and_layer_norms_do_not_decay_although_stacked_layers_give_them_two_axes():
    params = {"layers": {"norm": {"scale": jnp.ones((3, 4)), "bias": jnp.ones((3, 4))}, "dense": {"kernel": jnp.ones((3, 4, 4))}}}
    assert decays(params) == {"layers": {"norm": {"scale": False, "bias": False}, "dense": {"kernel": True}}}


def test_the_rate_falls_from_the_heads_to_the_embeddings_as_in_electra():
    rates = jax.tree.map(lambda leaf: leaf.ravel().tolist(), depth_rates(draw(0, 1.0), 0.5))
    assert rates["masked_lm"] == {"dense": {"kernel": [1]}, "bias": [1]}
    assert rates["encoder"]["pooler"]["kernel"] == [0.5]
    assert rates["encoder"]["layers"]["output"] == {"kernel": [0.0625, 0.125, 0.25], "bias": [0.0625, 0.125, 0.25]}
    assert rates["encoder"]["embeddings"]["word"]["embedding"] == [0.5**5]


def test_an_lstm_is_put_on_top_and_its_kernels_decay():
    params = jax.eval_shape(objective(num_lstm_layers=1).init, jax.random.key(0))
    rates, decay = (found["encoder"]["lstm"]["backward_0"] for found in (depth_rates(params, 0.5), decays(params)))
    assert {float(rate.ravel()[0]) for rate in jax.tree.leaves(rates)} == {1.0}
    assert decay == {"input": {"kernel": True, "bias": False}, "recurrent_kernel": True}


def test_a_feature_called_layers_is_no_stack_of_layers():
    params = draw(0, 1.0)
    params["encoder"]["embeddings"]["features"] = {"layers": {"embedding": jnp.ones((4, 2))}}
    rates = depth_rates(params, 0.5)["encoder"]["embeddings"]["features"]["layers"]["embedding"]
    assert rates.ravel().tolist() == [0.5**5]


def modern() -> dict:
    """Parameters of an encoder whose first layer lies below a stack of three."""
    return jax.jit(objective(**PRE_NORM | {"num_hidden_layers": 1 + LAYERS}).init)(jax.random.key(0))


def test_the_rate_falls_through_a_layer_below_the_stack():
    rates = jax.tree.map(lambda leaf: leaf.ravel().tolist(), depth_rates(modern(), 0.5))["encoder"]
    assert rates["final_norm"]["scale"] == rates["pooler"]["kernel"] == [0.5]
    assert rates["layers"]["gate"]["kernel"] == rates["layers"]["attention_norm"]["scale"] == [0.0625, 0.125, 0.25]
    assert rates["first_layer"]["gate"]["kernel"] == rates["first_layer"]["intermediate_norm"]["scale"] == [0.5**5]
    assert rates["embeddings"]["word"]["embedding"] == rates["embeddings"]["norm"]["scale"] == [0.5**6]


def test_of_pre_norm_layers_all_but_the_scales_decay():
    for path, applies in jax.tree_util.tree_leaves_with_path(decays(modern())):
        assert applies == (path[-1].key in ("kernel", "embedding")), path


@pytest.mark.parametrize("name", optimizers.OPTIMIZERS)
def test_pre_norm_layers_are_trained_like_layers_apart(name):
    params, optimizer = modern(), make_optimizer(rate, name=name)
    gradients = jax.tree.map(lambda leaf: jnp.cos(jnp.arange(leaf.size)).reshape(leaf.shape), params)
    together = optimizer.update(gradients, optimizer.init(params), params)[0]
    alone = optimizer.update(apart(gradients), optimizer.init(apart(params)), apart(params))[0]
    assert_close(apart(together), alone)


@pytest.mark.parametrize("name", optimizers.OPTIMIZERS)
def test_layer_decay_scales_the_first_update_of_each_layer(name):
    params, gradients = draw(0, 1.0), draw(1, 0.3)
    plain, decayed = (make_optimizer(rate, name=name, layer_decay=decay) for decay in (1.0, 0.5))
    expected = plain.update(gradients, plain.init(params), params)[0]
    expected = jax.tree.map(jnp.multiply, expected, depth_rates(params, 0.5))
    assert_close(decayed.update(gradients, decayed.init(params), params)[0], expected)


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [({"name": "adam"}, "bert_adam or adamw or lamb"), ({"layer_decay": 0.0}, "optim.layer_decay .*\n.*\n.*more than 0")],
)
def test_wrong_options_are_named(wrong, hint):
    with pytest.raises(UserError, match=hint):
        make_optimizer(rate, **wrong)


def test_the_gradient_of_what_is_frozen_does_not_count_where_gradients_are_scaled_down():
    params = {"encoder": {"embeddings": {"word": jnp.ones((2, 2))}, "layers": {"kernel": jnp.ones((3, 2))}}, "head": jnp.ones(2)}
    gradients = jax.tree.map(jnp.zeros_like, params)
    gradients["encoder"]["embeddings"]["word"] += 1e3  # alone far above the limit of the norm
    gradients["encoder"]["layers"]["kernel"] += 0.1
    optimizer = make_optimizer(lambda step: 1.0, weight_decay=0.5, frozen_layers=2, eps=1.0)
    updates, _ = optimizer.update(gradients, optimizer.init(params), params)
    kernel = np.asarray(updates["encoder"]["layers"]["kernel"])
    moment = (1 - 0.9) * 0.1 / (np.sqrt((1 - 0.999) * 0.1**2) + 1.0)  # of a gradient that was not scaled down
    np.testing.assert_allclose(kernel, [[0, 0], [0, 0], [-moment - 0.5] * 2], rtol=1e-5)
    assert not np.asarray(updates["encoder"]["embeddings"]["word"]).any()
    np.testing.assert_allclose(updates["head"], [-0.5, -0.5])
