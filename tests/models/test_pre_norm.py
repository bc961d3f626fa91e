"""The layers of ModernBERT: their parameters, what is compiled of them, and that neither loop nor packing changes their result.

That they are ModernBERT's is tested against the peer in tests/parity/test_families.py.
"""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bert_jax.errors import UserError
from bert_jax.models.encoder import Encoder, EncoderConfig
from bert_jax.models.layers import REMAT
from tests.parallel.test_compiled import products
from tests.parallel.test_layouts import PRE_NORM

CONFIG = EncoderConfig(
    vocab_size=20,
    hidden_size=8,
    num_attention_heads=2,
    intermediate_size=12,
    max_position_embeddings=32,
    initializer_range=0.5,  # attention far from even
    hidden_dropout_prob=0.0,
    attention_probs_dropout_prob=0.0,
    pooler=False,
    **PRE_NORM,
)  # layers: the first, a group of three, two that are left


@pytest.fixture(scope="module")
def params():
    return started(CONFIG)


def row(lengths: list[int], padding: int = 0):
    """input_ids, segment_ids, input_mask and, of examples of these lengths one behind the other, position_ids, sequence_ids."""
    places = [np.arange(length) for length in lengths] + [np.zeros(padding, int)]
    sequence = np.repeat(np.arange(1, len(lengths) + 2), [*lengths, padding]) % (len(lengths) + 1)
    ids = [np.random.default_rng(length).integers(1, 20, length) for length in lengths] + [np.zeros(padding, int)]
    arrays = [np.concatenate(ids), np.zeros_like(sequence), sequence > 0, np.concatenate(places), sequence]
    return [jnp.asarray(array[None], jnp.int32) for array in arrays]


@partial(jax.jit, static_argnames="config")
def encoded(params, arguments, config=CONFIG, rng=None):
    rngs = {} if rng is None else {"dropout": rng}
    return Encoder(config).apply({"params": params}, *arguments, train=rng is not None, rngs=rngs).hidden_BLD


def started(config):
    return jax.jit(lambda rng: Encoder(config).init(rng, *row([5]), train=False)["params"])(jax.random.key(0))


def test_the_parameters_are_one_stack_below_which_the_first_layer_lies_apart(params):
    """Checkpoints depend on this tree: a change here orphans every saved run."""
    shapes = {jax.tree_util.keystr(path, simple=True, separator="/"): leaf.shape for path, leaf in leaves(params)}
    layer = {
        **{f"attention/{part}/kernel": (8, 8) for part in ("query", "key", "value", "output")},
        "intermediate_norm/scale": (8,),
        **{f"{part}/kernel": (8, 12) for part in ("intermediate", "gate")},
        "output/kernel": (12, 8),
    }
    assert shapes == {
        "embeddings/word/embedding": (20, 8),
        "embeddings/norm/scale": (8,),
        **{f"first_layer/{name}": shape for name, shape in layer.items()},
        **{f"layers/{name}": (5, *shape) for name, shape in layer.items()},
        "layers/attention_norm/scale": (5, 8),
        "final_norm/scale": (8,),
    }


def leaves(tree):
    return jax.tree_util.tree_leaves_with_path(tree)


def test_layers_start_different_and_what_they_add_up_smaller():
    wide = replace(CONFIG, hidden_size=64, intermediate_size=96, initializer_range=0.02)
    params = started(wide)
    spread = {"/".join(key.key for key in path): float(leaf.std()) for path, leaf in leaves(params) if path[-1].key == "kernel"}
    usual = spread.pop("layers/gate/kernel")
    assert usual == pytest.approx(0.02 * 0.88, rel=0.05)  # 0.88 is that of the normal distribution cut at two standard deviations
    for name, value in spread.items():
        assert value == pytest.approx(usual / (np.sqrt(12) if "output" in name else 1), rel=0.1), name
    stack_N = params["layers"]["intermediate"]["kernel"]
    assert len({float(kernel.sum()) for kernel in stack_N}) == 5


