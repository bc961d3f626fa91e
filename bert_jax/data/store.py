"""The token store: tokenised documents in memory-mapped files, described and guarded by a manifest.

manifest.json            written last: no manifest, no store
unigram_counts.npy       int64[V], how often each piece comes in the train split
train/, held_out/        one folder per split:
    ids-00000.npy ...    piece numbers; a shard is what one stretch of the text became, so shards differ in length
    word_starts-00000.npy ...  a side array: one small integer for each piece, in shards as the pieces are
    sentence_offsets.npy int64[sentences + 1], where each sentence starts, in tokens; the last entry is the end
    document_offsets.npy int64[documents + 1], where each document starts, in sentences
A shard in which a split has no document has no files there.

Side arrays: word_starts (uint8) is 1 where a piece begins a word. The first piece of a sentence always does.
"""

import hashlib
import json
import resource
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from importlib import metadata
from pathlib import Path

import numpy as np

from bert_jax.data.files import sha256_of
from bert_jax.errors import UserError
from bert_jax.text.tokenizer import Tokenizer

FORMAT = "bert_jax token store"
FORMAT_VERSION = 2
MANIFEST = "manifest.json"
UNIGRAM_COUNTS = "unigram_counts.npy"
SENTENCE_OFFSETS = "sentence_offsets.npy"
DOCUMENT_OFFSETS = "document_offsets.npy"
TRAIN, HELD_OUT = "train", "held_out"
IDS, WORD_STARTS = "ids", "word_starts"
SIDE_ARRAYS = {WORD_STARTS: np.dtype(np.uint8)}
# Accents, case, Chinese, punctuation, blanks, and what cleaning drops or keeps: the pieces of these tell normalisers apart.
PROBES = (
    "Crème BRÛLÉE, naïve İstanbul ﬁne Ω",
    "今天下雨。It rained—at 5 p.m.",
    "tab\there\u00a0soft\u00adhyphen\u200b zero",
    "x" * 250,
)
OTHER_OPEN_FILES = 512
REBUILD = "delete the folder and prepare the store again"


def load_mapped(path: Path) -> np.ndarray:
    """A .npy file as a plain array over a memory map: the same pages, without what np.memmap adds to each indexing."""
    return np.load(path, mmap_mode="r", allow_pickle=False).view(np.ndarray)


def shard_name(array: str, number: int) -> str:
    return f"{array}-{number:05d}.npy"


def normaliser_hash(tokenizer: Tokenizer) -> str:
    """SHA-256 of what the tokenizer makes of a few telling texts: other rules, or a library that has changed them, differ."""
    return hashlib.sha256(json.dumps([list(ids) for ids in tokenizer.encode(PROBES)]).encode()).hexdigest()


def manifest_hash(manifest: dict) -> str:
    """SHA-256 of all that the manifest says, except of itself."""
    said = {name: value for name, value in manifest.items() if name != "sha256"}
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True)
class Split:
    """The train or the held-out documents. Documents, sentences and tokens are numbered through over all shards."""

    identity: str  # store hash and split name: part of the key of everything derived from the split
    shards: tuple[np.ndarray, ...]
    sentence_offsets: np.ndarray
    document_offsets: np.ndarray
    side_shards: Mapping[str, tuple[np.ndarray, ...]] = field(default_factory=dict)  # cut as `shards` are

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

    @property
    def side_names(self) -> tuple[str, ...]:
        return tuple(self.side_shards)

    def tokens(self, places: np.ndarray) -> np.ndarray:
        """The pieces (int32) at these places of the split, in the shape of `places`."""
        return self._gather(self.shards, places, np.dtype(np.int32))

    def side(self, name: str, places: np.ndarray) -> np.ndarray:
        """The side array `name` at these places, in its own dtype and the shape of `places`; KeyError if there is none."""
        shards = self.side_shards[name]
        return self._gather(shards, places, shards[0].dtype)

    @cached_property
    def _shard_starts(self) -> np.ndarray:
        return np.cumsum([0, *map(len, self.shards)])[:-1]

    def _gather(self, shards: tuple[np.ndarray, ...], places: np.ndarray, dtype: np.dtype) -> np.ndarray:
        if len(shards) == 1:
            return shards[0][places].astype(dtype)
        values = np.empty(places.shape, dtype)
        shard_of = np.searchsorted(self._shard_starts, places, side="right") - 1
        for number in np.unique(shard_of):
            here = shard_of == number
            values[here] = shards[number][places[here] - self._shard_starts[number]]
        return values


@dataclass(frozen=True)
class Store:
    train: Split
    held_out: Split
    unigram_counts: np.ndarray  # int64[V], of the train split
    content_hash: str  # SHA-256 of the manifest, which holds the hash of every file
    manifest: dict


def open_store(folder: str | Path, tokenizer: Tokenizer, *, verify: bool = True) -> Store:
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
    _allow_mapping(len(manifest["files"]))
    content_hash = hashlib.sha256(content).hexdigest()
    train, held_out = (_open_split(folder, name, manifest, content_hash) for name in (TRAIN, HELD_OUT))
    return Store(train, held_out, np.load(folder / UNIGRAM_COUNTS, allow_pickle=False), content_hash, manifest)


def _checked_manifest(content: bytes, folder: Path, tokenizer: Tokenizer) -> dict:
    try:
        manifest = json.loads(content)
        kind, version, vocabulary = manifest["format"], manifest["format_version"], manifest["vocabulary"]["content_hash"]
    except (ValueError, KeyError, TypeError) as error:
        raise UserError("the manifest of the token store is damaged", got=folder / MANIFEST, fix=REBUILD) from error
    if (kind, version) == (FORMAT, FORMAT_VERSION) and manifest.get("sha256") != manifest_hash(manifest):
        raise UserError("the manifest of the token store is damaged", got=f"another SHA-256 in {folder / MANIFEST}", fix=REBUILD)
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
    if manifest["normaliser_sha256"] != normaliser_hash(tokenizer):
        raise UserError(
            "the tokenizer now cuts text in another way than when the store was made",
            got=f"tokenizers {metadata.version('tokenizers')}, Unicode {unicodedata.unidata_version}",
            expected=f"tokenizers {manifest['code']['tokenizers']}, Unicode {manifest['code']['unicode']}, as in {folder}",
            fix=f"use that version of the package, or of Python for its Unicode; or {REBUILD}",
        )
    return manifest


def _allow_mapping(files: int) -> None:
    """Each mapped file keeps a descriptor open, and many systems allow 1024 of them until a process asks for more."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = files + OTHER_OPEN_FILES
    if hard != resource.RLIM_INFINITY and wanted > hard:
        raise UserError("the token store has more files than a process may open", got=files, fix=f"ulimit -n {wanted}")
    if soft != resource.RLIM_INFINITY and wanted > soft:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


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

    with_text = [number for number, tokens in enumerate(manifest["splits"][name]["shard_tokens"]) if tokens]
    return Split(
        identity=f"{content_hash}/{name}",
        shards=tuple(mapped(shard_name(IDS, number)) for number in with_text),
        sentence_offsets=mapped(SENTENCE_OFFSETS),
        document_offsets=mapped(DOCUMENT_OFFSETS),
        side_shards={side: tuple(mapped(shard_name(side, number)) for number in with_text) for side in manifest["side_arrays"]},
    )
