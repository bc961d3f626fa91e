"""From a run with masked LM to encoders of sentences, by SimCSE in a run of its own and by fine-tuning, on made-up text."""

import json
import shutil

import jax
import numpy as np
import pytest

from bert_jax import config as configs
from bert_jax import finetune, inputs, replay, run
from bert_jax import workdir as workdirs
from bert_jax.__main__ import main
from bert_jax.errors import EXIT_DONE, UserError
from bert_jax.trained import open_trained
from tests import tiny

STEPS = {"train.num_train_steps": 4, "train.save_every_steps": 2, "train.eval_every_steps": 2, "train.train_batch_size": 8}
SHARED = ("model.", "data.num", "data.held", "data.later")
SIZES = {key: value for key, value in tiny.OVERRIDES.items() if key.startswith(SHARED)} | {"model.num_hidden_layers": 1}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return tiny.write_corpus(tmp_path_factory.mktemp("corpus") / "text.txt")


@pytest.fixture(scope="module")
def pretrained(corpus, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("pretrained") / "P"
    changes = {"train__num_train_steps": 1, "train__eval_every_steps": 1, "model__num_hidden_layers": 1}
    assert run.train(tiny.config(corpus, **changes), workdir, quiet=True)
    return workdir


def simcse(corpus, pretrained, **changes):
    values = SIZES | STEPS | {"data.input_file": corpus, "data.max_seq_length": 24, "init_checkpoint": pretrained}
    return load("simcse.py:tiny", values | {key.replace("__", "."): value for key, value in changes.items()})


def load(name: str, values: dict):
    return configs.load(str(tiny.ROOT / "configs" / name), [f"{key}={value}" for key, value in values.items()])


@pytest.fixture(scope="module")
def unbroken(corpus, pretrained, tmp_path_factory):
    """(workdir, what was said)."""
    workdir, said = tmp_path_factory.mktemp("unbroken") / "W", []
    assert run.train(simcse(corpus, pretrained), workdir, quiet=True, say=said.append)
    return workdir, said


def test_a_run_starts_from_the_encoder_and_vocabulary_of_another_and_says_so(unbroken, pretrained):
    workdir, said = unbroken
    told = f"from {pretrained}, step 1: loaded: encoder/embeddings, encoder/layers; drawn from the seed: mlp; "
    assert told + "left over: encoder/pooler, masked_lm, next_sentence" in said
    assert not (workdir / "vocab.txt").exists()
    assert open_trained(workdir).tokenizer.content_hash == open_trained(pretrained).tokenizer.content_hash
    assert {path.name for path in (workdir / "report").iterdir()} == {"loss.png", "learning_rate.png"}  # no accuracy to show
    metrics = workdirs.finished(workdir)["metrics"]
    assert set(metrics) == {"loss", "contrastive_loss", "positive_cosine", "negative_cosine"}
    assert metrics["positive_cosine"] == pytest.approx(1)


def test_a_resume_goes_on_bit_for_bit_without_the_checkpoint_it_started_from(corpus, pretrained, unbroken, tmp_path):
    """As if stopped after step 2 of 4."""
    workdir = shutil.copytree(unbroken[0], tmp_path / "W")
    shutil.rmtree(workdir / "checkpoints" / "4")
    (workdir / "result.json").unlink()
    (pretrained / "checkpoints").rename(tmp_path / "away")
    try:
        assert run.train(simcse(corpus, pretrained), workdir, quiet=True)
        with pytest.raises(UserError, match="the run has no checkpoint yet"):
            run.train(simcse(corpus, pretrained), tmp_path / "fresh", quiet=True)
    finally:
        (tmp_path / "away").rename(pretrained / "checkpoints")
    resumed, reference = open_trained(workdir), open_trained(unbroken[0])
    assert resumed.step == 4
    jax.tree.map(np.testing.assert_array_equal, resumed.params, reference.params)


def test_no_piece_is_hidden_from_the_encoder(corpus, pretrained, tmp_path):
    batches, tokenizer = inputs.open_batches(simcse(corpus, pretrained), tmp_path)
    batch = batches.batch(0)
    known = {tuple(tokenizer.encode([tiny.sentence(number)])[0]) for number in range(64)}
    rows = [tuple(row[mask > 0][1:-1].tolist()) for row, mask in zip(batch["input_ids"], batch["input_mask"])]
    assert len(rows) == 8 and known.issuperset(rows)


def test_replay_shows_no_losses_of_rows_alone(unbroken):
    with pytest.raises(UserError, match="loss of one alone means nothing"):
        replay.replay(unbroken[0], 1, rows=1)


SHAPE = r"(?s)encoder/layers/intermediate/bias of .* has another shape.*\[1, 24\].*\[1, 32\]"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model__intermediate_size": 32}, SHAPE),
        ({"init_checkpoint": "/nowhere"}, "no trained model here"),
        ({"train__accumulate": 2}, "compares all rows of a batch"),
        ({"data__max_examples_per_row": 2}, "one sentence a row"),
    ],
)
def test_what_does_not_fit_is_refused(corpus, pretrained, tmp_path, changes, message):
    with pytest.raises(UserError, match=message):
        run.train(simcse(corpus, pretrained, **{"data__store": pretrained / "store"} | changes), tmp_path / "W", quiet=True)


