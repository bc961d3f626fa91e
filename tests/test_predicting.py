"""What trained directories answer, end to end, each a small model with weights as they were drawn, large enough to differ."""

import io
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from bert_jax import build, convert, jobs, predicting
from bert_jax import config as configs
from bert_jax import workdir as workdirs
from bert_jax.__main__ import main
from bert_jax.checkpoint import Checkpoints
from bert_jax.errors import EXIT_DONE, EXIT_USER_ERROR
from bert_jax.parallel.step import init_state
from bert_jax.predict import asked
from bert_jax.tasks import ner, submission
from bert_jax.text import kinds
from bert_jax.trained import open_trained
from tests import tiny

ROWS = {  # task -> config, labels
    "rte": ("finetune_glue.py:rte", ("entailment", "not_entailment")),
    "sst2": ("finetune_glue.py:sst2", ("0", "1")),
    "stsb": ("finetune_glue.py:stsb", ()),
    "mnli": ("finetune_glue.py:mnli", ("contradiction", "entailment", "neutral")),
    "conll2003": ("finetune_ner.py:conll2003-crf", ner.labels_of(ner.NEWS)),
    "msra": ("finetune_ner.py:msra", ner.labels_of(ner.PLACES)),
    "squad1": ("finetune_squad.py:squad1", ()),
    "squad2": ("finetune_squad.py:squad2", ()),
    "swag": ("finetune_swag.py:swag", ()),
    "ranking": ("finetune_own.py:ranking", ()),
    "sentence_encoder": ("sentence_bert.py:nli", ("contradiction", "entailment", "neutral")),
}
LENGTHS = {"data.max_seq_length": 24, "data.doc_stride": 4, "data.max_query_length": 8}
WORDS = "the cat a dog my aunt old king sees likes draws eats fish moon bread red hat".split()


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pretrained")
    changes = {"model__num_hidden_layers": 1, "model__initializer_range": 0.5}
    return tiny.untrained(tiny.config(tiny.write_corpus(folder / "text.txt"), **changes), folder / "W")


@pytest.fixture(scope="module")
def tuned(pretrained, tmp_path_factory):
    """Task -> the workdir of a model of it that has not learned anything; made once."""
    made = {}

    def workdir(task: str) -> Path:
        if task not in made:
            made[task] = untuned(task, pretrained, tmp_path_factory.mktemp("tuned") / task)
        return made[task]

    return workdir


def untuned(task: str, pretrained: Path, workdir: Path) -> Path:
    name, labels = ROWS[task]
    config = configs.load(f"{tiny.ROOT}/configs/{name}", [f"init_checkpoint={pretrained}"])
    if "train_file" in config.data:
        config.data.train_file = "own.tsv"
    config.data.update({key[5:]: value for key, value in LENGTHS.items() if key[5:] in config.data})
    start = open_trained(pretrained, say=str)
    model = start.config.model.to_dict() | dict(config.model) | {"pooler": jobs.has_pooler(config.task)}
    encoder = build.encoder_config(model, start.tokenizer.size)
    objective = build.named_objective(jobs.objectives(config.task, labels), config.objective, encoder)
    state = init_state(objective, build.build_task_optimizer(config, 1)[0], config.seed)
    workdirs.make_folder(workdir)
    kinds.copy("wordpiece", pretrained / "vocab.txt", workdir)
    text = {key: start.config.text[key] for key in ("kind", "do_lower_case")}
    facts = {"vocabulary": start.tokenizer.content_hash, "text": text, "model": model, "labels": list(labels)}
    workdirs.write_config(config, workdir, facts)
    checkpoints = Checkpoints(workdir / "checkpoints", keep=1)
    checkpoints.save(1, state, facts)
    checkpoints.wait()
    checkpoints.close()
    return workdir


def words(number: int, most: int = 9) -> str:
    """One to `most` words, others for each number."""
    drawn = np.random.default_rng(number)
    return " ".join(drawn.choice(WORDS, size=1 + number * 7 % most))


PAIR = lambda n: {"text": words(n, 30), "text_pair": words(n + 50)}  # noqa: E731
ASKED = {
    "rte": PAIR,
    "stsb": PAIR,
    "sst2": lambda n: {"texts": [words(n, 30)]},
    "conll2003": lambda n: {"text": words(n, 40)},
    "squad2": lambda n: {"question": words(n, 6), "paragraph": words(n + 50, 40)},
    "swag": lambda n: {"context": words(n), "options": [words(n + k) for k in range(2 + n % 3)]},
    "ranking": lambda n: {"query_id": n % 3, "query": words(n % 3, 5), "passage": words(n + 50, 30)},
    "sentence_encoder": lambda n: {"text": words(n, 15)},
    "pretrained": lambda n: {"text": f"[MASK] {words(n)} [MASK]"[7 * (n % 2) :]},
}


