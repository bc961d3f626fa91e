"""Runs and sweeps that are killed, stopped and sent to SLURM's own daemons, against those that nothing happens to."""

import contextlib
import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from bert_jax.train.watch import read_metrics
from experiments import faults
from experiments.proofs.commands import ROOT, timed, train
from experiments.proofs.slurm_cluster import cluster

LAUNCH = (sys.executable, "-m", "launch")
TINY = {
    "model.hidden_size": 32,
    "model.intermediate_size": 64,
    "data.num_eval_rows": 100,
    "train.num_train_steps": 120,
    "train.log_every_steps": 10,
    "train.eval_every_steps": 60,
    "train.save_every_steps": 40,
}
SWEEP = """import runpy


def get_config(arg=None):
    config = runpy.run_path({quickstart!r})["get_config"](arg)
    for key, value in {settings!r}.items():
        section, name = key.split(".")
        config[section][name] = value
    return config


def sweep(add):
    for rate in (5e-4, 1e-3, 2e-3):
        add(f"lr{{rate:g}}", **{{"optim.learning_rate": rate}})
"""
KILLS = 3


def slurm(scratch: Path) -> dict:
    """Real daemons, two nodes: 4 processes against 1, a signal and its restart, an array with a failure, GPUs that would idle."""
    made = _vocabulary_and_store(scratch)
    timed(train(scratch / "one", settings=made))
    with cluster(scratch / "cluster", gpus=2) as environment:
        four = ["--nodes=2", "--tasks-per-node=2"]
        _submit(scratch / "four", made, four, environment)
        seconds = _until(lambda: _state(scratch / "four") in ("done", "failed"), 600)
        unbroken = _told(scratch / "four")
        _submit(scratch / "stopped", made, four, environment)
        stopped = _stop_once(scratch / "stopped", environment)
        return {
            "processes": 4,
            "seconds_four": seconds,
            "worst_relative_loss_difference_to_one_process": _loss_difference(scratch / "one", scratch / "four"),
            "unbroken": unbroken,
            "stopped": stopped | _told(scratch / "stopped"),
            "metrics_equal_after_restart": faults.outcome(scratch / "four")[0] == faults.outcome(scratch / "stopped")[0],
            "state_bitwise_equal_after_restart": faults.outcome(scratch / "four")[1] == faults.outcome(scratch / "stopped")[1],
            "array": _array(scratch, environment),
            "idle_gpus": _idle_gpus(scratch / "idle", made, environment),
        }


def _vocabulary_and_store(scratch: Path) -> dict:
    for verb in ("vocab", "prepare"):
        timed([sys.executable, "-m", "bert_jax", verb, "--config=configs/quickstart.py", f"--workdir={scratch / 'first'}"])
    return TINY | {"text.vocab_file": scratch / "first" / "vocab.txt", "data.store": scratch / "first" / "store"}


def _submit(workdir: Path, settings: dict, flags: list[str], environment: dict) -> None:
    overrides = [f"--config.{key}={value}" for key, value in settings.items()]
    command = [*LAUNCH, "slurm", "submit", "--config=configs/quickstart.py", f"--workdir={workdir}", *flags, *overrides]
    timed(command, env=environment)


def _stop_once(workdir: Path, environment: dict) -> dict:
    """Sends SIGTERM to the job's processes in the middle of its training, and waits for the end of what is queued again."""
    _until(lambda: len([record for record in read_metrics(workdir) if record["kind"] == "train"]) >= 2, 300)
    job = json.loads((workdir / "slurm.json").read_text())["."]["job"]
    subprocess.run(["scancel", "--signal=TERM", job], env=environment, check=True)
    _until(lambda: _status(workdir).get("exit_code") == 42, 120)
    saved = faults.newest(workdir)
    waited = _until(lambda: _status(workdir)["attempt"] == 2, 400)
    _until(lambda: _state(workdir) in ("done", "failed"), 600)
    return {"saved_at_step": saved, "seconds_until_restart": waited}


def _told(workdir: Path) -> dict:
    return {name: _status(workdir)[name] for name in ("state", "exit_code", "attempt")}


def _loss_difference(one: Path, other: Path) -> float:
    records = [[record["loss"] for record in read_metrics(folder)] for folder in (one, other)]
    assert len(records[0]) == len(records[1]) > 10
    return max(abs(a - b) / abs(a) for a, b in zip(*records))


def _array(scratch: Path, environment: dict) -> dict:
    """A sweep of 3 x 2 as an array, in which one run cannot write its checkpoints; then resume, after that was mended."""
    config, workdir = _sweep_file(scratch), scratch / "array"
    submit = ["sweep", "submit", f"--config={config}", f"--workdir={workdir}", "--seeds=0,1", "--engine=slurm", "--at-once=2"]
    dry = timed([*LAUNCH, *submit, "--dry-run"], env=environment)[1]
    broken = Path(re.search(r"^2\) folder=(.*)$", dry, re.MULTILINE)[1])
    broken.mkdir(parents=True)
    (broken / "checkpoints").touch()
    timed([*LAUNCH, *submit], env=environment)
    _until(lambda: "PENDING" not in (said := _queue(environment)) and "RUNNING" not in said, 600)
    status = timed([*LAUNCH, "sweep", "status", f"--workdir={workdir}"], env=environment)[1]
    (broken / "checkpoints").unlink()
    resumed = timed([*LAUNCH, "sweep", "resume", f"--workdir={workdir}"], env=environment)[1]
    sent = _queue(environment).split()
    _until(lambda: not _queue(environment).strip(), 300)
    table = timed([*LAUNCH, "sweep", "table", f"--workdir={workdir}"], env=environment)[1]
    return {
        "status": status.splitlines()[0],
        "resume": resumed.splitlines()[0],
        "jobs_sent_by_resume": len(sent) // 2,  # the run, after one that finds vocabulary and store made
        "cells_with_two_results": table.count("| 2 done |"),
    }


