"""A run that was interrupted ends as the run that was not: metrics and parameters bit for bit."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from bert_jax import run
from bert_jax import workdir as workdirs
from bert_jax.__main__ import main
from bert_jax.checkpoint import Checkpoints, checksums
from bert_jax.config import flatten
from bert_jax.data.loader import Loader
from bert_jax.errors import UserError
from bert_jax.train import fit
from bert_jax.train.watch import read_metrics
from bert_jax.trained import open_trained
from tests import tiny

CLOCK = ("tokens_per_second", "data_wait_fraction")


def result_of(workdir: Path) -> tuple[list, dict]:
    """(metrics without the clock's, checksums of the final checkpoint)."""
    records = [{key: value for key, value in record.items() if key not in CLOCK} for record in read_metrics(workdir)]
    newest = max((workdir / "checkpoints").iterdir(), key=lambda path: int(path.name) if path.name.isdigit() else -1)
    facts = json.loads((newest / "facts" / "metadata").read_text())
    return records, facts["checksums"]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return tiny.write_corpus(tmp_path_factory.mktemp("corpus") / "text.txt")


@pytest.fixture(scope="module")
def unbroken(corpus, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("unbroken")
    assert run.train(tiny.config(corpus), workdir, quiet=True)
    return workdir


def test_the_unbroken_run_logs_each_window_and_evaluation_once(unbroken):
    records, _ = result_of(unbroken)
    assert [(record["kind"], record["step"]) for record in records] == [
        ("train", 3),
        ("train", 6),
        ("held_out", 6),
        ("verdict", 6),
        ("train", 9),
        ("train", 12),
        ("held_out", 12),
        ("verdict", 12),
    ]
    assert all(np.isfinite(list(record.values())[2:]).all() for record in records if record["kind"] != "verdict")
    assert all(record["on_track"] for record in records if record["kind"] == "verdict")
    assert (unbroken / "result.json").exists() and (unbroken / "report" / "loss.png").stat().st_size > 5000


def test_the_summary_shows_the_baselines_the_plots_and_the_next_commands(unbroken, capsys):
    assert (
        main(["train", f"--config={tiny.ROOT}/configs/quickstart.py", f"--workdir={unbroken}", *saved_arguments(unbroken)]) == 0
    )
    shown = capsys.readouterr().out
    for part in (
        "This run is finished: 12 steps",
        "num_train_steps=24",
        "unigram baseline",
        "by always giving the same answer",
        "loss.png",
    ):
        assert part in shown
    assert "predict --workdir=" in shown and "--config=configs/bert.py:base" in shown


def saved_arguments(workdir: Path) -> list[str]:
    saved = json.loads((workdir / "config.json").read_text())
    return [f"--config.{key}={value}" for key, value in flatten(saved) if value is not None]


def test_training_lowers_the_loss(unbroken):
    train = [record for record in read_metrics(unbroken) if record["kind"] == "train"]
    assert train[-1]["masked_lm_loss"] < train[0]["masked_lm_loss"]


@pytest.mark.parametrize("asked_at", [1, 4, 5])
def test_stopped_by_a_signal_and_continued_it_ends_the_same(corpus, unbroken, tmp_path, monkeypatch, asked_at):
    """Step 4 is a save of its own, 1 and 5 lie inside log windows."""
    steps = []

    def ask(self, step):
        steps.append(step)
        if step == asked_at:
            os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as patched:
        patched.setattr(fit.Watch, "advance", ask)
        assert not run.train(tiny.config(corpus), tmp_path, quiet=True)
    assert steps == list(range(1, asked_at + 1))
    assert run.train(tiny.config(corpus), tmp_path, quiet=True)
    assert result_of(tmp_path) == result_of(unbroken)


def test_killed_again_and_again_it_ends_the_same(corpus, unbroken, tmp_path):
    """SIGKILL at three moments of the whole command: while text is prepared or the step compiled, in training, near the end."""
    command = [
        sys.executable,
        "-m",
        "bert_jax",
        "train",
        "--config=configs/quickstart.py",
        f"--workdir={tmp_path}",
        *tiny.arguments(corpus),
    ]
    reached = []
    for name in ("vocab.txt", "config.json", "checkpoints/8"):
        process = subprocess.Popen(command, cwd=tiny.ROOT, env=os.environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while process.poll() is None and not (tmp_path / name).exists():
            time.sleep(0.01)
        reached.append(process.poll() is None)
        process.kill()
        process.wait()
    assert reached[:2] == [True, True]  # the last one may be over before it is noticed
    assert subprocess.run(command, cwd=tiny.ROOT, capture_output=True).returncode == 0
    assert result_of(tmp_path) == result_of(unbroken)


def test_a_damaged_newest_checkpoint_costs_steps_but_not_the_result(corpus, unbroken, tmp_path, capsys):
    assert run.train(tiny.config(corpus, train__num_train_steps=12), tmp_path, quiet=True)
    files = [path for path in (tmp_path / "checkpoints" / "12" / "state").rglob("*") if path.is_file()]
    largest = max(files, key=lambda path: path.stat().st_size)  # orbax may never read it: it keeps small arrays twice
    data = bytearray(largest.read_bytes())
    data[len(data) // 2] ^= 1
    largest.write_bytes(data)
    assert run.train(tiny.config(corpus), tmp_path, quiet=True)
    assert "checkpoint step 12" in capsys.readouterr().out
    assert result_of(tmp_path) == result_of(unbroken)


def test_a_finished_run_trains_no_further_and_a_longer_one_continues(corpus, unbroken, tmp_path, monkeypatch):
    assert run.train(tiny.config(corpus), tmp_path, quiet=True)
    with monkeypatch.context() as patched:
        patched.setattr(Checkpoints, "save", lambda *args: pytest.fail("a finished run was saved again"))
        assert run.train(tiny.config(corpus), tmp_path, quiet=True)
    assert workdirs.finished(tmp_path, 12) and not workdirs.finished(tmp_path, 14)
    assert run.train(tiny.config(corpus, train__num_train_steps=14), tmp_path, quiet=True)
    assert workdirs.finished(tmp_path, 14)["step"] == 14


def test_fewer_steps_than_are_done_are_refused(corpus, unbroken, tmp_path):
    shutil.copytree(unbroken, tmp_path / "W")
    with pytest.raises(UserError, match="already beyond train.num_train_steps"):
        run.train(tiny.config(corpus, train__num_train_steps=6), tmp_path / "W", quiet=True)


def test_what_the_checkpoint_says_is_what_it_holds(unbroken):
    trained = open_trained(unbroken)
    _, recorded = result_of(unbroken)
    found = {name.replace("['", ".params['", 1): value for name, value in checksums(trained.params).items()}
    assert trained.step == 12 and found.items() <= recorded.items()


def test_a_run_does_not_go_on_with_another_store(corpus, unbroken, tmp_path, capsys):
    shutil.copytree(unbroken, tmp_path / "W")
    shutil.rmtree(tmp_path / "W" / "store")
    original = corpus.read_text()
    corpus.write_text(original + "\none more document .\nwith two sentences .\n")
    try:
        with pytest.raises(UserError, match="the token store is not the one that the checkpoint was trained on"):
            run.train(tiny.config(corpus, train__num_train_steps=14), tmp_path / "W", quiet=True)
    finally:
        corpus.write_text(original)


def test_a_disk_that_fills_up_during_training_keeps_the_last_checkpoint(corpus, tmp_path, capsys):
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=18m", "tmpfs", disk], capture_output=True).returncode:
        pytest.skip("no right to mount a small file system")
    try:
        command = [
            "train",
            "--config=configs/quickstart.py",
            f"--workdir={disk / 'W'}",
            *tiny.arguments(corpus, train__save_every_steps=1),
        ]
        command += ["--config.train.keep_checkpoints=50", "--config.train.num_train_steps=40"]
        assert main(command) == 2
        shown = capsys.readouterr().err
        assert "No space left" in shown and "Traceback" not in shown
        kept = open_trained(disk / "W").step
        assert kept >= 1
    finally:
        subprocess.run(["umount", "--lazy", disk], check=True)


def test_a_run_that_is_not_finite_again_and_again_ends_with_exit_code_3_and_names_the_documents(corpus, tmp_path, capsys):
    changes = {"optim__learning_rate": 1e30, "train__max_skipped_steps": 3, "train__num_train_steps": 30}
    command = ["train", f"--config={tiny.ROOT}/configs/quickstart.py", f"--workdir={tmp_path}"]
    assert main([*command, *tiny.arguments(corpus, **changes)]) == 3
    shown = capsys.readouterr().err
    assert "diverged: loss or gradient were not finite in" in shown and "Traceback" not in shown
    assert "of the training text, in step " in shown and "documents " in shown
    records = read_metrics(tmp_path)
    assert records and all(np.isfinite(list(record.values())[2:]).all() for record in records)


def test_a_few_steps_that_are_not_finite_are_skipped_and_counted(corpus, tmp_path, monkeypatch):
    """A NaN in the batches of steps 5 and 6: the run goes on, as if the two had not been."""
    batch_of = Loader.batch

    def spoiled(self, step, *place):
        batch = batch_of(self, step, *place)
        if step in (4, 5):
            batch["masked_lm_weights"][:] = np.nan
        return batch

    monkeypatch.setattr(Loader, "batch", spoiled)
    assert run.train(tiny.config(corpus), tmp_path, quiet=True)
    train = {record["step"]: record for record in read_metrics(tmp_path) if record["kind"] == "train"}
    assert {step: record.get("skipped_steps") for step, record in train.items()} == {3: None, 6: 2, 9: None, 12: None}
    assert np.isfinite(train[6]["loss"]) and train[12]["masked_lm_loss"] < train[3]["masked_lm_loss"]
    # the schedule stands where the updates do: the seventh, number 6 of 12
    assert train[9]["learning_rate"] == pytest.approx(1e-3 * (1 - 6 / 12))


def test_a_longer_run_whose_phases_would_begin_elsewhere_is_refused(corpus, tmp_path):
    phases = {"data__later_phases": "((0.5, 16, 3, 8),)"}
    assert run.train(tiny.config(corpus, **phases), tmp_path, quiet=True)
    with pytest.raises(UserError, match="the data would not go on where the checkpoint left it"):
        run.train(tiny.config(corpus, train__num_train_steps=24, **phases), tmp_path, quiet=True)
