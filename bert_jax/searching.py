"""A collection of texts, embedded by a trained directory and searched: the nearest texts to a question, ordered anew by a model
that reads both, and the answer to the question out of them."""

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

from bert_jax.checkpoint import content_hash
from bert_jax.errors import UserError
from bert_jax.predict import asked, vectors
from bert_jax.predict.outputs import BATCH_SIZE, Shapes
from bert_jax.predict.search import EXACT, nearest
from bert_jax.predict.vectors import Collection
from bert_jax.predicting import Opened, open_predictor, printed, said, standard_input, vectors_by
from bert_jax.ranges import BELOW_ONE, require, whole
from bert_jax.tasks import ranked
from bert_jax.tasks.form import Answer, checked_text, text_of
from bert_jax.trained import Trained, open_trained

RANGES = {"top_k": whole(1), "batch_size": whole(1), "threshold": BELOW_ONE}
CANDIDATES = 50  # that a second model orders anew
QUESTIONS_AT_ONCE = 64


class Searcher(NamedTuple):
    """Attributes:
    vectors_of: questions -> float32[Q, D].
    judge: orders the nearest anew; None leaves them as they are.
    reader: finds the answer in them; None looks for none.
    """

    collection: Collection
    vectors_of: Callable[[list[str]], np.ndarray]
    judge: Opened | None = None
    reader: Opened | None = None


def embed(
    workdir: Path, file: Path, folder: Path, *, pooling: str, dtype: str, batch_size: int, say: Callable[[str], None]
) -> Collection:
    """Makes the collection of a file of texts, a line each, or of JSON objects with a "text".

    Raises:
        UserError: a line without a text; the folder holds another collection; there is no trained model.
    """
    require("embed", {"batch_size": batch_size}, RANGES)
    trained, pooling = _opened(workdir, pooling, say)
    vectors_of, _ = vectors_by(trained, pooling, Shapes(trained.encoder.longest_row, batch_size))
    return vectors.write(folder, _objects(file), vectors_of, settings_of(trained, pooling) | {"dtype": dtype}, say=say)


def _opened(workdir: Path, pooling: str, say: Callable[[str], None]) -> tuple[Trained, str]:
    """With the pooling that it was trained with, or the mean."""
    trained = open_trained(workdir, say=say)
    trained = trained._replace(params=jax.device_put(trained.params))
    return trained, pooling or ("" if "pooling" in trained.config.objective else "mean")


def settings_of(trained: Trained, pooling: str) -> dict:
    """What vectors depend on beside the texts."""
    return {
        "encoder": content_hash(trained.params["encoder"] if pooling else trained.params),
        "vocabulary": trained.tokenizer.content_hash,
        "pooling": pooling or "as trained",
        "width": trained.encoder.hidden_size,
    }


def _objects(file: Path) -> Iterator[dict]:
    for row in asked.of_file(file):
        if isinstance(row, UserError):
            raise row
        place, value = row
        if any("\ud800" <= character <= "\udfff" for character in json.dumps(value, ensure_ascii=False)):
            raise UserError("an object holds half of a surrogate pair", got=place, expected="whole characters")
        yield {**value, "text": text_of(value, place, "text")}


def open_searcher(
    workdir: Path,
    folder: Path,
    *,
    pooling: str = "",
    rerank: Path | None = None,
    reader: Path | None = None,
    say: Callable = print,
) -> Searcher:
    """
    Args:
        rerank: a trained directory that gives a pair of texts a score: learned on similarity or on ranking.
        reader: one that finds answers in paragraphs.

    Raises:
        UserError: the collection was made by another encoder, or a second model does another thing.
    """
    trained, pooling = _opened(workdir, pooling, say)
    collection = vectors.open_collection(folder, settings_of(trained, pooling))
    judge = open_predictor(rerank, say=say) if rerank else None
    if judge and _pair_of(judge) is None:
        raise UserError("this model gives two texts no score", got=rerank, expected="one fine-tuned on similarity or ranking")
    answers = open_predictor(reader, say=say) if reader else None
    if answers and answers.trained.config.objective.get("name") != "answer":
        raise UserError("this model finds no answers", got=reader, expected="one fine-tuned on questions, such as SQuAD")
    vectors_of, _ = vectors_by(trained, pooling, Shapes(trained.encoder.longest_row, BATCH_SIZE))
    return Searcher(collection, vectors_of, judge, answers)


