"""The step compiles for a slice of TPU hosts, on a machine that has none."""

import jax
import pytest
from jax.experimental import topologies

from bert_jax.optim.optimizers import make_optimizer
from bert_jax.parallel.layout import make_layout
from bert_jax.parallel.step import init_state
from tests.parallel.test_layouts import ROWS, objective, uneven_batch

pytest.importorskip("libtpu", reason="compiling for TPU needs libtpu: pip install 'jax[tpu]'")


@pytest.fixture(scope="module")
def two_hosts():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TPU_SKIP_MDS_QUERY", "1")  # else libtpu asks for the metadata of a Google machine
        return topologies.get_topology_desc(platform="tpu", topology_name="v5e:2x4").devices


@pytest.mark.parametrize(
    ("mode", "options"),
    [("jit", {}), ("jit", {"fsdp": 2, "tensor": 2}), ("jit", {"accumulate": 2}), ("pmap", {})],
    ids=lambda value: str(value).replace("'", ""),
)
def test_the_step_compiles_for_eight_chips_on_two_hosts(two_hosts, mode, options):
    assert {device.process_index for device in two_hosts} == {0, 1}
    model, optimizer = objective(dtype="bfloat16"), make_optimizer(lambda step: 0.01)
    layout = make_layout(mode, model, optimizer, seed=0, batch_size=ROWS, devices=two_hosts, **options)
    state = jax.eval_shape(lambda: init_state(model, optimizer, 0))
    compiled = layout.train_step.lower(*layout.abstract(state, uneven_batch(0))).compile()
    memory = compiled.memory_analysis()
    assert "all-reduce" in compiled.as_text()
    assert memory.alias_size_in_bytes > 0.9 * memory.output_size_in_bytes  # the new state takes the place of the old


def test_a_mesh_may_cut_an_axis_of_the_slice():
    """Sixteen chips lie four by four: a mesh of 2 x 4 x 2 has axes of two."""
    model, optimizer = objective(), make_optimizer(lambda step: 0.01)
    sixteen = topologies.get_topology_desc(platform="tpu", topology_name="v6e:4x4").devices
    make_layout("jit", model, optimizer, seed=0, batch_size=ROWS, devices=sixteen, fsdp=4, tensor=2)
