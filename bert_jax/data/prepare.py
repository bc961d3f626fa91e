"""Raw text to a token store (see store.py), by all cores, streamed: memory grows neither with the corpus nor with its files.

This process reads the files and cuts them into units; workers make arrays of units; this process appends them, in order, to the
shards of the two splits. A shard is finished when its files and then a record of them are on disk. After a kill, the next prepare
reads the text again, makes sure by hashes that it is the same, and goes on after the last finished shard.
"""

import hashlib
import json
import shutil
import unicodedata
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

import numpy as np

from bert_jax.data import segment, store, workers
from bert_jax.data.encode import DIGEST_BYTES, Encoded, Encoder
from bert_jax.data.files import NpyWriter, clear_folder, new_file, new_folder, sha256_of, sync_folder, write_synced
from bert_jax.data.report import Report
from bert_jax.data.units import Unit
from bert_jax.errors import UserError
from bert_jax.text.tokenizer import Tokenizer, id_dtype

PREPARE_VERSION = 2  # raise it when the same text gives other arrays
SHARD_BYTES = 2**28  # of raw text; what a killed prepare loses at most
RECORDS = (
    "unfinished"  # this folder of an unfinished store holds its settings, and a record and the lengths of each finished shard
)
SETTINGS = "settings.json"
SENTENCE_LENGTHS, DOCUMENT_LENGTHS = LENGTHS = "sentence_lengths", "document_lengths"
SPLITS = (store.TRAIN, store.HELD_OUT)


class _TextChanged(Exception):
    """The text is not the one that the finished shards were made from."""


def prepare(
    read_units: Callable[[Report], Iterable[Unit]],
    tokenizer: Tokenizer,
    folder: str | Path,
    *,
    held_out_fraction: float,
    source: str,
    segmenter: str = segment.NONE,
    on_bad_input: str = "stop",
    num_workers: int = 1,
    shard_bytes: int = SHARD_BYTES,
    progress: Callable[[Report, float], None] = lambda report, share: None,
) -> Report:
    """Writes the store as a whole or not at all; the same text gives the same bytes, for any number of workers.

    A document is held out by a hash of its text, so copies of it are never on both sides. The second different document goes to
    the other side than the first one, whatever its hash says: neither side is ever empty. Sentences without a piece are left out.

    Args:
        read_units: gives the text from its start, as sources.read_units does.
        held_out_fraction: wanted share of documents kept from training, between 0 and 1.
        source: where the text came from, for the manifest.
        segmenter: see segment.open_segmenter.
        on_bad_input: "stop" or "skip", see report.Report.
        progress: called with the totals so far and the share of the input that is done.

    Returns:
        what the text held, and what was left out or changed; it is in the manifest too.

    Raises:
        UserError: fewer than two different documents, a value out of range, bad input, or a disk that refuses.
    """
    if not 0 < held_out_fraction < 1:
        raise UserError("data.held_out_fraction is out of range", got=held_out_fraction, expected="more than 0, less than 1")
    segment.open_segmenter(segmenter)
    settings = {
        "code": _code_versions(segmenter),
        "held_out_fraction": held_out_fraction,
        "normaliser_sha256": store.normaliser_hash(tokenizer),
        "on_bad_input": on_bad_input,
        "segmenter": segmenter,
        "shard_bytes": shard_bytes,
        "side_arrays": {name: dtype.name for name, dtype in store.SIDE_ARRAYS.items()},
        "vocabulary": {"content_hash": tokenizer.content_hash, "size": tokenizer.size},
    }
    encoder = Encoder(tokenizer, segmenter, on_bad_input)
    with new_folder(Path(folder), "the token store", keep=_has_finished_shards) as temporary:
        try:
            written = _write_shards(temporary, settings, read_units, encoder, num_workers, progress)
        except _TextChanged:
            clear_folder(temporary)
            written = _write_shards(temporary, settings, read_units, encoder, num_workers, progress)
        _finish(temporary, settings, source, written)
    return written.report


def _code_versions(segmenter: str) -> dict:
    """What else decides the arrays: our rules, and the tables and rules of what they rest on."""
    return {
        "prepare": PREPARE_VERSION,
        "sentencepiece": metadata.version("sentencepiece"),
        "tokenizers": metadata.version("tokenizers"),
        "unicode": unicodedata.unidata_version,
        "segmenter": segment.version(segmenter),
    }


def _has_finished_shards(temporary: Path) -> bool:
    return any((temporary / RECORDS).glob("shard-*.json"))


class _Written(NamedTuple):
    records: list[dict]  # one for each shard
    report: Report