def _pair_of(judge: Opened) -> Callable[[str, str], dict] | None:
    """(question, text) -> what the model is asked; None where it gives no score."""
    if judge.task and judge.task.form is ranked.RANKING:
        return lambda question, text: {"query": question, "passage": text}
    if judge.trained.config.objective.get("name") == "regress":
        return lambda question, text: {"text": question, "text_pair": text}
    return None


def _ask(opened: Opened, values: Sequence[dict]) -> list[Answer]:
    """Raises UserError for what the model cannot read whole, such as a question that is too long."""
    examples = [opened.predictor.asked(value, "a found text") for value in values]
    for fault in opened.predictor.faults(examples):
        if fault:
            raise fault
    return list(opened.predictor.answers(examples))


def search(workdir: Path, folder: Path, questions: list[str] | None, *, pooling: str, rerank, reader, **settings) -> int:
    """Prints an answer of `search_for` for each question, or each line of standard input."""
    searcher = open_searcher(workdir, folder, pooling=pooling, rerank=rerank, reader=reader, say=said)
    at_once = 1 if not questions and sys.stdin.isatty() else QUESTIONS_AT_ONCE  # a person wants an answer at once
    return printed(search_for(searcher, _asked(questions), at_once=at_once, **settings))


def _asked(questions: list[str] | None) -> Iterator[str]:
    name, asked_for = ("--text number", questions) if questions else ("standard input, line", standard_input())
    number = 0
    for number, question in enumerate(asked_for, 1):
        yield checked_text(question.rstrip("\r\n"), f"{name} {number}", "text")
    if not number:
        raise UserError("nothing is asked", expected="--text=..., or lines on standard input")


def search_for(
    searcher: Searcher,
    questions: Iterable[str],
    *,
    top_k: int = 5,
    threshold: float | None = None,
    kind: str = EXACT,
    at_once: int = QUESTIONS_AT_ONCE,
) -> Iterator[dict]:
    """{"text", "found"} for each question: the nearest objects of the collection with their "cosine", and "score" where a second
    model ordered them, the best first; where there is a reader "answer" too, None where it finds none.

    Args:
        threshold: least cosine of what is found: below it, nothing is, which a person reads as "I do not know".
    """
    require("search", {"top_k": top_k} | ({} if threshold is None else {"threshold": threshold}), RANGES)
    for some in _some(questions, at_once):
        wide = max(top_k, CANDIDATES) if searcher.judge else top_k
        cosines_QK, numbers_QK = nearest(searcher.collection, searcher.vectors_of(some), wide, kind)
        for question, cosines, numbers in zip(some, cosines_QK, numbers_QK):
            near = [
                (float(cosine), int(number))
                for cosine, number in zip(cosines, numbers)
                if number >= 0 and (threshold is None or cosine >= threshold)  # an index may find fewer, and says -1
            ]
            found = _ordered(searcher, question, near)[:top_k]
            yield {"text": question, "found": found} | (
                {"answer": _read(searcher.reader, question, found)} if searcher.reader else {}
            )


def _some(questions: Iterable[str], at_once: int) -> Iterator[list[str]]:
    questions = iter(questions)
    while some := list(islice(questions, at_once)):
        yield some


def _ordered(searcher: Searcher, question: str, near: list[tuple[float, int]]) -> list[dict]:
    """The objects, with what was computed of them before what was stored, and in its place where both have a name."""
    objects = searcher.collection.objects([number for _, number in near])
    computed = [{"cosine": round(cosine, 6)} for cosine, _ in near]
    order = range(len(near))
    if searcher.judge and near:
        asked_for = _pair_of(searcher.judge)
        scores = [answer["score"] for answer in _ask(searcher.judge, [asked_for(question, each["text"]) for each in objects])]
        computed = [{"score": score, **each} for score, each in zip(scores, computed, strict=True)]
        order = sorted(order, key=lambda place: -scores[place])
    return [
        computed[place] | {name: objects[place][name] for name in objects[place] if name not in computed[place]}
        for place in order
    ]


def _read(reader: Opened, question: str, found: list[dict]) -> dict | None:
    """The answer of the highest score in any of them, and which one it stands in."""
    answers = _ask(reader, [{"question": question, "paragraph": each["text"]} for each in found]) if found else []
    spans = [(answer["score"], number) for number, answer in enumerate(answers) if answer["answer"]]
    if not spans:
        return None
    score, number = max(spans)
    return {name: answers[number][name] for name in ("answer", "begin", "end")} | {"score": score, "found": number}
