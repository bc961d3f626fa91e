"""Files that say something of pieces: read into tables of the vocabulary, and refused by line."""

import numpy as np
import pytest

from bert_jax.errors import UserError
from bert_jax.interop import piece_tables
from bert_jax.models.features import Feature
from tests.data.small import TWELVE

#        [PAD] [UNK] [CLS] [SEP] [MASK] a  b  c  d  e  f  ##g
PINYIN = [0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 1, 3]


def read(path, content: str | bytes, kind: str, size: int) -> np.ndarray:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    found = piece_tables.read((Feature("word_place", "ids", 5), Feature("known", kind, size, file=str(path))), TWELVE)
    (name,) = found["encoder"]["embeddings"]["features"]
    assert name == "known_of_piece"
    return found["encoder"]["embeddings"]["features"][name]["given"]


@pytest.mark.parametrize("text", ["a\t3\n##g\t3\nf\t1\n", "\ufefff\t1\r\na\t3\r\n##g\t3"])
def test_pieces_have_their_numbers_and_others_0(tmp_path, text):
    table = read(tmp_path / "pinyin.tsv", text, "ids", 4)
    assert table.tolist() == PINYIN and table.dtype == np.float32


@pytest.mark.parametrize("header", ["", "2 3\n"])
def test_pieces_have_their_vectors_and_others_zeros(tmp_path, header):
    table = read(tmp_path / "vectors.txt", f"{header}##g 0.5 -1 2\na 1 1 4\n", "vector", 3)
    expected = np.zeros((12, 3), np.float32)
    expected[5], expected[11] = (1, 1, 4), (0.5, -1, 2)
    np.testing.assert_array_equal(table, expected)


def test_features_without_files_need_nothing():
    assert piece_tables.read((Feature("word_place", "ids", 5),), TWELVE) == {}


WRONG = [
    ("ids", "a\t1\nz\t2\n", r"line 2, .*'z'.*a piece of the vocabulary"),
    ("ids", "a\t1\nb\t4\n", r"line 2, .*b\t4.*from 0 to 3"),
    ("ids", "a\t-1\n", r"line 1, .*from 0 to 3"),
    ("ids", "a 1\n", r"line 1, .*a piece, a tab and a number"),
    ("ids", "", r"line 1, "),
    ("ids", "a\t1\n\nb\t1\n", r"line 2, "),
    ("ids", "a\t1\nb\t1\na\t2\n", r"line 3, .*'a' for the second time.*on line 1"),
    ("ids", b"a\t1\n\xff\t2\n", r"codec.*model\.features\.known\.file"),
    ("vector", "a 1 2 3 4\nz 1 2 3 4\n", r"line 2, .*'z'.*a piece of the vocabulary"),
    ("vector", "2 4\na 1 2 3 4\nz 1 2 3 4\n", r"line 3, .*'z'"),
    ("vector", "2 2\na 1 2\nb 1 2\n", r"line 2, .*width 2.*width 4, as model\.features\.known\.size"),
    ("vector", "a 1 2 3 4\nb 1 2 3\n", r"line 2 .*'b' and 3 numbers"),
    ("vector", "a 1 2 3 4\na 1 2 3 4\n", r"line 2 .*'a' for the second time"),
]


@pytest.mark.parametrize(("kind", "content", "message"), WRONG, ids=range(len(WRONG)))
def test_what_is_wrong_is_named_by_file_and_line(tmp_path, kind, content, message):
    with pytest.raises(UserError, match=f"(?s){tmp_path}/file.*{message}"):
        read(tmp_path / "file", content, kind, 4)


@pytest.mark.parametrize("kind", ["ids", "vector"])
def test_a_file_that_is_not_there_is_named(tmp_path, kind):
    with pytest.raises(UserError, match=f"cannot read {tmp_path}/none"):
        piece_tables.read((Feature("known", kind, 4, file=str(tmp_path / "none")),), TWELVE)
