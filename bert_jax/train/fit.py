"""The training loop, the same for pretraining, fine-tuning and distillation."""

import math
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import jax

from bert_jax.checkpoint import Checkpoints
from bert_jax.errors import Diverged, UserError
from bert_jax.parallel.step import State, empty_window, init_state, window_means
from bert_jax.train.clock import Clock
from bert_jax.train.evaluate import evaluate
from bert_jax.train.watch import Watch


@dataclass(frozen=True)
class FitConfig:
    """When things happen, in steps; train_batch_size is in rows over all devices."""

    train_batch_size: int
    num_train_steps: int
    log_every_steps: int
    eval_every_steps: int
    save_every_steps: int
    keep_checkpoints: int

    def __post_init__(self):
        for name, value in vars(self).items():
            if value < 1:
                raise UserError(f"train.{name} is too small", got=value, expected="at least 1")


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
    facts: dict,
    accept: Callable[[dict], None] = lambda facts: None,
    pretrained: dict | None = None,
    quiet: bool = False,
) -> Finished:
    """Trains from the newest good checkpoint of the workdir to config.num_train_steps.

    Args:
        batches_from: step -> iterator over the batches of that step and the following ones: the data position is the step alone.
        eval_batches: -> the held-out batches, the same at each call.
        facts: kept in each checkpoint; `accept` sees them again on restore and raises UserError if they do not fit.
        pretrained: parameters to start from, by top name, when there is no checkpoint; the others are drawn from the seed.

    Raises:
        Diverged: the loss of a log window is not finite.
    """
    checkpoints = Checkpoints(Path(workdir) / "checkpoints", keep=config.keep_checkpoints)
    state = init_state(objective, optimizer, seed, pretrained)
    restored = checkpoints.restore(state, say=print, accept=accept)
    start = 0
    if restored:
        start, state, _ = restored
    if start >= config.num_train_steps:
        checkpoints.close()
        return Finished(start, state.params, complete=True)

    watch = Watch(workdir, start_step=start, total_steps=config.num_train_steps, quiet=quiet)
    batches = batches_from(start)
    try:
        with _StopSignal() as stop:
            loop = _Loop(objective, schedule, layout, eval_batches, config, watch, checkpoints, facts)
            return loop.run(layout.place_state(state), start, batches, stop)
    finally:
        batches.close()
        watch.close()
        checkpoints.close()


@dataclass
class _Loop:
    objective: object
    schedule: Callable
    layout: object
    eval_batches: Callable
    config: FitConfig
    watch: Watch
    checkpoints: Checkpoints
    facts: dict

    def run(self, state: State, start: int, batches: Iterator[dict], stop: "_StopSignal") -> Finished:
        """After each step: log, evaluate, save, in this order; only then draw the next batch: a save holds the position."""
        cfg, clock, pending = self.config, Clock(), None
        for step in range(start + 1, cfg.num_train_steps + 1):
            with clock.waiting_for_data():
                batch = self.layout.place_batch(next(batches))
            state = self.layout.train_step(state, batch)
            clock.step()
            if step == start + 1:  # the first step also compiled: it is not timed
                jax.block_until_ready(state.step)
                clock.start()
            self.watch.advance(step)
            if pending:  # fetched one step late, so that the device does not wait for the host
                self._log(*pending, clock)
                pending = None
            last = step == cfg.num_train_steps
            if step % cfg.log_every_steps == 0 or last:
                pending = (step, state.window)
                state = state._replace(window=self.layout.place_state(empty_window(self.objective)))
            evaluates = step % cfg.eval_every_steps == 0 or last
            saves = step % cfg.save_every_steps == 0 or last or stop.asked
            if pending and (evaluates or saves):
                self._log(*pending, clock)
                pending = None
            if evaluates or saves:
                with clock.paused():
                    loss = self._evaluate(step, state.params) if evaluates else None
                    if saves:
                        self.watch.flush()
                        facts = {**self.facts, "rows_consumed": step * cfg.train_batch_size}
                        self.checkpoints.save(step, self.layout.single(state), facts, held_out_loss=loss)
            if stop.asked:
                break
        self.checkpoints.wait()
        return Finished(step, self.layout.single(state.params), complete=step == cfg.num_train_steps)

    def _evaluate(self, step: int, params) -> float:
        metrics = evaluate(self.objective, self.layout, params, self.eval_batches())
        self.watch.write("held_out", step, metrics)
        return metrics["loss"]

    def _log(self, step: int, window: dict, clock: Clock) -> None:
        window = jax.tree.map(float, self.layout.single(window))
        metrics = window_means(self.objective, window)
        if not math.isfinite(metrics["loss"]) or not math.isfinite(metrics["grad_norm"]):
            raise Diverged(
                f"the loss is not finite within {int(window['step']['steps'])} steps up to {step}; earlier checkpoints are kept\n"
                "  do:       lower optim.learning_rate or raise optim.num_warmup_steps, in a new workdir"
            )
        metrics["learning_rate"] = float(self.schedule(step - 1))
        metrics |= clock.lap(window["counts"]["tokens"], window["step"]["steps"])
        self.watch.write("train", step, metrics, seconds_left=clock.seconds_left(self.config.num_train_steps - step))


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
