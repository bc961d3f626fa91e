"""Files of tensors in the format safetensors, read without trusting them, and written.

The format (huggingface/safetensors, README.md): eight bytes, the lowest first, that say how long the header is; the header, JSON:
name -> dtype, shape and [begin, end) of its bytes in what follows; then the bytes, row-major, one tensor right behind the other.
"""

import json
import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from bert_jax.errors import UserError

LONGEST_HEADER = 100_000_000  # bytes, as in the library
METADATA = "__metadata__"
MAX_AXES = 64  # of an array of numpy
DTYPES = {
    "F32": "<f4",
    "F16": "<f2",
    "BF16": "<u2",  # numpy has none: the upper half of a float32
    "F64": "<f8",
    "I64": "<i8",
    "I32": "<i4",
    "I16": "<i2",
    "I8": "i1",
    "U8": "u1",
    "BOOL": "?",
}


def read(path: Path) -> dict[str, np.ndarray]:
    """Name -> array. float16 and bfloat16 come as float32, exactly; all else as it is stored.

    Raises:
        UserError: the file is absent, or its header does not describe its bytes, each once; the tensor is named.
    """
    try:
        size = path.stat().st_size
        with open(path, "rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if size < 8 or length > min(size - 8, LONGEST_HEADER):
                raise _damaged(path, f"a header of {length:,} bytes in a file of {size:,}", "a whole safetensors file")
            header = _parsed(path, file.read(length))
            content = np.fromfile(file, np.uint8)
    except OSError as error:
        raise UserError("the weights cannot be read", got=f"{path}: {error.strerror}") from None
    header.pop(METADATA, None)
    spans = {name: _span(path, name, entry, len(content)) for name, entry in header.items()}
    _check_contiguous(path, spans, len(content))
    return {name: _array(content[slice(*spans[name])], entry["dtype"], entry["shape"]) for name, entry in header.items()}


def _parsed(path: Path, text: bytes) -> dict:
    def without_repeats(pairs):
        found = dict(pairs)
        if len(found) < len(pairs):
            raise ValueError("a name is there twice")
        return found

    try:
        header = json.loads(text.decode(), object_pairs_hook=without_repeats)
    except (ValueError, RecursionError) as error:
        raise _damaged(path, f"a header that is no JSON: {error}"[:200], "a JSON object") from None
    if not isinstance(header, dict):
        raise _damaged(path, f"a header that is a {type(header).__name__}", "a JSON object")
    return header


def _span(path: Path, name: str, entry, available: int) -> tuple[int, int]:
    """The bytes of a tensor, when its entry makes sense by itself."""
    entry = entry if isinstance(entry, dict) else {}
    dtype, shape, offsets = (entry.get(key) for key in ("dtype", "shape", "data_offsets"))
    if not isinstance(dtype, str) or dtype not in DTYPES:
        raise _damaged(path, f"{name} of dtype {dtype!r}", f"one of {', '.join(DTYPES)}")
    if not _counts(shape) or not _counts(offsets) or len(offsets) != 2:
        raise _damaged(path, f"{name} with shape {shape} at {offsets}", "lists of numbers from 0 on, two of them for the place")
    if len(shape) > MAX_AXES or max(shape, default=0) >= 2**63:
        raise _damaged(path, f"{name} with {len(shape)} axes, the longest {max(shape):,}", "an array that numpy can hold")
    begin, end = offsets
    needed = math.prod(shape) * np.dtype(DTYPES[dtype]).itemsize
    if end - begin != needed:
        raise _damaged(path, f"{name} in {end - begin:,} bytes", f"{needed:,} bytes for {dtype}{shape}")
    if end > available:
        raise _damaged(path, f"{name} up to byte {end:,} of {available:,}: the file is cut short", "a whole safetensors file")
    return begin, end


def _counts(value) -> bool:
    return isinstance(value, list) and all(type(number) is int and number >= 0 for number in value)


def _check_contiguous(path: Path, spans: dict[str, tuple[int, int]], available: int) -> None:
    done, before = 0, "the header"
    for name, (begin, end) in sorted(spans.items(), key=lambda item: item[1]):
        if begin != done:
            what = "overlaps" if begin < done else "leaves a gap behind"
            got = f"{name} at byte {begin:,} {what} {before}, which ends at {done:,}"
            raise _damaged(path, got, "one right behind the other")
        done, before = end, name
    if done != available:
        raise _damaged(path, f"{available - done:,} bytes behind {before} that are no tensor's", "the file to end there")


def _array(content: np.ndarray, dtype: str, shape: list[int]) -> np.ndarray:
    array = content.view(DTYPES[dtype]).reshape(shape)
    if dtype == "BF16":
        return (array.astype(np.uint32) << 16).view(np.float32)
    return array.astype(np.float32) if dtype == "F16" else array


def _damaged(path: Path, got: str, expected: str) -> UserError:
    return UserError(f"{path} is no sound safetensors file", got=got, expected=expected, fix="fetch or write it again")


def write(path: Path, tensors: Mapping[str, np.ndarray]) -> None:
    """Writes float32 arrays, in the order of their names."""
    header, done = {METADATA: {"format": "pt"}}, 0  # transformers reads no file that does not say so
    for name in sorted(tensors):
        begin, done = done, done + 4 * tensors[name].size
        header[name] = {"dtype": "F32", "shape": list(tensors[name].shape), "data_offsets": [begin, done]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # the tensors begin at a multiple of eight
    with open(path, "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for name in sorted(tensors):
            file.write(np.ascontiguousarray(tensors[name], "<f4").tobytes())
