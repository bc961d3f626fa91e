"""What a traced program needs, on programs whose needs can be counted by hand."""

import jax
import jax.numpy as jnp

from bert_jax.plan.traced import Place, needs

X, W = jax.ShapeDtypeStruct((10, 20), jnp.float32), jax.ShapeDtypeStruct((20, 20), jnp.float32)
LAYERS = jax.ShapeDtypeStruct((3, 20, 20), jnp.float32)
SMALL = 4 * 10 * 20  # bytes of an activation


def needed(function, *arguments, places=None, gradients=None, tensor=1):
    jaxpr = jax.make_jaxpr(function)(*arguments).jaxpr
    return needs(jaxpr, places or [Place()] * len(jaxpr.invars), gradients or {}, tensor)


def test_a_product_costs_two_operations_for_each_pair_of_numbers():
    assert needed(lambda x, w: x @ w, X, W).flops == 2 * 10 * 20 * 20


def test_products_of_a_loop_and_of_the_dearest_branch_are_counted():
    def loop(x, layers):
        return jax.lax.scan(lambda x, w: (x @ w, None), x, layers)[0]

    def branch(x, w):
        return jax.lax.cond(x[0, 0] > 0, lambda: x @ w @ w, lambda: x @ w)

    assert needed(loop, X, LAYERS).flops == 3 * 2 * 10 * 20 * 20
    assert needed(branch, X, W).flops == 2 * 2 * 10 * 20 * 20


def test_what_is_elementwise_is_not_stored_and_a_product_until_it_is_read():
    def run(x, w):
        first = x @ w
        second = jnp.tanh(first + 1) @ w
        third = jnp.tanh(second + 1) @ w
        return jnp.sum(jnp.exp(third) * 2)

    assert needed(run, X, W).stored["working"] == 2 * SMALL  # a product while the next one is made of it


def test_results_take_the_place_of_arguments():
    assert sum(needed(lambda x, w: x @ w, X, W).stored.values()) == 0


def test_a_loop_keeps_what_the_backward_pass_reads():
    def loss(x, layers):
        y, _ = jax.lax.scan(lambda x, w: (jnp.sin(x @ w), None), x, layers)
        return jnp.sum(y)

    stored = needed(jax.grad(loss, argnums=1), X, LAYERS, gradients={(3, 20, 20): Place()}).stored
    assert stored["kept"] == 2 * 3 * SMALL  # of each layer its input and the cosine
    assert stored["gradients"] == 0  # the result


def test_weights_that_a_loop_reads_in_another_dtype_are_converted_once():
    def run(x, layers):
        y, _ = jax.lax.scan(lambda x, w: (x @ w.astype(jnp.bfloat16), None), x.astype(jnp.bfloat16), layers)
        return jnp.sum(y)

    assert needed(run, X, LAYERS).stored["weights"] == 3 * 20 * 20 * 2


def test_a_split_product_is_added_up_where_the_split_axis_is_summed_over():
    """Megatron's pair: the first product split by its outputs, the second by its inputs."""

    def run(x, first, second):
        return jnp.sum(jnp.tanh(x @ first) @ second)

    split = [Place(), Place(0.5, True), Place(0.5, True)]
    found = needed(run, X, W, W, places=split, tensor=2)
    assert found.summed == SMALL
    assert found.stored["working"] == SMALL / 2 + SMALL  # the first product is split, the second whole


def test_rows_looked_up_in_a_split_table_are_whole():
    def run(table, ids, w):
        return jnp.sum(table[ids] @ w)

    ids = jax.ShapeDtypeStruct((10,), jnp.int32)
    found = needed(run, W, ids, W, places=[Place(0.5, True), Place(), Place(0.5, True)], tensor=2)
    assert found.stored["working"] == SMALL + SMALL / 2  # and the product with them is split
    assert found.summed == 0


def test_random_numbers_are_drawn_where_what_is_split_reads_them():
    def run(x, w, key):
        kept = jax.random.bits(key, x.shape) > 7
        return jnp.sum(jnp.where(kept, x @ w, 0.0) @ w)

    key = jax.eval_shape(lambda: jax.random.key(0))
    found = needed(run, X, W, key, places=[Place(), Place(0.5, True), Place()], tensor=2)
    assert found.stored["working"] == SMALL / 2 + SMALL / 2 + SMALL  # the numbers, the split product, the whole one
