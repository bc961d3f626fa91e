"""What a recipe of fine-tuning may ask for beside the paper's, and tasks of one's own files, end to end on a tiny model."""

import json

import jax
import numpy as np
import pytest

from bert_jax import config as configs
from bert_jax import finetune, jobs
from bert_jax.__main__ import main
from bert_jax.errors import EXIT_USER_ERROR, UserError
from bert_jax.train.watch import read_metrics
from bert_jax.trained import open_trained
from tests import tiny

LABELS = ("bad", "good")


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pretrained")
    return tiny.untrained(tiny.config(tiny.write_corpus(folder / "text.txt")), folder / "W")  # two layers


def write_rows(path, count: int, columns=("text", "label")):
    """A table whose texts that name the moon are good."""
    texts = [tiny.sentence(7 * number) + (" the moon." if number % 2 else "") for number in range(count)]
    path.write_text("\n".join(["\t".join(columns), *(f"{text}\t{LABELS['moon' in text]}" for text in texts)]) + "\n")
    return path


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    return write_rows(folder / "train.tsv", 32), write_rows(folder / "dev.tsv", 9)


def load(pretrained, files, form: str = "classification", **changes):
    values = {
        "init_checkpoint": pretrained,
        "data.train_file": files[0],
        "data.dev_file": files[1],
        "data.max_seq_length": 24,
        "train.train_batch_size": 8,
        "train.num_train_epochs": 1.0,
        **{key.replace("__", "."): value for key, value in changes.items()},
    }
    arguments = [f"--config.{key}={value}" for key, value in values.items()]
    return configs.load(f"{tiny.ROOT}/configs/finetune_own.py:{form}", arguments)


def tuned(workdir, *args, **changes):
    return finetune.finetune(load(*args, **changes), workdir, quiet=True, say=str)


def test_own_files_are_learned_their_labels_found_and_their_predictions_written(pretrained, files, tmp_path):
    recorder = configs.Recorder(load(pretrained, files, data__pad_to_multiple_of=8))
    result = finetune.finetune(recorder, tmp_path / "W", quiet=True, say=str)
    assert set(recorder.never_read()) <= {"data.dev_fraction", "data.test_file"}
    assert result["labels"] == ["bad", "good"] and result["step"] == 4
    assert set(result["metrics"]) == {"accuracy", "macro_f1", "majority_accuracy", "loss"}
    predictions = [json.loads(line) for line in (tmp_path / "W" / "predictions.jsonl").read_text().splitlines()]
    assert [each["gold"] for each in predictions] == [LABELS["moon" in each["texts"][0]] for each in predictions]
    assert predictions[0]["id"] == "dev.tsv, line 2"
    right = np.mean([each["gold"] == each["label"] for each in predictions])
    assert right == result["metrics"]["accuracy"] == read_metrics(tmp_path / "W")[-1]["accuracy"]
    assert all(sum(each["probabilities"].values()) == pytest.approx(1) for each in predictions)
    assert "Confusion matrix" in (tmp_path / "W" / "report" / "index.html").read_text()
    assert finetune.evaluate_finetuned(tmp_path / "W") == pytest.approx(result["metrics"], rel=1e-5)


def test_without_a_dev_file_a_share_of_the_examples_is_held_out(pretrained, files):
    config = load(pretrained, files, data__dev_file="", data__dev_fraction=0.25)
    first, again = jobs.read_examples(config), jobs.read_examples(config)
    assert (len(first.train), len(first.dev)) == (24, 8) and first == again
    assert {example.id for example in first.train}.isdisjoint(example.id for example in first.dev)


def test_frozen_layers_and_embeddings_stay_and_the_rest_moves(pretrained, files, tmp_path):
    tuned(tmp_path / "W", pretrained, files, optim__frozen_layers=1)
    before, after = (open_trained(folder, say=str).params["encoder"] for folder in (pretrained, tmp_path / "W"))
    jax.tree.map(np.testing.assert_array_equal, before["embeddings"], after["embeddings"])
    for old, new in zip(jax.tree.leaves(before["layers"]), jax.tree.leaves(after["layers"]), strict=True):
        np.testing.assert_array_equal(old[0], new[0])
    kernel = lambda params: params["layers"]["intermediate"]["kernel"]  # noqa: E731
    assert np.abs(kernel(before)[1] - kernel(after)[1]).max() > 0