@pytest.mark.parametrize("layers", [2, 6])
def test_unrolled_layers_compute_what_the_loop_computes(layers):
    looped = replace(CONFIG, num_hidden_layers=layers)
    total = jax.jit(
        jax.value_and_grad(lambda params, config: jnp.sum(jnp.sin(encoded(params, row([5, 9], 2), config)))), static_argnums=1
    )
    results = [total(started(looped), config) for config in (looped, replace(looped, unroll_layers=True))]
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5, rtol=1e-5), *results)


def test_examples_of_a_packed_row_are_encoded_as_if_alone(params):
    packed = encoded(params, row([7, 11, 6], padding=3))[0]
    for length, begin in ((7, 0), (11, 7), (6, 18)):
        alone = encoded(params, row([length])[:3])[0]
        np.testing.assert_allclose(packed[begin : begin + length], alone, atol=1e-5)


def test_a_leak_between_examples_would_be_caught(params):
    together = encoded(params, row([7, 11, 6], padding=3)[:3])[0]
    assert np.abs(together[:7] - encoded(params, row([7])[:3])[0]).max() > 0.01


def test_what_stands_at_padding_changes_nothing(params):
    ids, *others = row([7, 11], padding=5)
    changed = encoded(params, [ids.at[:, 18:].set(3), *others])
    np.testing.assert_array_equal(changed[:, :18], encoded(params, [ids, *others])[:, :18])


@pytest.mark.parametrize("rate", ["hidden_dropout_prob", "attention_probs_dropout_prob", "attention_output_dropout_prob"])
def test_each_dropout_acts_in_training_only_and_follows_its_key(params, rate):
    config, arguments = replace(CONFIG, **{rate: 0.3}), row([9])
    draw = lambda seed: encoded(params, arguments, config, jax.random.key(seed))  # noqa: E731
    assert (draw(1) == draw(1)).all()
    assert np.abs(draw(1) - draw(2)).max() > 0.01
    np.testing.assert_array_equal(encoded(params, arguments, config), encoded(params, arguments))


def test_products_in_bfloat16_stay_near(params):
    mixed, exact = (encoded(params, row([9]), replace(CONFIG, matmul_dtype=dtype)) for dtype in ("bfloat16", "float32"))
    assert 1e-4 < np.abs(mixed - exact).max() < 0.2
    assert mixed.dtype == np.float32


def test_the_program_does_not_grow_with_depth_unless_unrolled():
    def compiled(config) -> int:
        shapes = jax.eval_shape(lambda: started(config))
        gradient = jax.grad(lambda params: jnp.sum(encoded(params, row([9]), config)))
        return len(jax.jit(gradient).lower(shapes).compile().as_text())

    seven = replace(CONFIG, num_hidden_layers=7)
    shallow, deep = compiled(seven), compiled(replace(seven, num_hidden_layers=28))
    assert deep == pytest.approx(shallow, rel=0.03)
    unrolled = compiled(replace(seven, unroll_layers=True))
    assert unrolled > 1.3 * shallow


@pytest.mark.parametrize("matmul_dtype", ["float32", "bfloat16"])
def test_no_product_but_the_scores_is_computed_twice_unless_that_is_asked_for(matmul_dtype):
    none, elementwise, dots, full = (products(**PRE_NORM, remat=remat, matmul_dtype=matmul_dtype) for remat in REMAT)
    assert none + 6 == elementwise < dots < full  # in the text are the first layer, a group of three, two that are left


@pytest.mark.parametrize(
    ("wrong", "expected"),
    [
        ({"block": "sandwich"}, "post_norm or pre_norm"),
        ({"block": "post_norm"}, "128, or pre_norm"),
        ({"local_attention": 5}, "an even number"),
        ({"hidden_size": 6, "num_attention_heads": 2}, "a multiple of 4"),
        ({"num_hidden_layers": 1}, "at least 2"),
        ({"num_hidden_groups": 1}, "0: each layer"),
        ({"position_offset": 2}, "0: there is no table"),
        ({"global_attn_every_n_layers": 0}, "from 1 to"),
        ({"global_rope_theta": 0.0}, "more than 0"),
    ],
)
def test_a_setting_that_does_not_go_with_the_layers_is_refused(wrong, expected):
    with pytest.raises(UserError, match=expected):
        replace(CONFIG, **wrong)
