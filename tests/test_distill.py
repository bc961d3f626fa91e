"""From a trained teacher to a student, and what can be done with it, on a corpus made for the test."""

import json
import os
import shutil
import signal
import subprocess
import sys

import jax
import numpy as np
import pytest

from bert_jax import config as configs
from bert_jax import finetune, run
from bert_jax.__main__ import main
from bert_jax.errors import UserError
from bert_jax.replay import replay
from bert_jax.train import fit
from bert_jax.train.watch import read_metrics
from bert_jax.trained import open_trained
from tests import tiny
from tests.parallel.test_hosts import free_port
from tests.test_finetune import data, load  # noqa: F401  the task that is fine-tuned on
from tests.train.test_resume import result_of


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return tiny.write_corpus(tmp_path_factory.mktemp("corpus") / "text.txt")


@pytest.fixture(scope="module")
def teacher(corpus, tmp_path_factory):
    """Four layers; trained with next sentence, which its student does without."""
    workdir = tmp_path_factory.mktemp("teacher")
    config = tiny.config(corpus, model__num_hidden_layers=4, model__initializer_range=0.2, train__num_train_steps=4)
    assert run.train(config, workdir, quiet=True)
    return workdir


def arguments(corpus, teacher, **changes) -> list[str]:
    taught = {"objective__teacher": teacher, "text__vocab_file": teacher / "vocab.txt", "train__num_train_steps": 6}
    return tiny.arguments(corpus, **taught | changes)


def config(row: str, *args, **changes):
    return configs.load(f"{tiny.ROOT}/configs/distill.py:{row}", arguments(*args, **changes))


