"""A collection of texts as vectors on disk. It is made shard by shard: killed at any moment, the same command goes on.

A folder holds settings.json: which encoder, its width, and the dtype of the vectors; of each shard shard-00000.jsonl, the
objects, and then shard-00000.npz, their vectors, of length 1; and when all are there manifest.json.
"""

import json
import os
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np

from bert_jax.data.files import disk_errors, locked, new_file, sha256_of, write_synced
from bert_jax.errors import UserError

SHARD = 4096  # texts; what a killed process loses at most
DTYPES = ("float32", "float16", "int8")
SETTINGS, MANIFEST = "settings.json", "manifest.json"
LARGEST_INT8 = 127
FIX = "embed the texts anew, into another folder"


class Collection(NamedTuple):
    """Attributes: in_memory, lines: the vectors of all shards and the JSON of all objects; () where they are read when needed."""

    folder: Path
    settings: Mapping
    count: int
    in_memory: tuple[np.ndarray, ...] = ()
    lines: tuple[str, ...] = ()

    @property
    def identity(self) -> str:
        return sha256_of(self.folder / MANIFEST)

    def shards(self) -> Iterator[np.ndarray]:
        """float32[at most SHARD, D], vectors of length 1, in order."""
        if self.in_memory:
            yield from self.in_memory
            return
        for number in range(-(-self.count // SHARD)):
            yield _read_vectors(self.folder / f"shard-{number:05d}.npz")

    def held(self) -> "Collection":
        """The same, all in memory, for who searches it often: another collection in its folder later is not mixed with it."""
        lines = tuple(line for number in range(-(-self.count // SHARD)) for line in self._lines_of(number))
        return self._replace(in_memory=tuple(self.shards()), lines=lines)

    def objects(self, numbers: Sequence[int]) -> list[dict]:
        """Those with these numbers, from 0 on."""
        if self.lines:
            return [json.loads(self.lines[number]) for number in numbers]
        lines = {shard: self._lines_of(shard) for shard in {number // SHARD for number in numbers}}
        return [json.loads(lines[number // SHARD][number % SHARD]) for number in numbers]

    def _lines_of(self, shard: int) -> list[str]:
        return _lines(self.folder / f"shard-{shard:05d}.jsonl")


def write(
    folder: Path,
    objects: Iterable[dict],
    vectors_of: Callable[[list[str]], np.ndarray],
    settings: Mapping,
    *,
    say: Callable[[str], None] = print,
) -> Collection:
    """Embeds what is not embedded yet.

    Args:
        objects: each with a "text", which is embedded; the same in the same order as before, where some are embedded.
        vectors_of: texts -> float32[N, D].
        settings: what the vectors depend on beside the texts, and "dtype", one of DTYPES.

    Raises:
        UserError: the folder holds vectors of other texts or settings, or of no text at all; or the disk refuses.
    """
    if settings["dtype"] not in DTYPES:
        raise UserError("--dtype is unknown", got=settings["dtype"], expected=" or ".join(DTYPES))
    with disk_errors(folder, "the collection"), locked(folder, "the collection is being written"):
        _settle(folder, settings)
        count = 0
        for number, some in enumerate(_chunks(objects)):
            count += len(some)
            lines = [json.dumps(each, ensure_ascii=False, sort_keys=True) for each in some]
            path = folder / f"shard-{number:05d}.npz"
            if path.exists():
                if _lines(path.with_suffix(".jsonl")) != lines:
                    raise UserError("the collection was made of other texts", got=path.with_suffix(".jsonl"), fix=FIX)
                continue
            with new_file(path.with_suffix(".jsonl")) as new:
                write_synced(new, "".join(f"{line}\n" for line in lines).encode())
            with new_file(path) as new, open(new, "wb") as file:
                np.savez(file, **_stored(vectors_of([each["text"] for each in some]), settings["dtype"]))
                file.flush()
                os.fsync(file.fileno())
            say(f"{count:,} texts embedded")
        if not count:
            raise UserError("there is nothing to embed", got=folder, expected="at least one text")
        if (folder / f"shard-{-(-count // SHARD):05d}.npz").exists():
            raise UserError("the collection was made of more texts", got=folder, fix=FIX)
        with new_file(folder / MANIFEST) as new:
            names = [f"shard-{number:05d}{suffix}" for number in range(-(-count // SHARD)) for suffix in (".jsonl", ".npz")]
            hashes = {name: sha256_of(folder / name) for name in names}
            write_synced(new, (json.dumps({"count": count, "files": hashes}, indent=1) + "\n").encode())
    return Collection(folder, dict(settings), count)


def open_collection(folder: Path, settings: Mapping) -> Collection:
    """
    Args:
        settings: of the encoder that questions are embedded by; the dtype may be any.

    Raises:
        UserError: there is none, it is not finished, or another encoder made it.
    """
    found = _read_json(folder / SETTINGS)
    manifest = _read_json(folder / MANIFEST)
    if found is None or manifest is None:
        state = "its embedding has not ended" if found else "no settings.json"
        raise UserError("there is no collection here", got=f"{folder}: {state}", fix="python -m bert_jax embed makes one")
    different = [name for name, value in settings.items() if name != "dtype" and found.get(name) != value]
    if different:
        name = different[0]
        raise UserError(
            f"the collection was made by another encoder: {name} differs",
            got=f"{folder}: {found.get(name)}",
            expected=settings[name],
            fix=f"ask with the model that made it, or {FIX}",
        )
    for name, digest in manifest["files"].items():
        if not (folder / name).exists() or sha256_of(folder / name) != digest:
            raise UserError("a file of the collection is gone or damaged", got=folder / name, fix=FIX)
    return Collection(folder, found, manifest["count"])


def _settle(folder: Path, settings: Mapping) -> None:
    for left in folder.glob(".*.tmp"):  # by a killed process
        left.unlink()
    found = _read_json(folder / SETTINGS)
    if found is None:
        with new_file(folder / SETTINGS) as new:
            write_synced(new, (json.dumps(dict(settings), indent=1) + "\n").encode())
    elif found != dict(settings):
        name = next(name for name in (*settings, *found) if settings.get(name) != found.get(name))
        raise UserError(f"the folder holds vectors of another {name}", got=settings.get(name), expected=found.get(name), fix=FIX)


def _read_json(path: Path) -> dict | None:
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def _chunks(objects: Iterable[dict]) -> Iterator[list[dict]]:
    objects = iter(objects)
    while some := list(islice(objects, SHARD)):
        yield some


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").split("\n")[:-1]


def of_length_one(vectors_ND: np.ndarray) -> np.ndarray:
    """A vector of nothing but zeros stays one."""
    norms = np.linalg.norm(vectors_ND, axis=1, keepdims=True)
    return (vectors_ND / np.maximum(norms, np.finfo(np.float32).tiny)).astype(np.float32)


def _stored(vectors_ND: np.ndarray, dtype: str) -> dict[str, np.ndarray]:
    """Of int8 each vector has a scale of its own, by which its largest number is LARGEST_INT8."""
    unit_ND = of_length_one(vectors_ND)
    if dtype != "int8":
        return {"vectors": unit_ND.astype(dtype)}
    scales_N1 = np.abs(unit_ND).max(axis=1, keepdims=True) / LARGEST_INT8
    whole = np.rint(unit_ND / np.maximum(scales_N1, np.finfo(np.float32).tiny))
    return {"vectors": whole.astype(np.int8), "scales": scales_N1.astype(np.float32)}


def _read_vectors(path: Path) -> np.ndarray:
    try:
        with np.load(path, allow_pickle=False) as arrays:
            vectors_ND = arrays["vectors"].astype(np.float32)
            return of_length_one(vectors_ND * arrays["scales"] if "scales" in arrays else vectors_ND)
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise UserError("a shard of the collection cannot be read", got=f"{path}: {error}", fix=FIX) from None