def _idle_gpus(workdir: Path, settings: dict, environment: dict) -> dict:
    """One task on each node of two GPUs."""
    _submit(workdir, settings, ["--nodes=2", "--sbatch=--gpus-per-node=2"], environment)
    _until(lambda: _state(workdir) in ("done", "failed"), 300)
    said = re.search("error: (.*)", (workdir / "train.log").read_text())
    return _told(workdir) | {"said": said[1] if said else ""}


def local_processes(scratch: Path) -> dict:
    """Two processes on this machine against one; one of two SIGKILLed, and the same command again, against an unbroken pair."""
    made = _vocabulary_and_store(scratch)
    timed(train(scratch / "one", settings=made))
    pair = [*LAUNCH, "local", "submit", "--config=configs/quickstart.py", "--processes=2"]
    pair += [f"--config.{key}={value}" for key, value in made.items()]
    timed([*pair, f"--workdir={scratch / 'two'}"])
    killed = scratch / "killed"
    running = subprocess.Popen([*pair, f"--workdir={killed}"], cwd=ROOT)
    _until(lambda: faults.newest(killed) > 0, 600)
    os.kill(_second_of(killed), signal.SIGKILL)
    survived = _until(lambda: running.poll() is not None, 300)
    code, status = running.returncode, _told(killed)
    timed([*pair, f"--workdir={killed}"])
    ours, reference = faults.outcome(killed), faults.outcome(scratch / "two")
    return {
        "worst_relative_loss_difference_to_one_process": _loss_difference(scratch / "one", scratch / "two"),
        "seconds_until_the_other_ended": survived,
        "exit_code_then": code,
        "status_then": status,
        "again": _told(killed),
        "metrics_equal": ours[0] == reference[0],
        "state_bitwise_equal": ours[1] == reference[1],
    }


def _second_of(workdir: Path) -> int:
    """The number of the process of index 1 that trains in the folder."""
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            told = [(process / name).read_bytes().split(b"\0") for name in ("cmdline", "environ")]
            if f"--workdir={workdir}".encode() in told[0] and b"JAX_PROCESS_ID=1" in told[1]:
                return int(process.name)
    raise RuntimeError("the second process is not there")


def sweep_kills(scratch: Path) -> dict:
    """A sweep of 3 x 2 whose processes are all SIGKILLed three times at random moments, against an unbroken one."""
    config, draw = _sweep_file(scratch), random.Random(int(time.time()))
    seconds, _ = timed([*LAUNCH, "sweep", "submit", f"--config={config}", f"--workdir={scratch / 'unbroken'}", "--seeds=0,1"])
    workdir, done = scratch / "killed", []
    command = ["sweep", "submit", f"--config={config}", f"--workdir={workdir}", "--seeds=0,1"]
    for _ in range(KILLS):
        process = subprocess.Popen([*LAUNCH, *command], cwd=ROOT, start_new_session=True, stdout=subprocess.DEVNULL)
        time.sleep(draw.uniform(0.1, 0.9) * seconds / KILLS)
        ended = process.poll() is not None
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        done.append({"had_ended": ended, "results": len(list(workdir.glob("*/result.json")))})
        command = ["sweep", "resume", f"--workdir={workdir}"]
    timed([*LAUNCH, *command])
    tables = [(folder / "table.md").read_text() for folder in (scratch / "unbroken", workdir)]
    attempts = [json.loads(path.read_text())["attempt"] for path in sorted(workdir.glob("*/status.json"))]
    return {
        "kills": done,
        "attempts": attempts,
        "results": len(list(workdir.glob("*/result.json"))),
        "run_folders": len(list(workdir.glob("lr*"))),
        "tables_equal": tables[0] == tables[1],
        "table": tables[1].splitlines(),
    }


def _sweep_file(scratch: Path) -> Path:
    config = scratch / "sweep.py"
    config.write_text(SWEEP.format(quickstart=str(ROOT / "configs" / "quickstart.py"), settings=TINY))
    return config


def _status(workdir: Path) -> dict:
    path = workdir / "status.json"
    return json.loads(path.read_text()) if path.exists() else {}


def _state(workdir: Path) -> str:
    return _status(workdir).get("state", "")


def _queue(environment: dict) -> str:
    command = ["squeue", "--noheader", "--array", "--format=%i %T"]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout


def _until(condition: Callable[[], bool], seconds: float) -> float:
    """Waits for the condition; how long that took, in seconds."""
    began = time.monotonic()
    while not condition():
        if time.monotonic() - began > seconds:
            raise RuntimeError(f"it did not come in {seconds} seconds")
        time.sleep(0.2)
    return round(time.monotonic() - began, 1)
