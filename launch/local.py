"""The engine of this machine: one run after another."""

import contextlib
import shlex
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from bert_jax.config import make_folder
from bert_jax.errors import EXIT_DONE, EXIT_RESTART, EXIT_USER_ERROR, UserError
from launch import attempt, table
from launch.runs import Run, distinct, preparations

TRAINER = (sys.executable, "-m", "bert_jax")
FLAGS = {"processes": (1, "so many processes make each run together, with a GPU each where there are any")}
EXIT_FAILED = 1
ENDED = (EXIT_DONE, EXIT_FAILED)  # exit codes of submit after which every run has ended
MAX_RESTARTS = 100  # of one run within one sweep: a trainer that asks for more makes no progress


def render(runs: Sequence[Run], workdir: Path, settings: dict, trainer: Sequence[str]) -> str:
    """The commands, one a line."""
    makings = [command for commands in preparations(runs).values() for command in commands]
    trainings = [[*_several(settings, trainer), *run.training] for run in distinct(runs)]
    return "\n".join(map(shlex.join, [*([*trainer, *command] for command in makings), *trainings]))


def _several(settings: dict, trainer: Sequence[str]) -> list[str]:
    """What starts a training run."""
    count = settings["processes"]
    if count < 1:
        raise UserError("--processes is too small", got=count)
    return [*trainer] if count == 1 else [sys.executable, "-m", "launch.processes", str(count), *trainer]


def in_hand(runs: Sequence[Run], workdir: Path) -> set[Path]:
    """Folders of the runs that the engine has queued, running or done: none, since submit ends after its runs."""
    return set()


def submit(runs: Sequence[Run], workdir: Path, settings: dict, trainer: Sequence[str], lock: int) -> int:
    """Runs them; 0 when every one is done or diverged, 1 when one failed, 2 at a user's mistake, 42 when interrupted.

    Args:
        lock: an open file that holds the lock on workdir. Each trainer inherits it, so that one that outlives a killed sweep is
            waited for.
    """
    try:
        with _terminate_as_interrupt():
            return _execute(runs, trainer, _several(settings, trainer), lock)
    except KeyboardInterrupt:
        print("interrupted; the same command goes on", file=sys.stderr)
        return EXIT_RESTART


@contextlib.contextmanager
def _terminate_as_interrupt() -> Iterator[None]:
    """SIGTERM ends the sweep in the way of Ctrl-C, so that the trainer is told to save and is waited for."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _execute(waiting: Sequence[Run], preparer: Sequence[str], trainer: Sequence[str], lock: int) -> int:
    for shared, commands in preparations(waiting).items():
        make_folder(shared)
        for command in commands:
            code = attempt.start([*preparer, *command], shared / "prepare.log", (lock,))
            if code:
                return _stop(code, f"{command[0]}, see {shared}/prepare.log")
    failed, began = False, time.monotonic()
    for position, run in enumerate(waiting):
        label = f"[{position + 1}/{len(waiting)}] {run.cell or run.folder} seed {run.seed}"
        print(f"{label}: started, {run.folder}/train.log", flush=True)
        start = time.monotonic()
        code = _train(run, trainer, lock)
        if code == EXIT_USER_ERROR:
            return _stop(code, label)
        state = table.state(run.folder)
        failed |= state == "failed"
        now = time.monotonic()
        left = (now - began) / (position + 1) * (len(waiting) - position - 1)
        outcome = f"{state} (exit code {code})" if state == "failed" else state
        print(
            f"{label}: {outcome} after {_clock(now - start)}; {_clock(now - began)} in all, about {_clock(left)} left", flush=True
        )
    return EXIT_FAILED if failed else EXIT_DONE


def _train(run: Run, trainer: Sequence[str], lock: int) -> int:
    """Trains one run, restarting it as often as it asks; its exit code."""
    make_folder(run.folder)
    attempt.write(run.folder, table.status(run.folder) | {"cell": run.cell, "seed": run.seed, "state": "queued"})
    for _ in range(MAX_RESTARTS):
        code = attempt.attempt(run.folder, [*trainer, *run.training], pass_fds=(lock,))
        if code != EXIT_RESTART:
            return code
    attempt.write(run.folder, table.status(run.folder) | {"state": "failed"})
    return code


def _stop(code: int, where: str) -> int:
    print(f"stopped at {where}: exit code {code}", file=sys.stderr)
    return code if code > 0 else EXIT_FAILED


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
