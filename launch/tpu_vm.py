"""Training on one Cloud TPU VM by way of gcloud: every command is shown before it runs, and --dry-run only shows them.

The commands are those of the page "gcloud compute tpus tpu-vm" of the Google Cloud SDK reference. What follows --command= is
parsed once more by the shell on the VM, so it is quoted for that shell before gcloud sees it.
"""

import argparse
import posixpath
import re
import shlex
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from bert_jax import config, hardware
from bert_jax.errors import EXIT_DONE, EXIT_USER_ERROR, UserError
from launch import flags
from launch.engine import agreed, answer

ROOT = Path(__file__).resolve().parents[1]
PUSHED = ("README.md", "requirements.txt", "pyproject.toml", "bert_jax", "configs", "experiments", "launch")
REMOTE = "bert_jax"  # folder in the home of the VM
LOG = "train.log"
PYTHON = "3.12"  # the VM images come with 3.10, which is too old
NAME = re.compile("[a-z]([-a-z0-9]{0,61}[a-z0-9])?")
ZONE = re.compile("[a-z]+-[a-z]+[0-9]+-[a-z]")


@dataclass(frozen=True)
class Job:
    """One VM and what is trained on it; what an action does not need is empty."""

    name: str
    zone: str
    project: str = ""
    slice: hardware.Slice | None = None
    spot: bool = False
    config: str = ""  # relative to the repository, with :argument
    workdir: str = ""
    overrides: tuple[str, ...] = ()


def create(job: Job) -> list[list[str]]:
    spot = ["--spot"] if job.spot else []
    machine = [f"--accelerator-type={job.slice.gcloud_type}", f"--version={job.slice.runtime_version}"]
    return [_gcloud(job, "create", job.name, *machine, *spot)]


def push(job: Job) -> list[list[str]]:
    """Sends the code as it is on disk, committed or not, and replaces what an earlier push left."""
    path = str(Path(tempfile.gettempdir()) / f"{job.name}-code.tar.gz")
    unpack = shlex.join(["rm", "-rf", *PUSHED]) + f" && tar -xzf ../{REMOTE}.tar.gz"
    return [
        archive(path),
        _gcloud(job, "scp", path, f"{job.name}:{REMOTE}.tar.gz"),
        _ssh(job, f"mkdir -p {REMOTE} && cd {REMOTE} && {unpack}"),
    ]


def archive(path: str) -> list[str]:
    return ["tar", "-czf", path, "--exclude=__pycache__", "-C", str(ROOT), *PUSHED]


def install(job: Job) -> list[list[str]]:
    uv = "python3 -m uv"
    steps = [
        f"cd {REMOTE}",
        "python3 -m pip install --quiet --user uv",
        f"{uv} venv --quiet --allow-existing --python {PYTHON} .venv",
        f"{uv} pip install --quiet --python .venv/bin/python --editable '.[tpu]'",
    ]
    return [_ssh(job, " && ".join(steps))]


def run(job: Job) -> list[list[str]]:
    trainer = [
        ".venv/bin/python",
        "-m",
        "bert_jax",
        "train",
        f"--config={job.config}",
        f"--workdir={job.workdir}",
        *job.overrides,
    ]
    return [_ssh(job, f"cd {REMOTE} && " + shlex.join(["bash", "launch/keep_running.sh", LOG, *trainer]))]


def logs(job: Job) -> list[list[str]]:
    return [_ssh(job, f"tail -n 100 -F {REMOTE}/{LOG}")]


def stop(job: Job) -> list[list[str]]:
    """Lets the trainer save, ends it with what would restart it, and waits for both."""
    return [_ssh(job, f"cd {REMOTE} && kill -TERM -- -$(cat {LOG}.pid) && flock {LOG}.lock echo stopped")]


def fetch(job: Job) -> list[list[str]]:
    return [_gcloud(job, "scp", "--recurse", f"{job.name}:{posixpath.join(REMOTE, job.workdir)}", ".")]


