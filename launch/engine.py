"""One run by an engine: submit it, see where it stands, cancel it. Sweeps use the same engines: python -m launch sweep submit.

An engine is a module with

    FLAGS                                             name -> (default, meaning) of the flags that say on what and how it runs
    WHICH                                             those of FLAGS that status and cancel need beside the workdir
    ENDED                                             exit codes of submit after which every run has ended
    render(runs, workdir, settings, trainer)          what submit would send or do, as text; touches nothing
    submit(runs, workdir, settings, trainer, lock)    sends it; the exit code
    in_hand(runs, workdir, settings)                  folders of the runs that it has queued or running
    status(workdir, settings)                         prints where they stand; the exit code
    cancel(workdir, settings)                         the commands that end them

where settings are the values of its flags and trainer is what python -m bert_jax is on its machines.
"""

import argparse
import contextlib
import fcntl
import shlex
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType

from bert_jax.command import run_verb
from bert_jax.errors import EXIT_DONE, EXIT_USER_ERROR, UserError
from launch import flags
from launch.local import TRAINER, make_folder
from launch.runs import alone


def main(name: str, engine: ModuleType, arguments: Sequence[str], trainer: Sequence[str] = TRAINER) -> int:
    verbs = {
        "submit": (lambda rest: _submit(name, engine, rest, trainer), "start one run, or continue it; with --dry-run show how"),
        "status": (lambda rest: _status(name, engine, rest), "where its runs stand"),
        "cancel": (lambda rest: _cancel(name, engine, rest), "end its runs; asks first"),
    }
    return run_verb(f"python -m launch {name}", verbs, list(arguments))


def _submit(name: str, engine: ModuleType, arguments: Sequence[str], trainer: Sequence[str]) -> int:
    parser = _parser(name, "submit", engine.FLAGS)
    parser.epilog = flags.ANY_KEY
    parser.add_argument("--config", required=True, help="a config file, such as configs/bert.py:base")
    parser.add_argument("--dry-run", action="store_true", help="show what would be sent and send nothing")
    given, overrides = flags.parse(parser, arguments)
    workdir, settings = Path(given.workdir), _settings(given, engine.FLAGS)
    run = alone(given.config, overrides, workdir)
    if given.dry_run:
        print(engine.render([run], workdir, settings, trainer))
        return EXIT_DONE
    make_folder(workdir)
    with only_one(workdir) as lock:
        if engine.in_hand([run], workdir, settings):
            raise UserError("this run waits or runs already", got=workdir, fix=f"see python -m launch {name} status")
        return engine.submit([run], workdir, settings, trainer, lock)


def _status(name: str, engine: ModuleType, arguments: Sequence[str]) -> int:
    given = _parser(name, "status", engine.WHICH).parse_args(arguments)
    return engine.status(Path(given.workdir), _settings(given, engine.WHICH))


def _cancel(name: str, engine: ModuleType, arguments: Sequence[str]) -> int:
    parser = _parser(name, "cancel", engine.WHICH)
    parser.add_argument("--dry-run", action="store_true", help="show the commands and do nothing")
    parser.add_argument("--yes", action="store_true", help="do not ask")
    given = parser.parse_args(arguments)
    commands = engine.cancel(Path(given.workdir), _settings(given, engine.WHICH))
    print("\n".join(map(shlex.join, commands)))
    if given.dry_run:
        return EXIT_DONE
    if not (given.yes or agreed("run this?")):
        print("nothing was ended")
        return EXIT_USER_ERROR
    return max((call(command) for command in commands), default=EXIT_DONE)


def _parser(name: str, verb: str, wanted: dict) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=f"python -m launch {name} {verb}", allow_abbrev=False)
    parser.add_argument("--workdir", required=True, help="folder of the run, or of a sweep")
    flags.add(parser, wanted)
    return parser


def _settings(given: argparse.Namespace, wanted: dict) -> dict:
    return {name: getattr(given, name) for name in wanted}


@contextlib.contextmanager
def only_one(workdir: Path) -> Iterator[int]:
    """A lock on a workdir, as an open file: what is missing is seen and sent by one submitter at a time."""
    with open(workdir / "submit.lock", "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"another submit, or a run that it left behind, is at work in {workdir}: waiting for its end", flush=True)
            fcntl.flock(file, fcntl.LOCK_EX)
        yield file.fileno()


def agreed(question: str) -> bool:
    """What the user answers; silence means no."""
    try:
        return input(f"{question} [y/N] ").strip().lower() in ("y", "yes")
    except EOFError:
        return False


def call(command: Sequence[str]) -> int:
    """Runs a command of a cloud or cluster, its output shown; its exit code."""
    try:
        return subprocess.run(command).returncode
    except FileNotFoundError:
        raise not_on_path(command[0]) from None


def answer(command: Sequence[str]) -> str:
    """What a command of a cloud or cluster prints.

    Raises:
        UserError: it is not there, or fails; what it said is shown.
    """
    try:
        done = subprocess.run(command, capture_output=True, text=True)
    except FileNotFoundError:
        raise not_on_path(command[0]) from None
    if done.returncode:
        raise UserError(
            f"{command[0]} ended with {done.returncode}", got=done.stderr.strip(), fix=f"it was: {shlex.join(command)}"
        )
    return done.stdout


def not_on_path(program: str) -> UserError:
    return UserError(f"{program} is not on PATH", fix="install it, or add --dry-run to see what would be sent")
