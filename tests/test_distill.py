"""From a trained teacher to a student, and what can be done with it, on a corpus made for the test."""

import json
import os
import shutil
import signal
from functools import partial

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
from tests.test_finetune import data, load  # noqa: F401  the task that is fine-tuned on
from tests.train.test_resume import result_of


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return tiny.write_corpus(tmp_path_factory.mktemp("corpus") / "text.txt")


@pytest.fixture(scope="module")
def teacher(corpus, tmp_path_factory):
    return drawn_teacher(corpus, tmp_path_factory.mktemp("teacher"))


def drawn_teacher(corpus, workdir, **changes):
    """Four layers, and next sentence, which its student does without."""
    config = tiny.config(corpus, model__num_hidden_layers=4, model__initializer_range=0.2, **changes)
    return tiny.untrained(config, workdir)


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


def test_it_starts_as_layers_of_its_teacher(corpus, teacher, tmp_path, monkeypatch):
    given = tiny.given_to_fit(monkeypatch, run, lambda: run.train(config("tiny", corpus, teacher), tmp_path, quiet=True))
    theirs = open_trained(teacher).params["encoder"]
    layers = jax.tree.map(lambda leaf: leaf[np.array([0, 3])], theirs["layers"])
    jax.tree.map(np.testing.assert_array_equal, given["pretrained"]["encoder"]["layers"], layers)
    jax.tree.map(np.testing.assert_array_equal, given["frozen"]["encoder"], theirs)
    assert set(given["frozen"]) == {"encoder", "masked_lm"}


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


def test_without_its_teacher_it_still_predicts_and_is_fine_tuned(student, data, tmp_path, capsys, monkeypatch):  # noqa: F811
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
    begin = partial(finetune.finetune, load(alone, data), tmp_path / "F", quiet=True, say=said.append)
    assert set(tiny.given_to_fit(monkeypatch, finetune, begin)["pretrained"]) == {"encoder"}
    assert any("drawn from the seed: classifier, encoder/pooler" in line for line in said)


def test_another_teacher_is_refused(corpus, teacher, student, tmp_path):
    workdir, vocabulary = shutil.copytree(student, tmp_path / "W"), {"text__vocab_file": teacher / "vocab.txt"}
    changed = drawn_teacher(corpus, tmp_path / "T", **vocabulary, data__store=teacher / "store", seed=7)
    with pytest.raises(UserError, match="the teacher is not the one that the checkpoint learned from"):
        run.train(config("tiny", corpus, changed, **vocabulary, train__num_train_steps=8), workdir, quiet=True)
    assert main(["predict", f"--workdir={workdir}", "--text=the cat [MASK] a fish."]) == 0


def test_a_teacher_with_another_vocabulary_is_refused(corpus, teacher, tmp_path):
    with pytest.raises(UserError, match="the teacher has another vocabulary"):
        run.train(config("tiny", corpus, teacher, text__vocab_file="", text__vocab_size=80), tmp_path, quiet=True)


def test_no_teacher_is_refused(corpus, teacher, tmp_path):
    with pytest.raises(UserError, match="objective.teacher is empty"):
        run.train(config("tiny", corpus, teacher, objective__teacher=""), tmp_path, quiet=True)


def test_two_models_to_start_from_are_refused(corpus, teacher, tmp_path):
    with pytest.raises(UserError, match="the student cannot start from two models"):
        run.train(config("tiny", corpus, teacher, init_checkpoint=teacher), tmp_path, quiet=True)


def test_a_student_without_a_head_is_trained_and_reported_and_does_not_fill_masks(corpus, teacher, tmp_path, capsys):
    changes = {"model__hidden_size": 8, "model__num_hidden_layers": 2, "train__num_train_steps": 2}
    command = ["train", f"--config={tiny.ROOT}/configs/distill.py:tinybert", f"--workdir={tmp_path}"]
    assert main([*command, *arguments(corpus, teacher, **changes)]) == 0
    shown = capsys.readouterr().out
    assert "attention loss" in shown and "embedding loss" in shown and "loss.png" in shown
    assert main(["predict", f"--workdir={tmp_path}", "--text=the cat [MASK] a fish."]) == 2
    assert "not trained to fill in [MASK]" in capsys.readouterr().err