def test_another_vocabulary_is_refused(corpus, pretrained, tmp_path):
    with pytest.raises(UserError, match=r"(?s)another vocabulary.*vocab\.txt.*leave text.vocab_file empty"):
        run.train(simcse(corpus, pretrained, text__do_lower_case=False), tmp_path / "W", quiet=True)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """SNLI, MNLI and STS-B in GLUE's layout: a sentence entails and equals itself and contradicts another."""
    folder = tmp_path_factory.mktemp("data")
    said = {"entailment": (0, 5.0), "contradiction": (7, 0.0), "neutral": (1, 2.5)}
    rows = [(tiny.sentence(i // 3), tiny.sentence(i // 3 + said[name][0]), name) for i, name in enumerate([*said] * 9)]
    for name in ("SNLI/train", "SNLI/dev", "MNLI/train", "MNLI/dev_matched"):
        (folder / "glue" / name).parent.mkdir(parents=True, exist_ok=True)
        lines = ["sentence1\tsentence2\tgold_label", *("\t".join(row) for row in rows)]
        (folder / "glue" / f"{name}.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (folder / "glue" / "STS-B").mkdir()
    for split in ("train", "dev"):
        lines = ["sentence1\tsentence2\tscore", *(f"{first}\t{second}\t{said[name][1]}" for first, second, name in rows)]
        (folder / "glue" / "STS-B" / f"{split}.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


@pytest.mark.parametrize(
    ("name", "examples", "steps"),
    [("simcse.py:sup", (18, 18), 6), ("sentence_bert.py:nli", (40, 54), 5), ("sentence_bert.py:stsb", (27, 27), 13)],
)
def test_fine_tuning_reads_every_key_and_ends_with_spearman_on_stsb(pretrained, data, tmp_path, name, examples, steps):
    values = {"init_checkpoint": pretrained, "data.folder": data, "data.max_seq_length": 24, "data.max_train_examples": 40}
    recorder = configs.Recorder(load(name, values | {"train.train_batch_size": 8, "train.save_every_steps": 2}))
    result = finetune.finetune(recorder, tmp_path / "W", quiet=True)
    assert recorder.never_read() == []
    assert result == json.loads((tmp_path / "W" / "result.json").read_text())
    assert result["num_examples"] == dict(zip(("train", "dev"), examples)) and result["step"] == steps
    assert set(result["metrics"]) == {"stsb_spearman", "pretrained_stsb_spearman", "loss"}
    assert -100 <= result["metrics"]["stsb_spearman"] <= 100
    assert result["metrics"]["pretrained_stsb_spearman"] > 20  # sentences are near to themselves in any encoder
    assert finetune.finetune(recorder, tmp_path / "W", quiet=True) == result


def test_evaluate_scores_any_run_on_stsb(unbroken, data, monkeypatch, capsys):
    monkeypatch.setenv("BERT_JAX_DATA", str(data))
    assert main(["evaluate", f"--workdir={unbroken[0]}", "--sts=mean"]) == EXIT_DONE
    shown = dict(line.split() for line in capsys.readouterr().out.splitlines())
    assert 20 < float(shown["stsb_spearman"]) <= 100 and "contrastive_loss" in shown
