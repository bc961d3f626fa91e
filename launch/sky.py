"""The engine of SkyPilot: a managed job for each run, on whichever cloud has room, started again elsewhere when it is taken away.

Keys are those of "Task YAML" of the SkyPilot documentation.
"""

import json
import posixpath
import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

import yaml

from bert_jax import hardware
from bert_jax.errors import EXIT_DONE, EXIT_RESTART, UserError
from launch import table
from launch.engine import answer, call, job_name, remember, require_portable, require_sent, sent
from launch.runs import Run, distinct
from launch.tpu_vm import PYTHON, pushed_path

FLAGS = {
    "name": ("", "name of the job, yours to choose"),
    "accelerators": ("", "tpu-v6e-8, tpu-v5litepod-16, H100:8, ..."),
    "nodes": (1, "machines with GPUs of each run; a TPU slice is one, however many hosts it has"),
    "bucket": ("", "gs://BUCKET or s3://BUCKET, which all machines mount; the workdir lies in it"),
    "spot": (False, "cheaper, but may be taken away at any time"),
    "max_restarts": (3, "how often a run that crashed is started again"),
}
ENDED = ()
MOUNT = "/mnt/runs"
PORT = 8476
BUCKET = re.compile(r"(gs|s3)://[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]")
GPUS = re.compile("[A-Za-z0-9-]+:[1-9][0-9]?")
OVER = ("FAILED", "CANCELLED", "CANCELLING")  # beginnings of the states of jobs that bring no result
LONGEST_NAME = 63


def render(runs: Sequence[Run], workdir: Path, settings: Mapping, trainer: Sequence[str]) -> str:
    """The tasks as YAML documents.

    Raises:
        UserError: a setting that SkyPilot would refuse.
    """
    _check(runs, settings)
    tasks = [_task(run, settings) for run in distinct(runs)]
    return yaml.dump_all(tasks, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=10_000)


def submit(runs: Sequence[Run], workdir: Path, settings: Mapping, trainer: Sequence[str], lock: int) -> int:
    """Gives the jobs to SkyPilot's controller, which looks after them."""
    _check(runs, settings)
    for run in distinct(runs):
        job = job_name(settings["name"], run, LONGEST_NAME)
        path = workdir / f"{job}.yaml"
        table.write(path, render([run], workdir, settings, trainer))
        remember(workdir, "sky", dict(settings), {run.folder: job})
        command = ["sky", "jobs", "launch", "--yes", "--detach-run", f"--name={job}", str(path)]
        print(shlex.join(command), flush=True)
        if code := call(command):
            return code
    return EXIT_DONE


def in_hand(runs: Sequence[Run], workdir: Path) -> set[Path]:
    """Folders of the runs whose job waits, runs or is done."""
    known = sent(workdir, "sky")
    states = _states() if known else {}
    jobs = {run.folder: known.get(run.folder.relative_to(workdir).as_posix(), {}).get("job") for run in runs}
    return {folder for folder, job in jobs.items() if job in states and not states[job].startswith(OVER)}


def status(workdir: Path) -> int:
    states = _states()
    for folder, job in require_sent(workdir, "sky").items():
        print(f"{workdir / folder}: job {job['job']}: {states.get(job['job'], 'is not in the queue')}")
    return EXIT_DONE


def places(workdir: Path) -> dict[str, str]:
    jobs = sent(workdir, "sky")
    return {folder: posixpath.join(job["bucket"], (workdir / folder).as_posix()) for folder, job in jobs.items()}


def cancel(workdir: Path) -> list[list[str]]:
    return [["sky", "jobs", "cancel", "--yes", f"--name={job['job']}"] for job in require_sent(workdir, "sky").values()]


class _Dumper(yaml.SafeDumper):
    """Shows scripts line by line."""

    def represent_str(self, text: str):
        return self.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _Dumper.represent_str)


def _states() -> dict[str, str]:
    """Name of each managed job -> its state; the newest of equal names counts."""
    jobs = json.loads(answer(["sky", "jobs", "queue", "--all", "--output=json"]))
    return {job["job_name"]: job["status"] for job in sorted(jobs, key=lambda job: job["job_id"])}


def _check(runs: Sequence[Run], settings: Mapping) -> None:
    accelerators = settings["accelerators"]
    if accelerators.startswith("tpu-"):
        hardware.parse_accelerator_type(accelerators.removeprefix("tpu-"))
        if settings["nodes"] != 1:
            raise UserError("a TPU slice is one node, however many hosts it has", got=f"--nodes={settings['nodes']}")
    elif not GPUS.fullmatch(accelerators):
        raise UserError("--accelerators cannot be right", got=repr(accelerators), expected="tpu-v6e-8 or H100:8")
    if not BUCKET.fullmatch(settings["bucket"]):
        raise UserError("--bucket cannot be right", got=repr(settings["bucket"]), expected="gs://BUCKET or s3://BUCKET")
    require_portable(runs)


def _task(run: Run, settings: Mapping) -> dict:
    tpu = settings["accelerators"].startswith("tpu-")
    resources = {
        "accelerators": settings["accelerators"],
        "use_spot": settings["spot"],
        "job_recovery": {"max_restarts_on_errors": settings["max_restarts"], "recover_on_exit_codes": [EXIT_RESTART]},
    }
    processes = ""
    if tpu:
        slice_ = hardware.parse_accelerator_type(settings["accelerators"].removeprefix("tpu-"))
        resources["accelerators"] = f"tpu-{slice_.gcloud_type}"
        resources["accelerator_args"] = {"runtime_version": slice_.runtime_version}
        processes = f"export JAX_NUM_PROCESSES={slice_.hosts}"
    elif settings["nodes"] > 1:
        first = f'JAX_COORDINATOR_ADDRESS="$(head -n 1 <<<"$SKYPILOT_NODE_IPS"):{PORT}"'
        processes = f'export JAX_NUM_PROCESSES="$SKYPILOT_NUM_NODES" JAX_PROCESS_ID="$SKYPILOT_NODE_RANK" {first}'
    there = run._replace(config=pushed_path(run.config), folder=Path(posixpath.join(MOUNT, run.folder.as_posix())))
    lines = [processes, f"exec .venv/bin/python -m bert_jax {shlex.join(there.training)}"]
    uv = "python3 -m uv"
    extra = "tpu" if tpu else "cuda"
    return {
        "name": job_name(settings["name"], run, LONGEST_NAME),
        "resources": resources,
        "num_nodes": settings["nodes"],
        "workdir": ".",
        "file_mounts": {MOUNT: {"source": settings["bucket"], "mode": "MOUNT"}},
        "setup": "\n".join(
            [
                "set -e",
                "python3 -m pip install --quiet --user uv",
                f"{uv} venv --quiet --allow-existing --python {PYTHON} .venv",
                f"{uv} pip install --quiet --python .venv/bin/python --editable '.[{extra}]'",
                "",
            ]
        ),
        "run": "\n".join([*filter(None, lines), ""]),
    }
