import lzma

import pytest

from bert_jax.data.finetune import Example
from bert_jax.errors import UserError
from bert_jax.tasks import glue
from tests.paths import DATA, needs_data

MRPC = glue.TASKS["mrpc"]
HEADER = "Quality\t#1 ID\t#2 ID\t#1 String\t#2 String\n"


def mrpc(tmp_path, content: str | bytes, name: str = "train.tsv"):
    folder = tmp_path / "MRPC"
    folder.mkdir(exist_ok=True)
    (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)
    return glue.read(MRPC, tmp_path, "train")


def test_columns_are_found_by_name_and_quotes_are_ordinary_characters(tmp_path):
    text = HEADER + '1\t7\t8\tHe said " yes .\tHe agreed .\n0\t9\t10\tA "b"\t"\n'
    expected = [Example(('He said " yes .', "He agreed ."), 1), Example(('A "b"', '"'), 0)]
    assert mrpc(tmp_path, text) == expected
    assert mrpc(tmp_path, "\ufeff" + text.replace("\n", "\r\n")) == expected


def test_only_a_line_feed_ends_a_line(tmp_path):
    assert mrpc(tmp_path, HEADER + "1\t1\t2\ta\u2028b\x0bc\rd\te\n") == [Example(("a\u2028b\x0bc\rd", "e"), 1)]


def test_a_compressed_file_is_read(tmp_path):
    assert mrpc(tmp_path, lzma.compress((HEADER + "1\t1\t2\ta\tb\n").encode()), "train.tsv.xz") == [Example(("a", "b"), 1)]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (HEADER + "1\t1\t2\ta\tb\n1\t1\t2\ta\n", r"ragged\n.*train\.tsv, line 3: 4 columns\n.*5 columns"),
        (HEADER + "1\t1\t2\ta\tb\n\n", r"ragged\n.*line 3: 1 columns"),
        (HEADER + "2\t1\t2\ta\tb\n", r"unknown\n.*train\.tsv, line 2: '2'\n.*0 or 1"),
        ("Quality\t#1 String\n1\ta\n", r"lacks the column '#2 String'\n.*train\.tsv, line 1: Quality, #1 String"),
        ("", "lacks the column '#1 String'"),
        (HEADER, r"holds no example\n.*train\.tsv"),
        (HEADER.encode() + b"1\t1\t2\t\xff\tb\n", r"not UTF-8\n.*train\.tsv"),
    ],
)
def test_bad_files_are_refused_by_file_and_line(tmp_path, content, message):
    with pytest.raises(UserError, match=message):
        mrpc(tmp_path, content)


def test_absent_data_and_unknown_tasks_name_what_is_expected(tmp_path):
    with pytest.raises(UserError, match=r"(?s)MRPC.dev\.tsv.*BERT_JAX_DATA"):
        glue.read(MRPC, tmp_path, "dev")
    with pytest.raises(UserError, match="(?s)mprc.*mrpc or sst2"):
        glue.task("mprc")


@needs_data
@pytest.mark.parametrize(
    ("name", "split", "rows", "ones"),
    [("mrpc", "train", 3668, 2474), ("mrpc", "dev", 408, 279), ("sst2", "train", 67349, 37569), ("sst2", "dev", 872, 444)],
)
def test_the_official_files_have_the_official_sizes_and_balance(name, split, rows, ones):
    examples = glue.read(glue.TASKS[name], DATA / "glue", split)
    assert (len(examples), sum(example.label for example in examples)) == (rows, ones)
