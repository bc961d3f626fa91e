"""One run by an engine: submit it, see where it stands, cancel it. Sweeps use the same engines: python -m launch sweep submit.

An engine is a module with

    FLAGS                                             name -> (default, meaning) of the flags that say on what and how it runs
    ENDED                                             exit codes of submit after which every run has ended
    render(runs, workdir, settings, trainer)          what submit would send or do, as text; touches nothing
    submit(runs, workdir, settings, trainer, lock)    sends it; the exit code
    in_hand(runs, workdir)                            folders of the runs that it has queued, running or done
    status(workdir)                                   prints where they stand; the exit code
    cancel(workdir)                                   the commands that end them
    watch(workdir)                                    starts again what is taken away, until all have ended
    places(workdir)                                   folder of each run that was sent, from workdir on -> where its files lie

the last four only where there is something to see, end or start again, when submit has returned. Settings are the values of its
flags, and trainer is what python -m bert_jax is here. What was sent is kept beside the runs.
"""

import argparse
import contextlib
import fcntl
import json
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from types import ModuleType

from bert_jax import config as configs
from bert_jax.command import run_verb
from bert_jax.config import make_folder
from bert_jax.errors import EXIT_DONE, EXIT_RESTART, EXIT_USER_ERROR, UserError
from launch import flags
from launch.local import TRAINER
from launch.runs import Run, alone, preparations

NAME = re.compile("[a-z]([-a-z0-9]*[a-z0-9])?")


def main(name: str, engine: ModuleType, arguments: Sequence[str], trainer: Sequence[str] = TRAINER) -> int:
    verbs = {
        "submit": (partial(_submit, name, engine, trainer), "start one run, or continue it; with --dry-run show how"),
        "status": (partial(_status, name, engine), "where its runs stand"),
        "cancel": (partial(_cancel, name, engine), "end its runs; asks first"),
        "watch": (partial(_watch, name, engine), "start again what is taken away, until all runs have ended"),
    }
    verbs = {verb: known for verb, known in verbs.items() if hasattr(engine, verb)}
    return run_verb(f"python -m launch {name}", verbs, list(arguments))


def _submit(name: str, engine: ModuleType, trainer: Sequence[str], arguments: Sequence[str]) -> int:
    parser = _parser(name, "submit")
    parser.epilog = flags.ANY_KEY
    flags.add(parser, engine.FLAGS)
    parser.add_argument("--config", required=True, help="a config file, such as configs/bert.py:base")
    parser.add_argument("--dry-run", action="store_true", help="show what would be sent and send nothing")
    given, overrides = flags.parse(parser, arguments)
    workdir, settings = Path(given.workdir), {name: getattr(given, name) for name in engine.FLAGS}
    run = alone(given.config, overrides, workdir)
    if given.dry_run:
        print(engine.render([run], workdir, settings, trainer))
        return EXIT_DONE
    make_folder(workdir)
    with only_one(workdir) as lock:
        if engine.in_hand([run], workdir):
            raise UserError("this run was sent before and has not failed", got=workdir, fix=f"see python -m launch {name} status")
        return engine.submit([run], workdir, settings, trainer, lock)


def _status(name: str, engine: ModuleType, arguments: Sequence[str]) -> int:
    return engine.status(Path(_parser(name, "status").parse_args(arguments).workdir))


def _watch(name: str, engine: ModuleType, arguments: Sequence[str]) -> int:
    workdir = Path(_parser(name, "watch").parse_args(arguments).workdir)
    try:
        return engine.watch(workdir)
    except KeyboardInterrupt:
        print(f"the runs go on and cost money; python -m launch {name} cancel ends them", file=sys.stderr)
        return EXIT_RESTART


def _cancel(name: str, engine: ModuleType, arguments: Sequence[str]) -> int:
    parser = _parser(name, "cancel")
    parser.add_argument("--dry-run", action="store_true", help="show the commands and do nothing")
    parser.add_argument("--yes", action="store_true", help="do not ask")
    given = parser.parse_args(arguments)
    commands = engine.cancel(Path(given.workdir))
    print("\n".join(map(shlex.join, commands)))
    if given.dry_run:
        return EXIT_DONE
    if not (given.yes or agreed("run this?")):
        print("nothing was ended")
        return EXIT_USER_ERROR
    return max((call(command) for command in commands), default=EXIT_DONE)


def _parser(name: str, verb: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=f"python -m launch {name} {verb}", allow_abbrev=False)
    parser.add_argument("--workdir", required=True, help="folder of the run, or of a sweep")
    return parser


def sent(workdir: Path, name: str) -> dict[str, dict]:
    """Folder of each run, relative to workdir, -> the engine's settings for it and its "job" there; empty before the first."""
    path = workdir / f"{name}.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def require_sent(workdir: Path, name: str) -> dict[str, dict]:
    found = sent(workdir, name)
    if not found:
        raise UserError(f"nothing of this folder was sent by {name}", got=f"no {name}.json in {workdir}")
    return found


def remember(workdir: Path, name: str, settings: dict, jobs: dict[Path, str]) -> None:
    """Writes down the job of each run's folder."""
    new = {folder.relative_to(workdir).as_posix(): {**settings, "job": job} for folder, job in jobs.items()}
    configs.write_json(workdir / f"{name}.json", sent(workdir, name) | new)


def job_name(name: str, run: Run, longest: int) -> str:
    """The name of a run's job: that of the user alone, or in a sweep with the run's id.

    Raises:
        UserError: it breaks the rules of Google Cloud and Kubernetes, which for labels of hosts are those of RFC 1123.
    """
    full = f"{name}-{run.id}" if run.cell else name
    if not NAME.fullmatch(full) or len(full) > longest:
        raise UserError(
            "--name cannot be right",
            got=repr(name),
            expected=f"a lowercase letter, then lowercase letters, digits and '-', not ending in '-'; {longest} in all"
            + (f" with -{run.id} of a sweep behind it" if run.cell else ""),
        )
    return full


def require_portable(runs: Sequence[Run]) -> None:
    """Raises UserError where a run cannot be made on a machine that has the code and nothing else of this one."""
    for run in runs:
        if run.folder.is_absolute() or ".." in run.folder.parts:
            raise UserError("the workdir would be elsewhere there", got=run.folder, expected="a folder such as runs/bert-1")
    if preparations(runs):
        raise UserError(
            "the runs of this sweep share a vocabulary and a store that are not made yet",
            expected="--config.text.vocab_file and --config.data.store, at places that every machine has",
            fix="make them with python -m bert_jax vocab and prepare",
        )


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
        said = done.stderr.strip() or f"exit code {done.returncode}"
        raise UserError(f"{command[0]} refuses", got=said, fix=f"the command was: {shlex.join(command)}")
    return done.stdout


def not_on_path(program: str) -> UserError:
    return UserError(f"{program} is not on PATH", fix="install it, or add --dry-run to see what would be sent")
