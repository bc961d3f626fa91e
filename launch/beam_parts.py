"""What the workers of launch/beam.py do: read one file, write one shard. Needs neither Beam nor jax.

What was read or written is told by a file in the unfinished store, and so is what a user has to mend: raised, it would be tried
again, and reach the user as the traceback of a runner.
"""

import json
import os
import tempfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import chain, islice, zip_longest
from pathlib import Path
from typing import NamedTuple

from bert_jax.data import parse, shards, units
from bert_jax.data.encode import Encoder, digest
from bert_jax.data.files import write_synced
from bert_jax.data.report import SKIP, Report
from bert_jax.data.units import Unit
from bert_jax.errors import UserError

ERROR = "error"


class Job(NamedTuple):
    """What every worker is told."""

    folder: str  # the unfinished store: on a disk that all workers share, or in a bucket
    input_format: str
    given: dict  # see shards.settings
    settled: dict[str, bool]  # see shards.settle; of the whole text
    encoder: Encoder


class Survey(NamedTuple):
    """How a file falls into units."""

    number: int
    name: str
    sizes: tuple[int, ...] | None  # raw bytes of each unit; None where the file cannot be used
    checksums: tuple[int, ...] = ()  # CRC-32 of each
    keys: tuple[bytes, ...] = ()  # shards.keys_of the documents of each, one behind the other; none where duplicates are kept


class Stretch(NamedTuple):
    """Units of a file, one after another."""

    name: str
    first: int
    checksums: tuple[int, ...]  # of each unit


class Part(NamedTuple):
    """What one shard is made of."""

    number: int
    stretches: tuple[Stretch, ...]
    met: frozenset[bytes] = frozenset()  # see shards.ShardWriter


def survey(numbered_file: tuple[int, str], job: Job) -> Survey:
    number, name = numbered_file
    told = f"{shards.RECORDS}/{survey_name(number)}"
    report = Report(job.given["on_bad_input"])
    try:
        found = [(len(unit.raw), zlib.crc32(unit.raw), _keys(unit, job)) for unit in units_of(name, job, report)]
    except UserError as error:
        publish_json(job.folder, told, {ERROR: str(error)})
        return Survey(number, name, None)
    sizes, checksums, keys = (tuple(of) for of in zip(*found)) if found else ((), (), ())
    publish_json(job.folder, told, {"name": name, "sizes": sizes, "checksums": checksums, "report": report.to_dict()})
    return Survey(number, name, sizes, checksums, keys)


def _keys(unit: Unit, job: Job) -> bytes:
    if shards.DROP_DUPLICATES not in job.given:
        return b""
    documents = parse.documents(unit, Report(SKIP))  # what is bad in them is told by whoever writes them
    return b"".join(shards.keys_of(b"".join(map(digest, documents))))


def parts(surveys: Iterable[Survey], shard_bytes: int) -> list[Part]:
    """The shards of the text that these files are, in the order of their numbers; none where a file cannot be used."""
    surveys = sorted(surveys)
    if any(each.sizes is None for each in surveys):
        return []
    numbering, found, keys_of = shards.Numbering(shard_bytes), [], []
    for _, name, sizes, checksums, keys in surveys:
        for place, (size, mine) in enumerate(zip_longest(sizes, keys, fillvalue=b"")):
            number = numbering.next(size)
            if number == len(found):
                found.append([])
                keys_of.append(set())
            keys_of[-1] |= shards.apart(mine)
            if not found[-1] or found[-1][-1].name != name:
                found[-1].append(Stretch(name, place, ()))
            last = found[-1][-1]
            found[-1][-1] = last._replace(checksums=(*last.checksums, checksums[place]))
    planned, met = [], set()
    for number, (stretches, keys) in enumerate(zip(found, keys_of, strict=True)):
        planned.append(Part(number, tuple(stretches), frozenset(keys & met)))
        met |= keys
    return planned


