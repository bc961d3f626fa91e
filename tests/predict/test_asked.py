"""Questions in lines and their answers, by a made-up model that says a text backwards and refuses those with an x."""

import io
from itertools import count

import pytest

from bert_jax.errors import UserError
from bert_jax.predict.asked import Predictor, answered, of_file, of_lines
from bert_jax.tasks.form import text_of


def backwards(sizes: list[int] | None = None, **changes) -> Predictor:
    def answers(examples):
        if sizes is not None:
            sizes.append(len(examples))
        return [{"said": text[::-1]} for text in examples]

    faults = lambda examples: [UserError("no x", got=text) if "x" in text else None for text in examples]  # noqa: E731
    return Predictor(lambda value, place: text_of(value, place, "text"), answers, faults, **changes)


def said(lines, **changes) -> list:
    return list(answered(backwards(**changes), of_lines(lines, "here"), None))


def test_a_line_is_a_text_or_an_object_and_its_id_comes_back():
    lines = ["ab\r\n", ' {"text": "cd", "id": 7}\n', "e\u2028f \\n\n"]
    assert said(lines) == [{"said": "ba"}, {"id": 7, "said": "dc"}, {"said": "n\\ f\u2028e"}]


def test_answers_come_in_order_while_the_stream_goes_on():
    """The stream has no end; each chunk is answered when it is there."""
    sizes = []
    endless = answered(backwards(sizes), of_lines((f"{number}\n" for number in count(10)), "here"), None, chunk=3)
    assert [next(endless)["said"] for _ in range(7)] == ["01", "11", "21", "31", "41", "51", "61"]
    assert sizes == [3, 3, 3]


def test_what_is_answered_together_is_one_chunk():
    sizes = []
    rows = of_lines(map(str, range(5)), "here")
    assert len(list(answered(backwards(sizes, together=True), rows, None, chunk=2))) == 5 and sizes == [5]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("", r"a text is empty\n  got:      here, line 2: text"),
        (" \t", "a text is empty"),
        ("{not json", "not a JSON object\n  got:      here, line 2: {not json"),
        ('{"a": ' * 100_000, "not a JSON object"),
        ('{"txt": "a"}', "the key 'text' is missing\n  got:      here, line 2: txt"),
        ("{}", "the key 'text' is missing\n  got:      here, line 2: {}"),
        ('{"text": ["a"]}', "no text\n  got:      here, line 2: \\['a'\\]"),
        ('{"text": "a\\ud83d"}', "half of a surrogate pair"),
        ("x", "no x"),
    ],
)
def test_a_bad_line_is_refused_with_its_place_or_left_out(line, message):
    lines = ["a", line, "b"]
    with pytest.raises(UserError, match=message):
        said(lines)
    skipped = []
    assert list(answered(backwards(), of_lines(lines, "here"), skipped)) == [{"said": "a"}, {"said": "b"}]
    assert len(skipped) == 1


def test_a_file_of_text_may_have_braces_and_one_of_objects_may_not_have_text(tmp_path):
    (tmp_path / "a.txt").write_text("{b}\nc\n", encoding="utf-8")
    (tmp_path / "a.jsonl").write_text('{"text": "b"}\nc\n', encoding="utf-8")
    assert [row[1] for row in of_file(tmp_path / "a.txt")] == [{"text": "{b}"}, {"text": "c"}]
    good, bad = of_file(tmp_path / "a.jsonl")
    assert good == (f"{tmp_path}/a.jsonl, line 1", {"text": "b"}) and isinstance(bad, UserError)


def test_lines_end_at_line_feeds_alone():
    assert [answer["said"] for answer in said(io.StringIO("a\rb\nc", newline="\n"))] == ["b\ra", "c"]
