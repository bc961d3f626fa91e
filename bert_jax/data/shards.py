"""What a token store (see store.py) is made of: shards, each written by itself, and what goes over all of them.

prepare.py writes the shards of a text one after another on one machine, launch/beam.py on as many machines as there are; what a
shard holds follows from the text alone, so the bytes are the same.
"""

import hashlib
import json
import shutil
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib import metadata
from pathlib import Path

import numpy as np

from bert_jax.data import segment, store
from bert_jax.data.encode import DIGEST_BYTES, Encoded, Encoder
from bert_jax.data.files import NpyWriter, new_file, sha256_of, sync_folder, write_synced
from bert_jax.data.report import Report
from bert_jax.data.units import Unit
from bert_jax.errors import UserError
from bert_jax.text.tokenizer import Tokenizer, id_dtype

PREPARE_VERSION = 2  # raise it when the same text gives other arrays
SHARD_BYTES = 2**28  # of raw text; what a killed prepare loses at most
RECORDS = (
    "unfinished"  # this folder of an unfinished store holds its settings, and a record and the lengths of each finished shard
)
SENTENCE_LENGTHS, DOCUMENT_LENGTHS = LENGTHS = "sentence_lengths", "document_lengths"
SPLITS = (store.TRAIN, store.HELD_OUT)
DROP_DUPLICATES = "drop_duplicates"
COPIES = "documents that stood in the text before"
KEY_BYTES = 16  # of a digest tell documents apart: among 10^10 of them two are the same with a chance of 10^-19


def settings(
    tokenizer: Tokenizer,
    *,
    held_out_fraction: float,
    segmenter: str,
    on_bad_input: str,
    drop_duplicates: bool,
    shard_bytes: int = SHARD_BYTES,
) -> dict:
    """All that decides, beside the text, what the arrays hold; it is in the manifest.

    Args:
        held_out_fraction: wanted share of documents kept from training, between 0 and 1.
        segmenter: see segment.open_segmenter.
        on_bad_input: "stop" or "skip", see report.Report.
        drop_duplicates: of documents with the same text the first alone is kept.
        shard_bytes: a shard is full with so many bytes of raw text.

    Raises:
        UserError: a value out of range, or an unknown segmenter.
    """
    if not 0 < held_out_fraction < 1:
        raise UserError("data.held_out_fraction is out of range", got=held_out_fraction, expected="more than 0, less than 1")
    segment.open_segmenter(segmenter)
    return {
        "code": _code_versions(segmenter),
        "held_out_fraction": held_out_fraction,
        "normaliser_sha256": store.normaliser_hash(tokenizer),
        "on_bad_input": on_bad_input,
        "segmenter": segmenter,
        "shard_bytes": shard_bytes,
        "side_arrays": {name: dtype.name for name, dtype in store.SIDE_ARRAYS.items()},
        "vocabulary": {"content_hash": tokenizer.content_hash, "size": tokenizer.size},
        **({DROP_DUPLICATES: True} if drop_duplicates else {}),  # else the store is byte for byte that of earlier versions
    }


def _code_versions(segmenter: str) -> dict:
    """What else decides the arrays: our rules, and the tables and rules of what they rest on."""
    return {
        "prepare": PREPARE_VERSION,
        "sentencepiece": metadata.version("sentencepiece"),
        "tokenizers": metadata.version("tokenizers"),
        "unicode": unicodedata.unidata_version,
        "segmenter": segment.version(segmenter),
    }


def make_folders(folder: Path) -> None:
    """Those that a ShardWriter writes to."""
    for name in (*SPLITS, RECORDS):
        (folder / name).mkdir()


class Numbering:
    """Which shard a unit belongs to, asked for one unit after another."""

    def __init__(self, shard_bytes: int):
        self._shard_bytes, self._size, self._number = shard_bytes, shard_bytes, -1

    def next(self, unit_bytes: int) -> int:
        if self._size >= self._shard_bytes:
            self._number += 1
            self._size = 0
        self._size += unit_bytes
        return self._number


def hash_unit(hash_, unit: Unit) -> None:
    """Adds a unit to the SHA-256 of the text of its shard."""
    hash_.update(repr((unit.kind, unit.inside, len(unit.raw))).encode())
    hash_.update(unit.raw)


def write_shard(
    folder: Path,
    number: int,
    given: Mapping,
    settled: Mapping[str, bool],
    met: set[bytes],
    units: Iterable[Unit],
    encoder: Encoder,
) -> dict:
    """Writes the shard that these units are; returns its record.

    Args:
        folder: see make_folders.
        given: settings.
        settled: see settle; of the whole text.
        met: see ShardWriter.
    """
    shard, text_hash = ShardWriter(folder, number, given, settled, met), hashlib.sha256()
    for unit in units:
        hash_unit(text_hash, unit)
        shard.append(encoder(unit))
    return shard.close(text_hash)


