"""What `plan` says by arithmetic, held against the compilers of the TPUs; and the table of BERT on them."""

from pathlib import Path
from typing import NamedTuple

from bert_jax import config as configs
from bert_jax import hardware
from bert_jax.errors import UserError
from bert_jax.plan import planning, report
from bert_jax.plan.compiled import Compiled, can_compile, compile_step
from bert_jax.plan.estimate import estimate
from bert_jax.plan.job import Job, open_job, with_rows
from experiments.proofs.commands import ROOT

TABLE = ROOT / "launch" / "plans.md"
GIB = planning.GIB


class Case(NamedTuple):
    """A step: its config, machine, phase, rows of each device at a time, and what differs from the config."""

    config: str
    target: str
    phase: int
    rows: int
    changes: dict = {}

    @property
    def name(self) -> str:
        changed = "".join(f", {key.rpartition('.')[2]} {value}" for key, value in self.changes.items())
        return f"{self.config}, {self.target}, phase {self.phase + 1}, {self.rows} rows{changed}"

    def open(self) -> tuple[Job, planning.Phase]:
        config = configs.load(f"{ROOT}/configs/{self.config}")
        job = open_job(config, hardware.parse_target(self.target), self.changes)
        return job, with_rows(job.rows.phases[self.phase], job, self.rows)


CASES = ()


def plan_memory(scratch: Path) -> dict:
    """The estimated memory of a device beside that of the compiled step."""
    return compared({case: _compiled(*case.open()) for case in CASES})


def compared(compiled: dict[Case, Compiled]) -> dict:
    found = {}
    for case, program in compiled.items():
        expected = estimate(*case.open())
        found[case.name] = {
            "compiled_gib": program.total / GIB,
            "estimated_gib": expected.total / GIB,
            "estimated_to_compiled": expected.total / program.total,
        }
    off = max(abs(figures["estimated_to_compiled"] - 1) for figures in found.values())
    return {"cases": found, "largest_error": off}


def _compiled(job: Job, phase) -> Compiled:
    if not can_compile(job):
        raise UserError("the compiler of the TPUs is not installed", fix="pip install -e '.[tpu]'")
    return compile_step(job, phase)