def test_top_layers_and_the_pooler_are_drawn_anew_and_the_others_are_not(pretrained, files, tmp_path, monkeypatch):
    def begin():
        return tuned(tmp_path / "W", pretrained, files, train__reinit_layers=1)

    given = tiny.given_to_fit(monkeypatch, finetune, begin)["pretrained"]["encoder"]
    before = open_trained(pretrained, say=str).params["encoder"]
    assert "pooler" not in given
    old, new = (params["layers"]["intermediate"]["kernel"] for params in (before, given))
    np.testing.assert_array_equal(old[0], new[0])
    assert np.abs(old[1] - new[1]).max() > 0.01
    with pytest.raises(UserError, match=r"(?s)reinit_layers is out of range.*at most 2"):
        tuned(tmp_path / "V", pretrained, files, train__reinit_layers=3)


def scores_of(monkeypatch, values: list[float]) -> None:
    """Evaluations find these figures, one after another; the last counts for all that come after."""
    made = jobs.make_job

    def job(*args):
        left = list(values)
        return made(*args)._replace(score=lambda params: jobs.Scored({"accuracy": left.pop(0) if len(left) > 1 else left[0]}))

    monkeypatch.setattr(jobs, "make_job", job)


def test_the_best_evaluation_becomes_the_result_and_patience_ends_the_training(pretrained, files, tmp_path, monkeypatch):
    scores_of(monkeypatch, [0.5, 0.9, 0.7, 0.6, 0.95])
    options = {"train__best_by": "accuracy", "train__patience": 2, "train__eval_every_steps": 1, "train__num_train_epochs": 2.0}
    result = tuned(tmp_path / "W", pretrained, files, **options)
    assert result["step"] == 2 and [
        record["step"] for record in read_metrics(tmp_path / "W") if record["kind"] == "held_out"
    ] == [1, 2, 3, 4]
    assert open_trained(tmp_path / "W", say=str).step == 2


def test_a_run_stopped_after_it_ran_out_of_patience_does_not_train_on(pretrained, files, tmp_path, monkeypatch):
    scores_of(monkeypatch, [0.5, 0.9, 0.7, 0.6, 0.95])
    options = {"train__best_by": "accuracy", "train__patience": 2, "train__eval_every_steps": 1, "train__num_train_epochs": 2.0}
    tuned(tmp_path / "W", pretrained, files, **options)
    (tmp_path / "W" / "result.json").unlink()
    assert tuned(tmp_path / "W", pretrained, files, **options)["step"] == 2
    assert max(record["step"] for record in read_metrics(tmp_path / "W")) == 4


def test_where_the_best_checkpoint_is_damaged_the_result_is_of_the_one_before_and_says_so(
    pretrained, files, tmp_path, monkeypatch
):
    scores_of(monkeypatch, [0.5, 0.9, 0.7, 0.6])
    options = {"train__best_by": "accuracy", "train__eval_every_steps": 1, "train__keep_checkpoints": 4}
    assert tuned(tmp_path / "W", pretrained, files, **options)["step"] == 2
    (tmp_path / "W" / "result.json").unlink()
    (tmp_path / "W" / "checkpoints" / "2" / "seal.json").unlink()
    assert tuned(tmp_path / "W", pretrained, files, **options)["step"] == 1


def test_without_a_metric_to_choose_by_the_last_step_is_the_result(pretrained, files, tmp_path, monkeypatch):
    scores_of(monkeypatch, [0.9, 0.5])
    assert tuned(tmp_path / "W", pretrained, files, train__eval_every_steps=1)["step"] == 4


def test_micro_batches_give_the_same_update(pretrained, files, tmp_path):
    plain = {"model__hidden_dropout_prob": 0.0, "model__attention_probs_dropout_prob": 0.0, "train__train_batch_size": 32}
    losses = []
    for accumulate in (1, 4):
        tuned(tmp_path / f"{accumulate}", pretrained, files, train__accumulate=accumulate, **plain)
        losses.append([record["loss"] for record in read_metrics(tmp_path / f"{accumulate}")])
    np.testing.assert_allclose(*losses, rtol=1e-5)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train__patience": 2}, "train.patience needs a metric"),
        ({"train__best_by": "f2"}, "train.best_by is no metric of this task"),
        ({"train__train_batch_size": 64}, "too few examples for a step"),
        ({"data__train_file": ""}, "data.train_file is empty"),
        ({"data__text_columns": "('words',)"}, "lacks the column 'words'"),
        ({"data__max_seq_length": 25}, "longer than the positions of the encoder"),
        ({"objective__class_weights": "(1.0,)"}, "class_weights does not fit the classes"),
        ({"optim__frozen_layers": -2}, "optim.frozen_layers is out of range"),
        ({"data__long_texts": "tail"}, "data.long_texts is unknown"),
    ],
)
def test_mistakes_end_in_one_message(pretrained, files, tmp_path, changes, message):
    with pytest.raises(UserError, match=message):
        tuned(tmp_path / "W", pretrained, files, **changes)


