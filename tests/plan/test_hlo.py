"""What is sent and computed, read from the text of compiled programs."""

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from bert_jax.plan.hlo import Sent, collectives, product_flops

# As XLA writes it for a TPU: a loop of three that adds up a bf16[4,8] and f32[2], then a gather and a shift, each in two halves.
TPU = """\
HloModule jit_step, is_scheduled=true

%add (a: f32[], b: f32[]) -> f32[] {
  %a = f32[]{:T(128)} parameter(0)
  %b = f32[]{:T(128)} parameter(1)
  ROOT %sum = f32[]{:T(128)} add(%a, %b)
}

%body (state: (s32[], bf16[4,8], f32[2])) -> (s32[], bf16[4,8], f32[2]) {
  %state = (s32[]{:T(128)}, bf16[4,8]{1,0:T(8,128)(2,1)S(1)}, /*index=2*/f32[2]{0:T(128)}) parameter(0)
  %x = bf16[4,8]{1,0:T(8,128)(2,1)S(1)} get-tuple-element(%state), index=1
  %y = f32[2]{0:T(128)} get-tuple-element(%state), index=2
  %all-reduce.1 = (bf16[4,8]{1,0:T(8,128)(2,1)S(1)}, f32[2]{0:T(128)}) all-reduce(%x, %y), channel_id=2, to_apply=%add
  ROOT %next = (s32[]{:T(128)}, bf16[4,8]{1,0:T(8,128)(2,1)S(1)}, f32[2]{0:T(128)}) tuple(%all-reduce.1)
}

%condition (state: (s32[], bf16[4,8], f32[2])) -> pred[] {
  %three = s32[]{:T(128)} constant(3)
  %state.1 = (s32[]{:T(128)}, bf16[4,8]{1,0:T(8,128)(2,1)S(1)}, f32[2]{0:T(128)}) parameter(0)
  %count = s32[]{:T(128)} get-tuple-element(%state.1), index=0
  ROOT %lt = pred[]{:T(512)} compare(%count, %three), direction=LT
}

ENTRY %main (w: bf16[2,8]) -> bf16[16,8] {
  %w = bf16[2,8]{1,0:T(8,128)(2,1)} parameter(0)
  %state.2 = (s32[]{:T(128)}, bf16[4,8]{1,0:T(8,128)(2,1)S(1)}, f32[2]{0:T(128)}) tuple(%w)
  %while.1 = (s32[]{:T(128)}, bf16[4,8]{1,0:T(8,128)(2,1)}, f32[2]{0:T(128)}) while(%state.2), condition=%condition, body=%body
  %start = (bf16[2,8]{1,0:T(8,128)(2,1)}, bf16[16,8]{1,0:T(8,128)(2,1)}) all-gather-start(%w), channel_id=3, dimensions={0}
  %shift = (bf16[2,8]{1,0:T(8,128)(2,1)}, bf16[2,8]{1,0:T(8,128)(2,1)}) collective-permute-start(%w), channel_id=4
  %shifted = bf16[2,8]{1,0:T(8,128)(2,1)} collective-permute-done(%shift)
  ROOT %done = bf16[16,8]{1,0:T(8,128)(2,1)} all-gather-done(%start)
}
"""


def test_a_collective_in_a_loop_counts_as_often_as_it_runs():
    assert collectives(TPU) == {
        "all-reduce": Sent(3, 3 * (4 * 8 * 2 + 2 * 4)),
        "all-gather": Sent(1, 16 * 8 * 2),
        "collective-permute": Sent(1, 2 * 8 * 2),
    }


def test_a_program_on_one_device_sends_nothing():
    assert collectives(jax.jit(lambda x: x @ x).lower(jnp.ones((4, 4))).compile().as_text()) == {}


def test_the_sum_over_devices_of_a_compiled_program_is_found():
    mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,))
    rows = jax.ShapeDtypeStruct((16, 6), jnp.float32, sharding=NamedSharding(mesh, PartitionSpec("data")))
    text = jax.jit(lambda x: x.T @ x, out_shardings=NamedSharding(mesh, PartitionSpec())).lower(rows).compile().as_text()
    assert collectives(text) == {"all-reduce": Sent(1, 6 * 6 * 4)}


@pytest.mark.parametrize("unroll", [1, 5])
def test_products_in_a_loop_count_as_often_as_they_run(unroll):
    def run(x, weights):
        return jax.lax.scan(lambda x, w: (jnp.tanh(x @ w), None), x, weights, unroll=unroll)[0]

    text = jax.jit(run).lower(jnp.ones((64, 32)), jnp.ones((5, 32, 32))).compile().as_text()
    assert product_flops(text) == 5 * 2 * 64 * 32 * 32