def _write_shards(temporary: Path, settings: dict, read_units, encoder: Encoder, num_workers: int, progress) -> _Written:
    records = _finished_records(temporary, settings)
    stretches = _Stretches(settings["shard_bytes"], [record["input_sha256"] for record in records])
    reading, read = Report(encoder.on_bad_input), Report(encoder.on_bad_input)
    for record in records:
        read.merge(Report(**record["report"]))
    shard = None
    for encoded in workers.map_in_order(encoder, stretches.unfinished(read_units(reading)), num_workers):
        number = stretches.waiting.popleft()
        if shard is None or number != shard.number:
            if shard:
                records.append(shard.close(stretches.hashes[shard.number]))
            settled = records[-1]["settled"] if records else {}
            shard = _ShardWriter(temporary, number, settings, settled)
        shard.append(encoded)
        read.merge(encoded.report)
        progress(read, encoded.share)
    if shard:
        records.append(shard.close(stretches.hashes[shard.number]))
    reading.merge(read)
    if not records or len(records[-1]["settled"]) < 2:
        clear_folder(temporary)
        raise UserError(
            "one document cannot be both trained on and held out",
            got=reading.totals(),
            expected="at least two different documents",
            fix="put an empty line between documents, or add files",
        )
    return _Written(records, reading)


def _finished_records(temporary: Path, settings: dict) -> list[dict]:
    """The records of what an earlier process finished with these settings; everything else is cleared away."""
    try:
        same = json.loads((temporary / RECORDS / SETTINGS).read_bytes()) == settings
    except (OSError, ValueError):
        same = False
    if not same:
        clear_folder(temporary)
        for folder in (*SPLITS, RECORDS):
            (temporary / folder).mkdir()
        _write_json(temporary / RECORDS / SETTINGS, settings)
    records = [json.loads(path.read_bytes()) for path in sorted((temporary / RECORDS).glob("shard-*.json"))]
    files = {name for record in records for name in record["files"]}
    for split in SPLITS:
        for path in (temporary / split).iterdir():
            if f"{split}/{path.name}" not in files:
                path.unlink()
    return records


def _write_json(path: Path, value: dict) -> None:
    with new_file(path) as new:
        write_synced(new, (json.dumps(value, indent=1, sort_keys=True) + "\n").encode())


class _Stretches:
    """Which shard each unit belongs to, and the hash of the text of each shard."""

    def __init__(self, shard_bytes: int, finished: list[str]):
        self.hashes: list = []
        self.waiting: deque[int] = deque()  # the shards of the units that `unfinished` gave
        self._shard_bytes, self._finished = shard_bytes, finished

    def unfinished(self, units: Iterable[Unit]) -> Iterator[Unit]:
        """The units of the shards that are not finished.

        Raises:
            _TextChanged: those of the finished ones are not what they were."""
        size = self._shard_bytes
        for unit in units:
            if size >= self._shard_bytes:
                self._check_last()
                self.hashes.append(hashlib.sha256())
                size = 0
            size += len(unit.raw)
            self.hashes[-1].update(repr((unit.kind, unit.inside, len(unit.raw))).encode())
            self.hashes[-1].update(unit.raw)
            if len(self.hashes) > len(self._finished):
                self.waiting.append(len(self.hashes) - 1)
                yield unit
        self._check_last()
        if len(self.hashes) < len(self._finished):
            raise _TextChanged

    def _check_last(self) -> None:
        number = len(self.hashes)
        if 0 < number <= len(self._finished) and self.hashes[-1].hexdigest() != self._finished[number - 1]:
            raise _TextChanged


