"""The format against its library, and files that lie."""

import json
import struct

import numpy as np
import pytest

from bert_jax.errors import UserError
from bert_jax.interop import safetensors

TENSORS = {
    "b": np.arange(6, dtype=np.float32).reshape(2, 3),
    "a": np.array([1.5, -2.0], np.float32),
    "empty": np.zeros((0, 4), np.float32),
    "one": np.array(7, np.float32),
}


@pytest.fixture
def library():
    return pytest.importorskip("safetensors.numpy", reason="the test extra is not installed")


def test_the_library_reads_what_is_written(library, tmp_path):
    safetensors.write(tmp_path / "f", TENSORS)
    found = library.load_file(tmp_path / "f")
    assert found.keys() == TENSORS.keys()
    for name, array in TENSORS.items():
        np.testing.assert_array_equal(found[name], array)
        assert found[name].shape == array.shape


def test_what_the_library_writes_is_read(library, tmp_path):
    others = {
        name: np.arange(5).astype(name) for name in ("float16", "float64", "int64", "int32", "int16", "int8", "uint8", "bool")
    }
    library.save_file(TENSORS | others, tmp_path / "f", {"format": "pt"})
    found = safetensors.read(tmp_path / "f")
    assert found.keys() == TENSORS.keys() | others.keys()
    for name, array in (TENSORS | others).items():
        np.testing.assert_array_equal(found[name], array)
        assert found[name].dtype == (np.float32 if name == "float16" else array.dtype)


def test_bfloat16_becomes_float32_exactly(tmp_path):
    torch = pytest.importorskip("torch", reason="the parity extra is not installed")
    from safetensors.torch import save_file

    values = torch.tensor([0.0, -0.0, 1.0, -3.140625, 1e38, 1e-40, float("inf"), float("nan")], dtype=torch.bfloat16)
    save_file({"x": values}, tmp_path / "f")
    found = safetensors.read(tmp_path / "f")["x"]
    np.testing.assert_array_equal(found.view(np.uint32), values.float().numpy().view(np.uint32))


def entry(begin, end, shape=(2,), dtype="F32"):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [begin, end]}


def file_of(header, content=b"\0" * 16) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + content


TWO = {"x": entry(0, 8), "y": entry(8, 16)}
LIES = {
    "no file of the kind": (b"\x80\x02}q\0", "header of"),
    "nothing": (b"", "header of"),
    "a header longer than the file": (struct.pack("<Q", 1000) + b"{}", "header of 1,000 bytes in a file of 10"),
    "a header longer than memory": (struct.pack("<Q", 2**63) + b"{}", "header of"),
    "no JSON": (file_of(b"{'x': 1}"), "no JSON"),
    "bytes that are no text": (file_of(b"\xff\xff"), "no JSON"),
    "brackets without end": (file_of(b"[" * 200_000), "no JSON"),
    "a list": (file_of([]), "is a list"),
    "a name twice": (file_of(b'{"x": 1, "x": 2}'), "twice"),
    "an entry that is none": (file_of({"x": 5}), "x of dtype None"),
    "an unknown dtype": (file_of({"x": entry(0, 8, dtype="F8_E4M3")}), "x of dtype 'F8_E4M3'"),
    "a negative size": (file_of({"x": entry(0, 8, shape=[-2])}), "x with shape"),
    "a size that is no number": (file_of({"x": entry(0, 8, shape=[True])}), "x with shape"),
    "three offsets": (file_of({"x": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8, 9]}}), "x with shape"),
    "an end before its beginning": (file_of({"x": entry(8, 0)}), "x in -8 bytes"),
    "a shape of other bytes": (file_of({"x": entry(0, 8, shape=[3]), "y": entry(8, 16)}), "x in 8 bytes"),
    "a shape beyond all numbers": (file_of({"x": entry(0, 8, shape=[2**40, 2**40])}), "x in 8 bytes"),
    "nothing, along an axis beyond all numbers": (file_of({"x": entry(0, 0, shape=[0, 2**63])}, b""), "x with 2 axes"),
    "more axes than an array has": (file_of({"x": entry(0, 4, shape=[1] * 65)}, b"\0" * 4), "x with 65 axes"),
    "cut short": (file_of(TWO)[:-1], "y up to byte 16 of 15: the file is cut short"),
    "overlapping": (file_of({"x": entry(0, 8), "y": entry(4, 12)}), "y at byte 4 overlaps x"),
    "the same bytes twice": (file_of({"x": entry(0, 8), "y": entry(0, 8)}), "y at byte 0 overlaps x"),
    "a gap": (file_of({"x": entry(0, 8), "y": entry(12, 20)}, b"\0" * 20), "y at byte 12 leaves a gap behind x"),
    "bytes of nobody": (file_of(TWO, b"\0" * 20), "4 bytes behind y"),
}


@pytest.mark.parametrize("name", LIES)
def test_a_file_that_lies_is_named_with_its_tensor(name, tmp_path):
    content, message = LIES[name]
    (tmp_path / "f").write_bytes(content)
    with pytest.raises(UserError) as error:
        safetensors.read(tmp_path / "f")
    assert str(tmp_path / "f") in str(error.value) and message in str(error.value)


def test_the_file_those_lies_are_made_of_is_sound(tmp_path):
    (tmp_path / "f").write_bytes(file_of(TWO))
    assert {name: array.shape for name, array in safetensors.read(tmp_path / "f").items()} == {"x": (2,), "y": (2,)}


def test_an_absent_file_is_named(tmp_path):
    with pytest.raises(UserError, match="cannot be read.*\n.*absent"):
        safetensors.read(tmp_path / "absent")
