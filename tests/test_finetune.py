"""From a pretrained workdir to a scored one, on a corpus and a task made for the test."""

import json

import jax
import numpy as np
import pytest

from bert_jax import config as configs
from bert_jax import convert, finetune, run
from bert_jax import workdir as workdirs
from bert_jax.__main__ import main
from bert_jax.build import build_optimizer
from bert_jax.checkpoint import Checkpoints
from bert_jax.errors import EXIT_DONE, EXIT_USER_ERROR, UserError
from bert_jax.parallel.step import init_state
from bert_jax.trained import open_trained
from tests import tiny


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pretrained")
    config = tiny.config(
        tiny.write_corpus(folder / "text.txt"), train__num_train_steps=1, train__eval_every_steps=1, model__num_hidden_layers=1
    )
    assert run.train(config, folder / "W", quiet=True)
    return folder / "W"


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """MRPC in its layout: class 1 where the second sentence repeats the first."""
    folder = tmp_path_factory.mktemp("data")
    (folder / "glue" / "MRPC").mkdir(parents=True)
    for split, count in (("train", 24), ("dev", 19)):
        rows = [(i % 3 != 0, i, i, tiny.sentence(i), tiny.sentence(i if i % 3 else i + 7)) for i in range(count)]
        lines = ["Quality\t#1 ID\t#2 ID\t#1 String\t#2 String", *("\t".join(map(str, (int(row[0]), *row[1:]))) for row in rows)]
        (folder / "glue" / "MRPC" / f"{split}.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


def overrides(pretrained, data, **changes) -> list[str]:
    values = {
        "init_checkpoint": pretrained,
        "data.folder": data,
        "data.max_seq_length": 24,
        "data.max_train_examples": 20,
        "train.train_batch_size": 8,
        "train.num_train_epochs": 1.0,
        "train.save_every_steps": 1,
        **{key.replace("__", "."): value for key, value in changes.items()},
    }
    return [f"--config.{key}={value}" for key, value in values.items()]


def load(*args, **changes):
    return configs.load(str(tiny.ROOT / "configs" / "finetune_glue.py:mrpc"), overrides(*args, **changes))


def test_two_steps_end_to_end_read_every_key_and_are_scored(pretrained, data, tmp_path):
    recorder = configs.Recorder(load(pretrained, data))
    result = finetune.finetune(recorder, tmp_path / "W", quiet=True)
    assert recorder.never_read() == []
    assert result == json.loads((tmp_path / "W" / "result.json").read_text())
    assert (result["status"], result["step"]) == ("done", 2)  # 20 examples in batches of 8, rounded down
    assert result["num_examples"] == {"train": 20, "dev": 19}
    assert set(result["metrics"]) == {"accuracy", "f1", "loss", "majority_accuracy"}
    assert result["metrics"]["majority_accuracy"] == pytest.approx(12 / 19)
    again = finetune.finetune(load(pretrained, data), tmp_path / "W", quiet=True)
    assert again == result
    goes_out_and_comes_back(tmp_path / "W", tmp_path / "out", tmp_path / "back")


def test_a_model_from_left_to_right_is_fine_tuned_with_an_lstm_on_top_and_does_not_go_out(data, tmp_path):
    """Its [CLS] stands last in the rows of the task as in those of the text."""
    small = tiny.OVERRIDES | {"model.num_hidden_layers": 1, "train.num_train_steps": 1, "train.eval_every_steps": 1}
    small["data.input_file"] = tiny.write_corpus(tmp_path / "text.txt")
    config = configs.load(f"{tiny.ROOT}/configs/bert.py:tiny-ltr", [f"{key}={value}" for key, value in small.items()])
    assert run.train(config, tmp_path / "P", quiet=True)
    metrics = workdirs.finished(tmp_path / "P")["metrics"]
    assert {"causal_lm_loss", "causal_lm_accuracy", "unigram_loss"} <= metrics.keys()

    result = finetune.finetune(load(tmp_path / "P", data, model__num_lstm_layers=1), tmp_path / "W", quiet=True)
    assert (result["status"], result["step"]) == ("done", 2)
    trained = finetune.open_finetuned(tmp_path / "W", say=str)
    assert trained.tokenizer.cls_last and set(trained.params["encoder"]["lstm"]) == {"forward_0", "backward_0"}
    with pytest.raises(UserError, match="no class of transformers computes what this model does"):
        convert.take_out(tmp_path / "W", tmp_path / "out", num_strings=10, say=str)


def goes_out_and_comes_back(workdir, out, back):
    convert.take_out(workdir, out, num_strings=100, say=str)
    written = json.loads((out / "config.json").read_text())
    assert written["architectures"] == ["BertForSequenceClassification"] and written["id2label"] == {"0": "0", "1": "1"}
    card = (out / "README.md").read_text()
    assert "| training steps | 2 |" in card and "equal bit for bit" in card
    convert.bring_in(out, back, num_strings=100, say=str)
    ours, theirs = finetune.open_finetuned(workdir), open_trained(back)
    assert ours.step == 2 and ours.params.keys() == {"encoder", "classifier"}
    jax.tree.map(np.testing.assert_array_equal, ours.params, theirs.params)


def test_a_pretraining_run_goes_out(pretrained, tmp_path):
    convert.take_out(pretrained, tmp_path / "out", num_strings=100, say=str)
    found = json.loads((tmp_path / "out" / "config.json").read_text())
    assert (found["architectures"], found["hidden_size"]) == (["BertForPreTraining"], 16)


def test_training_starts_from_the_pretrained_encoder_and_a_fresh_classifier(pretrained, data):
    trained = open_trained(pretrained)
    objective = finetune.build_objective(load(pretrained, data), trained)
    optimizer, _ = build_optimizer(configs.load(str(tiny.ROOT / "configs" / "quickstart.py")))
    state = init_state(objective, optimizer, 3, {"encoder": trained.params["encoder"]})
    for ours, theirs in zip(jax.tree.leaves(state.params["encoder"]), jax.tree.leaves(trained.params["encoder"]), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert set(state.params) == {"encoder", "classifier"}
    assert np.abs(state.params["classifier"]["dense"]["kernel"]).max() > 0


def test_what_the_pretrained_model_brings_along_is_said(pretrained, data, tmp_path, capsys):
    finetune.finetune(load(pretrained, data), tmp_path / "W", quiet=True)
    said = "loaded: encoder; drawn from the seed: classifier; left over: masked_lm, next_sentence"
    assert said in capsys.readouterr().out


def test_a_run_that_was_stopped_goes_on_from_its_checkpoint(pretrained, data, tmp_path, monkeypatch):
    kept = []
    restore = Checkpoints.restore

    def spy(self, *args, **kwargs):
        found = restore(self, *args, **kwargs)
        kept.append(found and found[0])
        return found

    def broken(*args):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(finetune, "predict_classes", broken)
        with pytest.raises(KeyboardInterrupt):
            finetune.finetune(load(pretrained, data), tmp_path / "W", quiet=True)
    assert workdirs.finished(tmp_path / "W") is None
    monkeypatch.setattr(Checkpoints, "restore", spy)
    assert finetune.finetune(load(pretrained, data), tmp_path / "W", quiet=True)["step"] == 2
    assert kept == [1, 2]  # the pretrained model, then the run's own


def test_another_config_in_the_workdir_is_refused(pretrained, data, tmp_path):
    configs.write_json(tmp_path / "config.json", load(pretrained, data, seed=7).to_dict())
    with pytest.raises(UserError, match="seed: 7 -> 0"):
        finetune.finetune(load(pretrained, data), tmp_path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"init_checkpoint": ""}, "init_checkpoint is empty"),
        ({"init_checkpoint": "/nowhere"}, "no pretrained model here"),
        ({"data.folder": "/nowhere"}, "data of the task is absent"),
        ({"data.folder": ""}, "BERT_JAX_DATA"),
    ],
)
def test_mistakes_end_in_one_message(pretrained, data, tmp_path, monkeypatch, capsys, changes, message):
    monkeypatch.delenv("BERT_JAX_DATA", raising=False)
    config = f"--config={tiny.ROOT / 'configs' / 'finetune_glue.py:mrpc'}"
    arguments = ["finetune", config, f"--workdir={tmp_path / 'W'}", *overrides(pretrained, data, **changes)]
    assert main(arguments) == EXIT_USER_ERROR
    assert message in capsys.readouterr().err


def test_the_capped_examples_are_drawn_by_the_seed(pretrained, data):
    drawn = [finetune.read_examples(load(pretrained, data, data__max_train_examples=10, seed=seed))[0] for seed in (0, 0, 1)]
    everything = finetune.read_examples(load(pretrained, data, data__max_train_examples=0))[0]
    assert len(everything) == 24 and len(drawn[0]) == 10
    assert drawn[0] == drawn[1] != drawn[2]
    assert all(example in everything for example in drawn[0])


def test_the_verb_is_offered(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["finetune", "--help"])
    assert ended.value.code == EXIT_DONE and "--config" in capsys.readouterr().out