def test_a_label_that_training_does_not_know_is_named_with_its_line_or_left_out_with_a_bad_row(
    pretrained, files, tmp_path, capsys
):
    (tmp_path / "dev.tsv").write_text("text\tlabel\nthe moon\tgood\na fish\tso so\n")
    arguments = [
        f"--config.{key}={value}"
        for key, value in {
            "init_checkpoint": pretrained,
            "data.train_file": files[0],
            "data.dev_file": tmp_path / "dev.tsv",
        }.items()
    ]
    config = f"--config={tiny.ROOT / 'configs' / 'finetune_own.py'}"
    assert main(["finetune", config, f"--workdir={tmp_path / 'W'}", *arguments]) == EXIT_USER_ERROR
    said = capsys.readouterr().err
    assert "a label does not occur in training" in said and "line 3: 'so so'" in said and "Traceback" not in said


OWN = {  # form -> content of its file, settings
    "regression": ("text\tlabel\n" + "".join(f"{tiny.sentence(n)}\t{n % 5}\n" for n in range(12)), {}),
    "tagging": (
        "".join(
            f"{word}\t{'B-NAME' if word == 'moon' else 'O'}\n" if word else "\n"
            for n in range(12)
            for word in ["the", "moon", "eats", ""]
        ),
        {},
    ),
    "choice": (
        "sent1\tending0\tending1\tlabel\n" + "".join(f"{tiny.sentence(n)}\ta\tthe moon\t{n % 2}\n" for n in range(12)),
        {"data.option_columns": "('ending0', 'ending1')"},
    ),
    "ranking": (
        "query_id\tquery\tpassage\trelevance\n"
        + "".join(f"{n // 3}\tthe moon\t{tiny.sentence(n)}\t{n % 3}\n" for n in range(12)),
        {},
    ),
    "answering": (
        json.dumps(
            {
                "data": [
                    {
                        "paragraphs": [
                            {
                                "context": "my aunt likes the moon.",
                                "qas": [
                                    {"id": str(n), "question": "what?", "answers": [{"text": "the moon", "answer_start": 14}]}
                                    for n in range(12)
                                ],
                            }
                        ]
                    }
                ]
            }
        ),
        {"data.doc_stride": 4, "data.max_query_length": 6},
    ),
    "answering_or_none": (
        json.dumps(
            {
                "data": [
                    {
                        "paragraphs": [
                            {
                                "context": "my aunt likes the moon.",
                                "qas": [
                                    {
                                        "id": str(n),
                                        "question": "what?",
                                        "is_impossible": n % 2 == 1,
                                        "answers": [{"text": "the moon", "answer_start": 14}] * (1 - n % 2),
                                    }
                                    for n in range(12)
                                ],
                            }
                        ]
                    }
                ]
            }
        ),
        {"data.doc_stride": 4, "data.max_query_length": 6},
    ),
}
SUFFIX = {"tagging": "txt", "answering": "json", "answering_or_none": "json"}


@pytest.mark.parametrize("form", OWN)
def test_each_form_is_learned_from_a_file_of_ones_own_and_reads_every_key(pretrained, form, tmp_path):
    content, settings = OWN[form]
    path = tmp_path / f"own.{SUFFIX.get(form, 'tsv')}"
    path.write_text(content)
    settings = {key.replace(".", "__"): value for key, value in settings.items()}
    recorder = configs.Recorder(load(pretrained, (path, path), form, **settings))
    result = finetune.finetune(recorder, tmp_path / "W", quiet=True, say=str)
    assert set(recorder.never_read()) <= {"data.dev_fraction", "data.test_file"}
    metric = next(iter(jobs.task_of(recorder).metrics))
    assert metric in result["metrics"] and np.isfinite(result["metrics"][metric])
    predictions = [json.loads(line) for line in (tmp_path / "W" / "predictions.jsonl").read_text().splitlines()]
    assert len(predictions) == 12 and all("gold" in each for each in predictions)
    assert (tmp_path / "W" / "report" / "index.html").exists()
    if form == "answering_or_none":
        assert "null_threshold" in result["settled"]
