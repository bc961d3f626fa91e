"""A collection is made and searched by the command, with an encoder that sees words alone: what is near is seen by eye."""

import json

import pytest

from bert_jax import convert, searching
from bert_jax.__main__ import main
from bert_jax.errors import EXIT_DONE, EXIT_USER_ERROR
from bert_jax.predicting import Opened

WORDS = {"cat": (1, 0, 0), "dog": (0.9, 0.3, 0), "sits": (0, 1, 0), "runs": (0, 0.9, 0.2), "tax": (0, 0, 1), "law": (0, 0.1, 1)}
FAQ = [
    {"text": "cat sits", "answer": "on the mat", "id": 7},
    {"text": "tax law", "answer": "pay it"},
    {"text": "dog runs"},
]


@pytest.fixture
def place(tmp_path):
    """The folder with an encoder W and a file of texts."""
    lines = "".join(f"{word} {' '.join(map(str, numbers))}\n" for word, numbers in WORDS.items())
    (tmp_path / "words.txt").write_text(lines)
    convert.bring_in(tmp_path / "words.txt", tmp_path / "W", num_strings=1, say=str)
    (tmp_path / "faq.jsonl").write_text("".join(json.dumps(each) + "\n" for each in FAQ))
    return tmp_path


@pytest.fixture
def call(place, capsys):
    def call(verb: str, *flags: str) -> tuple[int, list[dict], str]:
        """(exit code, lines, standard error)"""
        code = main([verb, f"--workdir={place}/W", f"--collection={place}/C", *flags])
        said = capsys.readouterr()
        return code, [json.loads(line) for line in said.out.splitlines() if line.startswith("{")], said.err

    return call


@pytest.fixture
def collection(call, place):
    assert call("embed", f"--file={place}/faq.jsonl")[0] == EXIT_DONE


def test_the_nearest_comes_first_with_all_that_was_stored_with_it(call, collection):
    code, (first, second), _ = call("search", "--text=tax", "--text=dog sits", "--top_k=2")
    assert code == EXIT_DONE and first["text"] == "tax"
    assert first["found"][0].items() >= {"text": "tax law", "answer": "pay it"}.items()
    assert first["found"][0]["cosine"] > first["found"][1]["cosine"]
    assert {each["text"] for each in second["found"]} == {"cat sits", "dog runs"}
    (same,) = call("search", "--text=cat sits", "--top_k=1")[1][0]["found"]
    assert same == {"cosine": pytest.approx(1.0, abs=1e-3), **FAQ[0]} and list(same) == ["cosine", "answer", "id", "text"]


def test_below_the_threshold_nothing_is_found(call, collection):
    found = [each["found"] for each in call("search", "--text=tax law", "--text=cat tax", "--threshold=0.95")[1]]
    assert [each["text"] for each in found[0]] == ["tax law"] and found[1] == []


def test_what_is_computed_stands_in_place_of_what_was_stored_under_its_name(call, place, monkeypatch):
    (place / "own.jsonl").write_text('{"text": "cat sits", "score": "12", "cosine": 7}\n{"text": "dog runs", "score": 3}\n')
    assert call("embed", f"--file={place}/own.jsonl")[0] == EXIT_DONE
    (plain,) = call("search", "--text=cat", "--top_k=1")[1]
    assert 0.7 < plain["found"][0]["cosine"] < 0.71 and plain["found"][0]["score"] == "12"
    monkeypatch.setattr(searching, "open_predictor", lambda folder, say: Opened(Fake, _Trained(folder.name)))
    (judged,) = call("search", "--text=cat", "--rerank=regress")[1]
    assert [each["score"] for each in judged["found"]] == [8.0, 8.0]


def test_questions_come_from_standard_input(call, collection, monkeypatch):
    monkeypatch.setattr(searching, "standard_input", lambda: iter(["cat\n", "law\n"]))
    assert [each["found"][0]["text"] for each in call("search", "--top_k=1")[1]] == ["cat sits", "tax law"]


def test_texts_of_a_plain_file_and_small_dtypes(call, place):
    (place / "texts.txt").write_text("cat sits\ntax law\ndog runs\n")
    assert call("embed", f"--file={place}/texts.txt", "--dtype=int8")[0] == EXIT_DONE
    (found,) = call("search", "--text=law", "--top_k=1")[1]
    assert found["found"][0]["text"] == "tax law" and found["found"][0]["cosine"] > 0.7


class Fake:
    """A model of pairs that prefers long texts and those on tax, and finds the last word."""

    asked = staticmethod(lambda value, place: value)
    faults = staticmethod(lambda examples: [None] * len(examples))

    @staticmethod
    def answers(examples):
        return [
            {"score": len(each["text_pair"]) + 10.0 * ("tax" in each["text_pair"])}
            if "text_pair" in each
            else {"answer": each["paragraph"].split()[-1], "begin": 4, "end": 8, "score": float("runs" in each["paragraph"])}
            for each in examples
        ]


def test_a_second_model_orders_anew_and_a_reader_finds_the_answer(call, collection, monkeypatch):
    monkeypatch.setattr(searching, "open_predictor", lambda folder, say: Opened(Fake, _Trained(folder.name)))
    (found,) = call("search", "--text=dog", "--top_k=3", "--rerank=regress", "--reader=answer")[1]
    assert [each["text"] for each in found["found"]] == ["tax law", "cat sits", "dog runs"]  # of equal scores the nearest
    assert [each["score"] for each in found["found"]] == [17.0, 8.0, 8.0]
    assert found["answer"] == {"answer": "runs", "begin": 4, "end": 8, "score": 1.0, "found": 2}
    assert call("search", "--text=dog", "--threshold=0.99", "--reader=answer")[1][0]["answer"] is None


class _Trained:
    def __init__(self, name):
        self.config = type("Config", (), {"objective": {"name": name}})


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--text=a", "--collection=none"], "there is no collection here"),
        (["--text=a", "--pooling=max"], "made by another encoder: pooling differs"),
        (["--text=a", "--pooling=middle"], "middle"),
        (["--text=a", "--top_k=0"], "top_k"),
        (["--text=a", "--threshold=2"], "threshold"),
        (["--text=a", "--text= "], "a text is empty\n  got:      --text number 2"),
    ],
)
def test_mistakes_end_in_one_message(call, collection, flags, message):
    code, lines, err = call("search", *flags)
    assert code == EXIT_USER_ERROR and message in err and "Traceback" not in err and not lines


def test_no_question_is_said(call, collection, monkeypatch):
    monkeypatch.setattr(searching, "standard_input", lambda: iter([]))
    code, _, err = call("search")
    assert code == EXIT_USER_ERROR and "nothing is asked" in err


def test_a_second_model_of_another_kind_is_refused(call, collection, place):
    assert "gives two texts no score" in call("search", "--text=a", f"--rerank={place}/W")[2]
    assert "finds no answers" in call("search", "--text=a", f"--reader={place}/W")[2]


def test_lines_that_are_no_text_are_named(call, place):
    for bad in ('{"title": "dog"}', '{"text": ["dog"]}', '{"text": "dog", "answer": "\\ud83d"}', '{"text": '):
        (place / "bad.jsonl").write_text(f'{{"text": "cat"}}\n{bad}\n')
        code, _, err = call("embed", f"--file={place}/bad.jsonl")
        assert code == EXIT_USER_ERROR and "bad.jsonl, line 2" in err and "Traceback" not in err
    code, _, err = call("embed", f"--file={place}/absent.txt")
    assert code == EXIT_USER_ERROR and "absent.txt" in err
