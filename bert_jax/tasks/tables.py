"""Tables of examples in files: tab-separated, comma-separated or JSON lines, compressed or not."""

import csv
import io
import json
import lzma
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from bert_jax.data.units import COMPRESSED, decompressed
from bert_jax.errors import UserError

Column = str | int  # a name in the header line, or the place, from 0, in a file without one


def read(path: Path, columns: Sequence[Column], *, skipped: list[str] | None = None) -> Iterator[tuple[str, tuple[str, ...]]]:
    """(place for a message, cells of these columns) for each row of the file.

    A file .jsonl holds a JSON object a line, and a column is a key; .csv has commas, quotes and a header line; any other has
    tabs, quotes are ordinary characters there, and only a line feed ends a line.

    Args:
        skipped: where bad rows are noted that are left out; None refuses them.

    Raises:
        UserError: the file is absent or unreadable, lacks a column, or a row of it is bad, ragged for instance.
    """
    path = find(path)
    plain = path.with_suffix("") if path.suffix in COMPRESSED else path
    yield from kept(FORMATS.get(plain.suffix, _tabs)(path, columns), skipped)


def kept(rows: Iterator, skipped: list[str] | None) -> Iterator:
    """The rows, of which one may be a UserError: raised, or noted and left out."""
    for row in rows:
        if not isinstance(row, UserError):
            yield row
        elif skipped is None:
            raise row
        else:
            skipped.append(str(row))


def parsed(rows: Iterator[tuple], parse: Callable, skipped: list[str] | None) -> list:
    """What `parse` makes of each row of `read`, which it may refuse with a UserError."""

    def each():
        for row in rows:
            try:
                yield parse(*row)
            except UserError as error:
                yield error

    return list(kept(each(), skipped))


class Absent(UserError):
    """The file of a task is not there."""


def find(path: Path) -> Path:
    """The file itself, or a compressed one with a further suffix.

    Raises:
        Absent: there is neither.
    """
    for candidate in (path, *(path.with_name(path.name + suffix) for suffix in COMPRESSED)):
        if candidate.is_file():
            return candidate
    raise Absent(
        "the data of the task is absent",
        got=f"no {path}, compressed or not",
        expected="data.folder, or else BERT_JAX_DATA, names the folder that holds the data of all tasks",
    )


def lines(path: Path) -> Iterator[str]:
    """The lines of a text file, compressed or not, without their ends.

    Raises:
        UserError: the file is absent, not UTF-8, or broken.
    """
    path = find(path)
    try:
        with open(path, "rb") as file, decompressed(file, path.suffix) as content:
            for line in io.TextIOWrapper(content, encoding="utf-8-sig", newline="\n"):
                yield line.rstrip("\r\n")
    except UnicodeDecodeError as error:
        raise UserError("the file is not UTF-8", got=f"{path}: {error.reason} at byte {error.start} of a block") from error
    except (OSError, EOFError, lzma.LZMAError) as error:
        raise UserError("the file cannot be read", got=f"{path}: {getattr(error, 'strerror', None) or error}") from error


def _tabs(path: Path, columns: Sequence[Column]) -> Iterator:
    return _split(path, columns, ((number, line.split("\t")) for number, line in enumerate(lines(path), 1)))


def _commas(path: Path, columns: Sequence[Column]) -> Iterator:
    reader = csv.reader(f"{line}\n" for line in lines(path))
    return _split(path, columns, ((reader.line_num, row) for row in reader))


def _split(path: Path, columns: Sequence[Column], rows: Iterator[tuple[int, list[str]]]) -> Iterator:
    """With names a header line is read; with places the first row says how many cells each has."""
    indices, width = list(columns), 0
    if any(isinstance(column, str) for column in columns):
        _, header = next(rows, (1, []))
        if missing := [column for column in columns if column not in header]:
            raise UserError(
                f"the file lacks the column {missing[0]!r}", got=f"{path}, line 1: {', '.join(header)}", expected="a header line"
            )
        indices, width = [header.index(column) for column in columns], len(header)
    for number, row in rows:
        width = width or len(row)
        if len(row) != width or max(indices) >= width:
            wanted = max(width, *(index + 1 for index in indices))
            yield UserError("a row is ragged", got=f"{path}, line {number}: {len(row)} columns", expected=f"{wanted} columns")
        else:
            yield f"{path}, line {number}", tuple(row[index] for index in indices)


def objects(path: Path) -> Iterator:
    """(place for a message, JSON object) for each line, or a UserError for a line that is none."""
    for number, line in enumerate(lines(path), 1):
        try:
            value = json.loads(line)
        except ValueError:
            value = None
        if isinstance(value, dict):
            yield f"{path}, line {number}", value
        else:
            yield UserError("a line is not a JSON object", got=f"{path}, line {number}: {line[:60]}", expected='{"text": ...}')


def _json(path: Path, columns: Sequence[Column]) -> Iterator:
    for row in objects(path):
        if isinstance(row, UserError):
            yield row
            continue
        place, value = row
        if missing := [column for column in columns if not isinstance(value.get(column), str | int | float)]:
            yield UserError(
                f"a row lacks the column {missing[0]!r}", got=f"{place}: {', '.join(value)}", expected="a text or a number there"
            )
        else:
            yield place, tuple(str(value[column]) for column in columns)


FORMATS = {".jsonl": _json, ".csv": _commas}
