"""Checkpoints of TensorFlow, NAME.index and NAME.data-00000-of-00001, read without TensorFlow.

The index is a table of LevelDB (google/leveldb doc/table_format.md): its last 48 bytes say where the block lies that lists the
other blocks; a block holds sorted keys, each by what it adds to the one before, with their values. The keys are names of tensors,
the values the protocol buffers of tensorflow/core/protobuf/tensor_bundle.proto.
"""

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

from bert_jax.errors import UserError

MAGIC = 0xDB4775248B80FB57
FOOTER, TRAILER = 48, 5  # bytes; those behind a block are its compression and its checksum
DTYPES = {1: "<f4", 2: "<f8", 3: "<i4", 9: "<i8"}  # numbers of tensorflow/core/framework/types.proto
POLYNOMIAL = 0x82F63B78  # Castagnoli's, its lowest bit first (RFC 3720, appendix B.4)
LANES = 2**12  # parts of an array whose checksums are worked out side by side


class Entry(NamedTuple):
    """Where a tensor lies: BundleEntryProto."""

    dtype: int
    shape: tuple[int, ...]
    shard: int
    offset: int
    size: int
    checksum: int


def read(prefix: Path) -> dict[str, np.ndarray]:
    """Name -> array, of all tensors of numbers, their checksums verified.

    Raises:
        UserError: a file is absent, cut short or changed; the tensor is named.
    """
    index = prefix.with_name(f"{prefix.name}.index")
    try:
        values = dict(_table(_content(index)))
        header = dict(_fields(values.pop(b"", b"")))
        entries = {key.decode(): _entry(value) for key, value in values.items()}
        shards = _number(header.get(1, 1))
    except (IndexError, ValueError, TypeError, KeyError) as error:
        raise _damaged(index, f"no table of tensors: {error}") from None
    entries = {name: entry for name, entry in entries.items() if entry.dtype in DTYPES}  # others are notes of Keras, strings
    files = {n: prefix.with_name(f"{prefix.name}.data-{n:05d}-of-{shards:05d}") for n in {e.shard for e in entries.values()}}
    contents = {shard: np.frombuffer(_content(file), np.uint8) for shard, file in files.items()}
    return {name: _tensor(files[entry.shard], contents[entry.shard], name, entry) for name, entry in entries.items()}


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError("the checkpoint cannot be read", got=f"{path}: {error.strerror}") from None


def _damaged(path: Path, got: str) -> UserError:
    return UserError(f"{path} is no sound checkpoint of TensorFlow", got=got, fix="fetch it again")


def _tensor(file: Path, content: np.ndarray, name: str, entry: Entry) -> np.ndarray:
    part, dtype = content[entry.offset : entry.offset + entry.size], np.dtype(DTYPES[entry.dtype])
    if len(part) != entry.size or entry.size != dtype.itemsize * np.prod(entry.shape, dtype=np.int64):
        raise _damaged(file, f"{name}: {len(part):,} bytes of {entry.size:,} for shape {list(entry.shape)}")
    if masked(crc32c(part)) != entry.checksum:
        raise _damaged(file, f"{name}: its bytes have another checksum than the index says")
    return part.view(dtype).reshape(entry.shape)


