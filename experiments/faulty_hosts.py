"""The processes of one run on this machine, some of them with a fault on purpose, each running `python -m bert_jax doctor`."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
DEVICES = "--xla_force_host_platform_device_count="
LONGEST = 120.0  # seconds, after which a process counts as hanging


class Start(NamedTuple):
    """How a process is started."""

    command: list[str]
    environment: dict[str, str]
    folder: Path


class Ended(NamedTuple):
    code: int | None  # None: it had to be killed
    seconds: float
    output: str


def _other_config(start: Start, scratch: Path) -> Start:
    return start._replace(command=[*start.command, "--config.optim.learning_rate=0.5"])


def _other_code(start: Start, scratch: Path) -> Start:
    copy = scratch / "other"
    shutil.copytree(ROOT / "bert_jax", copy / "bert_jax", ignore=shutil.ignore_patterns("__pycache__"))
    with open(copy / "bert_jax" / "data" / "pairs.py", "a", encoding="utf-8") as file:
        file.write("# another line\n")
    return start._replace(folder=copy)


def _unwritable_workdir(start: Start, scratch: Path) -> Start:
    """Under a file: what root may not write either."""
    (scratch / "file").touch()
    command = [part for part in start.command if not part.startswith("--workdir=")]
    return start._replace(command=[*command, f"--workdir={scratch / 'file' / 'W'}"])


def _wrong_mesh(start: Start, scratch: Path) -> Start:
    return start._replace(environment=start.environment | {"XLA_FLAGS": f"{DEVICES}1"})


def _altered(name: str) -> Callable[[Start, Path], Start]:
    """Runs this module instead, which alters what the doctor uses, see _alter."""

    def change(start: Start, scratch: Path) -> Start:
        place = start.command.index("bert_jax")
        return start._replace(command=[*start.command[:place], "experiments.faulty_hosts", name, *start.command[place + 1 :]])

    return change


FAULTS: dict[str, Callable[[Start, Path], Start | None]] = {
    "absent": lambda start, scratch: None,
    "other_config": _other_config,
    "other_code": _other_code,
    "other_version": _altered("other_version"),
    "unwritable_workdir": _unwritable_workdir,
    "overlapping_shards": _altered("overlapping_shards"),
    "wrong_mesh": _wrong_mesh,
    "silent": _altered("silent"),
}


def run(arguments: list[str], scratch: Path, count: int, faults: Mapping[int, str], *, devices: int = 2) -> list[Ended | None]:
    """Starts `count` processes, each with its fault; None for one that is not started.

    Args:
        arguments: of the verb doctor, with --workdir.
        faults: process -> key of FAULTS.
    """
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        port = listening.getsockname()[1]
    shared = {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": f"{DEVICES}{devices}", "JAX_NUM_PROCESSES": str(count)}
    shared |= {"JAX_COORDINATOR_ADDRESS": f"127.0.0.1:{port}"}
    began, running = time.monotonic(), []
    for index in range(count):
        command = [sys.executable, "-m", "bert_jax", "doctor", *arguments]
        start = Start(command, os.environ | shared | {"JAX_PROCESS_ID": str(index)}, ROOT)
        start = FAULTS[faults[index]](start, scratch) if index in faults else start
        if start is None:
            running.append(None)
            continue
        with open(scratch / f"output-{index}", "w+", encoding="utf-8") as output:
            running.append(subprocess.Popen(start.command, env=start.environment, cwd=start.folder, stdout=output, stderr=output))
    ended = [Ended(None, LONGEST, "") if process else None for process in running]
    awaited = [process for index, process in enumerate(running) if process and faults.get(index) != "silent"]
    while any(process.poll() is None for process in awaited) and time.monotonic() - began < LONGEST:
        ended = [_seen(process, before, began) for process, before in zip(running, ended)]
        time.sleep(0.05)
    ended = [_seen(process, before, began) for process, before in zip(running, ended)]
    for process in filter(None, running):
        process.kill()
        process.wait()
    return [
        one and one._replace(output=(scratch / f"output-{index}").read_text(encoding="utf-8")) for index, one in enumerate(ended)
    ]


def _seen(process: subprocess.Popen | None, before: Ended | None, began: float) -> Ended | None:
    if process is None or before.code is not None or process.poll() is None:
        return before
    return before._replace(code=process.returncode, seconds=round(time.monotonic() - began, 1))


def _alter(name: str) -> None:
    """Makes this process a faulty one."""
    from importlib import metadata

    from bert_jax.data.loader import Loader
    from bert_jax.doctor import hosts

    if name == "other_version":
        version = metadata.version
        metadata.version = lambda package: "0.0.1" if package == "flax" else version(package)
    elif name == "overlapping_shards":
        batch, rows = Loader.batch, Loader.rows
        Loader.batch = lambda self, step, index=0, count=1: batch(self, step, index and index - 1, count)
        Loader.rows = lambda self, step, index=0, count=1: rows(self, step, index and index - 1, count)
    elif name == "silent":
        hosts.look_at_devices = lambda *arguments: os.kill(os.getpid(), signal.SIGSTOP)  # it keeps its connections
    else:
        raise ValueError(name)


if __name__ == "__main__":
    from bert_jax.__main__ import main

    _alter(sys.argv[1])
    sys.exit(main(sys.argv[2:]))
