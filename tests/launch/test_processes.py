"""Several processes on this machine: what each is told, and how they end together."""

import json
import signal
import subprocess
import sys
import time

import pytest

from launch import __main__ as launch
from launch import processes
from tests.launch.test_tpu_vm import CONFIG, ROOT

TOLD = ("JAX_NUM_PROCESSES", "JAX_COORDINATOR_ADDRESS", "JAX_PROCESS_ID", "JAX_LOCAL_DEVICE_IDS")


def start(folder, count: int, code: str, last_seconds: float = 120) -> subprocess.Popen:
    """COUNT processes that run the code, in a process of their own."""
    command = [sys.executable, "-c", f"import os, pathlib, signal, sys, time\nme = os.environ['JAX_PROCESS_ID']\n{code}"]
    run = f"import sys; from launch import processes; processes.LAST_SECONDS = {last_seconds}; "
    run += f"sys.exit(processes.run({count}, {command!r}))"
    return subprocess.Popen([sys.executable, "-c", run], cwd=ROOT, stdout=subprocess.PIPE, text=True)


def test_each_is_told_its_place_and_all_the_same_address(tmp_path):
    code = f"import json\npathlib.Path({str(tmp_path)!r}, me).write_text(json.dumps([os.environ[name] for name in {TOLD}]))"
    assert start(tmp_path, 3, code).wait(timeout=60) == 0
    told = [json.loads((tmp_path / str(index)).read_text()) for index in range(3)]
    assert [(count, index, devices) for count, _, index, devices in told] == [("3", str(n), str(n)) for n in range(3)]
    assert len({address for _, address, _, _ in told}) == 1


@pytest.mark.parametrize(
    ("code", "expected"),
    [("sys.exit(42)", 42), ("sys.exit(2 if me == '1' else 0)", 2), ("if me == '0': os.kill(os.getpid(), signal.SIGKILL)", 137)],
)
def test_the_largest_exit_code_is_that_of_all(tmp_path, code, expected):
    assert start(tmp_path, 2, code).wait(timeout=60) == expected


def test_one_that_waits_for_a_dead_one_is_ended_after_a_while(tmp_path):
    assert start(tmp_path, 2, "time.sleep(600) if me == '1' else sys.exit(1)", last_seconds=0.2).wait(timeout=60) == 137


def test_a_signal_reaches_all_of_them(tmp_path):
    code = f"""
signal.signal(signal.SIGTERM, lambda *_: sys.exit(42))
pathlib.Path({str(tmp_path)!r}, me).touch()
time.sleep(600)
"""
    running = start(tmp_path, 2, code)
    end = time.monotonic() + 60
    while len(list(tmp_path.iterdir())) < 2 and time.monotonic() < end:
        time.sleep(0.05)
    running.send_signal(signal.SIGTERM)
    assert running.wait(timeout=60) == 42


def test_a_free_port_can_be_listened_on():
    assert 1024 <= processes.free_port() < 65536


def test_a_dry_run_shows_what_starts_them(capsys, monkeypatch):
    flags = ["local", "submit", f"--config={CONFIG}", "--workdir=w", "--dry-run"]
    assert launch.main([*flags, "--processes=4"]) == 0
    assert f"-m launch.processes 4 {sys.executable} -m bert_jax train --config=" in capsys.readouterr().out
    assert launch.main(flags) == 0
    assert capsys.readouterr().out.startswith(f"{sys.executable} -m bert_jax train --config=")
    assert launch.main([*flags, "--processes=0"]) == 2
    assert "--processes is too small" in capsys.readouterr().err
    assert launch.main(["local", "cancel"]) == 2  # submit ends with its run
