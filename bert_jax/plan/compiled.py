"""The step as the compiler for the target makes it, on a machine without one: libtpu knows every TPU (pip install '.[tpu]')."""

import importlib.util
import os
import re
from typing import NamedTuple

import jax
from jax.experimental import topologies

from bert_jax.data.loader import Phase
from bert_jax.errors import UserError
from bert_jax.hardware import CLOUD_TPUS
from bert_jax.parallel.layout import make_layout
from bert_jax.plan import hlo
from bert_jax.plan.job import Job

UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30}


class Compiled(NamedTuple):
    """
    Attributes:
        memory: part -> bytes of one device; where the compiler refuses, "needed" alone, as far as it says.
        limit: bytes that it grants, which it only says when it refuses.
        sent: kind of collective -> what one step sends.
    """

    fits: bool
    memory: dict[str, int]
    limit: int = 0
    sent: dict[str, hlo.Sent] = {}

    @property
    def total(self) -> int:
        return sum(self.memory.values())


def can_compile(job: Job) -> bool:
    return job.target.chip in CLOUD_TPUS and importlib.util.find_spec("libtpu") is not None


def compile_step(job: Job, phase: Phase) -> Compiled:
    """The program of one device in the jit or pmap mode of the config."""
    try:
        program = lowered(job, phase).compile()
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        return _refused(str(error))
    memory = program.memory_analysis()
    arguments = memory.argument_size_in_bytes + memory.output_size_in_bytes - memory.alias_size_in_bytes
    parts = {"arguments": arguments, "temporary": memory.temp_size_in_bytes, "program": memory.generated_code_size_in_bytes}
    return Compiled(True, parts, sent=hlo.collectives(program.as_text()))


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
        devices=_devices(job),
    )
    frozen = job.frozen  # shapes without places: copied to every device
    return layout.train_step.lower(*layout.abstract(job.state(), job.batch(phase)), frozen)


def _devices(job: Job) -> list:
    # What libtpu would otherwise ask the metadata server of a Google machine for.
    for name, value in {"TPU_SKIP_MDS_QUERY": "1", "TPU_WORKER_HOSTNAMES": "localhost"}.items():
        os.environ.setdefault(name, value)
    name = f"{job.target.chip}:{job.target.topology}"
    try:
        return list(topologies.get_topology_desc(platform="tpu", topology_name=name).devices)
    except (jax.errors.JaxRuntimeError, NotImplementedError) as error:
        raise UserError("libtpu does not know this topology", got=name, expected=str(error).splitlines()[0]) from None


def _refused(message: str) -> Compiled:
    used = re.search(r"Used ([\d.]+)([KMG]?) of ([\d.]+)([KMG]?) hbm", message)
    if not used:
        return Compiled(False, {})
    needed, limit = (float(used[place]) * UNITS[used[place + 1]] for place in (1, 3))
    return Compiled(False, {"needed": int(needed)}, int(limit))