def status(job: Job) -> list[list[str]]:
    return [_gcloud(job, "describe", job.name, "--format=value(state,health)")]


def delete(job: Job) -> list[list[str]]:
    return [_gcloud(job, "delete", job.name, "--quiet")]


ACTIONS = {
    "create": (create, "rent the VM"),
    "push": (push, "send the code in this folder to it"),
    "install": (install, "install Python and the packages on it"),
    "run": (run, "start training on it, detached; also continues a run"),
    "logs": (logs, "follow the output of the training"),
    "stop": (stop, "let the training save and end; run continues it"),
    "fetch": (fetch, "copy the workdir from the VM into the current folder"),
    "status": (status, "say in which state the VM is"),
    "delete": (delete, "give the VM back, with what is on its disk; asks first"),
}
ALL = ("create", "push", "install", "run")


def _gcloud(job: Job, verb: str, *rest: str) -> list[str]:
    where = [f"--zone={job.zone}"] + ([f"--project={job.project}"] if job.project else [])
    return ["gcloud", "compute", "tpus", "tpu-vm", verb, *rest, *where]


def _ssh(job: Job, command: str) -> list[str]:
    return _gcloud(job, "ssh", job.name, f"--command={command}")


def main(arguments: Sequence[str]) -> int:
    """Shows, and without --dry-run runs, the commands of one action; returns the exit code of the first that fails, else 0."""
    given, overrides = flags.parse(_parser(), arguments)
    actions = ALL if given.action == "all" else (given.action,)
    job = _job(given, overrides, actions)
    if not given.dry_run:
        require_account()
    for line in _remarks(job, actions):
        print(f"# {line}")
    if "delete" in actions and not (
        given.dry_run or given.yes or agreed(f"delete {job.name} in {job.zone} with everything on its disk?")
    ):
        print("nothing was deleted")
        return EXIT_USER_ERROR
    commands = [command for action in actions for command in ACTIONS[action][0](job)]
    if given.dry_run:
        print("\n".join(shlex.join(command) for command in commands))
        return EXIT_DONE
    return _execute(commands, job)


def _parser() -> argparse.ArgumentParser:
    actions = "\n".join(f"  {name:8} {meaning}" for name, (_, meaning) in ACTIONS.items())
    parser = argparse.ArgumentParser(
        prog="python -m launch tpu-vm",
        description=__doc__.split("\n")[0],
        epilog=f"actions:\n  {'all':8} {', '.join(ALL)}: the default\n{actions}\n\n{flags.ANY_KEY}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "action", nargs="?", default="all", choices=["all", *ACTIONS], metavar="ACTION", help="what to do, see below"
    )
    parser.add_argument("--name", required=True, help="name of the VM, yours to choose")
    parser.add_argument("--zone", required=True, help="where it is, such as us-west4-a")
    parser.add_argument("--project", default="", help="Google Cloud project; without it, the one gcloud is set to")
    parser.add_argument("--type", default="", help="accelerator type of one host: v5litepod-8, v6e-8, v4-8, v5p-8, ...")
    parser.add_argument("--spot", action="store_true", help="cheaper, but may be taken away at any time")
    parser.add_argument("--config", default="", help="config file in this folder, such as configs/quickstart.py")
    parser.add_argument("--workdir", default="", help="folder of the run on the VM, such as runs/bert-1; lost with the VM")
    parser.add_argument("--dry-run", action="store_true", help="show the commands and do nothing")
    parser.add_argument("--yes", action="store_true", help="delete without asking")
    return parser


