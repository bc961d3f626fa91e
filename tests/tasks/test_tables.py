"""The three kinds of tables, and what is wrong with a row of each."""

import pytest

from bert_jax.errors import UserError
from bert_jax.tasks import tables


def cells(tmp_path, name: str, content: str, columns, skipped=None) -> list[tuple[str, ...]]:
    (tmp_path / name).write_text(content, encoding="utf-8")
    return [found for _, found in tables.read(tmp_path / name, columns, skipped=skipped)]


def test_commas_have_quotes_and_may_hold_line_ends(tmp_path):
    content = 'text,label\n"one, two",a\n"a ""word""\nmore",b\n'
    assert cells(tmp_path, "x.csv", content, ("label", "text")) == [("a", "one, two"), ("b", 'a "word"\nmore')]


def test_lines_of_json_are_read_by_key(tmp_path):
    content = '{"text": "x\\ty", "n": 3}\n{"n": 4.5, "text": "z", "more": []}\n'
    assert cells(tmp_path, "x.jsonl", content, ("text", "n")) == [("x\ty", "3"), ("z", "4.5")]


def test_columns_by_place_need_no_header(tmp_path):
    assert cells(tmp_path, "x.tsv", "a\tb\tc\nd\te\tf\n", (2, 0)) == [("c", "a"), ("f", "d")]


@pytest.mark.parametrize(
    ("name", "content", "columns", "message"),
    [
        ("x.csv", "text,label\na\n", ("text", "label"), r"ragged\n.*x\.csv, line 2: 1 columns\n.*2 columns"),
        ("x.jsonl", '{"text": "a"}\n', ("text", "label"), r"lacks the column 'label'\n.*x\.jsonl, line 1: text"),
        ("x.jsonl", "[1]\n", ("text",), r"not a JSON object\n.*x\.jsonl, line 1"),
        ("x.jsonl", '{"text": null}\n', ("text",), r"lacks the column 'text'"),
        ("x.tsv", "a\tb\n", (2,), r"ragged\n.*x\.tsv, line 1: 2 columns\n.*3 columns"),
        ("x.tsv", "a\tb\nc\n", (0,), r"ragged\n.*x\.tsv, line 2: 1 columns"),
    ],
)
def test_a_bad_row_is_named_or_left_out_and_noted(tmp_path, name, content, columns, message):
    with pytest.raises(UserError, match=message):
        cells(tmp_path, name, content, columns)
    skipped = []
    assert len(cells(tmp_path, name, content, columns, skipped)) == content.count("\n") - 1 - (
        columns[0] == "text" and "csv" in name
    )
    assert len(skipped) == 1
