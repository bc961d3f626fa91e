"""Documents to a token store (see store.py), streamed: memory grows neither with the corpus nor with its files."""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from pathlib import Path

import numpy as np

from bert_jax.data import store
from bert_jax.data.files import NpyWriter, new_folder, sha256_of, sync_folder, write_synced
from bert_jax.errors import UserError
from bert_jax.text.wordpiece import WordPiece

SHARD_TOKENS = 2**24
BATCH_CHARS = 2**20  # the tokenizer needs some hundred bytes per piece while it works

Encoded = tuple[int, list[list[int]]]  # hash of the text of a document, piece numbers of its sentences


def prepare(
    documents: Iterable[list[str]],
    tokenizer: WordPiece,
    folder: str | Path,
    *,
    held_out_fraction: float,
    source: str,
    progress: Callable[[int, int], None] | None = None,
    shard_tokens: int = SHARD_TOKENS,
) -> None:
    """Writes the store as a whole or not at all; the same documents give the same bytes.

    A document is held out by a hash of its text, so copies of it are never on both sides. Of the first two different documents
    one goes to each side, whatever their hashes say: neither side is ever empty. Sentences without any piece are left out.

    Args:
        held_out_fraction: wanted share of documents kept from training, between 0 and 1.
        source: where the text came from, for the manifest.
        progress: called now and then with the numbers of documents and tokens written.

    Raises:
        UserError: fewer than two different documents, a fraction out of range, or a disk that refuses.
    """
    if not 0 < held_out_fraction < 1:
        raise UserError("data.held_out_fraction is out of range", got=held_out_fraction, expected="more than 0, less than 1")
    with new_folder(Path(folder), "the token store") as temporary:
        writers = {name: _SplitWriter(temporary / name, tokenizer.size, shard_tokens) for name in (store.TRAIN, store.HELD_OUT)}
        text_hash = hashlib.sha256()
        for name, sentences in _divide(_encode(documents, tokenizer, text_hash), held_out_fraction):
            writers[name].append(sentences)
            if progress:
                progress(*(sum(getattr(w, count) for w in writers.values()) for count in ("num_documents", "num_tokens")))
        for writer in writers.values():
            writer.close()
        np.save(temporary / store.UNIGRAM_COUNTS, writers[store.TRAIN].piece_counts, allow_pickle=False)
        manifest = {
            "format": store.FORMAT,
            "format_version": store.FORMAT_VERSION,
            "vocabulary": {"content_hash": tokenizer.content_hash, "size": tokenizer.size},
            "source": {"description": source, "text_sha256": text_hash.hexdigest()},
            "held_out_fraction": held_out_fraction,
            "shard_tokens": shard_tokens,
            "splits": {name: writer.totals() for name, writer in writers.items()},
            "files": _files(temporary),
        }
        write_synced(temporary / store.MANIFEST, (json.dumps(manifest, indent=1, sort_keys=True) + "\n").encode())


def _encode(documents: Iterable[list[str]], tokenizer: WordPiece, text_hash) -> Iterator[Encoded]:
    for batch in _batches(documents, size=lambda document: sum(map(len, document))):
        texts = list(chain.from_iterable(batch))
        encoded = chain.from_iterable(tokenizer.encode(part) for part in _batches(texts, size=len))
        for document in batch:
            sentences = [ids for ids in (next(encoded) for _ in document) if ids]
            if sentences:
                text = "".join(f"{sentence}\n" for sentence in document).encode()
                digest = hashlib.sha256(text).digest()
                text_hash.update(digest)
                yield int.from_bytes(digest[:8], "big"), sentences


def _batches(items: Iterable, size: Callable) -> Iterator[list]:
    batch: list = []
    total = 0
    for item in items:
        batch.append(item)
        total += size(item)
        if total >= BATCH_CHARS:
            yield batch
            batch, total = [], 0
    if batch:
        yield batch


def _divide(documents: Iterator[Encoded], held_out_fraction: float) -> Iterator[tuple[str, list[list[int]]]]:
    settled: dict[int, str] = {}
    waiting: list[Encoded] = []
    for digest, sentences in documents:
        if settled:
            by_hash = store.HELD_OUT if digest < held_out_fraction * 2**64 else store.TRAIN
            yield settled.get(digest, by_hash), sentences
            continue
        waiting.append((digest, sentences))
        if digest != waiting[0][0]:
            lower, higher = sorted((digest, waiting[0][0]))
            settled = {lower: store.HELD_OUT, higher: store.TRAIN}
            yield from ((settled[digest], sentences) for digest, sentences in waiting)
    if not settled:
        raise UserError(
            "one document cannot be both trained on and held out",
            got="no document with text" if not waiting else "one document" + (" in several copies" if len(waiting) > 1 else ""),
            expected="at least two different documents",
            fix="put an empty line between documents, or add files",
        )


class _SplitWriter:
    def __init__(self, folder: Path, vocab_size: int, shard_tokens: int):
        folder.mkdir()
        self._folder, self._shard_tokens = folder, shard_tokens
        self._dtype = np.uint16 if vocab_size <= 2**16 else np.uint32
        self._shards = [NpyWriter(folder / store.shard_name(0), self._dtype)]
        self._sentence_offsets = NpyWriter(folder / store.SENTENCE_OFFSETS, np.int64)
        self._document_offsets = NpyWriter(folder / store.DOCUMENT_OFFSETS, np.int64)
        self._sentence_offsets.append(np.zeros(1))
        self._document_offsets.append(np.zeros(1))
        self.num_documents = self.num_sentences = self.num_tokens = 0
        self.piece_counts = np.zeros(vocab_size, np.int64)

    def append(self, sentences: list[list[int]]) -> None:
        ids = np.array(list(chain.from_iterable(sentences)), self._dtype)
        self.piece_counts += np.bincount(ids, minlength=len(self.piece_counts))
        self._sentence_offsets.append(self.num_tokens + np.cumsum([len(sentence) for sentence in sentences]))
        self.num_documents += 1
        self.num_sentences += len(sentences)
        self.num_tokens += len(ids)
        self._document_offsets.append(np.array([self.num_sentences]))
        while len(ids):
            room = self._shard_tokens - self._shards[-1].rows
            self._shards[-1].append(ids[:room])
            ids = ids[room:]
            if len(ids):
                self._shards[-1].close()
                self._shards.append(NpyWriter(self._folder / store.shard_name(len(self._shards)), self._dtype))

    def close(self) -> None:
        for writer in (self._shards[-1], self._sentence_offsets, self._document_offsets):
            writer.close()
        sync_folder(self._folder)

    def totals(self) -> dict[str, int]:
        return {
            "documents": self.num_documents,
            "sentences": self.num_sentences,
            "tokens": self.num_tokens,
            "shards": len(self._shards),
        }


def _files(folder: Path) -> dict[str, dict]:
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): {"bytes": path.stat().st_size, "sha256": sha256_of(path)} for path in paths}
