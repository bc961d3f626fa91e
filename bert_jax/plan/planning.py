"""From a config and a target to everything that can be said before the job is paid for."""

from collections.abc import Callable
from functools import cache, partial
from typing import NamedTuple

from bert_jax.data.loader import Phase
from bert_jax.errors import UserError
from bert_jax.hardware import CHIPS, Slice
from bert_jax.models.layers import REMAT
from bert_jax.plan.compiled import Compiled, can_compile, compile_step
from bert_jax.plan.estimate import Estimate, estimate, model_flops
from bert_jax.plan.job import Job, open_job, with_rows

GIB = 2**30


class PhasePlan(NamedTuple):
    """Of a stretch of training with batches of one shape.

    Attributes:
        model_flops: of one step on all devices, nothing computed twice.
        compiled: None where no compiler was asked.
        largest_batch: rows of the largest batch that fits, 0 for none; border_is_compiled says by whose word.
    """

    phase: Phase
    steps: int
    estimate: Estimate
    model_flops: int
    compiled: Compiled | None
    largest_batch: int
    border_is_compiled: bool

    def fits(self, granted: float) -> bool:
        return self.compiled.fits if self.compiled else self.estimate.total <= granted


class Plan(NamedTuple):
    job: Job
    granted: float  # bytes of a device's memory that programs can have
    phases: list[PhasePlan]
    advice: list[str]


def make_plan(config, target: Slice, compiles: str, say: Callable[[str], None]) -> Plan:
    """
    Args:
        compiles: no, not at all; once, the step of each phase; border, as often as it takes to find the largest batch.

    Raises:
        UserError: the config does not fit the target, or compiling was asked for and cannot be done.
    """
    job = open_job(config, target)
    if compiles == "border" and not can_compile(job):
        raise UserError(
            "--compile=border needs the compiler of a TPU",
            got=f"--target with chips of {target.chip}",
            expected="a TPU as --target, and libtpu",
            fix="pip install -e '.[tpu]'",
        )
    granted = granted_bytes(target)
    compiles = compiles if can_compile(job) else "no"
    phases = [
        _plan_phase(job, phase, granted, compiles, partial(_progress, say, number))
        for number, phase in enumerate(job.rows.phases, 1)
    ]
    fits = all(phase.fits(granted) for phase in phases)
    return Plan(job, granted, phases, advice(config, job, granted, fits))


def granted_bytes(target: Slice) -> float:
    """What a program can have of the memory of a device."""
    chip = CHIPS[target.chip]
    return chip.granted_gb * GIB / chip.jax_devices


def _progress(say: Callable[[str], None], number: int, phase: Phase) -> None:
    say(f"phase {number}: compiling the step of {phase.batch_size:,} rows of {phase.max_seq_length} ...")


def _plan_phase(job: Job, phase: Phase, granted: float, compiles: str, say: Callable[[Phase], None]) -> PhasePlan:
    def compiled(phase: Phase) -> Compiled:
        say(phase)
        return compile_step(job, phase)

    expected = estimate(job, phase)
    program = compiled(phase) if compiles != "no" else None
    largest = estimated_largest(job, phase, granted)
    if compiles == "border":
        largest = border(lambda rows: compiled(with_rows(phase, job, rows)).fits, largest)
    flops = flops_of_model(job, phase)
    batch = with_rows(phase, job, largest).batch_size
    return PhasePlan(phase, job.steps(phase), expected, flops, program, batch, compiles == "border")


def flops_of_model(job: Job, phase: Phase) -> int:
    """`model_flops`, whatever this job computes anew."""
    return model_flops(open_job(job.config, job.target, {"model.remat": "none"}), phase)


def estimated_largest(job: Job, phase: Phase, granted: float) -> int:
    """Rows that each device can take at a time. Memory grows with them in pieces of lines: the last piece is soon found."""

    @cache
    def total(rows: int) -> int:
        return estimate(job, with_rows(phase, job, rows)).total

    before, rows = 8, 16
    for _ in range(6):
        per_row = (total(rows) - total(before)) / (rows - before)
        guess = max(1, rows + int((granted - total(rows)) // per_row))
        if guess == rows:
            break
        before, rows = rows, guess
    return border(lambda rows: total(rows) <= granted, rows)


def border(fits: Callable[[int], bool], guess: int) -> int:
    """The largest number that fits, while the next one does not; 0 where none does."""
    step, low = 1, guess
    if fits(low):
        while fits(low + step):
            low, step = low + step, 2 * step
        high = low + step
    else:
        high, low = guess, guess - step
        while low > 0 and not fits(low):
            high, step = low, 2 * step
            low = max(0, low - step)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low


def advice(config, job: Job, granted: float, fits: bool) -> list[str]:
    """What to change: where it does not fit, the first of each kind of change that makes it fit; else what costs without need."""
    found: dict[str, str] = {}
    for changes in _less_memory(job) if not fits else _less_work(job):
        ((key, value),) = changes.items()
        if key in found:
            continue
        try:
            other = open_job(config, job.target, changes)
        except UserError:  # the changed job does not divide over the devices
            continue
        total = max(estimate(other, phase).total for phase in other.rows.phases)
        if total <= granted:
            found[key] = f"--config.{key}={value} fits{' too' if fits else ''}: {total / GIB:.2f} GiB"
    return list(found.values())


def _less_memory(job: Job) -> list[dict]:
    names, now = list(REMAT), job.config.model.get("remat", "elementwise")
    changes = [{"model.remat": name} for name in names[names.index(now) + 1 :]]
    changes += [{"train.accumulate": job.config.train.accumulate * 2**power} for power in range(1, 8)]
    if job.config.parallel.mode == "jit":
        changes += [{"parallel.fsdp": job.config.parallel.fsdp * 2**power} for power in range(1, 9)]
    return changes


def _less_work(job: Job) -> list[dict]:
    names, now = list(REMAT), job.config.model.get("remat", "elementwise")
    changes = [{"model.remat": name} for name in names[: names.index(now)]]
    changes += [{"train.accumulate": number} for number in (1, 2, 4, 8) if number < job.config.train.accumulate]
    changes += [{f"parallel.{axis}": 1} for axis in ("tensor", "fsdp") if job.config.parallel[axis] > 1]
    return changes