class _ShardWriter:
    """Divides what the workers made of a stretch of text between the splits."""

    def __init__(self, temporary: Path, number: int, settings: dict, settled: dict[str, str]):
        """Args: settled: the sides of the first two different documents, as far as they are met."""
        self.number, self._temporary, self._settled = number, temporary, dict(settled)
        self._vocab_size, self._fraction = settings["vocabulary"]["size"], settings["held_out_fraction"]
        dtypes = {store.IDS: id_dtype(self._vocab_size), **store.SIDE_ARRAYS}
        self._writers = {
            split: {name: NpyWriter(temporary / split / store.shard_name(name, number), dtype) for name, dtype in dtypes.items()}
            | {name: NpyWriter(temporary / RECORDS / _lengths_name(split, name, number), np.int32) for name in LENGTHS}
            for split in SPLITS
        }
        self._unigram_counts = np.zeros(self._vocab_size, np.int64)
        self._text_hash = hashlib.sha256()
        self._report = Report(settings["on_bad_input"])
        self._cjk_characters = 0

    def append(self, encoded: Encoded) -> None:
        is_held_out = self._sides(encoded.digests)
        sentence_held_out = np.repeat(is_held_out, encoded.document_lengths)
        token_held_out = np.repeat(sentence_held_out, encoded.sentence_lengths)
        for split, documents, sentences, tokens in (
            (store.TRAIN, ~is_held_out, ~sentence_held_out, ~token_held_out),
            (store.HELD_OUT, is_held_out, sentence_held_out, token_held_out),
        ):
            writers = self._writers[split]
            writers[store.IDS].append(encoded.ids[tokens])
            writers[store.WORD_STARTS].append(encoded.word_starts[tokens])
            writers[SENTENCE_LENGTHS].append(encoded.sentence_lengths[sentences])
            writers[DOCUMENT_LENGTHS].append(encoded.document_lengths[documents])
        self._unigram_counts += np.bincount(encoded.ids[~token_held_out], minlength=self._vocab_size)
        self._text_hash.update(encoded.digests)
        self._report.merge(encoded.report)
        self._cjk_characters += encoded.cjk_characters

    def _sides(self, digests: bytes) -> np.ndarray:
        """bool[documents], True where a document is held out."""
        first_words = np.frombuffer(digests, ">u8").reshape(-1, DIGEST_BYTES // 8)[:, 0]
        is_held_out = first_words < np.uint64(self._fraction * 2**64)
        for i in range(len(is_held_out)) if len(self._settled) < 2 else ():
            digest = digests[i * DIGEST_BYTES :][:DIGEST_BYTES].hex()
            if digest not in self._settled:
                self._settled[digest] = bool(is_held_out[i]) if not self._settled else not next(iter(self._settled.values()))
            if len(self._settled) == 2:
                break
        for digest, side in self._settled.items():
            is_held_out[first_words == int(digest[:16], 16)] = side
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
        record = {
            "cjk_characters": self._cjk_characters,
            "files": files,
            "input_sha256": input_hash.hexdigest(),
            "report": self._report.to_dict(),
            "settled": self._settled,
            "splits": splits,
            "text_sha256": self._text_hash.hexdigest(),
        }
        _write_json(self._temporary / RECORDS / f"shard-{self.number:05d}.json", record)
        return record


def _lengths_name(split: str, name: str, number: int) -> str:
    return f"{split}-{store.shard_name(name, number)}"


def _counts_name(number: int) -> str:
    return f"counts-{number:05d}.npy"


def _fingerprint(path: Path) -> dict:
    return {"bytes": path.stat().st_size, "sha256": sha256_of(path)}


def _finish(temporary: Path, settings: dict, source: str, written: _Written) -> None:
    """Writes what goes over all shards, and the manifest."""
    records, unfinished = written.records, temporary / RECORDS
    files = {name: fingerprint for record in records for name, fingerprint in record["files"].items()}
    counts = sum(np.load(unfinished / _counts_name(number), allow_pickle=False) for number in range(len(records)))
    np.save(temporary / store.UNIGRAM_COUNTS, counts, allow_pickle=False)
    files[store.UNIGRAM_COUNTS] = _fingerprint(temporary / store.UNIGRAM_COUNTS)
    for split in SPLITS:
        for lengths, offsets in ((SENTENCE_LENGTHS, store.SENTENCE_OFFSETS), (DOCUMENT_LENGTHS, store.DOCUMENT_OFFSETS)):
            parts = [unfinished / _lengths_name(split, lengths, number) for number in range(len(records))]
            _write_offsets(temporary / split / offsets, parts)
            files[f"{split}/{offsets}"] = _fingerprint(temporary / split / offsets)
        sync_folder(temporary / split)
    totals = {
        split: {name: sum(record["splits"][split][name] for record in records) for name in ("documents", "sentences", "tokens")}
        | {"shard_tokens": [record["splits"][split]["tokens"] for record in records]}
        for split in SPLITS
    }
    manifest = settings | {
        "format": store.FORMAT,
        "format_version": store.FORMAT_VERSION,
        "source": {
            "description": source,
            "text_sha256": hashlib.sha256("".join(record["text_sha256"] for record in records).encode()).hexdigest(),
            "cjk_characters": sum(record["cjk_characters"] for record in records),
        },
        "report": written.report.to_dict(),
        "splits": totals,
        "files": files,
    }
    _write_json(temporary / store.MANIFEST, manifest | {"sha256": store.manifest_hash(manifest)})
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
