"""What the pretrainings of a table would cost on a slice of TPUs, by the arithmetic of `python -m bert_jax plan`."""

from collections.abc import Iterator
from pathlib import Path

from bert_jax import hardware
from bert_jax.plan import planning, report
from bert_jax.plan.estimate import estimate
from bert_jax.plan.job import open_job
from experiments import tables
from experiments.tables import Scale, Table
from launch.table import markdown

MFU = 0.4
NOT_THERE_YET = {"text.vocab_file": "", "init_checkpoint": ""}  # plan needs the size of a vocabulary alone


def as_markdown(table: Table, scale: Scale, target: hardware.Slice) -> str:
    rows = list(_rows(table, scale, target))
    hours = sum(hours for _, hours in rows)
    lines = [["pretraining", "hours", "on demand", "spot"], *(_line(name, each, target) for name, each in rows)]
    lines.append(_line(f"all, {len(scale.seeds)} seeds", hours * len(scale.seeds), target))
    return "\n\n".join(
        [
            markdown(lines),
            f"On {target.gcloud_type or target.chip}, {target.chips} chips, at {MFU:.0%} MFU, an assumption, or the most there "
            f"can be; prices of {hardware.PRICES_READ}. Fine-tuning is not counted, nor are students of a teacher. More of an "
            "encoder: python -m bert_jax plan.",
        ]
    )


def _rows(table: Table, scale: Scale, target: hardware.Slice) -> Iterator[tuple[str, float]]:
    for encoder, of in table.encoders.items():
        if of.teacher:  # plan opens the teacher, which is not there yet
            continue
        config = tables.pretraining(table, scale, Path(), encoder, scale.seeds[0]).config
        job = open_job(config, target, NOT_THERE_YET)
        phases = [
            planning.PhasePlan(phase, job.steps(phase), estimate(job, phase), planning.flops_of_model(job, phase), None, 0, False)
            for phase in job.rows.phases
        ]
        yield encoder, report.hours(planning.Plan(job, planning.granted_bytes(target), phases, []), MFU)


def _line(name: str, hours: float, target: hardware.Slice) -> list[str]:
    prices = [target.usd_per_hour(spot) for spot in (False, True)]
    return [name, f"{hours:,.1f}", *("unknown" if price is None else f"${price * hours:,.0f}" for price in prices)]
