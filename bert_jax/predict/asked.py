"""What people ask a model about, from lines of text, and its answers one after the other."""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from bert_jax.errors import UserError
from bert_jax.predict.outputs import Shapes
from bert_jax.tasks import tables
from bert_jax.tasks.form import Answer

CHUNK = 1000  # examples that are batched among each other, so that a stream of any length takes so much memory alone

Row = tuple[str, dict] | UserError  # place for a message and a JSON object, or what is wrong with the line


class Reads(NamedTuple):
    """How examples become batches, for who puts them together as they come.

    Attributes:
        shapes: of all batches.
        lengths: example -> pieces of each row that it becomes.
        compile: (example of few pieces, rows and places of a batch) runs that shape, which compiles it.
    """

    shapes: Shapes
    lengths: Callable[[Any], Sequence[int]]
    compile: Callable[[Any, int, int], None]


class Predictor(NamedTuple):
    """What answers.

    Attributes:
        asked: (JSON object, its place for a message) -> an example; raises UserError.
        answers: examples, at least one -> an Answer for each.
        faults: examples -> for each what is wrong with it, or None.
        together: whether all examples have to be there before the first can be answered.
        reads: what is known of its batches beforehand.
    """

    asked: Callable[[dict, str], Any]
    answers: Callable[[Sequence], Sequence[Answer]]
    faults: Callable[[Sequence], Sequence[UserError | None]] = lambda examples: [None] * len(examples)
    together: bool = False
    reads: Reads | None = None


def of_lines(lines: Iterable[str], name: str) -> Iterator[Row]:
    """Each line is a text, or a JSON object where it begins with a brace.

    Args:
        name: where they come from.
    """
    for number, line in enumerate(lines, 1):
        place, text = f"{name}, line {number}", line.rstrip("\r\n")
        yield _object(place, text) if text.lstrip().startswith("{") else (place, {"text": text})


def of_file(path: Path) -> Iterator[Row]:
    """Of a .jsonl the JSON object of each line, of any other file its text."""
    objects = ".jsonl" in path.suffixes[-2:]
    for number, line in enumerate(tables.lines(path), 1):
        place = f"{path}, line {number}"
        yield _object(place, line) if objects else (place, {"text": line})


def _object(place: str, line: str) -> Row:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        value = None
    if isinstance(value, dict):
        return place, value
    return UserError("a line is not a JSON object", got=f"{place}: {line[:60]}", expected='{"text": "..."}')


def answered(predictor: Predictor, rows: Iterable[Row], skipped: list[str] | None, chunk: int = CHUNK) -> Iterator[Answer]:
    """The answer to each, in order, beginning before the last has come; with the "id" of the object where it has one.

    Args:
        skipped: where the bad ones are noted that are left out; None refuses them.
    """

    def example(place: str, value: dict) -> tuple[dict, Any]:
        return ({"id": value["id"]} if "id" in value else {}), predictor.asked(value, place)

    for some in _chunks(_each(example, rows), None if predictor.together else chunk):
        yield from _answered(predictor, tables.kept(iter(some), skipped), skipped)


def answered_examples(
    predictor: Predictor, examples: Iterable, about: Callable[[Any], dict], skipped: list[str] | None
) -> Iterator[Answer]:
    """The same for examples; what is `about` each stands before its answer."""
    for some in _chunks(((about(example), example) for example in examples), None if predictor.together else CHUNK):
        yield from _answered(predictor, some, skipped)


def _answered(predictor: Predictor, some: Iterable[tuple[dict, Any]], skipped: list[str] | None) -> Iterator[Answer]:
    some = list(some)
    faults = predictor.faults([example for _, example in some]) if some else []
    good = list(tables.kept((fault or row for row, fault in zip(some, faults, strict=True)), skipped))
    answers = predictor.answers([example for _, example in good]) if good else []
    for (facts, _), answer in zip(good, answers, strict=True):
        yield facts | answer


def _each(parse: Callable, rows: Iterable[Row]) -> Iterator:
    for row in rows:
        try:
            yield row if isinstance(row, UserError) else parse(*row)
        except UserError as error:
            yield error


def _chunks(rows: Iterable, size: int | None) -> Iterator[list]:
    rows = iter(rows)
    while some := list(islice(rows, size)):
        yield some
