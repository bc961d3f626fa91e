"""From a run with masked LM to encoders of sentences, by SimCSE in a run of its own and by fine-tuning, on made-up text."""

import json
import shutil
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
import pytest

from bert_jax import config as configs
from bert_jax import convert, finetune, inputs, replay, run
from bert_jax import workdir as workdirs
from bert_jax.__main__ import main
from bert_jax.checkpoint import content_hash
from bert_jax.errors import EXIT_DONE, UserError
from bert_jax.predict.embed import embed
from bert_jax.tasks import sentences
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
    return tiny.untrained(tiny.config(corpus, model__num_hidden_layers=1), tmp_path_factory.mktemp("pretrained") / "P")


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
    with pytest.raises(UserError, match=r"(?s)reads text otherwise.*do_lower_case=False.*--config.text.do_lower_case=True"):
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


TUNED = {"nli": "sentence_bert.py:nli", "sup": "simcse.py:sup"}


class Tuned(NamedTuple):
    workdir: Path
    result: dict
    config: configs.Recorder
    said: list[str]


@pytest.fixture(scope="module")
def tuned(pretrained, data, tmp_path_factory):
    folder, runs = tmp_path_factory.mktemp("tuned"), {}
    for name, file in TUNED.items():
        recorder, said = configs.Recorder(tuning(file, data, pretrained)), []
        result = finetune.finetune(recorder, folder / name, quiet=True, say=said.append)
        runs[name] = Tuned(folder / name, result, recorder, said)
    return runs


def tuning(file: str, data, start, **changes):
    steps = {"train.train_batch_size": 8, "train.num_train_epochs": 1.0, "train.save_every_steps": 1}
    rows = {"init_checkpoint": start, "data.folder": data, "data.max_seq_length": 24, "data.max_train_examples": 17}
    return load(file, steps | rows | {key.replace("__", "."): value for key, value in changes.items()})


@contextmanager
def gone(folder):
    """Moves it away for a while."""
    away = folder.rename(folder.with_name("away"))
    try:
        yield
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        away.rename(folder)


def shown_by_evaluate(capsys, *arguments: str) -> dict[str, str]:
    assert main(["evaluate", *arguments]) == EXIT_DONE
    return dict(line.split() for line in capsys.readouterr().out.splitlines())


@pytest.mark.parametrize(("name", "dev"), [("nli", 54), ("sup", 18)])
def test_fine_tuning_reads_every_key_and_ends_with_spearman_on_stsb(tuned, name, dev):
    workdir, result, recorder, _ = tuned[name]
    assert recorder.never_read() == []
    assert result == json.loads((workdir / "result.json").read_text())
    assert result["num_examples"] == {"train": 17, "dev": dev} and result["step"] == 2
    assert set(result["metrics"]) == {"stsb_spearman", "pretrained_stsb_spearman", "loss"}
    assert result["metrics"]["pretrained_stsb_spearman"] > 20  # sentences are near to themselves in any encoder


@pytest.mark.acceptance
@pytest.mark.parametrize("name", TUNED)
def test_one_step_of_fine_tuning_is_the_same_in_every_mode(name, pretrained, data, tmp_path):
    tiny.same_step_in_every_mode(partial(tuning, TUNED[name], data, pretrained), tmp_path)


def test_a_fine_tuned_encoder_starts_another_and_its_head_stays_behind(data, tuned, tmp_path, monkeypatch):
    """The chain of Sentence-BERT's table 2."""
    start, said = tuned["nli"].workdir, []
    begin = partial(finetune.finetune, tuning("sentence_bert.py:stsb", data, start), tmp_path / "W", say=said.append)
    given = tiny.given_to_fit(monkeypatch, finetune, begin)
    assert said[-1] == f"from {start}, step 2: loaded: encoder; drawn from the seed: nothing; left over: pair_classifier"
    jax.tree.map(np.testing.assert_array_equal, given["pretrained"], {"encoder": open_trained(start).params["encoder"]})
    assert given["facts"](1)["start"] == content_hash(given["pretrained"])


