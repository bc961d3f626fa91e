"""The token store: tokenised documents in memory-mapped files, described and guarded by a manifest.

manifest.json            written last: no manifest, no store
unigram_counts.npy       int64[V], how often each piece comes in the train split
train/, held_out/        one folder per split:
    ids-00000.npy ...    piece numbers, shards of `shard_tokens` (the last may be shorter)
    sentence_offsets.npy int64[sentences + 1], where each sentence starts, in tokens; the last entry is the end
    document_offsets.npy int64[documents + 1], where each document starts, in sentences
"""

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from bert_jax.data.files import sha256_of
from bert_jax.errors import UserError
from bert_jax.text.wordpiece import WordPiece

FORMAT = "bert_jax token store"
FORMAT_VERSION = 1
MANIFEST = "manifest.json"
UNIGRAM_COUNTS = "unigram_counts.npy"
SENTENCE_OFFSETS = "sentence_offsets.npy"
DOCUMENT_OFFSETS = "document_offsets.npy"
TRAIN, HELD_OUT = "train", "held_out"
REBUILD = "delete the folder and prepare the store again"


def load_mapped(path: Path) -> np.ndarray:
    """A .npy file as a plain array over a memory map: the same pages, without what np.memmap adds to each indexing."""
    return np.load(path, mmap_mode="r", allow_pickle=False).view(np.ndarray)


def shard_name(number: int) -> str:
    return f"ids-{number:05d}.npy"


@dataclass(frozen=True)
class Split:
    """The train or the held-out documents. Documents, sentences and tokens are numbered through over all shards."""

    identity: str  # store hash and split name: part of the key of everything derived from the split
    shards: tuple[np.ndarray, ...]
    shard_tokens: int
    sentence_offsets: np.ndarray
    document_offsets: np.ndarray

    @property
    def num_documents(self) -> int:
        return len(self.document_offsets) - 1

    @property
    def num_sentences(self) -> int:
        return len(self.sentence_offsets) - 1

    @property
    def num_tokens(self) -> int:
        return int(self.sentence_offsets[-1])

    @cached_property
    def sentence_lengths(self) -> np.ndarray:
        """int64[sentences], in tokens."""
        return np.diff(self.sentence_offsets)

    def tokens(self, places: np.ndarray) -> np.ndarray:
        """The pieces (int32) at these places of the split, in the shape of `places`."""
        if len(self.shards) == 1:
            return self.shards[0][places].astype(np.int32)
        pieces = np.empty(places.shape, np.int32)
        shard_of = places // self.shard_tokens
        for number in np.unique(shard_of):
            here = shard_of == number
            pieces[here] = self.shards[number][places[here] - number * self.shard_tokens]
        return pieces


@dataclass(frozen=True)
class Store:
    train: Split
    held_out: Split
    unigram_counts: np.ndarray  # int64[V], of the train split
    content_hash: str  # SHA-256 of the manifest, which holds the hash of every file
    manifest: dict


def open_store(folder: str | Path, tokenizer: WordPiece, *, verify: bool = True) -> Store:
    """Opens a store that `prepare` wrote.

    Args:
        verify: read every file once and compare its SHA-256; sizes are compared in any case.

    Raises:
        UserError: there is no finished store, it was made with another vocabulary, or a file is damaged.
    """
    folder = Path(folder)
    try:
        content = (folder / MANIFEST).read_bytes()
    except OSError as error:
        raise UserError(
            "there is no finished token store", got=f"{folder / MANIFEST}: {error.strerror}", fix="prepare the store first"
        ) from error
    manifest = _checked_manifest(content, folder, tokenizer)
    for name, expected in manifest["files"].items():
        _check_file(folder / name, expected, verify)
    content_hash = hashlib.sha256(content).hexdigest()
    train, held_out = (_open_split(folder, name, manifest, content_hash) for name in (TRAIN, HELD_OUT))
    return Store(train, held_out, np.load(folder / UNIGRAM_COUNTS, allow_pickle=False), content_hash, manifest)


def _checked_manifest(content: bytes, folder: Path, tokenizer: WordPiece) -> dict:
    try:
        manifest = json.loads(content)
        kind, version, vocabulary = manifest["format"], manifest["format_version"], manifest["vocabulary"]["content_hash"]
    except (ValueError, KeyError, TypeError) as error:
        raise UserError("the manifest of the token store is damaged", got=folder / MANIFEST, fix=REBUILD) from error
    if (kind, version) != (FORMAT, FORMAT_VERSION):
        raise UserError(
            "the token store has another format",
            got=f"{kind!r} version {version} in {folder}",
            expected=f"{FORMAT!r} version {FORMAT_VERSION}",
            fix=REBUILD,
        )
    if vocabulary != tokenizer.content_hash:
        raise UserError(
            "the token store was made with another vocabulary",
            got=f"vocabulary {tokenizer.content_hash} of {tokenizer.size} pieces, do_lower_case {tokenizer.do_lower_case}",
            expected=f"vocabulary {vocabulary} of {manifest['vocabulary']['size']} pieces, as in {folder}",
            fix=f"use the vocabulary of the store, or {REBUILD}",
        )
    return manifest


def _check_file(path: Path, expected: dict, verify: bool) -> None:
    size = path.stat().st_size if path.is_file() else None
    if size != expected["bytes"]:
        got = "no such file" if size is None else f"{size} bytes"
        raise UserError(f"the token store is damaged: {path}", got=got, expected=f"{expected['bytes']} bytes", fix=REBUILD)
    if verify and (digest := sha256_of(path)) != expected["sha256"]:
        raise UserError(
            f"the token store is damaged: {path}", got=f"SHA-256 {digest}", expected=f"SHA-256 {expected['sha256']}", fix=REBUILD
        )


def _open_split(folder: Path, name: str, manifest: dict, content_hash: str) -> Split:
    def mapped(file: str) -> np.ndarray:
        return load_mapped(folder / name / file)

    return Split(
        identity=f"{content_hash}/{name}",
        shards=tuple(mapped(shard_name(number)) for number in range(manifest["splits"][name]["shards"])),
        shard_tokens=manifest["shard_tokens"],
        sentence_offsets=mapped(SENTENCE_OFFSETS),
        document_offsets=mapped(DOCUMENT_OFFSETS),
    )