def flat(answer) -> tuple[list[float], list]:
    """(numbers with a fraction, everything else) in an answer, in order."""
    if isinstance(answer, dict | list):
        parts = [flat(part) for part in (answer.values() if isinstance(answer, dict) else answer)]
        return [x for numbers, _ in parts for x in numbers], [x for _, others in parts for x in others]
    return ([answer], []) if isinstance(answer, float) else ([], [answer])


@pytest.mark.parametrize("task", [task for task in ASKED if task != "rte"])  # stsb has pairs too
def test_each_question_has_the_answer_it_has_alone(task, tuned, pretrained):
    """Whatever others of whatever length it shares a batch or a chunk with; in the order of the questions."""
    workdir = pretrained if task == "pretrained" else tuned(task)
    predictor = predicting.open_predictor(workdir, batch_size=4, say=str).predictor
    rows = [(f"line {number}", ASKED[task](number) | {"id": number}) for number in range(11)]
    found = list(asked.answered(predictor, rows, None, chunk=7))
    assert [answer["id"] for answer in found] == list(range(11))
    alone = [answer for row in rows for answer in asked.answered(predictor, [row], None)]
    texts = {json.dumps(answer | {"id": 0}) for answer in found}
    assert len(texts) > 5  # they differ
    for ours, its in zip(found, alone, strict=True):
        ours, its = ({key: value for key, value in each.items() if key != "rank"} for each in (ours, its))
        np.testing.assert_allclose(flat(ours)[0], flat(its)[0], atol=1e-5, rtol=1e-5)
        assert flat(ours)[1] == flat(its)[1]


def ask(capsys, workdir, *arguments) -> list[dict]:
    capsys.readouterr()
    assert main(["predict", f"--workdir={workdir}", *map(str, arguments)]) == EXIT_DONE
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def asked_by_lines(capsys, monkeypatch, workdir, lines: list, *arguments) -> list[dict]:
    text = "".join(f"{line if isinstance(line, str) else json.dumps(line, ensure_ascii=False)}\n" for line in lines)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode("utf-8"))))
    return ask(capsys, workdir, *arguments)


def test_a_pair_is_asked_by_arguments_or_a_line_or_a_file(tuned, capsys, monkeypatch, tmp_path):
    (first,) = ask(capsys, tuned("rte"), "--text=the cat", "--text_pair=a dog")
    assert first["label"] == max(first["probabilities"], key=first["probabilities"].get)
    assert sum(first["probabilities"].values()) == pytest.approx(1)
    assert asked_by_lines(capsys, monkeypatch, tuned("rte"), [{"texts": ["the cat", "a dog"]}]) == [first]
    (tmp_path / "a.jsonl").write_text('{"text": "the cat", "text_pair": "a dog"}\n')
    (tmp_path / "a.tsv").write_text("index\tsentence1\tsentence2\n0\tthe cat\ta dog\n")
    for name in ("a.jsonl", "a.tsv"):
        assert ask(capsys, tuned("rte"), f"--file={tmp_path / name}", f"--to={tmp_path / 'out'}") == []
        assert [json.loads(line) for line in (tmp_path / "out").read_text().splitlines()] == [first]


def test_masks_are_filled_and_vectors_given(pretrained, tuned, capsys, monkeypatch):
    (filled,) = ask(capsys, pretrained, "--text=the [MASK] sees [MASK]", "--top_k=3")
    assert filled["text"] == "the [MASK] sees [MASK]" and [len(mask) for mask in filled["masks"]] == [3, 3]
    assert filled["masks"][0][0].keys() == {"piece", "probability"}
    lines = ["the cat", {"text": "the cat", "text_pair": "the cat"}, "a dog", {"texts": ["the cat", "a dog"]}]
    one, same, other, pair = asked_by_lines(capsys, monkeypatch, tuned("sentence_encoder"), lines)
    assert len(one["embedding"]) == 16 and same == {"similarity": pytest.approx(1)}
    u, v = (np.array(each["embedding"]) for each in (one, other))
    assert pair["similarity"] == pytest.approx(u @ v / np.linalg.norm(u) / np.linalg.norm(v), abs=1e-6)
    (pooled,) = ask(capsys, tuned("rte"), "--text=the cat", "--pooling=max")
    assert len(pooled["embedding"]) == 16


STRANGE = "😀 the cat,王小明 sees  the 🐕‍🦺 moon — é"


