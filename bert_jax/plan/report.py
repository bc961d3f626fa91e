"""A plan as people read it; each line says whether it was computed, compiled or assumed."""

from collections.abc import Iterable

from bert_jax import hardware
from bert_jax.plan.planning import GIB, PhasePlan, Plan

COMPUTED, COMPILED, ASSUMED = "computed", "compiled", "assumed"
WIDTH = 30


def lines(plan: Plan, config_argument: str, mfu: float) -> list[str]:
    """
    Args:
        mfu: the share of the peak that training is taken to reach.
    """
    job, target = plan.job, plan.job.target
    name = f"{target.chip}:{target.topology} ({target.gcloud_type})" if target.topology else f"{target.chips} x {target.chip}"
    hosts = f"{target.hosts} host{'s' * (target.hosts > 1)}"
    mesh = " x ".join(f"{axis} {size}" for axis, size in job.mesh.items())
    vocabulary = ASSUMED if job.vocabulary_is_asked_for else COMPUTED
    out = [
        f"{config_argument} on {name}",
        _line("devices", f"{target.devices} on {hosts}; mesh {mesh}, mode {job.config.parallel.mode}", COMPUTED),
        _line("vocabulary", f"{job.vocab_size:,} pieces", vocabulary),
        _line("memory of a device", f"{plan.granted / GIB:.2f} GiB for programs", ASSUMED),
    ]
    for number, phase in enumerate(plan.phases, 1):
        out += ["", *_phase_lines(plan, phase, number)]
    out += ["", f"all {sum(phase.steps for phase in plan.phases):,} steps", *_cost_lines(plan, mfu)]
    advice = list(plan.advice)
    slow = [number for number, phase in enumerate(plan.phases, 1) if most_mfu(plan, phase) < mfu]
    if slow:
        which = " and ".join(map(str, slow))
        advice.append(f"in phase {which} memory sets the pace, not products: fewer chips, or more rows in a batch, cost less")
    return out + [f"advice: {line}   [{COMPUTED}]" for line in advice]


def _line(name: str, value: str, how: str) -> str:
    return f"  {name:{WIDTH}} {value}   [{how}]"


def _phase_lines(plan: Plan, phase: PhasePlan, number: int) -> Iterable[str]:
    rows, length = phase.phase.batch_size, phase.phase.max_seq_length
    yield f"phase {number}: {phase.steps:,} steps of {rows:,} rows x {length}"
    for name, size in phase.estimate.memory.items():
        if size:
            yield _line(name, f"{size / GIB:8.3f} GiB", COMPUTED)
    yield _line("together", f"{phase.estimate.total / GIB:8.3f} GiB", COMPUTED)
    if phase.compiled and phase.compiled.fits:
        yield _line("by the compiler's count", f"{phase.compiled.memory / GIB:8.3f} GiB", COMPILED)
    elif phase.compiled:
        yield _line("the compiler refuses", phase.compiled.refusal, COMPILED)
    how = COMPILED if phase.compiled else COMPUTED
    yield _line("fits", "yes" if phase.fits(plan.granted) else "NO", how)
    of_batch = f"{phase.largest_batch:,} rows" if phase.largest_batch else "none"
    yield _line("largest batch that fits", of_batch, COMPILED if phase.border_is_compiled else COMPUTED)
    if phase.compiled and phase.compiled.fits:
        for kind, (count, size) in phase.compiled.sent.items() or [("nothing", (0, 0))]:
            yield _line(f"sent: {kind}", f"{count:,} a step, {size / 1e9:.3f} GB", COMPILED)
    else:
        for name, size in phase.estimate.sent.items():
            if size:
                yield _line(f"sent: {name}", f"{size / 1e9:.3f} GB a step", COMPUTED)
    anew = phase.estimate.flops / phase.model_flops - 1
    yield _line("operations of the model", f"{phase.model_flops / 1e12:,.2f} TFLOP a step, {anew:+.1%} computed anew", COMPUTED)
    yield _line("moved in memory, at least", f"{phase.estimate.moved / 1e9:,.2f} GB a step and device", COMPUTED)
    yield _line(
        "a step takes at least",
        f"{1e3 * seconds_at_least(plan, phase):,.2f} ms, so that MFU is at most {most_mfu(plan, phase):.0%}",
        COMPUTED,
    )


def peak_flops(plan: Plan) -> float:
    return hardware.CHIPS[plan.job.target.chip].bf16_tflops * 1e12 * plan.job.target.chips


def seconds_at_least(plan: Plan, phase: PhasePlan) -> float:
    """Of one step: products at the peak of the chips, or memory at its own, whichever takes longer (Williams et al. 2009, the
    roofline model, doi 10.1145/1498765.1498785); sending costs nothing here."""
    chip = hardware.CHIPS[plan.job.target.chip]
    return max(phase.estimate.flops / peak_flops(plan), phase.estimate.moved * chip.jax_devices / (chip.hbm_gb_per_s * 1e9))


def most_mfu(plan: Plan, phase: PhasePlan) -> float:
    return phase.model_flops / peak_flops(plan) / seconds_at_least(plan, phase)


def hours(plan: Plan, mfu: float) -> float:
    """Of all steps, where their products run at this share of the peak, or at the highest that there can be if that is lower."""
    at_share = lambda phase: phase.model_flops / (mfu * peak_flops(plan))  # noqa: E731
    return sum(phase.steps * max(at_share(phase), seconds_at_least(plan, phase)) for phase in plan.phases) / 3600


def _cost_lines(plan: Plan, mfu: float) -> Iterable[str]:
    least = sum(phase.steps * seconds_at_least(plan, phase) for phase in plan.phases) / 3600
    yield _line("at least", f"{least:,.1f} hours", COMPUTED)
    taken = hours(plan, mfu)
    yield _line(f"at {mfu:.0%} MFU or the most", f"{taken:,.1f} hours, {taken * plan.job.target.chips:,.0f} chip-hours", ASSUMED)
    for terms, spot in (("on demand", False), ("spot", True)):
        price = plan.job.target.usd_per_hour(spot)
        cost = (
            "price unknown" if price is None else f"${price * taken:,.0f}, prices of {hardware.PRICES_READ}, cheapest US region"
        )
        yield _line(terms, cost, ASSUMED)
