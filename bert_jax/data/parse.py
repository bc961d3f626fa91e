"""A unit of raw text to documents, a document being the list of its sentences.

Text is UTF-8; a byte order mark, carriage returns at the ends of lines and NUL characters are dropped.
"""

import codecs
import json
from collections.abc import Iterable, Iterator
from itertools import chain, repeat
from typing import NamedTuple

from bert_jax.data import sentences
from bert_jax.data.report import Report
from bert_jax.data.units import CUT_DOCUMENTS, MAX_DOCUMENT_BYTES, TEXT, Unit

MAX_LINE_CHARS = 2**20
END_OF_DOCUMENT = None
LEFT_OUT = 2  # items at the end of a history: the last one to test with, the one before it to choose by
Numbered = tuple[int, str | None]  # the number of its line, and a sentence or END_OF_DOCUMENT


class Placed(NamedTuple):
    """A document, and for each of its sentences the line, or row, of the file that it stands in."""

    sentences: list[str]
    lines: list[int]


def documents(unit: Unit, report: Report) -> Iterator[list[str]]:
    """The documents of a unit in order, and `report` filled on the way.

    Raises:
        UserError: bad input, unless the report is to skip it.
    """
    for document in placed(unit, report):
        yield document.sentences


def placed(unit: Unit, report: Report) -> Iterator[Placed]:
    """The same, with the lines."""
    for document in _grouped(PARSERS[unit.kind](unit, report), unit, report):
        report.add(document.sentences)
        yield document


def _sentences(unit: Unit, report: Report) -> Iterator[Numbered]:
    for number, line in _lines(unit, report):
        yield number, line or END_OF_DOCUMENT


def _paragraphs(unit: Unit, report: Report) -> Iterator[Numbered]:
    for number, line in _lines(unit, report):
        if line:
            for sentence in sentences.split(line):
                yield number, sentence
        else:
            yield number, END_OF_DOCUMENT


def _wiki(unit: Unit, report: Report) -> Iterator[Numbered]:
    inside = title_seen = unit.inside
    for number, line in _lines(unit, report):
        if line.startswith(("<doc ", "<doc>", "</doc>")):
            yield number, END_OF_DOCUMENT
            inside, title_seen = not line.startswith("</"), False
        elif line and not inside:
            report.note("lines outside of <doc>", f"{unit.source}, line {number}")
        elif line and not title_seen:
            title_seen = True
        elif line:
            for sentence in sentences.split(line):
                yield number, sentence


def _json_lines(unit: Unit, report: Report) -> Iterator[Numbered]:
    for number, line in enumerate(_decoded(unit, report), unit.line):
        if line is None or not line.strip() or (unit.inside and number == unit.line):
            continue
        place = f"{unit.source}, line {number}"
        text = _text_of(line, place, report)
        for _, paragraph in _whole(zip(repeat(number), text.split("\n")), unit, report):
            for sentence in sentences.split(paragraph):
                yield number, sentence
        yield number, END_OF_DOCUMENT


def histories(unit: Unit, report: Report) -> Iterator[list[str]]:
    """The histories of a unit, whole, but for those too short to leave items out of; raises UserError as `documents` does."""
    return (items for _, items in _numbered_histories(unit, report))


def _numbered_histories(unit: Unit, report: Report) -> Iterator[tuple[int, list[str]]]:
    for number, line in _lines(unit, report):
        items = line.split()
        if len(items) > LEFT_OUT:
            yield number, items
        elif items:
            report.note(f"histories of {LEFT_OUT} items or fewer", f"{unit.source}, line {number}")


def _histories(unit: Unit, report: Report) -> Iterator[Numbered]:
    for number, items in _numbered_histories(unit, report):
        yield number, " ".join(items[:-LEFT_OUT])
        yield number, END_OF_DOCUMENT


PARSERS = {
    "sentences": _sentences,
    "paragraphs": _paragraphs,
    "wiki": _wiki,
    "jsonl": _json_lines,
    "histories": _histories,
}