def test_places_are_characters_of_the_given_text(tuned, capsys):
    (found,) = ask(capsys, tuned("conll2003"), f"--text={STRANGE}")
    assert len(found["tags"]) == len(found["words"]) and found["words"][:6] == ["😀", "the", "cat", ",", "王", "小"]
    assert found["entities"] and all(each["text"] == STRANGE[each["begin"] : each["end"]] for each in found["entities"])
    (found,) = ask(capsys, tuned("msra"), "--text=abc 王")
    assert found["words"] == ["a", "b", "c", "王"]


def test_an_answer_is_a_stretch_of_the_paragraph_or_none_by_what_was_settled(tuned, capsys, monkeypatch, tmp_path):
    asked_for = [{"question": "the 🐕 sees?", "context": f"{STRANGE} {words(8, 40)}"}]
    (found,) = asked_by_lines(capsys, monkeypatch, tuned("squad1"), asked_for)
    assert found["answer"] and found["answer"] == asked_for[0]["context"][found["begin"] : found["end"]]
    assert len(found["n_best"]) > 1 and isinstance(found["null_odds"], float)
    workdir = tuned("squad2")
    for threshold, said in ((-1e9, False), (1e9, True)):
        workdirs.write_result(workdir, {"step": 1, "settled": {"null_threshold": threshold}})
        (found,) = asked_by_lines(capsys, monkeypatch, workdir, asked_for)
        assert bool(found["answer"]) == said
    (workdir / "result.json").unlink()


def test_candidates_are_ranked_among_all_of_their_query(tuned, monkeypatch, capsys):
    monkeypatch.setattr(predicting, "CHUNK", 2)
    lines = [{"query_id": n % 2, "query": "the cat", "passage": words(n)} for n in range(6)]
    found = asked_by_lines(capsys, monkeypatch, tuned("ranking"), lines)
    for group in ("0", "1"):
        mine = [each for each in found if each["query_id"] == group]
        assert [each["rank"] for each in sorted(mine, key=lambda each: -each["score"])] == [1, 2, 3]


BAD = {
    "rte": [("the cat", "the number of texts is not that of the task"), ({"texts": ["a", "b", "c"]}, "too many texts")],
    "sst2": [
        ({"text": "a", "text_pair": "b"}, "the number of texts"),
        ("", "a text is empty"),
        ({"texts": []}, "no list of texts"),
    ],
    "conll2003": [({"words": ["a", ""]}, "a text is empty"), ({"words": "a b"}, "no list of texts")],
    "squad1": [
        ("who?", "the key 'question' is missing"),
        ({"question": "a"}, "the key 'paragraph' is missing"),
        ({"question": "the cat " * 5, "paragraph": "a"}, "the question is too long"),
    ],
    "swag": [({"context": "a", "options": ["b"]}, "nothing to choose from"), ({"options": ["a", "b"]}, "'context' is missing")],
    "ranking": [({"query": "a", "passage": "b", "query_id": [1]}, "query_id is no name")],
    "pretrained": [("the cat", "no [MASK]"), ("[MASK] the cat sees " * 9, "too long for this encoder")],
    "sentence_encoder": [({"texts": ["a", " "]}, "a text is empty")],
}


@pytest.mark.parametrize("task", BAD)
def test_a_bad_line_is_one_message_with_its_place_or_left_out_and_counted(task, tuned, pretrained, capsys, monkeypatch):
    workdir = pretrained if task == "pretrained" else tuned(task)
    good = ASKED.get(task, ASKED["squad2"])(1)
    for line, message in BAD[task]:
        lines = "".join(f"{each if isinstance(each, str) else json.dumps(each)}\n" for each in (good, line, good))
        for skip in ((), ("--skip_bad_rows",)):
            monkeypatch.setattr(sys, "stdin", io.StringIO(lines))
            capsys.readouterr()
            assert main(["predict", f"--workdir={workdir}", *skip]) == (EXIT_DONE if skip else EXIT_USER_ERROR)
            shown = capsys.readouterr()
            assert message in shown.err and "standard input, line 2" in shown.err and "Traceback" not in shown.err
            assert len(shown.out.splitlines()) == (2 if skip else 0)
            assert ("1 left out, 2 answered" in shown.err) == bool(skip)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--text=a", "--text_pair=b", "--text_pair=c"], "not as many --text_pair as --text"),
        (["--text=a", "--split=dev"], "more than one thing is asked"),
        (["--split=tset"], "the task has no tset set"),
        (["--file=nowhere.txt"], "no nowhere.txt"),
        (["--file=nowhere.tsv"], "no nowhere.tsv"),
        (["--text=a", "--text_pair=b", "--to=/nowhere/out"], "cannot write /nowhere/out"),
        (["--text=a", "--batch_size=0"], "batch_size is out of range"),
        (["--text=a", "--pooling=sum"], "cls or mean or max"),
        ([], "nothing is asked"),
    ],
)
def test_a_wrong_argument_is_one_message(arguments, message, tuned, capsys, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.StringIO(""))
    assert main(["predict", f"--workdir={tuned('rte')}", *arguments]) == EXIT_USER_ERROR
    assert message in capsys.readouterr().err


