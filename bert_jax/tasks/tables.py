"""Tab-separated files with a header line, as the makers of tasks hand them out."""

import io
from collections.abc import Iterator
from pathlib import Path

from bert_jax.data.units import COMPRESSED, decompressed
from bert_jax.errors import UserError


def read(path: Path, columns: tuple[str, ...]) -> Iterator[tuple[str, tuple[str, ...]]]:
    """(place for a message, cells of these columns) for each row of the file, which may be compressed (.xz, .gz).

    Raises:
        UserError: the file is absent or unreadable, lacks a column, or a row of it is ragged.
    """
    path = _find(path)
    rows = _rows(path)
    header = next(rows, [])
    missing = [column for column in columns if column not in header]
    if missing:
        raise UserError(
            f"the file lacks the column {missing[0]!r}", got=f"{path}, line 1: {', '.join(header)}", expected="a header line"
        )
    indices = [header.index(column) for column in columns]
    for number, row in enumerate(rows, 2):
        if len(row) != len(header):
            raise UserError(
                "a row is ragged", got=f"{path}, line {number}: {len(row)} columns", expected=f"{len(header)} columns"
            )
        yield f"{path}, line {number}", tuple(row[index] for index in indices)


def _find(path: Path) -> Path:
    for candidate in (path, *(path.with_name(path.name + suffix) for suffix in COMPRESSED)):
        if candidate.is_file():
            return candidate
    raise UserError(
        "the data of the task is absent",
        got=f"no {path}, compressed or not",
        expected="the official files, GLUE's from gluebenchmark.com",
        fix="let data.folder, or else BERT_JAX_DATA, name the folder that holds glue/",
    )


def _rows(path: Path) -> Iterator[list[str]]:
    """Cells of each line. Quotes are ordinary characters in these files, and only a line feed ends a line."""
    try:
        with open(path, "rb") as file, decompressed(file, path.suffix) as content:
            for line in io.TextIOWrapper(content, encoding="utf-8-sig", newline="\n"):
                yield line.rstrip("\r\n").split("\t")
    except UnicodeDecodeError as error:
        raise UserError("the file is not UTF-8", got=f"{path}: {error.reason} at byte {error.start} of a block") from error
    except OSError as error:
        raise UserError("the file cannot be read", got=f"{path}: {error.strerror or error}") from error
