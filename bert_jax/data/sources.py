"""Raw text to documents, a document being the list of its sentences. Everything is streamed: memory does not grow with a file.

Formats of text files:
    sentences   one sentence per line, an empty line between documents: the input of google-research/bert
    paragraphs  one paragraph per line, an empty line between documents; paragraphs are cut into sentences
    wiki        `<doc ...>` to `</doc>` as WikiExtractor writes them: the first line is the title and is left out
    auto        decided for each file from its first lines: wiki if the first one opens a `<doc`, else paragraphs if more than
                a quarter of them hold several sentences, else sentences

A file always starts a new document. Files may be compressed (.gz, .xz). Text is UTF-8; a byte order mark, carriage returns at
the ends of lines and NUL characters are dropped. A line over 1 MiB is cut between sentences or words, a document over 4 Mi
characters is cut into several: both are counted in the report.
"""

import glob
import gzip
import lzma
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import BinaryIO

from bert_jax.data import docs, sentences
from bert_jax.data.report import Report
from bert_jax.errors import UserError

FORMATS = ("auto", "sentences", "paragraphs", "wiki")
OPENERS = {".gz": gzip.open, ".xz": lzma.open}
MAX_LINE_BYTES = 2**20
MAX_DOCUMENT_CHARS = 2**22  # the longest novels are shorter
LINES_TO_DECIDE = 200
SEVERAL_SENTENCES_SHARE = 0.25
END_OF_DOCUMENT = None


def documents(input_file: str, input_format: str, report: Report) -> Iterator[list[str]]:
    """The documents of all files in the order of their names, and `report` filled on the way.

    Args:
        input_file: files or patterns, comma-separated; "" for the English prose of the installed Python packages.
        input_format: one of FORMATS; of no effect for "".

    Raises:
        UserError: a pattern matches nothing, a file cannot be read or is not UTF-8, or there is no text at all.
    """
    if input_format not in FORMATS:
        raise UserError("unknown data.input_format", got=input_format, expected=", ".join(FORMATS))
    if not input_file:
        found = docs.documents(report)
    else:
        found = chain.from_iterable(_of_file(path, input_format, report) for path in find_files(input_file))
    for document in found:
        report.add(document)
        yield document
    if not report.documents:
        raise UserError("there is no text in the input", got=input_file or report.describe(), expected="at least one sentence")


def find_files(input_file: str) -> list[Path]:
    """The files that comma-separated names and patterns stand for, each once, sorted.

    Raises:
        UserError: a name or pattern matches no file.
    """
    found: set[Path] = set()
    for pattern in filter(None, (part.strip() for part in input_file.split(","))):
        matches = [Path(name) for name in glob.glob(pattern, recursive=True)]
        # A file may be called what looks like a pattern.
        files = [path for path in [*matches, Path(pattern)] if path.is_file()]
        if not files:
            inside = f"; for the files in a folder: {pattern.rstrip('/')}/*" if Path(pattern).is_dir() else ""
            raise UserError("data.input_file matches no file", got=pattern, fix=f"check the path{inside}")
        found.update(files)
    return sorted(found)


def _of_file(path: Path, input_format: str, report: Report) -> Iterator[list[str]]:
    report.files += 1
    lines = _lines(path, report)
    if input_format == "auto":
        head = [line for _, line in zip(range(LINES_TO_DECIDE), lines)]
        input_format, lines = _decide(head), chain(head, lines)
    stream = _wiki(lines, report) if input_format == "wiki" else _by_empty_lines(lines, input_format == "paragraphs")
    return _grouped(stream, report)


def _decide(head: list[str]) -> str:
    head = [line for line in head if line]
    if head and head[0].startswith("<doc"):
        return "wiki"
    several = sum(len(sentences.split(line)) > 1 for line in head)
    return "paragraphs" if several > SEVERAL_SENTENCES_SHARE * len(head) else "sentences"


def _by_empty_lines(lines: Iterator[str], split: bool) -> Iterator[str | None]:
    for line in lines:
        if not line:
            yield END_OF_DOCUMENT
        elif split:
            yield from sentences.split(line)
        else:
            yield line


def _wiki(lines: Iterator[str], report: Report) -> Iterator[str | None]:
    inside = title_seen = False
    for line in lines:
        if line.startswith(("<doc ", "<doc>", "</doc>")):
            yield END_OF_DOCUMENT
            inside, title_seen = not line.startswith("</"), False
        elif line and not inside:
            report.notes["lines outside of <doc>"] += 1
        elif line and not title_seen:
            title_seen = True
        elif line:
            yield from sentences.split(line)


def _grouped(stream: Iterator[str | None], report: Report) -> Iterator[list[str]]:
    document: list[str] = []
    size = 0
    for sentence in chain(stream, [END_OF_DOCUMENT]):
        if sentence is not END_OF_DOCUMENT:
            document.append(sentence)
            size += len(sentence)
        if document and (sentence is END_OF_DOCUMENT or size >= MAX_DOCUMENT_CHARS):
            report.notes[f"documents cut after {MAX_DOCUMENT_CHARS:,} characters"] += sentence is not END_OF_DOCUMENT
            yield document
            document, size = [], 0


def _lines(path: Path, report: Report) -> Iterator[str]:
    """The lines of a file, stripped, none longer than MAX_LINE_BYTES in UTF-8."""
    offset, number = 0, 1
    with _read_errors(path), OPENERS.get(path.suffix, open)(path, "rb") as file:
        for raw in _raw_lines(file, report):
            try:
                line = raw.decode("utf-8-sig" if offset == 0 else "utf-8")
            except UnicodeDecodeError as error:
                raise UserError(
                    "the text is not UTF-8",
                    got=f"{path}, line {number}: byte 0x{raw[error.start]:02x} at byte {offset + error.start} of the file",
                    expected="UTF-8",
                    fix=f"convert it, for example from Windows: iconv -f WINDOWS-1252 -t UTF-8 {path.name}",
                ) from error
            offset += len(raw)
            number += raw.endswith(b"\n")
            if "\0" in line:
                report.notes["NUL characters"] += line.count("\0")
                line = line.replace("\0", "")
            yield line.strip()


def _raw_lines(file: BinaryIO, report: Report) -> Iterator[bytes]:
    rest, in_long_line = b"", False
    while more := file.readline(MAX_LINE_BYTES - len(rest)):
        line, rest = rest + more, b""
        if len(line) == MAX_LINE_BYTES and not line.endswith(b"\n"):
            report.notes["lines over 1 MiB cut"] += not in_long_line
            in_long_line = True
            place = _place_to_cut(line)
            line, rest = line[:place], line[place:]
        else:
            in_long_line = False
        yield line
    if rest:
        yield rest


def _place_to_cut(line: bytes) -> int:
    """After the last sentence, else the last word, of the second half; else between two characters."""
    half = len(line) // 2
    for stop in (b". ", "。".encode(), b" "):
        place = line.rfind(stop, half)
        if place >= 0:
            return place + len(stop)
    # The last character may be whole or not: start the rest with it. A UTF-8 character has at most 3 bytes after its first.
    return next((len(line) - back for back in (1, 2, 3, 4) if line[-back] & 0xC0 != 0x80), len(line))


@contextmanager
def _read_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, EOFError, lzma.LZMAError, zlib.error) as error:
        raise UserError(
            "the input file cannot be read",
            got=f"{path}: {getattr(error, 'strerror', None) or error}",
            fix="check its permissions, and that it is whole",
        ) from error
