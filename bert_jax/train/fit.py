"""The training loop, the same for pretraining, fine-tuning and distillation."""

import math
import signal
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

from bert_jax.checkpoint import Checkpoints
from bert_jax.errors import Diverged, UserError
from bert_jax.parallel import hosts
from bert_jax.parallel.step import State, empty_window, init_state, window_means
from bert_jax.train import motion, track
from bert_jax.train.clock import Clock
from bert_jax.train.evaluate import evaluate
from bert_jax.train.watch import Watch, read_metrics

STEPS_TO_AGREE = 10  # so many steps apart, several processes ask each other whether one was told to stop


@dataclass(frozen=True)
class FitConfig:
    """When things happen, in steps.

    Attributes:
        max_skipped_steps: so many steps in a row whose loss or gradient is not finite, when a line is logged, end the run; others
            are skipped and counted.
    """

    num_train_steps: int
    log_every_steps: int
    eval_every_steps: int
    save_every_steps: int
    keep_checkpoints: int
    max_skipped_steps: int

    def __post_init__(self):
        for name, value in vars(self).items():
            if value < 1:
                raise UserError(f"train.{name} is too small", got=value, expected="at least 1")


class Judge(NamedTuple):
    """What a task adds to the held-out losses.

    Attributes:
        score: params on the host or one device -> metrics.
        best_by: the metric by which, the higher the better, the best checkpoint is kept, and saved after each evaluation; "": the
            held-out loss, the lower the better, among those that are saved anyway.
        patience: so many evaluations in a row without a better one end the training; 0: none do.
    """

    score: Callable[[dict], dict[str, float]]
    best_by: str = ""
    patience: int = 0


@dataclass(frozen=True)
class Finished:
    """How fit ended: `complete` unless a signal asked it to stop; params on the host or one device."""

    step: int
    params: object
    complete: bool


def fit(
    objective,
    optimizer,
    schedule: Callable,
    layout,
    batches_from: Callable[[int], Iterator[dict]],
    eval_batches: Callable[[], Iterator[dict]],
    config: FitConfig,
    workdir: Path,
    *,
    seed: int,
    facts: Callable[[int], dict],
    accept: Callable[[dict], None] = lambda facts: None,
    name_batch: Callable[[int], str] = lambda step: "",
    pretrained: dict | None = None,
    frozen=None,
    judge: Judge | None = None,
    on_track: Callable[[Sequence[dict]], track.Verdict] | None = None,
    quiet: bool = False,
) -> Finished:
    """Trains from the newest good checkpoint of the workdir to config.num_train_steps.

    Where several processes train together, each calls it; only the first one reads and writes checkpoints and metrics.

    Args:
        batches_from: step -> iterator over this process's rows of the batches of that step and the following ones: the data
            position is the step alone.
        eval_batches: -> this process's rows of the held-out batches, the same at each call.
        facts: step -> what is kept in the checkpoint after so many steps; `accept` sees it again on restore and raises UserError
            if it does not fit.
        name_batch: number of a step, from 0 -> what its batch was made of, for the message when training has to end.
        frozen: parameters that the objective uses and does not train, those of a teacher.
        judge: what is measured at each evaluation beside the losses.
        on_track: records so far, the newest last -> whether the run is on track; asked by the first process alone, and told at
            each evaluation and whenever something else is found. It stops nothing.
        pretrained: parameters to start from when there is no checkpoint, a part of the tree; the others are drawn from the seed.

    Raises:
        Diverged: config.max_skipped_steps in a row were not finite.
    """
    is_first = jax.process_index() == 0
    checkpoints = Checkpoints(Path(workdir) / "checkpoints", keep=config.keep_checkpoints) if is_first else None
    state = init_state(objective, optimizer, seed, pretrained)
    start, state = hosts.from_first(lambda: _restored(checkpoints, state, accept), (np.array(0), state))
    start = int(start)
    if start >= config.num_train_steps or (start and hosts.any_process(is_first and _ran_out(judge, workdir, start))):
        if is_first:
            checkpoints.close()
        return Finished(start, state.params, complete=True)

    watch = Watch(workdir, start_step=start, total_steps=config.num_train_steps, quiet=quiet) if is_first else None
    batches = batches_from(start)
    try:
        with _StopSignal() as stop:
            loop = _Loop(
                objective,
                schedule,
                layout,
                eval_batches,
                config,
                watch,
                checkpoints,
                facts,
                name_batch,
                layout.place_state(frozen),
                judge,
                on_track,
                Path(workdir),
            )
            state = layout.place_state(state)  # under this name, or the one on a single device would live as long as training
            return loop.run(state, start, batches, stop)
    finally:
        batches.close()
        if is_first:
            watch.close()
            checkpoints.close()