def natural_sides(digests: bytes, held_out_fraction: float) -> np.ndarray:
    """bool[documents], True where a document is held out by the hash of its text."""
    return _first_words(digests) < np.uint64(held_out_fraction * 2**64)


def settle(settled: dict[str, bool], digests: bytes, is_held_out: np.ndarray) -> None:
    """Fills `settled`, the sides of the first two different documents of the text: the second is on the other side than the
    first, whatever its hash says, so neither side is ever empty."""
    for i in range(len(is_held_out)) if len(settled) < 2 else ():
        digest = digests[i * DIGEST_BYTES :][:DIGEST_BYTES].hex()
        if digest not in settled:
            settled[digest] = bool(is_held_out[i]) if not settled else not next(iter(settled.values()))
        if len(settled) == 2:
            break


def require_two(settled: Mapping[str, bool], report: Report) -> None:
    if len(settled) < 2:
        raise UserError(
            "one document cannot be both trained on and held out",
            got=report.totals(),
            expected="at least two different documents",
            fix="put an empty line between documents, or add files",
        )


def keys_of(digests: bytes) -> Iterator[bytes]:
    """What tells each document from others."""
    return (digests[place : place + KEY_BYTES] for place in range(0, len(digests), DIGEST_BYTES))


def apart(keys: bytes) -> set[bytes]:
    """Keys that stand one behind the other."""
    return {keys[place : place + KEY_BYTES] for place in range(0, len(keys), KEY_BYTES)}


