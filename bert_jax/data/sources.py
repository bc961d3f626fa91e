"""Raw text to documents, a document being the list of its sentences. Everything is streamed: memory does not grow with a file.

data.input_file names one or more inputs, comma-separated:
    a/*.txt          files or patterns, read in the order of their names
    tfds:NAME/SPLIT  a prepared TensorFlow data set with a feature `text`, as tfds:wikipedia/20230601.en/train. NAME may also be
                     the folder that it was prepared into. TensorFlow is not needed, and nothing is downloaded.
    (nothing)        the English prose of the installed Python packages

Formats of files (data.input_format):
    sentences   one sentence per line, an empty line between documents: the input of google-research/bert
    paragraphs  one paragraph per line, an empty line between documents; paragraphs are cut into sentences
    wiki        `<doc ...>` to `</doc>` as WikiExtractor writes them: the first line is the title and is left out
    jsonl       a JSON object per line whose field `text` is a document; its lines are paragraphs
    parquet     the same with a column `text`
    histories   a line for each user: names of items in order, separated by blanks; the last two are left out, for evaluation
    auto        decided for each file: jsonl and parquet by the name; else from its first lines: wiki if the first one opens a
                `<doc`, paragraphs if more than a quarter of them hold several sentences, else sentences

A file always starts a new document. Files may be compressed (.gz, .xz, .zst).

A mixture: with a weight after each input (wiki/*.txt=0.7, books/*.txt=0.3) the raw bytes of the text are taken from the inputs in
these shares, always from the one that is furthest behind. An input that is exhausted is read again from its start; the mixture
ends when each input has been read to its end once. So nothing is left out and small inputs are repeated. Copies of a document
are always on the same side of the train and held-out split.
"""

import glob
import math
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

from bert_jax.data import docs, parse, units
from bert_jax.data.report import Report
from bert_jax.data.units import Unit
from bert_jax.errors import UserError

FORMATS = ("auto", "sentences", "paragraphs", "wiki", "jsonl", "parquet", "histories")
TFDS = "tfds:"
ROWS_PER_READ = 256
ROW_BYTES = 2**10  # a guess that only the estimate of the time left rests on
PACKAGES = "docstrings of the installed packages"


class Input(NamedTuple):
    name: str
    weight: float | None


def documents(
    input_file: str, input_format: str, report: Report, progress: Callable[[Report, float], None] = lambda report, share: None
) -> Iterator[list[str]]:
    """The documents of all inputs in order, and `report` filled on the way.

    Args:
        input_file, input_format: as above.
        progress: called now and then with the report and the share of the input that is read.

    Raises:
        UserError: a pattern matches nothing, there is no text at all, or bad input that the report is not to skip.
    """
    for unit in read_units(input_file, input_format, report):
        yield from parse.documents(unit, report)
        progress(report, unit.share)
    require_text(report, input_file)


def require_text(report: Report, input_file: str) -> None:
    if not report.documents:
        raise UserError("there is no text in the input", got=input_file or report.totals(), expected="at least one sentence")


def read_units(input_file: str, input_format: str, report: Report) -> Iterator[Unit]:
    """The same as raw text, in pieces for workers; `share` is that of the whole input.

    Raises:
        UserError: see documents.
    """
    if input_format not in FORMATS:
        raise UserError("unknown data.input_format", got=input_format, expected=", ".join(FORMATS))
    inputs = parse_inputs(input_file)
    if not inputs:
        yield from _of_packages(report)
    elif inputs[0].weight is not None:
        yield from _mixed(inputs, input_format, report)
    else:
        yield from _in_turn(_parts([name for name, _ in inputs], input_format), report)


def parse_inputs(input_file: str) -> list[Input]:
    """The inputs and their weights; a weight is None where none is given.

    Raises:
        UserError: a weight is not positive, or only some inputs have one.
    """
    inputs = [_parse_input(part.strip()) for part in input_file.split(",") if part.strip()]
    unweighted = [name for name, weight in inputs if weight is None]
    if unweighted and len(unweighted) < len(inputs):
        raise UserError("some inputs of data.input_file have a weight and some have none", got=", ".join(unweighted))
    wrong = [f"{name}={weight:g}" for name, weight in inputs if weight is not None and not 0 < weight < math.inf]
    if wrong:
        raise UserError("a weight in data.input_file is out of range", got=", ".join(wrong), expected="more than 0")
    return inputs


def _parse_input(part: str) -> Input:
    name, _, weight = part.rpartition("=")
    try:
        return Input(name.strip(), float(weight)) if name else Input(part, None)
    except ValueError:
        return Input(part, None)


def description(input_file: str, input_format: str) -> str:
    """Where a text comes from, as the manifest of a store says it."""
    return f"{input_file or PACKAGES} ({input_format})"


