"""A pretraining job as its config describes it, without its text, on a machine that is not here."""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from ml_collections import ConfigDict

from bert_jax.build import build_objective, build_optimizer, loader_config
from bert_jax.data.loader import LoaderConfig, Phase, batch_shapes
from bert_jax.errors import UserError
from bert_jax.hardware import Slice
from bert_jax.inputs import open_vocabulary
from bert_jax.objectives.objective import Objective
from bert_jax.parallel.layout import check_layout
from bert_jax.parallel.step import State, init_state
from bert_jax.trained import open_teacher


class Job(NamedTuple):
    """
    Attributes:
        config: with the dtype that the target takes for "auto".
        vocabulary_is_asked_for: the vocabulary is not made yet, and taken to have the pieces that the config asks for.
        frozen: shapes of the teacher's parameters, None without one.
    """

    config: ConfigDict
    target: Slice
    objective: Objective
    optimizer: object
    rows: LoaderConfig
    vocab_size: int
    vocabulary_is_asked_for: bool
    frozen: dict | None

    @property
    def mesh(self) -> dict[str, int]:
        """Devices over which rows, rows and parameters, and products are split."""
        fsdp, tensor = self.config.parallel.fsdp, self.config.parallel.tensor
        return {"data": self.target.devices // (fsdp * tensor), "fsdp": fsdp, "tensor": tensor}

    @property
    def row_groups(self) -> int:
        """Over so many devices the rows of a batch are split."""
        return self.target.devices // self.config.parallel.tensor

    def steps(self, phase: Phase) -> int:
        later = [other.first_step for other in self.rows.phases if other.first_step > phase.first_step]
        return min([*later, self.config.train.num_train_steps]) - phase.first_step

    def state(self) -> State:
        """Shapes."""
        return jax.eval_shape(lambda: init_state(self.objective, self.optimizer, self.config.seed))

    def batch(self, phase: Phase) -> dict[str, jax.ShapeDtypeStruct]:
        return {name: jax.ShapeDtypeStruct(*array) for name, array in batch_shapes(self.rows, phase).items()}


class _Device(NamedTuple):
    process_index: int


def open_job(config, target: Slice, changes: Mapping[str, object] | None = None) -> Job:
    """
    Args:
        changes: "section.key" -> value, other than in the config.

    Raises:
        UserError: the config is none of pretraining, or does not fit the target.
    """
    config = ConfigDict(config.to_dict())
    if "task" in config:
        raise UserError("plan is for pretraining: what fine-tuning needs depends on the task's rows", got=f"task={config.task}")
    config.update_from_flattened_dict(dict(changes or {}))
    config.model.dtype = "bfloat16" if config.model.dtype == "auto" else config.model.dtype
    rows = loader_config(config)
    tokenizer = open_vocabulary(config, Path()) if config.text.vocab_file or config.init_checkpoint else None
    if "teacher" in config.objective and tokenizer is None:
        raise UserError("plan needs the vocabulary of the teacher", expected="--config.text.vocab_file=FILE")
    teacher = open_teacher(config, tokenizer)
    vocab_size = tokenizer.size if tokenizer else config.text.vocab_size
    objective = build_objective(config, vocab_size, teacher.facts.get("teacher_model"))
    frozen = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(np.shape(leaf), leaf.dtype), teacher.params)
    _check(config, objective, target, rows)
    return Job(config, target, objective, build_optimizer(config)[0], rows, vocab_size, tokenizer is None, frozen)


def _check(config, objective: Objective, target: Slice, rows: LoaderConfig) -> None:
    devices = [_Device(number * target.hosts // target.devices) for number in range(target.devices)]
    sizes = [phase.batch_size for phase in rows.phases]
    parallel, accumulate = config.parallel, config.train.accumulate
    check_layout(parallel.mode, objective, devices, sizes, fsdp=parallel.fsdp, tensor=parallel.tensor, accumulate=accumulate)


def with_rows(phase: Phase, job: Job, rows: int) -> Phase:
    """The phase with so many rows at a time on each group of devices that shares them."""
    return phase._replace(batch_size=rows * job.row_groups * job.config.train.accumulate)
