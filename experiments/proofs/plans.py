"""What `plan` says by arithmetic, held against the compiler of the TPUs; and the table of BERT on all of them."""

from functools import cache
from pathlib import Path
from typing import NamedTuple

from bert_jax import config as configs
from bert_jax import hardware
from bert_jax.errors import UserError
from bert_jax.plan import planning, report
from bert_jax.plan.compiled import Compiled, can_compile, compile_step
from bert_jax.plan.estimate import Estimate, estimate
from bert_jax.plan.job import open_job, with_rows
from experiments.proofs.commands import ROOT

GIB = planning.GIB
TABLE = ROOT / "launch" / "plans.md"
SHORT, LONG = 0, 1  # the phases of configs/bert.py: 128 pieces a row, then 512


class Case(NamedTuple):
    """A step.

    Attributes:
        rows: of each device, or of those that split its products.
        changes: key of the config -> value.
    """

    config: str
    target: str
    phase: int
    rows: int
    changes: tuple = ()

    @property
    def name(self) -> str:
        changed = "".join(f", {key}={value}" for key, value in self.changes)
        return f"{self.config} on {self.target}, phase {self.phase + 1}, {self.rows} rows{changed}"

    def open(self):
        job = open_job(load(self.config), hardware.parse_target(self.target), dict(self.changes))
        return job, with_rows(job.rows.phases[self.phase], job, self.rows)


BASE, LARGE, PMAP = "bert.py:base", "bert.py:large", (("parallel.mode", "pmap"),)
MEMORY = (
    Case(BASE, "v4:2x2x2", LONG, 32),
    Case(LARGE, "v5p:2x2x2", LONG, 32),
    Case(BASE, "v6e:2x4", SHORT, 32, PMAP),
    Case(LARGE, "v6e:2x4", LONG, 16, (("parallel.fsdp", 2),)),
    Case(LARGE, "v5e:2x4", LONG, 23),  # the last that fits
    Case(BASE, "v5e:2x4", LONG, 74),
    Case(LARGE, "v5e:2x4", SHORT, 32, (("parallel.fsdp", 8),)),
    Case(LARGE, "v6e:4x4", LONG, 32, (("parallel.fsdp", 4), ("parallel.tensor", 2))),
    Case(BASE, "v5p:2x2x1", SHORT, 128, (("parallel.tensor", 2),)),
    Case(LARGE, "v4:2x2x4", SHORT, 16, PMAP),
    Case(BASE, "v3:4x4", LONG, 8),
    Case(BASE, "v6e:4x4", LONG, 16, (("parallel.fsdp", 4),)),
)
BORDERS = tuple(
    Case(*which)
    for which in (
        (LARGE, "v5e:2x4", LONG, 0),
        (BASE, "v5e:2x4", LONG, 0),
        (LARGE, "v6e:2x4", LONG, 0),
        (LARGE, "v4:2x2x2", LONG, 0),
    )
)


def plan_memory(scratch: Path) -> dict:
    """The memory of a device that is estimated beside that of the compiled step, and what both say is sent."""
    return beside_estimates({case: compiled(case) for case in MEMORY})


def beside_estimates(found: dict[Case, Compiled]) -> dict:
    cases = {}
    for case, program in found.items():
        expected = estimate(*case.open())
        cases[case.name] = {
            "compiled_gib": program.memory / GIB,
            "estimated_gib": expected.total / GIB,
            "estimated_to_compiled": expected.total / program.memory,
            "sent": {kind: sent._asdict() for kind, sent in program.sent.items()},
            "estimated_sent": expected.sent,
        }
    return {"cases": cases, "largest_error": max(abs(case["estimated_to_compiled"] - 1) for case in cases.values())}


def plan_borders(scratch: Path) -> dict:
    """The largest batch that compiles, beside the estimated one; the next one is refused."""
    found = {}
    for case in BORDERS:
        job, phase = case.open()
        guess = planning.estimated_largest(job, phase, planning.granted_bytes(job.target))
        asked = {}

        def fits(rows: int, case=case, asked=asked) -> bool:
            asked[rows] = compiled(case._replace(rows=rows))
            return asked[rows].fits

        rows = planning.border(fits, guess)
        refusal = asked[rows + 1].refusal
        found[case._replace(rows=rows).name] = {
            "rows": rows,
            "estimated_rows": guess,
            "compiled_gib": asked[rows].memory / GIB,
            "next_row": refusal,
        }
    return found


