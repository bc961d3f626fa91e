"""What is done to a run on purpose is noticed, and costs time but no result."""

import random
import shutil
import sys
from collections import Counter

import pytest

from bert_jax import inputs, run
from bert_jax.build import build_objective, build_optimizer
from bert_jax.checkpoint import Checkpoints
from bert_jax.parallel.step import init_state
from experiments import faults
from tests import tiny

CHANGES = {"train__num_train_steps": 60, "train__save_every_steps": 2, "train__keep_checkpoints": 3}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return tiny.write_corpus(tmp_path_factory.mktemp("corpus") / "text.txt")


@pytest.fixture(scope="module")
def unbroken(corpus, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("unbroken")
    assert run.train(tiny.config(corpus, **CHANGES), workdir, quiet=True)
    return workdir


@pytest.fixture(scope="module")
def like(corpus, unbroken):
    config = tiny.config(corpus, **CHANGES)
    return init_state(build_objective(config, inputs.open_vocabulary(config, unbroken).size), build_optimizer(config)[0], 0)


def test_ten_kills_spread_over_a_run_change_nothing_of_its_result(corpus, unbroken, tmp_path, monkeypatch):
    monkeypatch.chdir(tiny.ROOT)
    monkeypatch.setattr(faults, "LONGEST_START", 2.0)
    command = [sys.executable, "-m", "bert_jax", "train", "--config=configs/quickstart.py", f"--workdir={tmp_path}"]
    done = faults.train_with_kills([*command, *tiny.arguments(corpus, **CHANGES)], tmp_path, kills=10, steps=40, seed=1)
    assert len(done) == 10 and {kill["when"] for kill in done} == {"after the start", "in a save", "in training"}
    assert faults.outcome(tmp_path) == faults.outcome(unbroken)


def test_every_damage_to_a_checkpoint_is_named_before_use_and_the_one_before_is_used(unbroken, like, tmp_path):
    draw, results = random.Random(0), Counter()
    for number in range(60):
        folder = shutil.copytree(unbroken / "checkpoints", tmp_path / str(number))
        kind, noticed = faults.damage_checkpoint(folder, like, draw)
        results[kind.split(":")[0], noticed] += 1
        shutil.rmtree(folder)
    assert {kind for kind, _ in results} == {*faults.DAMAGES, "emptied"} and all(noticed for _, noticed in results), results


def test_every_damage_to_a_store_is_named_before_use(corpus, unbroken, tmp_path):
    tokenizer = inputs.open_vocabulary(tiny.config(corpus, **CHANGES), unbroken)
    draw, results = random.Random(0), Counter()
    for number in range(60):
        folder = shutil.copytree(unbroken / "store", tmp_path / str(number))
        kind, noticed = faults.damage_store(folder, tokenizer, draw)
        results[kind.split(":")[0], noticed] += 1
        shutil.rmtree(folder)
    assert {kind for kind, _ in results} == {*faults.DAMAGES} and all(noticed for _, noticed in results), results


def test_a_damage_that_nobody_looks_for_would_be_caught(unbroken, like, tmp_path, monkeypatch):
    monkeypatch.setattr(Checkpoints, "restore", lambda self, like, *, say: (self.steps()[-1], like, {}))
    folder = shutil.copytree(unbroken / "checkpoints", tmp_path / "copy")
    assert not faults.damage_checkpoint(folder, like, random.Random(0))[1]
