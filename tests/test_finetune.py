"""From a pretrained workdir to a scored one, on a corpus and a task made for the test."""

import json
import shutil
from functools import partial

import jax
import numpy as np
import pytest
from ml_collections import ConfigDict

from bert_jax import config as configs
from bert_jax import convert, finetune, jobs, run
from bert_jax import workdir as workdirs
from bert_jax.__main__ import main
from bert_jax.build import build_optimizer, encoder_config, named_objective
from bert_jax.checkpoint import Checkpoints, content_hash
from bert_jax.errors import EXIT_DONE, EXIT_USER_ERROR, UserError
from bert_jax.parallel.step import init_state
from bert_jax.train.watch import read_metrics
from bert_jax.trained import open_trained
from tests import tiny


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pretrained")
    return tiny.untrained(tiny.config(tiny.write_corpus(folder / "text.txt"), model__num_hidden_layers=1), folder / "W")


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


def load(*args, row="mrpc", **changes):
    return configs.load(str(tiny.ROOT / "configs" / f"finetune_glue.py:{row}"), overrides(*args, **changes))


@pytest.fixture(scope="module")
def tuned(pretrained, data, tmp_path_factory):
    """(workdir, result, config with the keys that were read, what was said)."""
    recorder, workdir, said = configs.Recorder(load(pretrained, data)), tmp_path_factory.mktemp("tuned") / "W", []
    result = finetune.finetune(recorder, workdir, quiet=True, say=said.append)
    return workdir, result, recorder, said


def test_two_steps_end_to_end_read_every_key_and_are_scored(pretrained, data, tuned):
    workdir, result, recorder, said = tuned
    assert recorder.never_read() == []
    assert result == json.loads((workdir / "result.json").read_text())
    assert (result["status"], result["step"]) == ("done", 2)  # 20 examples in batches of 8, rounded down
    assert result["num_examples"] == {"train": 20, "dev": 19}
    assert set(result["metrics"]) == {"accuracy", "f1", "loss", "majority_accuracy"}
    assert result["metrics"]["majority_accuracy"] == pytest.approx(12 / 19)
    assert any("loaded: encoder; drawn from the seed: classifier; left over: masked_lm, next_sentence" in line for line in said)
    assert finetune.finetune(load(pretrained, data), workdir, quiet=True) == result


def test_one_step_on_a_task_is_the_same_in_every_mode(pretrained, data, tmp_path):
    tiny.same_step_in_every_mode(partial(load, pretrained, data), tmp_path)


def test_it_is_evaluated_as_it_was_reported_and_goes_out_when_what_it_started_from_is_gone(pretrained, tuned, tmp_path, capsys):
    workdir, result, _, _ = tuned
    away = pretrained.rename(tmp_path / "away")
    try:
        assert main(["evaluate", f"--workdir={workdir}"]) == EXIT_DONE
        shown = dict(line.split() for line in capsys.readouterr().out.splitlines())
        assert shown == {name: f"{value:.4f}" for name, value in result["metrics"].items()}
        goes_out_and_comes_back(workdir, tmp_path / "out", tmp_path / "back")
    finally:
        away.rename(pretrained)


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
    trained = open_trained(tmp_path / "W", say=str)
    assert trained.tokenizer.cls_last and set(trained.params["encoder"]["lstm"]) == {"forward_0", "backward_0"}
    with pytest.raises(UserError, match="no class of transformers computes what this model does"):
        convert.take_out(tmp_path / "W", tmp_path / "out", num_strings=10, say=str)


def test_a_model_with_features_of_tokens_is_refused_before_anything_is_written(data, tmp_path):
    arguments = tiny.arguments(tiny.write_corpus(tmp_path / "text.txt"))
    start = tiny.untrained(configs.load(f"{tiny.ROOT}/configs/word_place.py:tiny", arguments), tmp_path / "P")
    with pytest.raises(UserError, match="(?s)come without features.*word_place"):
        finetune.finetune(load(start, data), tmp_path / "W", quiet=True)
    assert not (tmp_path / "W" / "config.json").exists()


def goes_out_and_comes_back(workdir, out, back):
    convert.take_out(workdir, out, num_strings=100, say=str)
    written = json.loads((out / "config.json").read_text())
    assert written["architectures"] == ["BertForSequenceClassification"] and written["id2label"] == {"0": "0", "1": "1"}
    card = (out / "README.md").read_text()
    assert "| training steps | 2 |" in card and "equal bit for bit" in card
    convert.bring_in(out, back, num_strings=100, say=str)
    ours, theirs = open_trained(workdir), open_trained(back)
    assert ours.step == 2 and ours.params.keys() == {"encoder", "classifier"}
    jax.tree.map(np.testing.assert_array_equal, ours.params, theirs.params)


def test_a_pretraining_run_goes_out(pretrained, tmp_path):
    convert.take_out(pretrained, tmp_path / "out", num_strings=100, say=str)
    found = json.loads((tmp_path / "out" / "config.json").read_text())
    assert (found["architectures"], found["hidden_size"]) == (["BertForPreTraining"], 16)


def objective_of(config, trained):
    model = trained.config.model.to_dict() | {"pooler": True}
    return named_objective(
        jobs.objectives(config.task, ("0", "1")), config.objective, encoder_config(model, trained.tokenizer.size)
    )


