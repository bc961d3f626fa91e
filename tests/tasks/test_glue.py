import lzma

import pytest

from bert_jax.errors import UserError
from bert_jax.tasks import benchmarks, tables
from tests.paths import DATA, needs_data

MRPC = benchmarks.TASKS["mrpc"]
HEADER = "Quality\t#1 ID\t#2 ID\t#1 String\t#2 String\n"


def mrpc(tmp_path, content: str | bytes, name: str = "train.tsv", skipped=None) -> list[tuple]:
    """(texts, label) of the examples."""
    (tmp_path / name).write_bytes(content.encode() if isinstance(content, str) else content)
    return [(example.texts, example.label) for example in MRPC.read(tmp_path / "train.tsv", skipped)]


def test_columns_are_found_by_name_and_quotes_are_ordinary_characters(tmp_path):
    text = HEADER + '1\t7\t8\tHe said " yes .\tHe agreed .\n0\t9\t10\tA "b"\t"\n'
    expected = [(('He said " yes .', "He agreed ."), "1"), (('A "b"', '"'), "0")]
    assert mrpc(tmp_path, text) == expected
    assert mrpc(tmp_path, "\ufeff" + text.replace("\n", "\r\n")) == expected


def test_only_a_line_feed_ends_a_line(tmp_path):
    assert mrpc(tmp_path, HEADER + "1\t1\t2\ta\u2028b\x0bc\rd\te\n") == [(("a\u2028b\x0bc\rd", "e"), "1")]


def test_a_compressed_file_is_read(tmp_path):
    assert mrpc(tmp_path, lzma.compress((HEADER + "1\t1\t2\ta\tb\n").encode()), "train.tsv.xz") == [(("a", "b"), "1")]


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


def test_bad_rows_are_left_out_and_named_where_that_is_asked_for(tmp_path):
    content = HEADER + "1\t1\t2\ta\tb\n1\t1\t2\ta\n2\t1\t2\tc\td\n0\t1\t2\te\tf\n"
    skipped = []
    assert mrpc(tmp_path, content, skipped=skipped) == [(("a", "b"), "1"), (("e", "f"), "0")]
    assert [message.split("\n")[0] for message in skipped] == ["a row is ragged", "a label is unknown"]
    assert "line 3" in skipped[0] and "line 4" in skipped[1]


def test_a_broken_compressed_file_is_named(tmp_path):
    with pytest.raises(UserError, match=r"cannot be read\n.*train\.tsv\.xz"):
        mrpc(tmp_path, lzma.compress((HEADER + "1\t1\t2\ta\tb\n" * 99).encode())[:-20], "train.tsv.xz")


def test_absent_data_names_the_file_and_the_folder(tmp_path):
    with pytest.raises(tables.Absent, match=r"(?s)train\.tsv.*BERT_JAX_DATA"):
        tables.find(tmp_path / "train.tsv")


SIZES = [  # name, split, rows, rows of the class named, as the makers report
    ("cola", "train", 8551, ("1", 6023)),
    ("cola", "dev", 1043, ("1", 721)),
    ("sst2", "train", 67349, ("1", 37569)),
    ("sst2", "dev", 872, ("1", 444)),
    ("mrpc", "train", 3668, ("1", 2474)),
    ("mrpc", "dev", 408, ("1", 279)),
    ("rte", "train", 2490, ("entailment", 1249)),
    ("rte", "dev", 277, ("entailment", 146)),
    ("wnli", "train", 635, ("1", 312)),
    ("wnli", "dev", 71, ("1", 31)),
    ("qnli", "dev", 5463, ("entailment", 2702)),
    ("stsb", "train", 5749, None),
    ("stsb", "dev", 1500, None),
    ("chnsenticorp", "train", 9600, None),
    ("lcqmc", "dev", 8802, ("1", 4402)),
    ("afqmc", "train", 34334, None),
    ("afqmc", "dev", 4316, ("1", 1338)),
    ("ocnli", "dev", 2950, ("neutral", 1103)),
    ("imdb", "dev", 24996, ("1", 12496)),
]


@needs_data
@pytest.mark.parametrize(("name", "split", "rows", "of_class"), SIZES, ids=lambda value: str(value))
def test_the_official_files_have_the_official_sizes_and_balance(name, split, rows, of_class):
    task = benchmarks.TASKS[name]
    examples = task.read(DATA / task.files[split])
    assert len(examples) == rows
    if of_class:
        label, count = of_class
        assert sum(example.label == label for example in examples) == count


@needs_data
@pytest.mark.parametrize(
    ("name", "rows"), [("cola", 1063), ("sst2", 1821), ("mrpc", 1725), ("rte", 3000), ("wnli", 146), ("stsb", 1379)]
)
def test_test_sets_are_read_without_labels(name, rows):
    task = benchmarks.TASKS[name]
    examples = task.read_unlabelled(DATA / task.files["test"])
    assert len(examples) == rows and {example.label for example in examples} == {None}