def write(part: Part, job: Job) -> int:
    """Writes a shard, and a record of it when all its files are there; returns its number."""
    record = f"{shards.RECORDS}/{shards.record_name(part.number)}"
    streams = (_as_surveyed(stretch, job) for stretch in part.stretches)
    with _scratch(job.folder) as scratch:
        shards.make_folders(Path(scratch))
        try:
            units_now, met = chain.from_iterable(streams), set(part.met)
            shards.write_shard(Path(scratch), part.number, job.given, job.settled, met, units_now, job.encoder)
        except UserError as error:
            publish_json(job.folder, record, {ERROR: str(error)})
            return part.number
        files = [path.relative_to(scratch).as_posix() for path in Path(scratch).rglob("*") if path.is_file()]
        for name in sorted(files, key=lambda name: name == record):
            publish(Path(scratch) / name, job.folder, name)
    return part.number


def _as_surveyed(stretch: Stretch, job: Job) -> Iterator[Unit]:
    """Raises UserError where the file is not what it was: documents would be lost, or come twice."""
    name, first, checksums = stretch
    units_now = islice(units_of(name, job, Report(SKIP)), first, first + len(checksums))  # what is bad in it is in the survey
    for unit, checksum in zip_longest(units_now, checksums):
        if unit is None or zlib.crc32(unit.raw) != checksum:
            raise UserError("a file changed while it was read", got=name, fix="let nothing write to the text, and start again")
        yield unit


def survey_name(number: int) -> str:
    return f"file-{number:05d}.json"


def units_of(name: str, job: Job, report: Report) -> Iterator[Unit]:
    """Of a file, on a disk or in a bucket; messages and the report name it as the user did."""
    with at_hand(name) as path:

        def named(text: str) -> str:
            return text.replace(str(path), name)

        try:
            for unit in units.of_file(path, job.input_format, report):
                yield unit._replace(source=named(unit.source))
        except UserError as error:
            raise UserError(named(str(error))) from None
        report.places = {reason: named(place) for reason, place in report.places.items()}


def is_remote(name: str) -> bool:
    return "://" in name


def remote(name: str):
    """(file system, path in it) of what is not on a disk. It keeps no listings: other machines write there."""
    try:
        import fsspec

        return fsspec.core.url_to_fs(name, use_listings_cache=False)
    except (ImportError, ValueError) as error:
        fix = "pip install -r launch/beam_requirements.txt, and what else the kind of place needs"
        raise UserError("this place needs a package that is not installed", got=f"{name}: {error}", fix=fix) from None


@contextmanager
def at_hand(name: str) -> Iterator[Path]:
    """A path of the file on a disk of this machine, for as long as the block lasts."""
    if not is_remote(name):
        yield Path(name)
        return
    files, there = remote(name)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / Path(there).name
        files.get_file(there, str(path))
        yield path


def _scratch(folder: str) -> tempfile.TemporaryDirectory:
    """Where files can grow that are to be published: what a killed worker leaves in it goes with the records."""
    return tempfile.TemporaryDirectory(dir=None if is_remote(folder) else Path(folder) / shards.RECORDS)


def publish(path: Path, folder: str, name: str) -> None:
    """Gives a finished file its place in the store, at once; what was there is replaced."""
    if not is_remote(folder):
        os.replace(path, Path(folder) / name)
        return
    files, there = remote(folder)
    files.put_file(str(path), f"{there}/{name}")


def publish_json(folder: str, name: str, value: dict) -> None:
    with _scratch(folder) as scratch:
        path = Path(scratch) / Path(name).name
        write_synced(path, json.dumps(value).encode())
        publish(path, folder, name)


def told(folder: Path, names: Iterable[str], what: str) -> list[dict]:
    """What the workers told under these names.

    Raises:
        UserError: one told a user's mistake, or one told nothing.
    """
    names = list(names)
    found = [json.loads((folder / name).read_bytes()) if (folder / name).exists() else None for name in names]
    errors = [each[ERROR] for each in found if each and ERROR in each]
    if errors:
        more = f"\n  also:     {len(errors) - 1:,} more {what} have mistakes" if errors[1:] else ""
        raise UserError(errors[0] + more)
    if None in found:
        missing = [name for name, each in zip(names, found) if each is None]
        raise UserError(
            f"{len(missing):,} of {len(names):,} {what} were never done, though the pipeline ended",
            got=f"no {missing[0]}",
            expected=f"every worker to see the same files as this process, and to write to {folder}",
            fix="name text and --workdir by absolute paths of a shared disk, or in a bucket",
        )
    return found