def _first_words(digests: bytes) -> np.ndarray:
    return np.frombuffer(digests, ">u8").reshape(-1, DIGEST_BYTES // 8)[:, 0]


class ShardWriter:
    """Divides what the workers made of a stretch of text between the splits."""

    def __init__(self, temporary: Path, number: int, given: Mapping, settled: Mapping[str, bool], met: set[bytes]):
        """
        Args:
            settled: the sides of the first two different documents, as far as they are met.
            met: keys_of documents of earlier shards, at least of those that this one repeats; those of its own are added. Looked
                at only where duplicates are dropped.
        """
        self.number, self._temporary, self._settled = number, temporary, dict(settled)
        self._met, self._new = (met if DROP_DUPLICATES in given else None), []
        self._vocab_size, self._fraction = given["vocabulary"]["size"], given["held_out_fraction"]
        dtypes = {store.IDS: id_dtype(self._vocab_size), **store.SIDE_ARRAYS}
        self._writers = {
            split: {name: NpyWriter(temporary / split / store.shard_name(name, number), dtype) for name, dtype in dtypes.items()}
            | {name: NpyWriter(temporary / RECORDS / _lengths_name(split, name, number), np.int32) for name in LENGTHS}
            for split in SPLITS
        }
        self._unigram_counts = np.zeros(self._vocab_size, np.int64)
        self._text_hash = hashlib.sha256()
        self._report = Report(given["on_bad_input"])
        self._cjk_characters = 0

    def append(self, encoded: Encoded) -> None:
        is_kept, is_held_out = self._kept(encoded), self._sides(encoded.digests)
        for split, documents in ((store.TRAIN, is_kept & ~is_held_out), (store.HELD_OUT, is_kept & is_held_out)):
            sentences = np.repeat(documents, encoded.document_lengths)
            tokens = np.repeat(sentences, encoded.sentence_lengths)
            writers = self._writers[split]
            writers[store.IDS].append(encoded.ids[tokens])
            writers[store.WORD_STARTS].append(encoded.word_starts[tokens])
            writers[SENTENCE_LENGTHS].append(encoded.sentence_lengths[sentences])
            writers[DOCUMENT_LENGTHS].append(encoded.document_lengths[documents])
            if split == store.TRAIN:
                self._unigram_counts += np.bincount(encoded.ids[tokens], minlength=self._vocab_size)
        self._text_hash.update(encoded.digests)
        self._report.merge(encoded.report)
        self._cjk_characters += encoded.cjk_characters

    def _kept(self, encoded: Encoded) -> np.ndarray:
        """bool[documents], False where a document stood in the text before and duplicates are dropped; its report counts them."""
        kept = np.ones(len(encoded.document_lengths), bool)
        for number, key in enumerate(keys_of(encoded.digests) if self._met is not None else ()):
            if key in self._met:
                kept[number] = False
            else:
                self._met.add(key)
                self._new.append(key)
        encoded.report.note(COPIES, encoded.source, int((~kept).sum()))
        return kept

    def _sides(self, digests: bytes) -> np.ndarray:
        """bool[documents], True where a document is held out."""
        is_held_out = natural_sides(digests, self._fraction)
        settle(self._settled, digests, is_held_out)
        for digest, side in self._settled.items():
            is_held_out[_first_words(digests) == int(digest[:16], 16)] = side
        return is_held_out

    def close(self, input_hash) -> dict:
        """Finishes the shard; returns its record."""
        files, splits = {}, {}
        for split, writers in self._writers.items():
            for writer in writers.values():
                writer.close()
            for name in (store.IDS, *store.SIDE_ARRAYS):
                if writers[name].rows:
                    files[f"{split}/{writers[name].path.name}"] = _fingerprint(writers[name].path)
                else:
                    writers[name].path.unlink()
            splits[split] = {
                "documents": writers[DOCUMENT_LENGTHS].rows,
                "sentences": writers[SENTENCE_LENGTHS].rows,
                "tokens": writers[store.IDS].rows,
            }
            sync_folder(self._temporary / split)
        np.save(self._temporary / RECORDS / _counts_name(self.number), self._unigram_counts, allow_pickle=False)
        if self._met is not None:
            write_synced(self._temporary / RECORDS / _keys_name(self.number), b"".join(self._new))
        record = {
            "cjk_characters": self._cjk_characters,
            "files": files,
            "input_sha256": input_hash.hexdigest(),
            "report": self._report.to_dict(),
            "settled": self._settled,
            "splits": splits,
            "text_sha256": self._text_hash.hexdigest(),
        }
        write_json(self._temporary / RECORDS / record_name(self.number), record)
        return record


def record_name(number: int) -> str:
    return f"shard-{number:05d}.json"


def write_json(path: Path, value: dict) -> None:
    with new_file(path) as new:
        write_synced(new, (json.dumps(value, indent=1, sort_keys=True) + "\n").encode())


def _lengths_name(split: str, name: str, number: int) -> str:
    return f"{split}-{store.shard_name(name, number)}"


def met_in(folder: Path, num_shards: int) -> set[bytes]:
    """keys_of the documents of so many finished shards, where duplicates are dropped."""
    return apart(b"".join((folder / RECORDS / _keys_name(number)).read_bytes() for number in range(num_shards)))


def _keys_name(number: int) -> str:
    return f"keys-{number:05d}.bin"


def _counts_name(number: int) -> str:
    return f"counts-{number:05d}.npy"


def _fingerprint(path: Path) -> dict:
    return {"bytes": path.stat().st_size, "sha256": sha256_of(path)}


def finish(folder: Path, given: dict, source: str, records: Sequence[dict], report: Report) -> None:
    """Writes what goes over all shards, and the manifest.

    Args:
        given: settings.
        source: where the text came from.
        records: of all shards, in their order.
        report: what reading the text met.
    """
    unfinished = folder / RECORDS
    files = {name: fingerprint for record in records for name, fingerprint in record["files"].items()}
    counts = sum(np.load(unfinished / _counts_name(number), allow_pickle=False) for number in range(len(records)))
    np.save(folder / store.UNIGRAM_COUNTS, counts, allow_pickle=False)
    files[store.UNIGRAM_COUNTS] = _fingerprint(folder / store.UNIGRAM_COUNTS)
    for split in SPLITS:
        for lengths, offsets in ((SENTENCE_LENGTHS, store.SENTENCE_OFFSETS), (DOCUMENT_LENGTHS, store.DOCUMENT_OFFSETS)):
            parts = [unfinished / _lengths_name(split, lengths, number) for number in range(len(records))]
            _write_offsets(folder / split / offsets, parts)
            files[f"{split}/{offsets}"] = _fingerprint(folder / split / offsets)
        sync_folder(folder / split)
    totals = {
        split: {name: sum(record["splits"][split][name] for record in records) for name in ("documents", "sentences", "tokens")}
        | {"shard_tokens": [record["splits"][split]["tokens"] for record in records]}
        for split in SPLITS
    }
    manifest = given | {
        "format": store.FORMAT,
        "format_version": store.FORMAT_VERSION,
        "source": {
            "description": source,
            "text_sha256": hashlib.sha256("".join(record["text_sha256"] for record in records).encode()).hexdigest(),
            "cjk_characters": sum(record["cjk_characters"] for record in records),
        },
        "report": report.to_dict(),
        "splits": totals,
        "files": files,
    }
    write_json(folder / store.MANIFEST, manifest | {"sha256": store.manifest_hash(manifest)})
    shutil.rmtree(unfinished)


def _write_offsets(path: Path, parts: list[Path]) -> None:
    writer = NpyWriter(path, np.int64)
    writer.append(np.zeros(1))
    end = 0
    for part in parts:
        offsets = end + np.cumsum(np.load(part, allow_pickle=False), dtype=np.int64)
        writer.append(offsets)
        end = int(offsets[-1]) if len(offsets) else end
    writer.close()