def test_pretraining_starts_from_a_fine_tuned_encoder(corpus, pretrained, tuned, tmp_path, monkeypatch):
    start, said = tuned["nli"].workdir, []
    config = simcse(corpus, start, data__store=pretrained / "store")
    given = tiny.given_to_fit(monkeypatch, run, lambda: run.train(config, tmp_path / "W", quiet=True, say=said.append))
    assert f"from {start}, step 2: loaded: encoder; drawn from the seed: mlp; left over: pair_classifier" in said
    jax.tree.map(np.testing.assert_array_equal, given["pretrained"], {"encoder": open_trained(start).params["encoder"]})


@pytest.mark.parametrize("name", TUNED)
def test_evaluate_gives_the_score_of_the_run_again_without_what_it_started_from(pretrained, tuned, name, capsys):
    workdir, result, recorder, _ = tuned[name]
    with gone(pretrained):
        shown = shown_by_evaluate(capsys, f"--workdir={workdir}")
        score = finetune.sts_of_trained(workdir, recorder.objective.pooling)
    assert shown == {name: f"{result['metrics'][name]:.4f}" for name in ("stsb_spearman", "loss")}
    assert score == pytest.approx(result["metrics"]["stsb_spearman"])


def test_the_score_is_of_the_vectors_that_the_objective_predicts(tuned, data):
    """Behind the dense layer of supervised SimCSE, not the bare encoder's."""
    workdir, result, _, _ = tuned["sup"]
    trained = open_trained(workdir)
    bare = partial(embed, trained.encoder, trained.params["encoder"], trained.tokenizer, pooling="cls")
    assert sentences.sts_spearman(bare, data) != pytest.approx(result["metrics"]["stsb_spearman"])
    assert finetune.sts_of_trained(workdir, "mean") != pytest.approx(result["metrics"]["stsb_spearman"])


def test_the_score_of_a_siamese_encoder_is_of_its_mean_vectors_as_they_were_saved(tuned, data):
    workdir, result, _, _ = tuned["nli"]
    trained = open_trained(workdir)
    bare = partial(embed, trained.encoder, trained.params["encoder"], trained.tokenizer, pooling="mean")
    assert sentences.sts_spearman(bare, data) == pytest.approx(result["metrics"]["stsb_spearman"])
    assert result["metrics"]["stsb_spearman"] != result["metrics"]["pretrained_stsb_spearman"]


def test_its_encoder_goes_out_alone_and_is_scored_alike_when_it_is_brought_in(tuned, data, tmp_path, monkeypatch, capsys):
    workdir, result, _, _ = tuned["nli"]
    convert.take_out(workdir, tmp_path / "out", num_strings=50, say=str)
    assert json.loads((tmp_path / "out" / "config.json").read_text())["architectures"] == ["BertModel"]
    convert.bring_in(tmp_path / "out", tmp_path / "back", num_strings=50, say=str)
    monkeypatch.setenv("BERT_JAX_DATA", str(data))
    shown = shown_by_evaluate(capsys, f"--workdir={tmp_path / 'back'}", "--sts=mean")
    assert shown == {"stsb_spearman": f"{result['metrics']['stsb_spearman']:.4f}"}


def test_a_fine_tuning_goes_on_only_from_the_model_that_it_began_with(corpus, pretrained, tuned, data, tmp_path):
    stopped = shutil.copytree(tuned["nli"].workdir, tmp_path / "W")
    (stopped / "result.json").unlink()
    with gone(pretrained):
        tiny.untrained(tiny.config(corpus, model__num_hidden_layers=1, seed=7), pretrained)
        with pytest.raises(UserError, match="the model in init_checkpoint is not the one that the run began with"):
            finetune.finetune(tuning(TUNED["nli"], data, pretrained), stopped, quiet=True)


def test_evaluate_scores_any_run_on_stsb(unbroken, data, monkeypatch, capsys):
    monkeypatch.setenv("BERT_JAX_DATA", str(data))
    shown = shown_by_evaluate(capsys, f"--workdir={unbroken[0]}", "--sts=mean")
    assert 20 < float(shown["stsb_spearman"]) <= 100 and "contrastive_loss" in shown
