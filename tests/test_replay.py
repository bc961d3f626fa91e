"""A past step can be looked at again: its rows, its masks, and what each row cost."""

import io

import numpy as np
import pytest
from rich.console import Console

from bert_jax import inputs, run
from bert_jax.__main__ import main
from bert_jax.replay import replay
from bert_jax.trained import open_trained
from tests import tiny


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return tiny.write_corpus(tmp_path_factory.mktemp("corpus") / "text.txt")


@pytest.fixture(scope="module")
def trained(corpus, tmp_path_factory):
    """Logged at each step; checkpoints of steps 3, 6 and 9 are kept."""
    workdir = tmp_path_factory.mktemp("W")
    changes = {"train__num_train_steps": 9, "train__save_every_steps": 3, "train__log_every_steps": 1}
    changes |= {"train__keep_checkpoints": 3, "model__hidden_dropout_prob": 0.0}
    assert run.train(tiny.config(corpus, **changes), workdir, quiet=True)
    return workdir


def test_the_mean_of_the_rows_is_the_loss_that_was_logged(trained):
    record = next(record for record in run.read_metrics(trained) if record["step"] == 7 and record["kind"] == "train")
    metrics = replay(trained, 7, rows=0, console=Console(file=io.StringIO()))
    batch = inputs.open_batches(open_trained(trained).config, trained)[0].batch(6)
    counts = batch["masked_lm_weights"].sum(axis=1)
    assert metrics["masked_lm_loss"] @ counts / counts.sum() == pytest.approx(record["masked_lm_loss"], rel=1e-5)
    assert metrics["next_sentence_loss"].mean() == pytest.approx(record["next_sentence_loss"], rel=1e-5)


def test_the_held_out_rows_are_evaluated_with_other_masks_where_they_are_asked_for(trained):
    record = [record for record in run.read_metrics(trained) if record["kind"] == "held_out"][-1]
    own, masked = run.evaluate_trained(trained), run.evaluate_trained(trained, {"mask_token_prob": 1.0, "random_token_prob": 0.0})
    assert own["masked_lm_loss"] == pytest.approx(record["masked_lm_loss"], rel=1e-5)
    assert masked["unigram_loss"] == pytest.approx(own["unigram_loss"])  # the same places
    assert masked["masked_lm_loss"] != pytest.approx(own["masked_lm_loss"], rel=1e-5)


def test_the_rows_are_shown_with_their_losses_the_worst_first(trained):
    shown = io.StringIO()
    metrics = replay(trained, 8, rows=2, console=Console(file=shown, width=400))
    text = shown.getvalue()
    assert "step 8 under the parameters of step 6; documents " in text
    worst, second = np.argsort(-metrics["loss"], kind="stable")[:2]
    assert text.index(f"row {worst}") < text.index(f"row {second}") and text.count("\nrow ") == 2
    assert f"loss {metrics['loss'][worst]:.3f}" in text and "[MASK]/" in text and "next_sentence_label=" in text


def test_before_the_first_checkpoint_the_oldest_serves(trained, capsys):
    assert main(["replay", f"--workdir={trained}", "--step=1", "--rows=1"]) == 0
    assert "step 1 under the parameters of step 3" in capsys.readouterr().out


def test_there_is_no_step_zero(trained, capsys):
    assert main(["replay", f"--workdir={trained}", "--step=0"]) == 2
    assert "there is no such step" in capsys.readouterr().err
