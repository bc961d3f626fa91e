"""Raw text to a token store (see store.py), by all cores, streamed: memory grows neither with the corpus nor with its files,
but for some 100 bytes a document where duplicates are dropped.

This process reads the files and cuts them into units; workers make arrays of units; this process appends them, in order, to the
shards of the two splits. A shard is finished when its files and then a record of them are on disk. After a kill, the next prepare
reads the text again, makes sure by hashes that it is the same, and goes on after the last finished shard.
"""

import hashlib
import json
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from bert_jax.data import segment, shards, workers
from bert_jax.data.encode import Encoder
from bert_jax.data.files import clear_folder, new_folder
from bert_jax.data.report import Report
from bert_jax.data.shards import RECORDS, SHARD_BYTES, SPLITS, ShardWriter
from bert_jax.data.units import Unit
from bert_jax.errors import UserError
from bert_jax.text.tokenizer import Tokenizer

SETTINGS = "settings.json"


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
    drop_duplicates: bool = False,
    num_workers: int = 1,
    shard_bytes: int = SHARD_BYTES,
    progress: Callable[[Report, float], None] = lambda report, share: None,
) -> Report:
    """Writes the store as a whole or not at all; the same text gives the same bytes, for any number of workers.

    A document is held out by a hash of its text, so copies of it are never on both sides. The second different document goes to
    the other side than the first one, whatever its hash says: neither side is ever empty. Sentences without a piece are left out.

    Args:
        read_units: gives the text from its start, as sources.read_units does.
        held_out_fraction, segmenter, on_bad_input, drop_duplicates, shard_bytes: see shards.settings.
        source: where the text came from, for the manifest.
        progress: called with the totals so far and the share of the input that is done.

    Returns:
        what the text held, and what was left out or changed; it is in the manifest too.

    Raises:
        UserError: fewer than two different documents, a value out of range, bad input, or a disk that refuses.
    """
    given = shards.settings(
        tokenizer,
        held_out_fraction=held_out_fraction,
        segmenter=segmenter,
        on_bad_input=on_bad_input,
        drop_duplicates=drop_duplicates,
        shard_bytes=shard_bytes,
    )
    encoder = Encoder(tokenizer, segmenter, on_bad_input)
    with new_folder(Path(folder), "the token store", keep=_has_finished_shards) as temporary:
        try:
            written = _write_shards(temporary, given, read_units, encoder, num_workers, progress)
        except _TextChanged:
            clear_folder(temporary)
            written = _write_shards(temporary, given, read_units, encoder, num_workers, progress)
        shards.finish(temporary, given, source, written.records, written.report)
    return written.report


def _has_finished_shards(temporary: Path) -> bool:
    return any((temporary / RECORDS).glob("shard-*.json"))


class _Written(NamedTuple):
    records: list[dict]  # one for each shard
    report: Report


def _write_shards(temporary: Path, given: dict, read_units, encoder: Encoder, num_workers: int, progress) -> _Written:
    records = _finished_records(temporary, given)
    stretches = _Stretches(given["shard_bytes"], [record["input_sha256"] for record in records])
    reading, read = Report(encoder.on_bad_input), Report(encoder.on_bad_input)
    for record in records:
        read.merge(Report(**record["report"]))
    shard, met = None, shards.met_in(temporary, len(records)) if shards.DROP_DUPLICATES in given else set()
    for encoded in workers.map_in_order(encoder, stretches.unfinished(read_units(reading)), num_workers):
        number = stretches.waiting.popleft()
        if shard is None or number != shard.number:
            if shard:
                records.append(shard.close(stretches.hashes[shard.number]))
            settled = records[-1]["settled"] if records else {}
            shard = ShardWriter(temporary, number, given, settled, met)
        shard.append(encoded)
        read.merge(encoded.report)
        progress(read, encoded.share)
    if shard:
        records.append(shard.close(stretches.hashes[shard.number]))
    reading.merge(read)
    try:
        shards.require_two(records[-1]["settled"] if records else {}, reading)
    except UserError:
        clear_folder(temporary)
        raise
    return _Written(records, reading)


def _finished_records(temporary: Path, given: dict) -> list[dict]:
    """The records of what an earlier process finished with these settings; everything else is cleared away."""
    try:
        same = json.loads((temporary / RECORDS / SETTINGS).read_bytes()) == given
    except (OSError, ValueError):
        same = False
    if not same:
        clear_folder(temporary)
        shards.make_folders(temporary)
        shards.write_json(temporary / RECORDS / SETTINGS, given)
    records = [json.loads(path.read_bytes()) for path in sorted((temporary / RECORDS).glob("shard-*.json"))]
    files = {name for record in records for name in record["files"]}
    for split in SPLITS:
        for path in (temporary / split).iterdir():
            if f"{split}/{path.name}" not in files:
                path.unlink()
    return records


class _Stretches:
    """Which shard each unit belongs to, and the hash of the text of each shard."""

    def __init__(self, shard_bytes: int, finished: list[str]):
        self.hashes: list = []
        self.waiting: deque[int] = deque()  # the shards of the units that `unfinished` gave
        self._numbering, self._finished = shards.Numbering(shard_bytes), finished

    def unfinished(self, units: Iterable[Unit]) -> Iterator[Unit]:
        """The units of the shards that are not finished.

        Raises:
            _TextChanged: those of the finished ones are not what they were."""
        for unit in units:
            number = self._numbering.next(len(unit.raw))
            if number == len(self.hashes):
                self._check_last()
                self.hashes.append(hashlib.sha256())
            shards.hash_unit(self.hashes[-1], unit)
            if number >= len(self._finished):
                self.waiting.append(number)
                yield unit
        self._check_last()
        if len(self.hashes) < len(self._finished):
            raise _TextChanged

    def _check_last(self) -> None:
        number = len(self.hashes)
        if 0 < number <= len(self._finished) and self.hashes[-1].hexdigest() != self._finished[number - 1]:
            raise _TextChanged
