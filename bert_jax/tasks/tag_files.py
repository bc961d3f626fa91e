"""Files of sentences whose words have tags: columns, a word a line, or tables, a sentence a line."""

import re
from collections.abc import Callable, Collection, Iterator, Sequence
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

from bert_jax.data.tagging import TaggedExample
from bert_jax.data.units import COMPRESSED
from bert_jax.errors import UserError
from bert_jax.metrics.entities import retagged, split
from bert_jax.tasks import tables

INNER_SCHEME = "IOB2"  # of tags as they are learned; BIOES tells the model more about where entities end
DOCUMENT = "-DOCSTART-"  # of CoNLL-2003: the first word of a line between documents
TABLES = (".tsv", ".csv", ".jsonl")
SHARE = re.compile(r"(.+):(\d+)-(\d+)%")
FULL_STOP = "."


class Sentence(NamedTuple):
    file: Path
    lines: Sequence[int]  # of each word
    words: tuple[str, ...]
    tags: tuple[str, ...]
    document: int | None = None  # its number in the file; None where the file does not tell documents apart


def reader(
    scheme: str,
    *,
    types: Collection[str] = (),
    indexed: bool = False,
    columns: tuple[str, str] = ("text_a", "label"),
    window: int = 0,
    target: str = INNER_SCHEME,
) -> Callable:
    """Task.read for sentences with tags. A bad word spoils its sentence, which is left out as a whole where bad rows are.

    A file .tsv, .csv or .jsonl has a sentence a line, words and tags between blanks in two columns with names. Any other has a
    word a line, the tag in its last column; columns are parted by tabs, or else by blanks, sentences by empty lines, documents by
    a line that begins with -DOCSTART-. Behind a path may stand which part of its sentences is meant: FILE:0-90% and FILE:90-100%
    are apart, and together the file.

    Args:
        scheme: of metrics.entities.SCHEMES, in which the file is written; one with I- alone is in IOB1.
        types: of entities; () takes any.
        indexed: the first column numbers the words, from which the second holds them, as in CoNLL-U, and # begins a remark.
        columns: of words and of tags in a table.
        window: for a file without ends of sentences: it is one document, cut behind the last full stop among so many words, or
            behind them all; an entity that is cut is two. 0: sentences are as the file has them.
        target: the scheme of the tags of the examples.
    """

    def checked(sentence: Sentence) -> Sentence:
        for line, tag in zip(sentence.lines, sentence.tags):
            _check_tag(f"{sentence.file}, line {line}", tag, scheme, types)
        return sentence

    def read(path: Path, skipped: list[str] | None = None) -> list[TaggedExample]:
        path, begin, end = _part(Path(path))
        plain = path.with_suffix("") if path.suffix in COMPRESSED else path
        if plain.suffix in TABLES:
            rows, made = tables.read(path, columns, skipped=skipped), partial(_of_row, path)
        else:
            rows, made = _stretches(path, indexed), partial(_of_lines, path, int(indexed))
        sentences = tables.parsed(rows, lambda *row: checked(made(*row)), skipped)
        if window:
            sentences = [piece for sentence in sentences for piece in _windows(sentence, window)]
        sentences = sentences[len(sentences) * begin // 100 : len(sentences) * end // 100]
        if not sentences:
            raise UserError("the file holds no sentence", got=path, expected="words with tags")
        sentences = [sentence._replace(tags=tuple(retagged(sentence.tags, scheme, target))) for sentence in sentences]
        return list(_examples(sentences))

    return read


def _part(path: Path) -> tuple[Path, int, int]:
    """(file, begin, end) of FILE:BEGIN-END%; of other paths all."""
    found = SHARE.fullmatch(str(path))
    return (Path(found[1]), int(found[2]), int(found[3])) if found else (path, 0, 100)


def _check_tag(place: str, tag: str, scheme: str, types: Collection[str]) -> None:
    try:
        letter, type_ = split(tag, scheme)
    except UserError:
        raise UserError(
            f"a tag is not of the scheme {scheme}", got=f"{place}: {tag!r}", expected="for instance O or B-PER"
        ) from None
    if letter != "O" and types and type_ not in types:
        raise UserError("a tag has an unknown type", got=f"{place}: {tag!r}", expected=f"behind the -: {' or '.join(types)}")


def _stretches(path: Path, indexed: bool) -> Iterator[tuple]:
    """(number and cells of each line of a sentence, columns of the first line of the file, number of the document)."""
    document, width = None, 0
    numbered = ((number, line) for number, line in enumerate(tables.lines(path), 1) if not (indexed and line.startswith("#")))
    for is_between, lines in groupby(numbered, key=lambda numbered: not numbered[1].strip() or numbered[1].startswith(DOCUMENT)):
        lines = list(lines)
        if not is_between:
            rows = [(number, _cells(line)) for number, line in lines]
            width = width or len(rows[0][1])
            yield rows, width, document
        elif any(line.startswith(DOCUMENT) for _, line in lines):
            document = 0 if document is None else document + 1


def _cells(line: str) -> list[str]:
    return line.split("\t") if "\t" in line else [cell for cell in line.split(" ") if cell]


def _of_lines(path: Path, word: int, rows: Sequence[tuple[int, list[str]]], width: int, document: int | None) -> Sentence:
    """
    Args:
        word: the column of the words.
    """
    for number, cells in rows:
        place = f"{path}, line {number}: {len(cells)} columns"
        if len(cells) < word + 2:
            raise UserError("a word has no tag", got=place, expected=f"{max(width, word + 2)} columns, the tag in the last")
        if len(cells) != width:
            raise UserError("a line has more or fewer columns than the first", got=place, expected=f"{width} columns")
        if not cells[word] or not cells[-1]:
            raise UserError("a line lacks its word or its tag", got=place, expected="none of them empty")
    words, tags = (tuple(cells[column] for _, cells in rows) for column in (word, -1))
    return Sentence(path, [number for number, _ in rows], words, tags, document)


def _of_row(path: Path, place: str, cells: tuple[str, str]) -> Sentence:
    words, tags = (tuple(cell.split(" ")) for cell in cells)
    if len(words) != len(tags):
        got = f"{place}: {len(words)} and {len(tags)}"
        raise UserError("words and tags differ in number", got=got, expected="as many of both, one blank between each two")
    if not all(words):
        raise UserError("a word is empty", got=place, expected="one blank between each two words")
    return Sentence(path, [int(place.rpartition(" ")[2])] * len(words), words, tags)


def _windows(sentence: Sentence, most: int) -> Iterator[Sentence]:
    """Cut behind the last full stop among the next `most` words, or behind them all."""
    begin = 0
    while begin < len(sentence.words):
        end = min(begin + most, len(sentence.words))
        stops = [place for place in range(begin, end) if sentence.words[place] == FULL_STOP]
        if end < len(sentence.words) and stops:
            end = stops[-1] + 1
        parts = (part[begin:end] for part in (sentence.lines, sentence.words, sentence.tags))
        yield Sentence(sentence.file, *parts, document=sentence.document or 0)
        begin = end


def _examples(sentences: Sequence[Sentence]) -> Iterator[TaggedExample]:
    for document, group in groupby(sentences, key=lambda sentence: sentence.document):
        group = list(group)
        around = () if document is None else [sentence.words for sentence in group]
        for place, sentence in enumerate(group):
            name = f"{sentence.file}, line {sentence.lines[0]}"
            yield TaggedExample(sentence.words, sentence.tags, name, around, place if around else 0)