def test_training_starts_from_the_pretrained_encoder_and_a_fresh_classifier(pretrained, data):
    trained = open_trained(pretrained)
    objective = objective_of(load(pretrained, data), trained)
    optimizer, _ = build_optimizer(configs.load(str(tiny.ROOT / "configs" / "quickstart.py")))
    state = init_state(objective, optimizer, 3, {"encoder": trained.params["encoder"]})
    for ours, theirs in zip(jax.tree.leaves(state.params["encoder"]), jax.tree.leaves(trained.params["encoder"]), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert set(state.params) == {"encoder", "classifier"}
    assert np.abs(state.params["classifier"]["dense"]["kernel"]).max() > 0


def test_what_was_fine_tuned_is_where_fine_tuning_starts_from(tuned, data, tmp_path, monkeypatch):
    workdir, said = tuned[0], []
    begin = partial(finetune.finetune, load(workdir, data), tmp_path / "W", say=said.append)
    given = tiny.given_to_fit(monkeypatch, finetune, begin)
    assert said[-1] == f"from {workdir}, step 2: loaded: encoder; drawn from the seed: classifier; left over: classifier"
    encoder = open_trained(workdir).params["encoder"]
    jax.tree.map(np.testing.assert_array_equal, given["pretrained"], {"encoder": encoder})


def test_pretraining_verbs_say_what_they_need(tuned, capsys):
    assert main(["predict", f"--workdir={tuned[0]}", "--text=the [MASK]"]) == EXIT_USER_ERROR
    assert "the number of texts is not that of the task" in capsys.readouterr().err  # its task is asked with pairs
    assert main(["replay", f"--workdir={tuned[0]}", "--step=1"]) == EXIT_USER_ERROR
    assert "only steps of pretraining are replayed" in capsys.readouterr().err


@pytest.fixture(scope="module")
def students(pretrained, data, tuned, tmp_path_factory):
    """TinyBERT's two steps on the task, from a student of its general stage: row -> (workdir, result, config, what was said)."""
    folder = tmp_path_factory.mktemp("students")
    sizes = tiny.OVERRIDES | {"model.num_hidden_layers": 1, "model.hidden_size": 8, "data.store": pretrained / "store"}
    sizes |= {"data.input_file": pretrained.parent / "text.txt", "text.vocab_file": pretrained / "vocab.txt"}
    general = configs.load(str(tiny.ROOT / "configs" / "distill.py:tinybert"), [f"{key}={value}" for key, value in sizes.items()])
    teacher_model = open_trained(pretrained).config.model.to_dict()
    start, runs = tiny.untrained(general, folder / "general", teacher_model=teacher_model), {}
    for row in ("tinybert-layers", "tinybert-prediction"):
        config = load(start, data, row=f"mrpc-{row}", train__num_train_epochs=1.0, objective__teacher=tuned[0])
        recorder, said = configs.Recorder(config), []
        runs[row] = folder / row, finetune.finetune(recorder, folder / row, quiet=True, say=said.append), recorder, said
        start = folder / row
    return runs


def test_a_student_learns_the_layers_of_a_fine_tuned_teacher_and_then_its_classes(students, tuned):
    (layers, first, *of_layers), (classes, second, *of_classes) = students.values()
    assert of_layers[0].never_read() == of_classes[0].never_read() == []
    assert "loaded: encoder/embeddings, encoder/layers, projections; drawn from the seed: encoder/pooler" in of_layers[1][-2]
    assert "loaded: encoder; drawn from the seed: classifier; left over: projections" in of_classes[1][-2]
    assert set(first["metrics"]) == {"loss"}  # it gives no classes yet
    assert set(second["metrics"]) == {"accuracy", "f1", "loss", "majority_accuracy"}
    assert 0 < second["metrics"]["loss"] == read_metrics(classes)[-1]["prediction_loss"]
    assert finetune.evaluate_finetuned(classes) == pytest.approx(second["metrics"], rel=1e-6)
    theirs = open_trained(tuned[0]).params
    assert open_trained(layers).facts["teacher"] == content_hash({"encoder": theirs["encoder"]})
    assert open_trained(classes).facts["teacher"] == content_hash(theirs)


def test_its_teacher_stays_the_same(students, pretrained, data, tmp_path):
    classes, _, config, _ = students["tinybert-prediction"]
    stopped = shutil.copytree(classes, tmp_path / "W")
    (stopped / "result.json").unlink()
    for teacher, message in (
        (classes, "the teacher is not the one that the checkpoint learned from"),
        (pretrained, "the teacher does not know the classes of this task"),
    ):
        changed = ConfigDict(config.to_dict())
        changed.objective.teacher = str(teacher)
        with pytest.raises(UserError, match=message):
            finetune.finetune(changed, stopped, quiet=True)


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
        patch.setattr(finetune, "_write_predictions", broken)
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
        ({"init_checkpoint": "/nowhere"}, "no trained model here"),
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
    drawn = [jobs.read_examples(load(pretrained, data, data__max_train_examples=10, seed=seed)).train for seed in (0, 0, 1)]
    everything = jobs.read_examples(load(pretrained, data, data__max_train_examples=0)).train
    assert len(everything) == 24 and len(drawn[0]) == 10
    assert drawn[0] == drawn[1] != drawn[2]
    assert all(example in everything for example in drawn[0])


def test_the_verb_is_offered(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["finetune", "--help"])
    assert ended.value.code == EXIT_DONE and "--config" in capsys.readouterr().out