def compiled(case: Case) -> Compiled:
    job, phase = case.open()
    if not can_compile(job):
        raise UserError("the compiler of the TPUs is not installed", fix="pip install -e '.[tpu]'")
    print(f"compiling {case.name}", flush=True)
    return compile_step(job, phase)


def plan_table(scratch: Path) -> dict:
    """BERT-base and -large by the published recipe on every slice of 8 to 256 chips: figures, and launch/plans.md."""
    rows = []
    for config in (BASE, LARGE):
        for chip in ("v4", "v5e", "v5p", "v6e"):
            slices = [slice_ for slice_ in hardware.slices(chip) if 8 <= slice_.chips <= 256]
            rows += [_row(config, slice_) for slice_ in slices]
    TABLE.write_text(_markdown(rows), encoding="utf-8")
    return {"mfu": MFU, "rows": rows}


MFU = 0.4


def _row(config: str, slice_: hardware.Slice) -> dict:
    job = open_job(load(config), slice_)
    granted = planning.granted_bytes(slice_)
    phases = []
    for number, phase in enumerate(job.rows.phases):
        expected, flops = _estimated(config, number, slice_.chips)
        largest = _largest_of_a_chip(config, number, slice_.chip) * slice_.chips
        phases.append(planning.PhasePlan(phase, job.steps(phase), expected, flops, None, largest, False))
    plan = planning.Plan(job, granted, phases, [])
    hours = report.hours(plan, MFU)
    on_demand, spot = (slice_.usd_per_hour(spot) for spot in (False, True))
    return {
        "config": config,
        "slice": slice_.gcloud_type,
        "topology": f"{slice_.chip}:{slice_.topology}",
        "chips": slice_.chips,
        "gib": [phase.estimate.total / GIB for phase in phases],
        "fits": all(phase.fits(granted) for phase in phases),
        "largest_batch": [phase.largest_batch for phase in phases],
        "least_ms": [1e3 * report.seconds_at_least(plan, phase) for phase in phases],
        "hours": hours,
        "usd": [None if price is None else price * hours for price in (on_demand, spot)],
    }


# With rows alone split, nothing but their number on a chip matters, and for the largest only how much a chip holds.


@cache
def _estimated(config: str, number: int, chips: int) -> tuple[Estimate, int]:
    job = open_job(load(config), next(slice_ for slice_ in hardware.slices("v5e") if slice_.chips == chips))
    phase = job.rows.phases[number]
    return estimate(job, phase), planning.flops_of_model(job, phase)


@cache
def _largest_of_a_chip(config: str, number: int, chip: str) -> int:
    job = open_job(load(config), next(slice_ for slice_ in hardware.slices(chip) if slice_.chips == 8))
    return planning.estimated_largest(job, job.rows.phases[number], planning.granted_bytes(job.target))


@cache
def load(config: str):
    return configs.load(f"{ROOT}/configs/{config}")


def _markdown(rows: list[dict]) -> str:
    head = f"""# BERT on every TPU

What `python -m bert_jax plan` computes for `configs/bert.py`: batches of 256 rows, 900,000 steps at length 128, then 100,000
at 512, rows split over all chips. Made by `python -m experiments.acceptance plan_table`; nothing here was trained. Memory and
rows are given for length 128 / 512. The least time of a step is that of its products, or of what memory moves, at the peak of
the chip. Hours and dollars are those at {MFU:.0%} MFU, an assumption, or at the least time where that is longer, as where a
chip has few rows; prices of {hardware.PRICES_READ}, on demand and spot.

| config | slice | chips | GiB of a chip | fits | largest batch | least ms a step | hours | on demand | spot |
|---|---|---:|---:|---|---:|---:|---:|---:|---:|
"""
    return head + "".join(_line(row) + "\n" for row in rows)


def _line(row: dict) -> str:
    both = lambda values, form: " / ".join(format(value, form) for value in values)  # noqa: E731
    usd = ["unknown" if price is None else f"${price:,.0f}" for price in row["usd"]]
    cells = [
        row["config"].removeprefix("bert.py:"),
        f"{row['slice']} ({row['topology']})",
        str(row["chips"]),
        both(row["gib"], ".2f"),
        "yes" if row["fits"] else "no",
        both(row["largest_batch"], ",d"),
        both(row["least_ms"], ".2f"),
        f"{row['hours']:,.1f}",
        *usd,
    ]
    return f"| {' | '.join(cells)} |"