def find_files(patterns: list[str]) -> list[Path]:
    """The files that names and patterns stand for, each once, sorted.

    Raises:
        UserError: a name or pattern matches no file.
    """
    found: set[Path] = set()
    for pattern in patterns:
        matches = [Path(name) for name in glob.glob(pattern, recursive=True)]
        # A file may be called what looks like a pattern.
        files = [path for path in [*matches, Path(pattern)] if path.is_file()]
        if not files:
            inside = f"; for the files in a folder: {pattern.rstrip('/')}/*" if Path(pattern).is_dir() else ""
            fix = (
                "copy it to a disk, or make the store by python -m launch.beam" if "://" in pattern else f"check the path{inside}"
            )
            raise UserError("data.input_file matches no file", got=pattern, fix=fix)
        found.update(files)
    return sorted(found)


class Part(NamedTuple):
    """A file or a data set."""

    size: int  # bytes on disk, for the share that is read
    read: Callable[[Report], Iterator[Unit]]


def _parts(names: list[str], input_format: str) -> list[Part]:
    files = find_files([name for name in names if not name.startswith(TFDS)])
    tables = [_tfds(name) for name in names if name.startswith(TFDS)]
    return [Part(path.stat().st_size, partial(units.of_file, path, input_format)) for path in files] + tables


def _in_turn(parts: list[Part], report: Report) -> Iterator[Unit]:
    total, done = max(sum(part.size for part in parts), 1), 0
    for part in parts:
        for unit in part.read(report):
            yield unit._replace(share=(done + part.size * unit.share) / total)
        done += part.size


def _mixed(inputs: list[Input], input_format: str, report: Report) -> Iterator[Unit]:
    parts = [_parts([name], input_format) for name, _ in inputs]
    streams = [_in_turn(part, report) for part in parts]
    taken, shares, exhausted = [0] * len(inputs), [0.0] * len(inputs), set()
    while True:
        behind = min(range(len(inputs)), key=lambda i: taken[i] / inputs[i].weight)
        unit = next(streams[behind], None)
        if unit is None:
            if not taken[behind]:
                raise UserError("there is no text in an input of the mixture", got=inputs[behind].name)
            exhausted.add(behind)
            if len(exhausted) == len(inputs):
                return
            report.note("more passes over inputs of the mixture", inputs[behind].name)
            streams[behind] = _in_turn(parts[behind], Report(report.on_bad_input))  # what is met again is not counted again
            continue
        taken[behind] += len(unit.raw)
        shares[behind] = max(shares[behind], unit.share)
        yield unit._replace(share=min(shares))


def _tfds(name: str) -> Part:
    """A data set of tensorflow-datasets by its name, or by the folder that it was prepared into; the split comes last."""
    import tensorflow_datasets as tfds  # a second, for those who use it

    data_set, _, split = name.removeprefix(TFDS).rpartition("/")
    try:
        if Path(data_set).is_dir():
            rows = tfds.builder_from_directory(data_set).as_data_source(split)
        else:
            rows = tfds.data_source(data_set, split=split, download=False)
        rows[0][units.TEXT]
    # Its errors have no common kind: absent, not prepared, another file format, no such split, no such feature, no rows.
    except Exception as error:
        raise UserError(
            "the TensorFlow data set cannot be read",
            got=f"{name}: {type(error).__name__}: {str(error).strip().partition(chr(10))[0]}",
            expected=f"{TFDS}NAME/SPLIT, prepared, with a feature {units.TEXT!r}",
            fix=f"prepare it once: tfds.builder({data_set!r}, file_format='array_record').download_and_prepare()",
        ) from error
    return Part(len(rows) * ROW_BYTES, partial(_of_tfds, rows, name))


def _of_tfds(rows, name: str, report: Report) -> Iterator[Unit]:
    report.files += 1
    reads = (range(first, min(first + ROWS_PER_READ, len(rows))) for first in range(0, len(rows), ROWS_PER_READ))
    texts = (row[units.TEXT] for numbers in reads for row in rows.__getitems__(list(numbers)))
    yield from units.of_rows(texts, name, len(rows), report)


def _of_packages(report: Report) -> Iterator[Unit]:
    lines: list[str] = []
    first = 1
    for document in docs.documents(report):
        lines += [*document, ""]
        if sum(map(len, lines)) >= units.UNIT_BYTES:
            yield _unit_of_lines(lines, first)
            first += len(lines)
            lines = []
    if lines:
        yield _unit_of_lines(lines, first)


def _unit_of_lines(lines: list[str], first: int) -> Unit:
    return Unit("sentences", "".join(f"{line}\n" for line in lines).encode(), PACKAGES, first)
