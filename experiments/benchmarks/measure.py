"""What every benchmark shares: interleaved rounds, medians with their spread, a file of figures with the machine beside them."""

import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import psutil

from bert_jax.config import write_json
from bert_jax.errors import UserError

RESULTS = Path(__file__).resolve().parent / "results"
MAX_SPREAD = 0.10
SECONDS_BETWEEN_LOOKS = 0.1


class Measured(NamedTuple):
    """Of the values of all rounds: the median, and the distance between the quartiles over the median."""

    median: float
    spread: float


def summarise(values: list[float]) -> Measured:
    middle = statistics.median(values)
    low, _, high = statistics.quantiles(values, n=4, method="inclusive") if len(values) > 1 else (middle, middle, middle)
    return Measured(middle, (high - low) / middle)


def interleaved(contenders: dict[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """Each contender measured once a round, A B A B ...: what slows the machine for a while slows them alike.

    The order turns round by round, so that none always follows the same one."""
    values: dict[str, list[float]] = {name: [] for name in contenders}
    names = list(contenders)
    for number in range(rounds):
        for name in names[number % len(names) :] + names[: number % len(names)]:
            values[name].append(contenders[name]())
    return values


def ratios(values: dict[str, list[float]], of: str, to: str) -> Measured:
    """of / to within each round, then the median over the rounds."""
    return summarise([a / b for a, b in zip(values[of], values[to])])


class Process:
    """A contender at work in a process of its own: a module that says its first loss, {"loss": ...}, and answers each line of
    standard input with one of JSON."""

    def __init__(self, module: str, arguments: Sequence[str], environment: Mapping[str, str]):
        command, pipe = [sys.executable, "-m", module, *arguments], subprocess.PIPE
        self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=os.environ | environment)
        self.loss = self._answer()["loss"]

    def ask(self, line: str) -> dict:
        self._process.stdin.write(f"{line}\n")
        self._process.stdin.flush()
        return self._answer()

    def close(self) -> None:
        self._process.stdin.close()
        self._process.wait()

    def _answer(self) -> dict:
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self._process.args} ended with {self._process.wait()}")
        return json.loads(line)


class Tree(NamedTuple):
    """What a command and the processes that it started took."""

    code: int
    seconds: float
    cpu_seconds: float
    peak_rss_megabytes: float  # the largest sum of resident sets, seen every SECONDS_BETWEEN_LOOKS
    processes: int


def watched(command: Sequence[str], folder: Path, **options) -> Tree:
    """Runs the command in this folder; options are those of subprocess.Popen."""
    before = time.monotonic()
    process = psutil.Popen(command, cwd=folder, **options)
    peak, processes, cpu = 0, 0, {}
    while process.poll() is None:
        tree = [process, *process.children(recursive=True)]
        memory = 0
        for member in tree:
            try:
                memory += member.memory_info().rss
                times = member.cpu_times()
                cpu[member.pid] = times.user + times.system
            except psutil.NoSuchProcess:
                continue
        peak, processes = max(peak, memory), max(processes, len(tree))
        time.sleep(SECONDS_BETWEEN_LOOKS)
    return Tree(process.returncode, time.monotonic() - before, sum(cpu.values()), peak / 1e6, processes)


def require_same_loss(processes: Mapping[str, Process], tolerances: Mapping[str, float], reference: str) -> None:
    """Raises RuntimeError where the first loss of one is further, relative to it, from that of the reference."""
    wanted = processes[reference].loss
    for name, process in processes.items():
        if abs(process.loss - wanted) > tolerances[name] * wanted:
            raise RuntimeError(f"{name} computes another loss, {process.loss} instead of {wanted}: no race")


def write(name: str, figures: dict, *, spread: float = 0.0) -> None:
    """Writes results/NAME.json; `spread` is the largest of the figures.

    Raises:
        UserError: the spread is over 10%: the machine was not quiet, and the figures are not worth keeping.
    """
    if spread > MAX_SPREAD:
        raise UserError(
            "the rounds differ too much to be kept",
            got=f"a spread of {spread:.0%} of the median",
            expected=f"at most {MAX_SPREAD:.0%}",
            fix="let nothing else run on the machine and measure again",
        )
    RESULTS.mkdir(parents=True, exist_ok=True)
    record = {"figures": figures, "machine": machine(), "date": time.strftime("%Y-%m-%d")}
    write_json(RESULTS / f"{name}.json", record)


def machine() -> dict:
    """Where a figure was measured."""
    return {"python": platform.python_version(), "cpus": os.cpu_count(), "cpu": _cpu_name(), "load_at_end": os.getloadavg()[0]}


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.processor())
