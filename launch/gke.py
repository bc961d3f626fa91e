"""The engine of Kubernetes on Google's TPUs (GKE): a JobSet for each run, which Kueue admits as its quota allows.

Fields are those of the JobSet API (jobset.x-k8s.io/v1alpha2) and of Kubernetes Job (batch/v1); selectors and the resource
google.com/tpu those of "Plan TPUs in GKE" of the GKE documentation.
"""

import json
import posixpath
import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

import yaml

from bert_jax import hardware
from bert_jax.errors import EXIT_DIVERGED, EXIT_DONE, EXIT_USER_ERROR, UserError
from launch import table
from launch.engine import answer, call, job_name, remember, require_portable, require_sent, sent
from launch.runs import Run, distinct
from launch.tpu_vm import pushed_path

FLAGS = {
    "name": ("", "name of the JobSet, yours to choose"),
    "type": ("", "accelerator type: v5litepod-16, v6e-256, v4-32, ..."),
    "image": ("", "container image that holds the code: see launch/Dockerfile"),
    "claim": ("", "PersistentVolumeClaim of a disk that all pods write to; the workdir lies in it"),
    "queue": ("", "Kueue's LocalQueue; without it the JobSet starts at once"),
    "namespace": ("default", "Kubernetes namespace"),
    "spot": (False, "cheaper, but may be taken away at any time"),
    "max_restarts": (20, "how often it is started again, crashed, saved or taken away"),
}
ENDED = ()
JOB, MOUNT = "train", "/mnt/runs"
SAVE_SECONDS = 120  # that a pod has between SIGTERM and SIGKILL
ACCELERATORS = {"v4": "tpu-v4-podslice", "v5e": "tpu-v5-lite-podslice", "v5p": "tpu-v5p-slice", "v6e": "tpu-v6e-slice"}
LABEL = re.compile("[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
IMAGE = re.compile(r"[a-z0-9]+([._:/@-]+[A-Za-z0-9_]+)*")


def render(runs: Sequence[Run], workdir: Path, settings: Mapping, trainer: Sequence[str]) -> str:
    """The JobSets as YAML documents.

    Raises:
        UserError: a name that Kubernetes would refuse, a slice that GKE does not have.
    """
    _check(runs, settings)
    return yaml.safe_dump_all([_jobset(run, settings) for run in distinct(runs)], sort_keys=False, allow_unicode=True)


def submit(runs: Sequence[Run], workdir: Path, settings: Mapping, trainer: Sequence[str], lock: int) -> int:
    """Creates the JobSets; of those that failed earlier, anew."""
    path, manifest = workdir / "jobsets.yaml", render(runs, workdir, settings, trainer)
    print(f"cluster: {answer(['kubectl', 'config', 'current-context']).strip()}")
    table.write(path, manifest)
    jobs = {run.folder: _name(run, settings) for run in distinct(runs)}
    remember(workdir, "gke", dict(settings), jobs)
    where = f"--namespace={settings['namespace']}"
    for command in (
        ["kubectl", "delete", "jobset", *jobs.values(), where, "--ignore-not-found", "--wait"],
        ["kubectl", "create", f"--filename={path}"],
    ):
        print(shlex.join(command), flush=True)
        if code := call(command):
            return code
    return EXIT_DONE


def in_hand(runs: Sequence[Run], workdir: Path) -> set[Path]:
    """Folders of the runs whose JobSet waits, runs or is done."""
    known = sent(workdir, "gke")
    jobs = {run.folder: known[name] for run in runs if (name := run.folder.relative_to(workdir).as_posix()) in known}
    states = {namespace: _states(namespace) for namespace in {job["namespace"] for job in jobs.values()}}
    return {folder for folder, job in jobs.items() if states[job["namespace"]].get(job["job"], "Failed") != "Failed"}


def status(workdir: Path) -> int:
    jobs = require_sent(workdir, "gke")
    states = {namespace: _states(namespace) for namespace in {job["namespace"] for job in jobs.values()}}
    for folder, job in jobs.items():
        print(f"{workdir / folder}: JobSet {job['job']}: {states[job['namespace']].get(job['job'], 'does not exist')}")
    return EXIT_DONE


def cancel(workdir: Path) -> list[list[str]]:
    """The commands that delete the JobSets; the disk stays."""
    jobs = require_sent(workdir, "gke").values()
    return [["kubectl", "delete", "jobset", job["job"], f"--namespace={job['namespace']}", "--ignore-not-found"] for job in jobs]


def _states(namespace: str) -> dict[str, str]:
    """Name of each JobSet -> Completed, Failed, Suspended (it waits in its queue) or Running."""
    found = json.loads(answer(["kubectl", "get", "jobsets", f"--namespace={namespace}", "--output=json"]))["items"]
    return {each["metadata"]["name"]: _state(each) for each in found}


def _state(jobset: dict) -> str:
    conditions = jobset.get("status", {}).get("conditions", [])
    true = [each["type"] for each in conditions if each["status"] == "True"]
    return next((state for state in ("Completed", "Failed", "Suspended") if state in true), "Running")


def _check(runs: Sequence[Run], settings: Mapping) -> None:
    if hardware.parse_accelerator_type(settings["type"]).chip not in ACCELERATORS:
        raise UserError("GKE has no such TPUs", got=settings["type"], expected=f"one of {', '.join(ACCELERATORS)}")
    for flag, pattern in {"image": IMAGE, "claim": LABEL, "namespace": LABEL, "queue": LABEL}.items():
        if not pattern.fullmatch(settings[flag]) and (settings[flag] or flag != "queue"):
            raise UserError(f"--{flag} cannot be right", got=repr(settings[flag]), expected="a name as Kubernetes takes it")
    require_portable(runs)


def _name(run: Run, settings: Mapping) -> str:
    """Of the JobSet. A pod's name is made of it, the job, the host's index and five more characters, and has 63 at most."""
    hosts = hardware.parse_accelerator_type(settings["type"]).hosts
    return job_name(settings["name"], run, 63 - len(f"-{JOB}-0-{hosts - 1}-xxxxx"))


def _jobset(run: Run, settings: Mapping) -> dict:
    slice_ = hardware.parse_accelerator_type(settings["type"])
    labels = {"kueue.x-k8s.io/queue-name": settings["queue"]} if settings["queue"] else {}
    # one JobSet has a whole pool of nodes, which is one slice
    alone = {"alpha.jobset.sigs.k8s.io/exclusive-topology": "cloud.google.com/gke-nodepool"} if slice_.hosts > 1 else {}
    fails_for_good = {"containerName": JOB, "operator": "In", "values": [EXIT_USER_ERROR, EXIT_DIVERGED]}
    job = {
        "parallelism": slice_.hosts,
        "completions": slice_.hosts,
        "backoffLimit": 0,
        "podFailurePolicy": {"rules": [{"action": "FailJob", "onExitCodes": fails_for_good}]},
        "template": {"spec": _pod(run, settings, slice_)},
    }
    return {
        "apiVersion": "jobset.x-k8s.io/v1alpha2",
        "kind": "JobSet",
        "metadata": {
            "name": _name(run, settings),
            "namespace": settings["namespace"],
            **({"labels": labels} if labels else {}),
            **({"annotations": alone} if alone else {}),
        },
        "spec": {
            "failurePolicy": {
                "maxRestarts": settings["max_restarts"],
                "rules": [{"name": "mistake", "action": "FailJobSet", "onJobFailureReasons": ["PodFailurePolicy"]}],
            },
            "replicatedJobs": [{"name": JOB, "replicas": 1, "template": {"spec": job}}],
        },
    }


def _pod(run: Run, settings: Mapping, slice_: hardware.Slice) -> dict:
    there = run._replace(config=pushed_path(run.config), folder=Path(posixpath.join(MOUNT, run.folder.as_posix())))
    spot = {"cloud.google.com/gke-spot": "true"} if settings["spot"] else {}
    return {
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": SAVE_SECONDS,
        "nodeSelector": {
            "cloud.google.com/gke-tpu-accelerator": ACCELERATORS[slice_.chip],
            "cloud.google.com/gke-tpu-topology": slice_.topology,
            **spot,
        },
        "tolerations": [{"key": "google.com/tpu", "operator": "Exists", "effect": "NoSchedule"}],
        "containers": [
            {
                "name": JOB,
                "image": settings["image"],
                "command": [_literal(word) for word in ["python", "-m", "bert_jax", *there.training]],
                "env": [{"name": "JAX_NUM_PROCESSES", "value": str(slice_.hosts)}],
                "resources": {"limits": {"google.com/tpu": slice_.chips // slice_.hosts}},
                "volumeMounts": [{"name": "runs", "mountPath": MOUNT}, {"name": "memory", "mountPath": "/dev/shm"}],
            }
        ],
        "volumes": [
            {"name": "runs", "persistentVolumeClaim": {"claimName": settings["claim"]}},
            {"name": "memory", "emptyDir": {"medium": "Memory"}},
        ],
    }


def _literal(word: str) -> str:
    """Kubernetes replaces $(NAME) in a command, and $$ by $; there is no shell."""
    return word.replace("$", "$$")
