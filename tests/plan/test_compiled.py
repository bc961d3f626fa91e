"""The real step compiled for a TPU that is not here, and what is said where it does not fit."""

import jax
import pytest

from bert_jax import config as configs
from bert_jax import hardware
from bert_jax.plan import compiled
from bert_jax.plan.estimate import estimate
from bert_jax.plan.job import open_job
from tests.tiny import ROOT

SMALL = ("data.later_phases=()", "train.train_batch_size=32")


def job(target: str):
    return open_job(configs.load(f"{ROOT}/configs/bert.py:tiny", SMALL), hardware.parse_target(target))


class Refusing:
    def __init__(self, message: str):
        self._message = message

    def compile(self):
        raise jax.errors.JaxRuntimeError(self._message)


def test_a_step_that_the_compiler_finds_too_large_does_not_fit(monkeypatch):
    refusal = "RESOURCE_EXHAUSTED: Ran out of memory in memory space hbm. Used 20.50G of 15.75G hbm."
    monkeypatch.setattr(compiled, "lowered", lambda job, phase: Refusing(f"{refusal}\nLargest allocations: ..."))
    found = compiled.compile_step(job("v5e:2x2"), None)
    assert not found.fits and found.refusal == refusal


def test_any_other_error_of_the_compiler_is_no_answer(monkeypatch):
    monkeypatch.setattr(compiled, "lowered", lambda job, phase: Refusing("INTERNAL: a fault"))
    with pytest.raises(jax.errors.JaxRuntimeError, match="a fault"):
        compiled.compile_step(job("v5e:2x2"), None)


def test_nothing_can_compile_for_a_gpu_that_is_not_here():
    assert not compiled.can_compile(job("H100:4"))


def test_the_step_compiles_for_four_chips():
    """Of a model so small the logits are the most, of which the compiler stores more than is estimated."""
    pytest.importorskip("libtpu", reason="compiling for TPU needs libtpu: pip install 'jax[tpu]'")
    planned = job("v5e:2x2")
    (phase,) = planned.rows.phases
    found, expected = compiled.compile_step(planned, phase), estimate(planned, phase)
    assert found.fits
    state = expected.memory["parameters"] + expected.memory["optimiser"]
    assert state <= found.memory <= 1.5 * expected.total
    assert found.sent.keys() == {"all-reduce"}
    assert found.sent["all-reduce"].bytes > 0.5 * expected.sent["gradients added up"]  # those of products as bfloat16


@pytest.mark.parametrize("target", ["v2:2x2", "v4:2x2x1", "v5e:1x1", "v5p:2x2x2", "v6e:2x4"])
def test_the_compiler_shows_as_many_devices_as_the_table(target):
    pytest.importorskip("libtpu", reason="the topologies of TPUs are known to libtpu: pip install 'jax[tpu]'")
    assert len(compiled.devices(job(target))) == hardware.parse_target(target).devices