def _job(given: argparse.Namespace, overrides: tuple[str, ...], actions: Sequence[str]) -> Job:
    """The checked job: what can be known to be wrong is refused here, before anything is rented."""
    for flag, pattern, expected in [
        ("name", NAME, "a lowercase letter, then at most 62 lowercase letters, digits and '-', not ending in '-'"),
        ("zone", ZONE, "a zone such as us-west4-a"),
    ]:
        if not pattern.fullmatch(getattr(given, flag)):
            raise UserError(f"--{flag} cannot be right", got=repr(getattr(given, flag)), expected=expected)
    needed = {"create": ["type"], "run": ["config", "workdir"], "fetch": ["workdir"]}
    missing = [f"--{flag}" for action in actions for flag in needed.get(action, ()) if not getattr(given, flag)]
    if missing:
        raise UserError(f"{given.action} needs {' and '.join(missing)}")
    if "://" in given.workdir:
        raise UserError(
            "the workdir of a TPU VM is on its disk", got=f"--workdir={given.workdir}", expected="a folder, such as runs/bert-1"
        )
    slice_ = _one_host(given.type) if given.type else None
    job = Job(given.name, given.zone, given.project, slice_, given.spot, workdir=given.workdir)
    if "run" not in actions:
        return job
    config.load(given.config, overrides)
    return replace(job, config=pushed_path(given.config), overrides=overrides)


def _one_host(type_name: str) -> hardware.Slice:
    slice_ = hardware.parse_accelerator_type(type_name)
    if slice_.hosts > 1:
        cloud = hardware.CLOUD_TPUS[slice_.chip]
        raise UserError(
            f"{type_name} is {slice_.hosts} hosts, and tpu-vm starts training on one host only",
            got=f"--type={type_name}",
            expected=f"one host of {slice_.chip}: {', '.join(map(cloud.type_name, cloud.one_host))}",
            fix="python -m launch tpu-slice takes it",
        )
    return slice_


def pushed_path(path_with_arg: str) -> str:
    path, colon, arg = path_with_arg.partition(":")
    inside = Path(path).resolve()
    if not inside.is_relative_to(ROOT) or inside.relative_to(ROOT).parts[0] not in PUSHED:
        raise UserError(
            "the config file would not be on the VM",
            got=path,
            expected=f"a file in {', '.join(name for name in PUSHED if '.' not in name)} of {ROOT}",
            fix="copy it into configs/",
        )
    return inside.relative_to(ROOT).as_posix() + colon + arg


def _remarks(job: Job, actions: Sequence[str]) -> list[str]:
    lines = []
    if "create" in actions:
        price, terms = job.slice.usd_per_hour(job.spot), "spot, cheapest region" if job.spot else "on demand"
        cost = "price unknown" if price is None else f"${price:.2f} per hour {terms} (read {hardware.PRICES_READ}; check yours)"
        chip = hardware.CHIPS[job.slice.chip]
        lines.append(f"{job.slice.gcloud_type}: {job.slice.chips} chips of {job.slice.chip}, {chip.hbm_gb} GB each; {cost}")
    if "run" in actions:
        risk = "and Google may take a spot VM at any moment: fetch often" if job.spot else "so fetch it before delete"
        lines.append(f"{job.workdir} is on the disk of the VM and goes when the VM goes, {risk}")
    return lines


def require_account() -> None:
    """Raises UserError where gcloud is absent or nobody is logged in; asks nothing of the net."""
    if not answer(["gcloud", "auth", "list", "--filter=status:ACTIVE", "--format=value(account)"]).strip():
        raise UserError("gcloud has no account to work with", fix="gcloud auth login")


def _execute(commands: list[list[str]], job: Job) -> int:
    for number, command in enumerate(commands, start=1):
        print(shlex.join(command), flush=True)
        try:
            code = subprocess.run(command, check=False).returncode
        except KeyboardInterrupt:
            code = 128 + signal.SIGINT
        if code:
            print(f"error: command {number} of {len(commands)} ended with exit code {code}", file=sys.stderr)
            print(f"{job.name} may exist and cost money: status shows it, delete ends it", file=sys.stderr)
            return code
    return EXIT_DONE
