"""A run goes on with other processes and devices than it began with, on the same data, to the same parameters."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import jax
import numpy as np
import pytest

from bert_jax import run
from bert_jax.train import fit
from bert_jax.train.watch import read_metrics
from bert_jax.trained import open_trained
from tests import tiny
from tests.parallel.test_hosts import free_port

CHANGES = {"model__hidden_dropout_prob": 0.0, "train__num_train_steps": 40, "train__log_every_steps": 1}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return tiny.write_corpus(tmp_path_factory.mktemp("corpus") / "text.txt")


@pytest.fixture(scope="module")
def unbroken(corpus, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("unbroken")
    assert run.train(tiny.config(corpus, **CHANGES), workdir, quiet=True)
    return workdir


def start(corpus, workdir, devices: int, **variables: str) -> subprocess.Popen:
    command = [sys.executable, "-m", "bert_jax", "train", "--config=configs/quickstart.py", f"--workdir={workdir}"]
    flags = {"XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}"}
    return subprocess.Popen(
        [*command, *tiny.arguments(corpus, **CHANGES)],
        cwd=tiny.ROOT,
        env=os.environ | flags | variables,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def assert_same_run(workdir, reference):
    ours, theirs = open_trained(workdir), open_trained(reference)
    for a, b in zip(jax.tree.leaves(ours.params), jax.tree.leaves(theirs.params)):
        # the true gradient of key biases is zero: they hold what Adam makes of rounding, 1e-7 and less
        assert np.linalg.norm(a - b) <= 1e-5 * max(np.linalg.norm(b), 1e-2)
    ours, theirs = read_metrics(workdir), read_metrics(reference)
    assert [(record["kind"], record["step"]) for record in ours] == [(record["kind"], record["step"]) for record in theirs]
    losses = [[record["loss"] for record in records if record["kind"] != "verdict"] for records in (ours, theirs)]
    np.testing.assert_allclose(*losses, rtol=1e-5)  # one row more, less or twice would show at once


@contextmanager
def two_processes(corpus, workdir) -> Iterator[list[subprocess.Popen]]:
    shared = {"JAX_NUM_PROCESSES": "2", "JAX_COORDINATOR_ADDRESS": f"127.0.0.1:{free_port()}"}
    both = [start(corpus, workdir, 2, JAX_PROCESS_ID=str(index), **shared) for index in range(2)]
    try:
        yield both
    finally:
        for one in both:
            one.kill()
            one.wait()


def test_two_processes_train_to_the_end_together(corpus, unbroken, tmp_path):
    with two_processes(corpus, tmp_path) as both:
        said = [one.communicate(timeout=300)[1] for one in both]
    assert [one.returncode for one in both] == [0, 0], said
    assert_same_run(tmp_path, unbroken)
    assert json.loads((tmp_path / "result.json").read_text())["step"] == 40


def test_two_processes_are_stopped_together_and_one_goes_on(corpus, unbroken, tmp_path):
    with two_processes(corpus, tmp_path) as both:
        deadline = time.monotonic() + 300
        while len(read_metrics(tmp_path)) < 3 and all(one.poll() is None for one in both) and time.monotonic() < deadline:
            time.sleep(0.01)
        both[1].send_signal(signal.SIGTERM)  # the second one hears it, and the first one saves
        said = [one.communicate(timeout=300)[1] for one in both]
    assert [one.returncode for one in both] == [42, 42], said
    stopped_at = read_metrics(tmp_path)[-1]["step"]
    assert 3 <= stopped_at < 40
    assert run.train(tiny.config(corpus, **CHANGES), tmp_path, quiet=True)
    assert_same_run(tmp_path, unbroken)


def test_eight_devices_go_on_as_four(corpus, unbroken, tmp_path, monkeypatch):
    def ask(self, step):
        if step == 17:
            os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as patched:
        patched.setattr(fit.Watch, "advance", ask)
        assert not run.train(tiny.config(corpus, **CHANGES), tmp_path, quiet=True)
    four = start(corpus, tmp_path, 4)
    said = four.communicate(timeout=300)[1]
    assert four.returncode == 0, said
    assert json.loads((tmp_path / "run.json").read_text())["devices"] == ["cpu"] * 4
    assert_same_run(tmp_path, unbroken)