def _restored(checkpoints: Checkpoints, like: State, accept: Callable[[dict], None]) -> tuple[np.ndarray, State]:
    restored = checkpoints.restore(like, say=print, accept=accept)
    return (np.array(restored[0]), restored[1]) if restored else (np.array(0), like)


def best_step(workdir: Path, metric: str, *, up_to_step: int | None = None) -> int:
    """The step of the first evaluation at which this metric was highest; one at least must have it."""
    records = [record for record in read_metrics(workdir, up_to_step=up_to_step) if record.get(metric) is not None]
    return max((record for record in records if record["kind"] == "held_out"), key=lambda record: record[metric])["step"]


def _ran_out(judge: Judge | None, workdir: Path, step: int) -> bool:
    """Whether, after this step, the last judge.patience evaluations were no better than one before them."""
    if not judge or not judge.patience:
        return False
    records = [record for record in read_metrics(workdir, up_to_step=step) if record["kind"] == "held_out"]
    best = best_step(workdir, judge.best_by, up_to_step=step) if records else step
    return sum(record["step"] > best for record in records) >= judge.patience


@dataclass
class _Loop:
    """watch and checkpoints are None in all processes but the first."""

    objective: object
    schedule: Callable
    layout: object
    eval_batches: Callable
    config: FitConfig
    watch: Watch | None
    checkpoints: Checkpoints | None
    facts: Callable[[int], dict]
    name_batch: Callable[[int], str]
    frozen: object  # placed
    judge: Judge | None
    on_track: Callable[[Sequence[dict]], track.Verdict] | None
    workdir: Path

    def run(self, state: State, start: int, batches: Iterator[dict], stop: "_StopSignal") -> Finished:
        """After each step: log, evaluate, save, in this order; only then draw the next batch: a save holds the position."""
        cfg, clock, pending, ran_out = self.config, Clock(), None, False
        for step in range(start + 1, cfg.num_train_steps + 1):
            with clock.waiting_for_data():
                batch = self.layout.place_batch(next(batches))
            first, last = step == start + 1, step == cfg.num_train_steps
            logs = step % cfg.log_every_steps == 0 or last
            before = jax.block_until_ready(motion.sample(state.params)) if logs or first else None
            state = self.layout.train_step(state, batch, self.frozen)
            clock.step()
            if first:  # which also compiled, as what follows it does: it is not timed
                jax.block_until_ready((state.step, motion.update_ratios(before, state.params)))
                clock.start()
            if self.watch:
                self.watch.advance(step)
            if pending:  # fetched one step late, so that the device does not wait for the host
                self._log(*pending, clock)
                pending = None
            if logs:
                done = jax.tree.map(lambda x: x.copy(), (state.updates, state.skipped))
                # Waited for: on CPUs two programs that add up over devices at a time may wait for each other for ever.
                pending = (step, state.window, done, jax.block_until_ready(motion.update_ratios(before, state.params)))
                state = state._replace(window=self.layout.place_state(empty_window(self.objective)))
            agrees = step % STEPS_TO_AGREE == 0 or jax.process_count() == 1
            stops = hosts.any_process(stop.asked) if agrees else False
            evaluates = self._evaluates(step)
            saves = step % cfg.save_every_steps == 0 or last or stops or (evaluates and self._keeps_best)
            if pending and (evaluates or saves):
                self._log(*pending, clock)
                pending = None
            if evaluates or saves:
                with clock.paused():
                    cost = self._evaluate(step, state.params) if evaluates else None
                    if saves:
                        self._save(step, state, cost)
            ran_out = evaluates and hosts.any_process(self.watch is not None and _ran_out(self.judge, self.workdir, step))
            if stops or ran_out:
                break
        if self.checkpoints:
            self.checkpoints.wait()
        return Finished(step, self.layout.single(state.params), complete=ran_out or step == cfg.num_train_steps)

    def _evaluates(self, step: int) -> bool:
        return step % self.config.eval_every_steps == 0 or step == self.config.num_train_steps

    @property
    def _keeps_best(self) -> bool:
        return bool(self.judge and self.judge.best_by)

    def _evaluate(self, step: int, params) -> float:
        """What the best checkpoint is chosen by, the lower the better."""
        metrics = evaluate(self.objective, self.layout, params, self.eval_batches(), self.frozen)
        if self.judge:
            metrics |= self.judge.score(self.layout.single(params))
        if self.watch:
            self.watch.write("held_out", step, metrics)
            self._tell(step)
        if not self._keeps_best:
            return metrics["loss"]
        if self.judge.best_by not in metrics:
            raise UserError("train.best_by is no metric of this task", got=self.judge.best_by, expected=" or ".join(metrics))
        return -metrics[self.judge.best_by]

    def _save(self, step: int, state: State, cost: float | None) -> None:
        state = self.layout.single(state)
        if self.checkpoints:
            self.watch.flush()
            self.checkpoints.save(step, state, self.facts(step), cost=cost)

    def _log(self, step: int, window: dict, done: tuple, ratios: dict, clock: Clock) -> None:
        window, done = self.layout.single((window, done))
        window, (updates, in_a_row) = jax.tree.map(float, window), map(int, done)
        if in_a_row >= self.config.max_skipped_steps:
            self._give_up(step, in_a_row)
        metrics = {name: value for name, value in window_means(self.objective, window).items() if math.isfinite(value)}
        metrics["learning_rate"] = float(self.schedule(max(updates - 1, 0)))
        metrics |= {f"{track.RATIO}{name}": float(ratio) for name, ratio in ratios.items()}
        if window["step"]["skipped"]:
            metrics["skipped_steps"] = window["step"]["skipped"]
        metrics |= clock.lap(window["counts"]["tokens"], max(window["step"]["steps"], 1.0))
        if self.watch:
            left = clock.seconds_left(self.config.num_train_steps - step)
            self.watch.write("train", step, metrics, seconds_left=left)
            if not self._evaluates(step):  # else it follows
                self._tell(step)

    def _tell(self, step: int) -> None:
        """Whether the run is on track: after an evaluation, or where something else is found than before."""
        if not self.on_track:
            return
        verdict = self.on_track(self.watch.records)
        if self._evaluates(step) or self.watch.found() != {finding.what for finding in verdict.findings}:
            self.watch.judge(step, verdict)

    def _give_up(self, step: int, in_a_row: int) -> None:
        first = step - in_a_row + 1
        raise Diverged(
            f"loss or gradient were not finite in {in_a_row} steps in a row, {first} to {step}; earlier checkpoints are kept\n"
            f"  got:      {self.name_batch(first - 1) or 'no description of the batches'}, in step {first}\n"
            "  do:       lower optim.learning_rate or raise optim.num_warmup_steps, in a new workdir"
        )


class _StopSignal:
    """While open, SIGTERM and the first Ctrl-C only ask: the step under way is finished and saved. A second Ctrl-C interrupts."""

    def __enter__(self):
        self.asked = False
        self._before = {number: signal.signal(number, self._ask) for number in (signal.SIGTERM, signal.SIGINT)}
        return self

    def _ask(self, number, frame):
        self.asked = True
        signal.signal(signal.SIGINT, signal.default_int_handler)

    def __exit__(self, *exc_info):
        for number, handler in self._before.items():
            signal.signal(number, handler)
