"""What a step needs by arithmetic alone: memory of a device by part, operations, bytes moved and sent."""

import math
from typing import NamedTuple

import jax
import numpy as np
from jax.sharding import AbstractMesh, NamedSharding

from bert_jax.data.loader import Phase
from bert_jax.parallel.rules import shardings
from bert_jax.parallel.step import make_train_step
from bert_jax.plan.job import Job
from bert_jax.plan.traced import Needs, Place, needs


class Estimate(NamedTuple):
    """
    Attributes:
        memory: part -> bytes of one device, at the moment at which most is stored.
        flops: of the products of one step on all devices, what is computed anew included.
        moved: bytes that a device reads and writes in a step, at least.
        sent: what for -> bytes of the arrays that a device adds up with others, or gathers from them, at their full size.
    """

    memory: dict[str, int]
    flops: int
    moved: int
    sent: dict[str, int]

    @property
    def total(self) -> int:
        return sum(self.memory.values())


def estimate(job: Job, phase: Phase) -> Estimate:
    mesh = AbstractMesh(tuple(job.mesh.values()), tuple(job.mesh))
    state = job.state()
    places = jax.tree.map(_place, state, shardings(state, mesh))
    found = _needs(job, phase, state, places)
    size = {name: _bytes(getattr(state, name), getattr(places, name)) for name in ("params", "opt_state")}
    memory = {
        "parameters": size["params"],
        "optimiser": size["opt_state"],
        "teacher": _bytes(job.frozen),
        "batch": _bytes(_own_rows(job, phase)),
        "weights for products": found.stored["weights"],
        "gradients": found.stored["gradients"],
        "kept for the backward pass": found.stored["kept"],
        "working space": found.stored["working"],
    }
    whole = _bytes(state.params)
    sent = {
        "gradients added up": whole // job.mesh["tensor"] if job.row_groups > 1 else 0,
        "parameters gathered": 2 * whole // job.mesh["tensor"] if job.mesh["fsdp"] > 1 else 0,  # once forward, once backward
        "parts of products added up": found.summed,
    }
    return Estimate(memory, found.flops * job.row_groups, found.moved, sent)


def model_flops(job: Job, phase: Phase) -> int:
    """Of the products of one step on all devices when none is computed twice, which is what MFU is measured by (Chowdhery et al.
    2022, arXiv 2204.02311, appendix B).

    Args:
        job: with model.remat=none.
    """
    state = job.state()
    return _needs(job, phase, state, jax.tree.map(lambda _: Place(), state)).flops * job.row_groups


def _needs(job: Job, phase: Phase, state, places) -> Needs:
    step = make_train_step(job.objective, job.optimizer, accumulate=job.config.train.accumulate)
    jaxpr = jax.make_jaxpr(step)(state, _own_rows(job, phase), job.frozen, np.uint32(0)).jaxpr
    of_arguments = _leaves(places)
    others = [Place()] * (len(jaxpr.invars) - len(of_arguments))
    of_gradients = {leaf.shape: place for leaf, place in zip(jax.tree.leaves(state.params), _leaves(places.params))}
    return needs(jaxpr, [*of_arguments, *others], of_gradients, job.mesh["tensor"])


def _own_rows(job: Job, phase: Phase) -> dict:
    return job.batch(phase._replace(batch_size=phase.batch_size // job.row_groups))


def _place(leaf, sharding: NamedSharding) -> Place:
    part = math.prod(sharding.shard_shape(leaf.shape)) / max(1, math.prod(leaf.shape))
    return Place(part, "tensor" in sharding.spec)


def _leaves(places) -> list[Place]:
    return jax.tree.leaves(places, is_leaf=lambda value: isinstance(value, Place))


def _bytes(tree, places=None) -> int:
    leaves = jax.tree.leaves(tree)
    of_leaves = [Place()] * len(leaves) if places is None else _leaves(places)
    sizes = (math.prod(leaf.shape) * leaf.dtype.itemsize * place.share for leaf, place in zip(leaves, of_leaves, strict=True))
    return round(sum(sizes))