def _table(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    footer = content[-FOOTER:]
    if len(footer) < FOOTER or int.from_bytes(footer[-8:], "little") != MAGIC:
        raise ValueError("it does not end as one")
    _, _, *index = _varints(footer, 0, 4)[0]
    for _, handle in _block(content, *index):
        yield from _block(content, *_varints(handle, 0, 2)[0])


def _block(content: bytes, offset: int, size: int) -> Iterator[tuple[bytes, bytes]]:
    block, trailer = content[offset : offset + size], content[offset + size :][:TRAILER]
    if masked(crc32c(np.frombuffer(block + trailer[:1], np.uint8))) != int.from_bytes(trailer[1:], "little"):
        raise ValueError(f"the block at byte {offset:,} has another checksum")
    if trailer[0]:
        raise ValueError(f"the block at byte {offset:,} is compressed, as TensorFlow writes none")
    end = size - 4 * (1 + int.from_bytes(block[-4:], "little"))  # behind the entries: places of whole keys, and their number
    place, key = 0, b""
    while place < end:
        (shared, added, length), place = _varints(block, place, 3)
        key = key[:shared] + block[place : place + added]
        place += added + length
        yield key, block[place - length : place]


def _varints(content: bytes, place: int, count: int) -> tuple[list[int], int]:
    """So many numbers, seven bits a byte, the lowest first; and where the next thing begins."""
    numbers = []
    for _ in range(count):
        number, shift = 0, 0
        while True:
            byte = content[place]
            number, shift, place = number | (byte & 127) << shift, shift + 7, place + 1
            if byte < 128:
                break
        numbers.append(number)
    return numbers, place


def _fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Number and value of each field of a protocol buffer."""
    place = 0
    while place < len(message):
        (key,), place = _varints(message, place, 1)
        match key & 7:
            case 0:
                (value,), place = _varints(message, place, 1)
            case 2:
                (length,), place = _varints(message, place, 1)
                value, place = message[place : place + length], place + length
            case 1 | 5 as wire:
                width = 8 if wire == 1 else 4
                value, place = int.from_bytes(message[place : place + width], "little"), place + width
            case wire:
                raise ValueError(f"a field of wire type {wire}")
        yield key >> 3, value


def _entry(message: bytes) -> Entry:
    values = dict(_fields(message))
    if 7 in values:
        raise ValueError("a tensor is stored in slices")
    shape = tuple(dict(_fields(size)).get(1, 0) for number, size in _fields(values.get(2, b"")) if number == 2)
    dtype, shard, offset, size, checksum = (_number(values.get(field, 0)) for field in (1, 3, 4, 5, 6))
    return Entry(dtype, tuple(map(_number, shape)), shard, offset, size, checksum)


def _number(value: int | bytes) -> int:
    if not isinstance(value, int) or value >= 2**63:
        raise ValueError(f"{value!r} where a number was expected")
    return value


def masked(checksum: int) -> int:
    """As checksums are stored (tensorflow/core/lib/hash/crc32c.h)."""
    return ((checksum >> 15 | checksum << 17) + 0xA282EAD8) & 0xFFFFFFFF


def crc32c(content: np.ndarray) -> int:
    """The checksum of bytes, uint8[N]; of many parts at once, then of these together, or it would take a minute for BERT."""
    table = _bytes_table()
    steps = max(1, -(-len(content) // LANES))
    padded = np.zeros(LANES * steps, np.uint8)
    padded[LANES * steps - len(content) :] = content  # zeros in front change nothing while the register is 0
    register = np.zeros(LANES, np.uint32)
    for column in padded.reshape(LANES, steps).T:
        register = table[(register ^ column) & 0xFF] ^ register >> 8
    pushed = _power(steps)
    while len(register) > 1:
        register, pushed = _apply(pushed, register[::2]) ^ register[1::2], _apply(pushed, pushed)
    return int(register[0] ^ _apply(_power(len(content)), np.full(1, 0xFFFFFFFF, np.uint32))[0]) ^ 0xFFFFFFFF


@cache
def _bytes_table() -> np.ndarray:
    register = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        register = register >> 1 ^ np.where(register & 1, np.uint32(POLYNOMIAL), np.uint32(0))
    return register


def _power(count: int) -> np.ndarray:
    """uint32[32]: what so many zero bytes make of each bit of the register; a linear map over bits, by squaring."""
    bits = np.uint32(1) << np.arange(32, dtype=np.uint32)
    result, square = bits, _bytes_table()[bits & 0xFF] ^ bits >> 8
    while count:
        result = _apply(square, result) if count & 1 else result
        square, count = _apply(square, square), count >> 1
    return result


def _apply(linear: np.ndarray, registers: np.ndarray) -> np.ndarray:
    set_bits = registers[:, None] >> np.arange(32, dtype=np.uint32) & 1
    return np.bitwise_xor.reduce(np.where(set_bits, linear[None, :], np.uint32(0)), axis=1)