@pytest.fixture(scope="module")
def student(corpus, teacher, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("student")
    assert run.train(config("tiny", corpus, teacher), workdir, quiet=True)
    return workdir


def test_it_is_evaluated_as_in_training_and_its_rows_are_replayed(student):
    held_out = [record for record in read_metrics(student) if record["kind"] == "held_out"][-1]
    found = run.evaluate_trained(student)
    assert {"loss", "soft_target_loss", "cosine_loss", "masked_lm_loss", "masked_lm_accuracy", "unigram_loss"} == set(found)
    assert found["loss"] == pytest.approx(held_out["loss"], rel=1e-5)
    expected = 5 * found["soft_target_loss"] + 2 * found["masked_lm_loss"] + found["cosine_loss"]
    assert found["loss"] == pytest.approx(expected, rel=1e-5) and found["soft_target_loss"] > 0
    assert replay(student, 6, rows=1)["soft_target_loss"].shape == (8,)


def test_it_starts_as_layers_of_its_teacher(corpus, teacher, tmp_path):
    unchanged = {"optim__learning_rate": 1e-30, "train__num_train_steps": 1}
    assert run.train(config("tiny", corpus, teacher, **unchanged), tmp_path, quiet=True)
    ours, theirs = open_trained(tmp_path).params, open_trained(teacher).params
    for found, expected in zip(jax.tree.leaves(ours["encoder"]["layers"]), jax.tree.leaves(theirs["encoder"]["layers"])):
        np.testing.assert_allclose(found, expected[np.array([0, 3])], rtol=1e-6)


def test_stopped_by_a_signal_and_continued_it_ends_the_same(corpus, teacher, student, tmp_path, monkeypatch):
    def stop_at_step_3(self, step):
        if step == 3:
            os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as patched:
        patched.setattr(fit.Watch, "advance", stop_at_step_3)
        assert not run.train(config("tiny", corpus, teacher), tmp_path / "W", quiet=True)
    moved = shutil.copytree(teacher, tmp_path / "moved")
    assert run.train(config("tiny", corpus, moved), tmp_path / "W", quiet=True)
    assert result_of(tmp_path / "W") == result_of(student)


def test_without_its_teacher_it_still_predicts_and_is_fine_tuned(student, data, tmp_path, capsys):  # noqa: F811
    alone = shutil.copytree(student, tmp_path / "W")
    saved = json.loads((alone / "config.json").read_text())
    shutil.copy(saved["text"]["vocab_file"], tmp_path / "vocab.txt")
    saved["objective"]["teacher"], saved["text"]["vocab_file"] = str(tmp_path / "gone"), str(tmp_path / "vocab.txt")
    configs.write_json(alone / "config.json", saved)
    assert main(["predict", f"--workdir={alone}", "--text=the cat [MASK] a fish."]) == 0
    assert "the cat [MASK] a fish." in capsys.readouterr().out
    assert main(["evaluate", f"--workdir={alone}"]) == 2
    assert "there is no trained model here" in capsys.readouterr().err
    said = []
    assert finetune.finetune(load(alone, data), tmp_path / "F", quiet=True, say=said.append)["step"] == 2
    assert any("drawn from the seed: classifier, encoder/pooler" in line for line in said)


def test_two_processes_learn_from_it_as_one_does(corpus, teacher, student, tmp_path):
    flags = {"XLA_FLAGS": "--xla_force_host_platform_device_count=2", "JAX_NUM_PROCESSES": "2"}
    flags["JAX_COORDINATOR_ADDRESS"] = f"127.0.0.1:{free_port()}"
    command = [sys.executable, "-m", "bert_jax", "train", "--config=configs/distill.py:tiny", f"--workdir={tmp_path}"]
    both = [
        subprocess.Popen(
            [*command, *arguments(corpus, teacher)],
            cwd=tiny.ROOT,
            env=os.environ | flags | {"JAX_PROCESS_ID": str(index)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        for index in range(2)
    ]
    try:
        said = [one.communicate(timeout=300)[1] for one in both]
    finally:
        for one in both:
            one.kill()
    assert [one.returncode for one in both] == [0, 0], said
    losses = [[record["loss"] for record in read_metrics(workdir)] for workdir in (tmp_path, student)]
    np.testing.assert_allclose(*losses, rtol=1e-5)


def test_another_teacher_is_refused(corpus, teacher, student, tmp_path, capsys):
    workdir, changed = (shutil.copytree(folder, tmp_path / folder.name) for folder in (student, teacher))
    longer = tiny.config(corpus, model__num_hidden_layers=4, model__initializer_range=0.2, train__num_train_steps=5)
    assert run.train(longer, changed, quiet=True)
    with pytest.raises(UserError, match="the teacher is not the one that the checkpoint learned from"):
        run.train(config("tiny", corpus, changed, train__num_train_steps=8), workdir, quiet=True)
    assert main(["predict", f"--workdir={workdir}", "--text=the cat [MASK] a fish."]) == 0


def test_a_teacher_with_another_vocabulary_is_refused(corpus, teacher, tmp_path):
    with pytest.raises(UserError, match="the teacher has another vocabulary"):
        run.train(config("tiny", corpus, teacher, text__vocab_file="", text__vocab_size=80), tmp_path, quiet=True)


def test_no_teacher_is_refused(corpus, teacher, tmp_path):
    with pytest.raises(UserError, match="objective.teacher is empty"):
        run.train(config("tiny", corpus, teacher, objective__teacher=""), tmp_path, quiet=True)


@pytest.mark.parametrize("row", ["tinybert", "minilm"])
def test_a_student_without_a_head_is_trained_and_reported_and_does_not_fill_masks(row, corpus, teacher, tmp_path, capsys):
    changes = {"model__hidden_size": 8, "model__num_hidden_layers": 2, "train__num_train_steps": 2}
    command = ["train", f"--config={tiny.ROOT}/configs/distill.py:{row}", f"--workdir={tmp_path}"]
    assert main([*command, *arguments(corpus, teacher, **changes)]) == 0
    shown = capsys.readouterr().out
    assert {"tinybert": "attention loss", "minilm": "value relation loss"}[row] in shown and "loss.png" in shown
    assert main(["predict", f"--workdir={tmp_path}", "--text=the cat [MASK] a fish."]) == 2
    assert "not trained to fill in [MASK]" in capsys.readouterr().err
