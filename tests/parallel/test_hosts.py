"""Two processes that meet over the network train as one."""

import json
import os
import socket
import subprocess
import sys

import jax
import numpy as np
import pytest

from bert_jax.checkpoint import Checkpoints
from bert_jax.errors import UserError
from bert_jax.parallel import hosts
from tests import tiny
from tests.parallel.test_layouts import three_sgd_steps


def free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return listening.getsockname()[1]


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """What each of two processes of two devices printed."""
    folder = tmp_path_factory.mktemp("checkpoints")
    checkpoints = Checkpoints(folder, keep=1)
    checkpoints.save(7, {"x": np.arange(3, dtype=np.float32)}, {})
    checkpoints.wait()
    checkpoints.close()
    shared = {
        "XLA_FLAGS": "--xla_force_host_platform_device_count=2",
        "JAX_NUM_PROCESSES": "2",
        "JAX_COORDINATOR_ADDRESS": f"127.0.0.1:{free_port()}",
    }
    started = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.parallel.one_of_two", folder],
            cwd=tiny.ROOT,
            env=os.environ | shared | {"JAX_PROCESS_ID": str(index)},
            stdout=subprocess.PIPE,
            text=True,
        )
        for index in range(2)
    ]
    try:
        return [json.loads(process.communicate(timeout=300)[0].splitlines()[-1]) for process in started]
    finally:
        for process in started:
            process.kill()
            process.wait()


def test_each_of_two_processes_reads_the_checkpoints_of_another_run(both):
    assert [printed["read"] for printed in both] == [[7, [0.0, 1.0, 2.0]]] * 2


def test_two_processes_give_the_result_of_one(both):
    metrics, params = three_sgd_steps("jit", 1)
    weighed = [np.linalg.norm(leaf.astype(np.float64) @ np.arange(1, leaf.shape[-1] + 1)) for leaf in jax.tree.leaves(params)]
    for printed in both:
        assert printed["results"].keys() == {"jit", "pmap"}
        for result in printed["results"].values():
            assert result["metrics"] == pytest.approx(metrics, rel=1e-5)
            assert result["params"] == pytest.approx(weighed, rel=1e-5, abs=1e-7)


def test_processes_with_different_configs_are_told_which(both):
    for printed in both:
        assert (
            "the processes disagree on the config" in printed["disagreement"] and "process 1 differs" in printed["disagreement"]
        )


@pytest.mark.parametrize(
    ("variables", "hint"),
    [
        ({"JAX_NUM_PROCESSES": "two"}, "JAX_NUM_PROCESSES in the environment is not a number"),
        ({"JAX_NUM_PROCESSES": "2", "JAX_PROCESS_ID": "1"}, "JAX_COORDINATOR_ADDRESS=None, JAX_PROCESS_ID=1"),
        ({"JAX_NUM_PROCESSES": "2", "JAX_PROCESS_ID": "2", "JAX_COORDINATOR_ADDRESS": "h:1"}, "a number from 0 to 1"),
        ({"JAX_NUM_PROCESSES": "2", "JAX_PROCESS_ID": "1", "JAX_COORDINATOR_ADDRESS": "localhost"}, "host:port"),
        ({"JAX_NUM_PROCESSES": "2", "JAX_PROCESS_ID": "1", "JAX_COORDINATOR_ADDRESS": "PORT"}, "process 0 does not answer"),
        ({"JAX_NUM_PROCESSES": "2"}, "cannot join the other processes"),
    ],
)
def test_an_environment_that_cannot_work_is_explained(variables, hint, monkeypatch):
    monkeypatch.setattr(hosts, "JOIN_SECONDS", 1)
    for name, value in variables.items():
        monkeypatch.setenv(name, value.replace("PORT", f"127.0.0.1:{free_port()}"))
    with pytest.raises(UserError, match=hint):
        hosts.join()


SLURM = {"JAX_NUM_PROCESSES": "3", "SLURM_STEP_TASKS_PER_NODE": "1(x2),8", "SLURM_GPUS_ON_NODE": "8", "SLURM_NODEID": "1"}


def test_a_node_of_slurm_with_more_gpus_than_tasks_is_refused_before_they_idle(monkeypatch):
    for name, value in SLURM.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match="7 of the GPUs of this node would idle"):
        hosts.join()


@pytest.mark.parametrize(
    "right", [{"SLURM_NODEID": "2"}, {"SLURM_GPUS_ON_NODE": "1"}, {"JAX_LOCAL_DEVICE_IDS": "0,1,2,3,4,5,6,7"}]
)
def test_a_task_for_each_gpu_or_named_gpus_go_on_to_meet(monkeypatch, right):
    met = []
    monkeypatch.setattr(jax.distributed, "initialize", lambda **given: met.append(given))
    monkeypatch.setattr(jax, "process_count", lambda: 3)
    for name, value in (SLURM | right).items():
        monkeypatch.setenv(name, value)
    hosts.join()
    assert met == [{"initialization_timeout": hosts.JOIN_SECONDS}]


@pytest.mark.parametrize(("backend", "refused"), [("gpu", True), ("cpu", False)])
def test_gpus_that_slurm_knows_nothing_of_are_not_left_idle_either(monkeypatch, tmp_path, backend, refused):
    monkeypatch.setattr(jax.distributed, "initialize", lambda **given: None)
    monkeypatch.setattr(jax, "process_count", lambda: 3)
    monkeypatch.setattr(jax, "default_backend", lambda: backend)
    monkeypatch.setattr(hosts, "DEVICES", tmp_path)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    for name in ("nvidia0", "nvidia1", "nvidia2", "nvidiactl", "nvidia-uvm", "nvme0"):
        (tmp_path / name).touch()
    for name, value in SLURM.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("SLURM_GPUS_ON_NODE")
    if refused:
        with pytest.raises(UserError, match="2 of the GPUs of this node would idle"):
            hosts.join()
    else:
        hosts.join()
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2")
    hosts.join()  # chosen by hand


@pytest.mark.parametrize(("named", "count"), [("", 0), ("0,3", 2), ("GPU-5b-1f, MIG-7", 2), ("-1", 0), ("1,-1,2", 1)])
def test_visible_gpus_are_those_that_cuda_would_see(monkeypatch, named, count):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", named)
    assert hosts._visible_gpus() == count


@pytest.mark.parametrize(("count", "code", "left"), [(2, 2, [2]), (2, 0, []), (1, 2, [])])
def test_one_of_several_that_fails_leaves_at_once(monkeypatch, count, code, left):
    codes = []
    monkeypatch.setattr(hosts.os, "_exit", codes.append)
    monkeypatch.setattr(jax, "process_count", lambda: count)
    assert hosts.end_together(lambda: code, good=(0, 42)) == code and codes == left


def test_one_of_several_that_crashes_leaves_at_once_and_alone_it_raises(monkeypatch, capsys):
    codes = []
    monkeypatch.setattr(hosts.os, "_exit", codes.append)
    with pytest.raises(ZeroDivisionError):
        hosts.end_together(lambda: 1 // 0, good=(0,))
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    hosts.end_together(lambda: 1 // 0, good=(0,))
    assert codes == [1] and "ZeroDivisionError" in capsys.readouterr().err


def test_alone_there_is_nobody_to_join(monkeypatch):
    monkeypatch.delenv("JAX_NUM_PROCESSES", raising=False)
    hosts.join()
    hosts.require_same("the config", "anything")
    assert hosts.own_rows({"ids": np.arange(4)})["ids"].tolist() == [0, 1, 2, 3]
