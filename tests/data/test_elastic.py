"""Every global batch is the same on any number of shares, workers and processes, and no row comes twice or is left out."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from bert_jax.data import loader as loaders
from bert_jax.data.loader import Loader, Position
from tests.data.elastic import CONFIG, LATER, SHARES, STEPS, WORKERS, digest, steps_of_shares
from tests.data.small import TWELVE, make_store
from tests.paths import ROOT


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("data")


@pytest.fixture(scope="module")
def loader(folder):
    return Loader(make_store(folder / "store").train, TWELVE, CONFIG, folder / "plans")


@pytest.fixture(scope="module")
def whole(loader):
    return [loader.batch(step) for step in range(STEPS)]


def share_of(batch, index: int, count: int):
    size = len(batch["input_ids"]) // count
    return {name: array[index * size : (index + 1) * size] for name, array in batch.items()}


@pytest.mark.parametrize("workers", WORKERS)
@pytest.mark.parametrize("count", SHARES)
def test_shares_and_workers_give_the_same_global_batches(loader, whole, count, workers):
    steps = list(steps_of_shares(loader, workers, count, range(count)))
    joined = [{name: np.concatenate([share[name] for share in shares]) for name in shares[0]} for shares in steps]
    assert [digest(batch) for batch in joined] == [digest(batch) for batch in whole]
    assert len({digest(batch) for batch in whole}) == STEPS


def test_two_processes_give_the_same_shares(folder, whole):
    command = [sys.executable, "-m", "tests.data.elastic", folder / "store", folder / "plans of processes"]
    processes = [
        subprocess.Popen([*command, str(process)], cwd=ROOT, stdout=subprocess.PIPE, env=os.environ) for process in (0, 1)
    ]
    outputs = [process.communicate(timeout=120)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    for lines in zip(*(output.splitlines() for output in outputs), strict=True):
        (count, workers, first), (_, _, second) = map(json.loads, lines)
        expected = [[digest(share_of(batch, index, count)) for index in range(count)] for batch in whole]
        assert [one + other for one, other in zip(first, second, strict=True)] == expected, (count, workers)
    assert len(outputs[0].splitlines()) == len(SHARES[1:]) * len(WORKERS)


def test_three_epochs_hold_every_row_three_times_and_none_is_skipped_or_repeated(loader, whole):
    ids = np.concatenate([batch["example_id"] for batch in whole[:LATER]])
    sizes = [loader._plan(0, epoch % 2).num_rows for epoch in range(3)]
    assert len(ids) >= sum(sizes)
    epochs = np.split(ids[: sum(sizes)], np.cumsum(sizes)[:-1])
    for epoch, size in zip(epochs, sizes):
        assert np.array_equal(np.sort(epoch), np.arange(size))
    assert not np.array_equal(epochs[0], epochs[2])  # the same pairing in another order


def test_the_second_phase_begins_with_its_own_rows_and_shape(loader, whole):
    assert loader.position(LATER - 1) == Position(0, (LATER - 1) * 8) and loader.position(LATER) == Position(1, 0)
    assert loader.position(LATER + 3) == Position(1, 48)
    assert whole[LATER - 1]["input_ids"].shape == (8, 24) and whole[LATER]["input_ids"].shape == (16, 40)
    assert whole[LATER]["masked_lm_ids"].shape == (16, 6)


def test_seeking_a_million_steps_makes_no_other_batch(loader, folder, monkeypatch):
    made = []
    make = loaders._batch
    monkeypatch.setattr(loaders, "_batch", lambda *arguments: made.append(1) or make(*arguments))
    there = Loader(loader.split, TWELVE, CONFIG, folder / "elsewhere").batch(1_000_000)
    assert len(made) <= 2 and digest(there) == digest(loader.batch(1_000_000))
