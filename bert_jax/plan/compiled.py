"""The step as the compiler for the target makes it, on a machine without one: libtpu knows every TPU (pip install '.[tpu]')."""

import importlib.util
import os
from typing import NamedTuple

import jax
from jax.experimental import topologies

from bert_jax.data.loader import Phase
from bert_jax.errors import UserError
from bert_jax.hardware import CLOUD_TPUS
from bert_jax.parallel.layout import make_layout
from bert_jax.plan import hlo
from bert_jax.plan.job import Job

# A TPU v4 has two cores that JAX shows as one device; a slice of one chip has a host of one.
OPTIONS = {"v4": {"chip_config_name": "megacore"}}
OPTIONS_OF_ONE_CHIP = {"chips_per_host_bounds": [1, 1, 1]}
ENVIRONMENT = {"TPU_SKIP_MDS_QUERY": "1", "TPU_WORKER_HOSTNAMES": "localhost", "ALLOW_MULTIPLE_LIBTPU_LOAD": "1"}


class Compiled(NamedTuple):
    """
    Attributes:
        memory: bytes of a device in use at the fullest moment, 0 where the compiler refuses: peak_memory_in_bytes of XLA's
            memory_analysis(). Its temp_size_in_bytes is no measure: with the arguments it can come to more than the device has.
        sent: kind of collective -> what one step sends.
        refusal: what the compiler says where the step does not fit.
    """

    memory: int = 0
    sent: dict[str, hlo.Sent] = {}
    refusal: str = ""

    @property
    def fits(self) -> bool:
        return not self.refusal


def can_compile(job: Job) -> bool:
    return job.target.chip in CLOUD_TPUS and importlib.util.find_spec("libtpu") is not None


def compile_step(job: Job, phase: Phase) -> Compiled:
    """The program of one device in the jit or pmap mode of the config."""
    try:
        program = lowered(job, phase).compile()
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        return Compiled(refusal=str(error).splitlines()[0])
    return Compiled(program.memory_analysis().peak_memory_in_bytes, hlo.collectives(program.as_text()))


def lowered(job: Job, phase: Phase):
    config = job.config
    layout = make_layout(
        config.parallel.mode,
        job.objective,
        job.optimizer,
        seed=config.seed,
        batch_size=phase.batch_size,
        fsdp=config.parallel.fsdp,
        tensor=config.parallel.tensor,
        accumulate=config.train.accumulate,
        devices=devices(job),
    )
    frozen = job.frozen  # shapes without places: copied to every device
    return layout.train_step.lower(*layout.abstract(job.state(), job.batch(phase)), frozen)


def devices(job: Job) -> list:
    # What libtpu would otherwise ask the metadata server of a Google machine for; nobody else on this machine uses a TPU.
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    name = f"{job.target.chip}:{job.target.topology}"
    options = OPTIONS.get(job.target.chip, {}) | (OPTIONS_OF_ONE_CHIP if job.target.chips == 1 else {})
    found = list(topologies.get_topology_desc(platform="tpu", topology_name=name, **options).devices)
    if len(found) != job.target.devices:
        raise UserError(
            "libtpu shows other devices than the table of chips", got=f"{name}: {len(found)}", expected=str(job.target.devices)
        )
    return found