def test_what_is_no_text_is_refused_and_a_reader_that_leaves_is_no_fault(tuned):
    command = [sys.executable, "-m", "bert_jax", "predict", f"--workdir={tuned('sst2')}"]
    done = subprocess.run(command, cwd=tiny.ROOT, input=b"the cat\n\xff\xfe\n", capture_output=True)
    assert done.returncode == EXIT_USER_ERROR and b"standard input is not UTF-8" in done.stderr
    assert b"Traceback" not in done.stderr
    with subprocess.Popen(command, cwd=tiny.ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as left:
        left.stdout.close()
        left.stdin.write(b"the cat\n")
        left.stdin.close()
        assert b"Traceback" not in left.stderr.read()
    assert left.returncode == EXIT_DONE


def test_a_split_has_its_examples_beside_the_answers(tuned, capsys, tmp_path, monkeypatch):
    folder = glue(tmp_path, monkeypatch, "RTE", "dev", "index\tsentence1\tsentence2\tlabel\n0\tthe cat\ta dog\tentailment\n")
    (found,) = ask(capsys, tuned("rte"), "--split=dev")
    assert found["id"] == f"{folder}, line 2" and found["texts"] == ["the cat", "a dog"] and found["gold"] == "entailment"
    assert found["label"] in found["probabilities"]


def glue(folder, monkeypatch, name: str, split: str, content: str) -> Path:
    monkeypatch.setenv("BERT_JAX_DATA", str(folder))
    (folder / "glue" / name).mkdir(parents=True, exist_ok=True)
    (folder / "glue" / name / f"{split}.tsv").write_text(content)
    return folder / "glue" / name / f"{split}.tsv"


def small(monkeypatch, task: str, count: int) -> None:
    """As if the official test set had so many rows."""
    parts = tuple(part._replace(count=count) for part in submission.PARTS[task])
    monkeypatch.setitem(submission.PARTS, task, parts)


def test_a_model_of_mnli_submits_the_diagnostic_set_too(tuned, tmp_path, monkeypatch, capsys):
    small(monkeypatch, "mnli", 3)
    rows = "".join(f"{number}\t{words(number)}\t{words(number + 9)}\n" for number in range(3))
    for name, split in (("MNLI", "test_mismatched"), ("diagnostic", "diagnostic")):
        glue(tmp_path, monkeypatch, name, split, f"index\tsentence1\tsentence2\n{rows}")
    assert main(["predict", f"--workdir={tuned('mnli')}", f"--submission={tmp_path / 'S'}"]) == EXIT_DONE
    assert sorted(path.name for path in (tmp_path / "S").iterdir()) == ["AX.tsv", "MNLI-mm.tsv"]
    header, *lines = (tmp_path / "S" / "AX.tsv").read_text().splitlines()
    assert header == "index\tprediction" and [line.split("\t")[0] for line in lines] == ["0", "1", "2"]
    assert {line.split("\t")[1] for line in lines} <= {"contradiction", "entailment", "neutral"}
    assert "test_matched.tsv" in capsys.readouterr().err  # what is missing is said


@pytest.mark.parametrize(
    ("numbers", "message"),
    [("0 2 1", "test.tsv, line 3: 2"), ("0 1", "test.tsv, line 3: it ends behind 2 rows"), ("0 1 2 3", "it ends behind 4 rows")],
)
def test_ids_that_are_not_the_official_ones_are_refused(numbers, message, tuned, tmp_path, monkeypatch, capsys):
    small(monkeypatch, "rte", 3)
    rows = "".join(f"{number}\tthe cat\ta dog\n" for number in numbers.split())
    glue(tmp_path, monkeypatch, "RTE", "test", f"index\tsentence1\tsentence2\n{rows}")
    assert main(["predict", f"--workdir={tuned('rte')}", f"--submission={tmp_path / 'S'}"]) == EXIT_USER_ERROR
    assert message in capsys.readouterr().err and not (tmp_path / "S").exists()


def test_a_classifier_goes_out_and_comes_back_and_answers_the_same(tuned, tmp_path, capsys):
    convert.take_out(tuned("rte"), tmp_path / "out", num_strings=10, say=str)
    convert.bring_in(tmp_path / "out", tmp_path / "back", num_strings=10, say=str)
    (ours,), (theirs,) = (ask(capsys, each, "--text=the cat", "--text_pair=a dog") for each in (tuned("rte"), tmp_path / "back"))
    assert theirs["probabilities"] == pytest.approx(ours["probabilities"], abs=1e-6)
