"""Input files to units: stretches of raw text that hold whole documents, small enough to be one worker's next piece of work.

Where a file is cut depends on its bytes alone, so that units, and all that is made of them, are the same on every machine and for
any number of workers. Nothing is decoded or split here: one process can feed many.
"""

import contextlib
import gzip
import json
import lzma
import math
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

from bert_jax.data import sentences
from bert_jax.data.report import Report

UNIT_BYTES = 2**20
MAX_DOCUMENT_BYTES = 2**23  # the longest novels are shorter
MAX_RECORD_BYTES = 2**25
CUT_DOCUMENTS = f"documents over {MAX_DOCUMENT_BYTES >> 20} MiB cut into several"
ROWS_PER_READ = 256
COMPRESSED = (".gz", ".xz", ".zst")
LINES_TO_DECIDE = 200
SEVERAL_SENTENCES_SHARE = 0.25
TABLE_SUFFIXES = {".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "jsonl", ".parquet": "parquet"}
EMPTY_LINE = re.compile(rb"\n[ \t\r\f\v]*\n")
ENDS = {  # what a document ends with, by kind
    "sentences": EMPTY_LINE,
    "paragraphs": EMPTY_LINE,
    "wiki": re.compile(rb"\n</doc>[^\n]*\n|\n(?=<doc[ >])"),
    "jsonl": re.compile(rb"\n"),
    "histories": re.compile(rb"\n"),
}
TEXT = "text"  # the field of JSON lines and the column of tables that holds the documents


class Unit(NamedTuple):
    """Whole documents of one file, as they stand in it."""

    kind: str  # a key of ENDS
    raw: bytes
    source: str  # the file, for messages
    line: int = 1  # the number of its first line, or row
    offset: int = 0  # where it starts in the (decompressed) file
    inside: bool = False  # it goes on with a document that was too long for one unit
    share: float = math.nan  # of the input that is read when it is


def of_file(path: Path, input_format: str, report: Report) -> Iterator[Unit]:
    """The units of a file; `share` is that of this file. Bad input goes to the report.

    Raises:
        UserError: as the report wants it.
    """
    report.files += 1
    kind = input_format if input_format != "auto" else TABLE_SUFFIXES.get(_inner_suffix(path), "auto")
    read = _of_parquet if kind == "parquet" else _of_text
    try:
        yield from read(path, kind, report)
    except (OSError, EOFError, lzma.LZMAError, zlib.error, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error).partition("\n")[0]
        report.bad_input(
            "files that cannot be read to their end", f"{path}: {reason}", fix="check its permissions, and that it is whole"
        )


def _inner_suffix(path: Path) -> str:
    return Path(path.stem).suffix if path.suffix in COMPRESSED else path.suffix


def _of_text(path: Path, kind: str, report: Report) -> Iterator[Unit]:
    size = max(path.stat().st_size, 1)
    line, offset = 1, 0
    with open(path, "rb") as file, decompressed(file, path.suffix) as content:
        head = content.read(UNIT_BYTES)
        if not head:
            report.note("empty files", str(path))
        kind = _decide(head) if kind == "auto" else kind
        for raw, inside in _blocks(head, content, kind, str(path), report):
            yield Unit(kind, raw, str(path), line, offset, inside, file.tell() / size)
            line += raw.count(b"\n")
            offset += len(raw)


def decompressed(file: BinaryIO, suffix: str) -> contextlib.AbstractContextManager[BinaryIO]:
    """The content of an open file whose name ends with one of COMPRESSED, or with anything else."""
    if suffix == ".gz":
        return gzip.GzipFile(fileobj=file)
    if suffix == ".xz":
        return lzma.LZMAFile(file)
    if suffix == ".zst":
        import pyarrow  # half a second and 30 MB, for the files that need it

        return pyarrow.CompressedInputStream(pyarrow.PythonFile(file, mode="r"), "zstd")
    return contextlib.nullcontext(file)


def _decide(head: bytes) -> str:
    lines = [line for line in (raw.strip() for raw in head.decode("utf-8-sig", "replace").split("\n", LINES_TO_DECIDE)) if line]
    if lines and lines[0].startswith("<doc"):
        return "wiki"
    several = sum(len(sentences.split(line)) > 1 for line in lines[:LINES_TO_DECIDE])
    return "paragraphs" if several > SEVERAL_SENTENCES_SHARE * len(lines) else "sentences"


def _blocks(head: bytes, content: BinaryIO, kind: str, source: str, report: Report) -> Iterator[tuple[bytes, bool]]:
    """(raw text, whether it starts inside a document), cut where the last document in reach ends.

    What is too long is cut by its own bytes alone: copies of a document are cut alike, wherever they stand in a file."""
    rest, inside = head, False
    limit = MAX_RECORD_BYTES if kind == "jsonl" else MAX_DOCUMENT_BYTES
    while rest:
        first, last = _ends(rest, ENDS[kind])
        if (first or len(rest)) > limit:
            if kind == "jsonl" and not inside:
                report.bad_input(f"records over {limit >> 20} MiB", source, fix="cut them into several")
            elif not inside:
                report.note(CUT_DOCUMENTS, source)
            place = _place_to_cut(rest[:limit])
            yield rest[:place], inside
            rest, inside = rest[place:], True
            continue
        more = content.read(UNIT_BYTES)
        if not more:
            yield rest, inside
            return
        if last:
            yield rest[:last], inside
            rest, inside = rest[last:], False
        rest += more


def _ends(raw: bytes, end: re.Pattern[bytes]) -> tuple[int, int]:
    """Where the first and the last document that end in `raw` do; 0 where none does."""
    first = end.search(raw)
    if not first:
        return 0, 0
    for start in (len(raw) - 2**14, len(raw) - 2**18, first.start()):
        matches = list(end.finditer(raw, max(start, first.start())))
        if matches:
            return first.end(), matches[-1].end()
    raise AssertionError("the first match is gone")


def _place_to_cut(raw: bytes) -> int:
    """After the last line, else the last sentence, else the last word, of the second half; else between two characters."""
    half = len(raw) // 2
    for stop in (b"\n", b". ", "。".encode(), b" "):
        place = raw.rfind(stop, half)
        if place >= 0:
            return place + len(stop)
    # The last character may be whole or not: start the rest with it. A UTF-8 character has at most 3 bytes after its first.
    return next((len(raw) - back for back in (1, 2, 3, 4) if raw[-back] & 0xC0 != 0x80), len(raw))


def _of_parquet(path: Path, kind: str, report: Report) -> Iterator[Unit]:
    import pyarrow  # half a second and 30 MB, for the files that need it
    from pyarrow import parquet

    with parquet.ParquetFile(path) as table:
        if TEXT not in table.schema_arrow.names:
            report.bad_input(
                f"Parquet files without a column {TEXT!r}",
                f"{path}: {', '.join(table.schema_arrow.names)}",
                fix=f"rename the column that holds the documents to {TEXT}",
            )
            return
        batches = table.iter_batches(batch_size=ROWS_PER_READ, columns=[TEXT])
        columns = (batch.column(0) for batch in batches)
        # As bytes: text that is not UTF-8 is then one bad row and not the end of the file.
        rows = (value for column in columns for value in column.cast(pyarrow.large_binary()).to_pylist())
        yield from of_rows(rows, str(path), table.metadata.num_rows, report)


def of_rows(rows: Iterator[bytes | str | None], source: str, num_rows: int, report: Report) -> Iterator[Unit]:
    """Units of JSON lines from the texts of a table."""
    lines, size, first = [], 0, 1
    for number, text in enumerate(rows, 1):
        lines.append(_json_line(text, f"{source}, row {number}", report))
        size += len(lines[-1])
        if size >= UNIT_BYTES or number == num_rows:
            yield Unit("jsonl", b"".join(lines), source, first, share=number / num_rows)
            lines, size, first = [], 0, number + 1


def _json_line(text: bytes | str | None, place: str, report: Report) -> bytes:
    """b"\\n" for what cannot be read, so that rows keep their numbers."""
    try:
        text = text.decode() if isinstance(text, bytes) else text
    except UnicodeDecodeError:
        report.bad_input("rows that are not UTF-8", place, fix="write the table anew")
        return b"\n"
    return json.dumps({TEXT: text}, ensure_ascii=False).encode() + b"\n"
