"""What launch/ prints, read by other tools: the parser of gcloud, the validation of SkyPilot, and xpk, which makes JobSets too.

SkyPilot and xpk are installed into environments of their own. gcloud is started without an account and without the metadata
server, so that a command that it understands ends at the missing account.
"""

import os
import shlex
import subprocess
import sys
from pathlib import Path

import yaml

from bert_jax.errors import UserError
from experiments.proofs.commands import ROOT

CONFIG = "--config=configs/quickstart.py"
TYPES = ("v4-8", "v4-32", "v5litepod-8", "v5litepod-16", "v5litepod-256", "v5p-8", "v5p-32", "v6e-16", "v6e-256")
UNDERSTOOD = "do not currently have an active account"
SKY = {"tpu-v5e-16": ["--spot"], "tpu-v6e-8": [], "tpu-v4-8": [], "H100:8": ["--nodes=2"], "A100-80GB:8": ["--spot"]}
VALIDATE = "import sys, sky; sky.Task.from_yaml(sys.argv[1]).validate()"


def launch_tools(scratch: Path) -> dict:
    """Every command and manifest, and of each kind one that is wrong and must be refused."""
    return {"gcloud": _gcloud(scratch), "skypilot": _skypilot(scratch), "xpk": _xpk(scratch)}


def _printed(verb: str, *arguments: str) -> str:
    command = [sys.executable, "-m", "launch", verb, *arguments, "--dry-run"]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout


def _gcloud(scratch: Path) -> dict:
    environment = os.environ | {"CLOUDSDK_CONFIG": str(scratch / "empty"), "CLOUDSDK_CORE_CHECK_GCE_METADATA": "false"}

    def said(command: list[str]) -> str:
        done = subprocess.run(command, cwd=scratch, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True)
        return done.stderr

    commands = [command for command in _gcloud_commands(scratch) if command[0] == "gcloud"]
    refused = [[shlex.join(command), answer] for command in commands if UNDERSTOOD not in (answer := said(command))]
    wrong = said([*commands[0], "--spott"])
    return {
        "version": subprocess.run(["gcloud", "version"], env=environment, capture_output=True, text=True).stdout.split("\n")[0],
        "commands": len(commands),
        "understood": len(commands) - len(refused),
        "refused": refused,
        "a_misspelt_flag": wrong.strip().splitlines()[0],
    }


def _gcloud_commands(scratch: Path) -> list[list[str]]:
    where = ["--name=bert-1", "--zone=us-west4-a", "--project=p"]
    actions = ("create", "push", "install", "run", "logs", "stop", "fetch", "status", "delete")
    job = [*where, "--type=v5litepod-8", CONFIG, "--workdir=runs/x"]
    printed = [_printed("tpu-vm", action, *job) for action in actions]
    for type_ in TYPES:
        for capacity in ("on-demand", "spot", "reserved"):
            slice_ = [*where, f"--type={type_}", f"--capacity={capacity}", "--bucket=gs://bkt", CONFIG, "--workdir=runs/x"]
            printed.append(_printed("tpu-slice", "submit", *slice_))
    script = scratch / "runs/x/bert-1.sh"  # which gcloud reads
    script.parent.mkdir(parents=True)
    script.touch()
    lines = [line for text in printed for line in text.splitlines() if line.startswith("gcloud compute")]
    return [shlex.split(line) for line in dict.fromkeys(lines)]


def _skypilot(scratch: Path) -> dict:
    python = _environment(scratch / "sky", "skypilot==0.14.1")
    valid = {}
    for accelerators, flags in SKY.items():
        job = ["--name=bert-1", f"--accelerators={accelerators}", "--bucket=gs://bkt", CONFIG, "--workdir=runs/x", *flags]
        file = scratch / "task.yaml"
        task = yaml.safe_load(_printed("sky", "submit", *job))
        if ":" in accelerators:  # SkyPilot looks GPUs up in a list that it fetches from the net
            del task["resources"]["accelerators"]
            accelerators += ", all but its GPUs"
        file.write_text(yaml.safe_dump(task))
        valid[accelerators] = _validates(python, file, scratch)
    file.write_text(file.read_text().replace("use_spot:", "use_spott:"))
    return {"valid": valid, "a_misspelt_key_is_valid": _validates(python, file, scratch)}


def _validates(python: Path, file: Path, home: Path) -> bool:
    environment = os.environ | {"HOME": str(home)}
    return subprocess.run([python, "-c", VALIDATE, file], cwd=home, env=environment, capture_output=True).returncode == 0


def _xpk(scratch: Path) -> dict:
    """Whether a JobSet of xpk asks for the same pods on the same nodes."""
    environment = os.environ | {"HOME": str(scratch), "CLOUDSDK_CONFIG": str(scratch / "empty")}
    xpk = _environment(scratch / "xpk", "xpk==1.16.0").with_name("xpk")
    subprocess.run([xpk, "config", "set", "send-telemetry", "false"], env=environment, check=True, capture_output=True)
    equal = {}
    for type_ in TYPES:
        file = scratch / "theirs.yaml"
        job = [
            "--cluster=c",
            "--workload=w",
            f"--tpu-type={type_}",
            "--project=p",
            "--zone=us-west4-a",
            "--docker-image=i",
            "--command=x",
        ]
        job += ["--num-slices=1", "--dry-run", "--skip-validation", f"--output-manifest-file={file}"]
        subprocess.run([xpk, "workload", "create", *job], cwd=scratch, env=environment, check=True, capture_output=True)
        mine = ["--name=w", f"--type={type_}", "--image=i", "--claim=c", "--queue=q", CONFIG, "--workdir=runs/x"]
        ours, theirs = (_asked_for(text) for text in (_printed("gke", "submit", *mine), file.read_text()))
        equal[type_] = ours == theirs or [ours, theirs]
    return equal


def _asked_for(manifest: str) -> dict:
    (jobs,) = yaml.safe_load(manifest)["spec"]["replicatedJobs"]
    job = jobs["template"]["spec"]
    pod = job["template"]["spec"]
    asked = {name: job[name] for name in ("parallelism", "completions", "backoffLimit")} | {"slices": jobs["replicas"]}
    return asked | {"nodes": pod["nodeSelector"], "limits": pod["containers"][0]["resources"]["limits"]}


def _environment(folder: Path, package: str) -> Path:
    """The python of a new virtual environment with the package."""
    try:
        subprocess.run([sys.executable, "-m", "venv", folder], check=True, capture_output=True)
        subprocess.run([folder / "bin/pip", "install", "--quiet", package], check=True, capture_output=True)
    except subprocess.CalledProcessError as error:
        raise UserError(f"cannot install {package}", got=error.stderr.decode()[-500:]) from None
    return folder / "bin/python"
