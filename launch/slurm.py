"""The engine of SLURM clusters: a batch script that can be read, one task for each GPU, an array for a sweep.

The script's options are those of the manual page of sbatch. A run that is told to stop (by SIGTERM, five minutes before the time
limit or when the cluster takes its nodes) saves, ends with 42 and is queued again under its number.
"""

import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

from bert_jax.config import make_folder
from bert_jax.errors import EXIT_DONE, EXIT_RESTART, UserError
from launch import attempt, table
from launch.engine import answer, remember, require_sent, sent
from launch.runs import Run, distinct, preparations

FLAGS = {
    "nodes": (1, "machines of each run"),
    "gpus_per_node": (0, "GPUs of each machine, with a task for each"),
    "tasks_per_node": (1, "tasks on each machine, where there are no GPUs"),
    "cpus_per_task": (0, "cores of each task; without it, what the cluster gives"),
    "time": ("", "time limit, such as 24:00:00; without it, that of the partition"),
    "partition": ("", "where to run"),
    "account": ("", "who pays"),
    "sbatch": ("", "further options of sbatch, such as '--mem=0 --exclusive'"),
    "at_once": (0, "so many runs of a sweep at a time; without it, as many as there is room for"),
    "max_crashes": (3, "how often a run that crashed is queued again"),
}
ENDED = ()  # submit returns before a run has begun
SAVE_SECONDS = 300  # before the time limit
LAST_TASK_SECONDS = 120  # that the other tasks have when one has ended
WORD = re.compile("[A-Za-z0-9._,@:+-]*")


def render(runs: Sequence[Run], workdir: Path, settings: Mapping, trainer: Sequence[str]) -> str:
    """The batch script, after that of the vocabulary and store where one is needed.

    Raises:
        UserError: a setting that sbatch would misread.
    """
    return "\n".join(filter(None, [_preparing(runs, settings, trainer), _running(runs, settings, trainer)]))


def _preparing(runs: Sequence[Run], settings: Mapping, trainer: Sequence[str]) -> str:
    makings = preparations(runs)
    if not makings:
        return ""
    one_task = settings | {"nodes": 1, "gpus_per_node": 0, "tasks_per_node": 1}
    lines = [f"{shlex.join([*trainer, *command])} || exit" for commands in makings.values() for command in commands]
    folders = shlex.join(["mkdir", "-p", *map(str, makings)])
    return "\n".join([*_head(one_task), folders, *lines, ""])


def _running(runs: Sequence[Run], settings: Mapping, trainer: Sequence[str]) -> str:
    runs = distinct(runs)
    array = []
    if len(runs) > 1:
        at_once = f"%{settings['at_once']}" if settings["at_once"] else ""
        array = [f"#SBATCH --array=0-{len(runs) - 1}{at_once}"]
    cases = [
        f"{number}) folder={shlex.quote(str(run.folder))}\n   trainer=({shlex.join([*trainer, *run.training])}) ;;"
        for number, run in enumerate(runs)
    ]
    attempted = shlex.join([trainer[0], "-m", "launch.attempt"])
    return "\n".join(
        [
            *_head(settings),
            *array,
            "#SBATCH --requeue",
            f"#SBATCH --signal=TERM@{SAVE_SECONDS}",
            "trap : TERM  # is for the trainer, and this script outlives it",
            'export JAX_NUM_PROCESSES="$SLURM_NTASKS"',
            'export SRUN_CPUS_PER_TASK="${SLURM_CPUS_PER_TASK:-1}"  # srun does not take it over from sbatch',
            'case "${SLURM_ARRAY_TASK_ID:-0}" in',
            *cases,
            "esac",
            f'{attempted} "$folder" {settings["max_crashes"]} srun --wait={LAST_TASK_SECONDS} "${{trainer[@]}}"',
            "code=$?",
            f'[ "$code" -eq {EXIT_RESTART} ] && scontrol requeue "$SLURM_JOB_ID"',
            'exit "$code"',
            "",
        ]
    )


def _head(settings: Mapping) -> list[str]:
    for name in ("time", "partition", "account"):
        if not WORD.fullmatch(settings[name]):
            raise UserError(f"--{name} cannot be right", got=repr(settings[name]), expected="letters, digits and ._,@:+-")
    for name, (default, _) in FLAGS.items():
        if isinstance(default, int) and settings[name] < min(default, 0 if name != "nodes" else 1):
            raise UserError(f"--{name.replace('_', '-')} is too small", got=settings[name])
    gpus = settings["gpus_per_node"]
    options = {
        "job-name": "bert_jax",
        "nodes": settings["nodes"],
        "ntasks-per-node": gpus or settings["tasks_per_node"],
        "gpus-per-node": gpus,
        "cpus-per-task": settings["cpus_per_task"],
        "time": settings["time"],
        "partition": settings["partition"],
        "account": settings["account"],
        "open-mode": "append",
    }
    lines = [f"#SBATCH --{name}={value}" for name, value in options.items() if value]
    more = [f"#SBATCH {shlex.quote(option)}" for option in shlex.split(settings["sbatch"])]
    if any("\n" in line for line in more):
        raise UserError("--sbatch has a line break", got=repr(settings["sbatch"]))
    return ["#!/bin/bash", *lines, *more]


def submit(runs: Sequence[Run], workdir: Path, settings: Mapping, trainer: Sequence[str], lock: int) -> int:
    """Queues the runs, after their vocabulary and store where those are needed."""
    scripts = {"prepare": _preparing(runs, settings, trainer), "runs": _running(runs, settings, trainer)}
    runs = distinct(runs)
    for run in runs:
        make_folder(run.folder)
        attempt.write(run.folder, table.status(run.folder) | {"cell": run.cell, "seed": run.seed, "state": "queued"})
    after: list[str] = []
    for name, script in scripts.items():
        if script:
            path = workdir / f"slurm-{name}.sh"
            table.write(path, script)
            job = answer(["sbatch", "--parsable", f"--output={_pattern(workdir / f'slurm-{name}-%j.log')}", *after, str(path)])
            job = job.partition(";")[0].strip()
            print(f"job {job}: {path}")
            after = [f"--dependency=afterok:{job}", "--kill-on-invalid-dep=yes"]
    numbers = [job] if len(runs) == 1 else [f"{job}_{number}" for number in range(len(runs))]
    remember(workdir, "slurm", dict(settings), {run.folder: number for run, number in zip(runs, numbers)})
    return EXIT_DONE


def _pattern(path: Path) -> str:
    """A path in which sbatch replaces %j alone."""
    return f"{str(path.parent.absolute()).replace('%', '%%')}/{path.name}"


def in_hand(runs: Sequence[Run], workdir: Path) -> set[Path]:
    """Folders of the runs that wait or run in the queue."""
    known = sent(workdir, "slurm")
    alive = _alive() if known else {}
    return {run.folder for run in runs if known.get(run.folder.relative_to(workdir).as_posix(), {}).get("job") in alive}


def status(workdir: Path) -> int:
    alive = _alive()
    for folder, known in require_sent(workdir, "slurm").items():
        queued = alive.get(known["job"], "is not in the queue")
        print(f"{workdir / folder}: {table.state(workdir / folder)}; job {known['job']} {queued}")
    return EXIT_DONE


def cancel(workdir: Path) -> list[list[str]]:
    return [["scancel", *(known["job"] for known in require_sent(workdir, "slurm").values())]]


def _alive() -> dict[str, str]:
    """Number of each job of this user -> its state."""
    lines = answer(["squeue", "--me", "--noheader", "--array", "--format=%i %T"]).splitlines()
    return dict(line.split(maxsplit=1) for line in lines)