def _text_of(line: str, place: str, report: Report) -> str:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        report.bad_input("lines that are not JSON", place, expected=f'{{"{TEXT}": "..."}}', fix="mend or delete the line")
        return ""
    text = record.get(TEXT) if isinstance(record, dict) else None
    if not isinstance(text, str):
        fields = ", ".join(map(repr, record)) if isinstance(record, dict) else type(record).__name__
        report.bad_input(
            f"records without a field {TEXT!r} that is a string",
            f"{place}: {fields or 'no field'}",
            expected=f'{{"{TEXT}": "..."}}',
            fix=f"rename the field that holds the document to {TEXT}",
        )
        return ""
    if not text.strip():
        report.note("records whose text is empty", place)
    # A lone surrogate, as JSON may spell one, is no character.
    return text.encode("utf-8", "replace").decode() if not text.isascii() else text


def _lines(unit: Unit, report: Report) -> Iterator[tuple[int, str]]:
    return _whole(enumerate(_decoded(unit, report), unit.line), unit, report)


def _decoded(unit: Unit, report: Report) -> list[str | None]:
    """The lines of a unit; None for one that is not UTF-8."""
    raw = unit.raw.removeprefix(codecs.BOM_UTF8) if unit.offset == 0 else unit.raw
    try:
        return raw.decode().removesuffix("\n").split("\n")
    except UnicodeDecodeError:
        return list(_decoded_one_by_one(raw.removesuffix(b"\n").split(b"\n"), unit, len(unit.raw) - len(raw), report))


def _decoded_one_by_one(lines: list[bytes], unit: Unit, skipped: int, report: Report) -> Iterator[str | None]:
    offset = unit.offset + skipped
    for number, line in enumerate(lines, unit.line):
        try:
            yield line.decode()
        except UnicodeDecodeError as error:
            report.bad_input(
                "lines that are not UTF-8",
                f"{unit.source}, line {number}: byte 0x{line[error.start]:02x} at byte {offset + error.start} of the file",
                fix="convert the file, for example from Windows: iconv -f WINDOWS-1252 -t UTF-8",
            )
            yield None
        offset += len(line) + 1


def _whole(lines: Iterable[tuple[int, str | None]], unit: Unit, report: Report) -> Iterator[tuple[int, str]]:
    """The numbered lines stripped, without NUL characters, none over MAX_LINE_CHARS; those that are None left out."""
    for number, line in lines:
        if line is None:
            continue
        if "\0" in line:
            report.note("NUL characters", f"{unit.source}, line {number}", line.count("\0"))
            line = line.replace("\0", "")
        if len(line) > MAX_LINE_CHARS:
            goes_on = number == unit.line and unit.inside  # the line was counted in the unit that it begins in
            report.note(f"lines over {MAX_LINE_CHARS:,} characters cut", f"{unit.source}, line {number}", count=not goes_on)
            while len(line) > MAX_LINE_CHARS:
                place = _place_to_cut(line[:MAX_LINE_CHARS])
                if line[:place].strip():
                    yield number, line[:place].strip()
                line = line[place:]
        yield number, line.strip()


def _place_to_cut(line: str) -> int:
    """After the last sentence, else the last word, of the second half; else at the end."""
    places = (line.rfind(stop, len(line) // 2) + len(stop) for stop in (". ", "。", " "))
    return next((place for place in places if place > len(line) // 2), len(line))


def _grouped(stream: Iterator[Numbered], unit: Unit, report: Report) -> Iterator[Placed]:
    document = Placed([], [])
    size = 0
    for number, sentence in chain(stream, [(0, END_OF_DOCUMENT)]):
        if sentence is not END_OF_DOCUMENT:
            document.sentences.append(sentence)
            document.lines.append(number)
            size += len(sentence)
        if document.lines and (sentence is END_OF_DOCUMENT or size >= MAX_DOCUMENT_BYTES):
            if sentence is not END_OF_DOCUMENT:
                report.note(CUT_DOCUMENTS, f"{unit.source}, line {number}")
            yield document
            document, size = Placed([], []), 0
