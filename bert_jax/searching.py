"""A collection of texts, embedded by a trained directory and searched: the nearest texts to a question, ordered anew by a model
that reads both, and the answer to the question out of them."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np

from bert_jax.checkpoint import content_hash
from bert_jax.errors import UserError
from bert_jax.predict import asked, vectors
from bert_jax.predict.search import EXACT, nearest
from bert_jax.predict.vectors import Collection
from bert_jax.predicting import Opened, open_predictor, printed, said, standard_input, vectors_by
from bert_jax.ranges import BELOW_ONE, require, whole
from bert_jax.tasks import ranked
from bert_jax.tasks.form import Answer, text_of
from bert_jax.trained import Trained, open_trained

RANGES = {"top_k": whole(1), "batch_size": whole(1), "threshold": BELOW_ONE}
NO_READING = 0.0  # threshold below which nothing is left out
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
    vectors_of = vectors_by(trained, pooling, batch_size)
    return vectors.write(folder, _objects(file), vectors_of, settings_of(trained, pooling) | {"dtype": dtype}, say=say)


def _opened(workdir: Path, pooling: str, say: Callable[[str], None]) -> tuple[Trained, str]:
    """With the pooling that it was trained with, or the mean."""
    trained = open_trained(workdir, say=say)
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
    return Searcher(collection, vectors_by(trained, pooling, QUESTIONS_AT_ONCE), judge, answers)


def _pair_of(judge: Opened) -> Callable[[str, str], dict] | None:
    """(question, text) -> what the model is asked; None where it gives no score."""
    if judge.task and judge.task.form is ranked.RANKING:
        return lambda question, text: {"query": question, "passage": text}
    if judge.trained.config.objective.get("name") == "regress":
        return lambda question, text: {"text": question, "text_pair": text}
    return None


def _ask(opened: Opened, values: Sequence[dict]) -> list[Answer]:
    return list(opened.predictor.answers([opened.predictor.asked(value, "a found text") for value in values]))


def search(workdir: Path, folder: Path, questions: list[str] | None, *, pooling: str, rerank, reader, **settings) -> int:
    """Prints an answer of `search_for` for each question, or each line of standard input."""
    searcher = open_searcher(workdir, folder, pooling=pooling, rerank=rerank, reader=reader, say=said)
    asked_for = questions or (line.rstrip("\r\n") for line in standard_input())
    return printed(search_for(searcher, asked_for, **settings))


def search_for(
    searcher: Searcher, questions: Iterable[str], *, top_k: int = 5, threshold: float = NO_READING, kind: str = EXACT
) -> Iterator[dict]:
    """{"text", "found"} for each question: the nearest objects of the collection with their "cosine", and "score" where a second
    model ordered them, the best first; where there is a reader "answer" too, None where it finds none.

    Args:
        threshold: least cosine of what is found: below it, nothing is, which a person reads as "I do not know".
    """
    require("search", {"top_k": top_k, "threshold": threshold}, RANGES)
    for some in _some(questions):
        wide = max(top_k, CANDIDATES) if searcher.judge else top_k
        cosines_QK, numbers_QK = nearest(searcher.collection, searcher.vectors_of(some), wide, kind)
        for question, cosines, numbers in zip(some, cosines_QK, numbers_QK):
            near = [
                {"cosine": round(float(cosine), 6), **each}
                for cosine, each in zip(cosines, searcher.collection.objects(numbers.tolist()))
                if cosine >= threshold or threshold == NO_READING
            ]
            found = _ordered(searcher.judge, question, near)[:top_k]
            yield {"text": question, "found": found} | (
                {"answer": _read(searcher.reader, question, found)} if searcher.reader else {}
            )


def _some(questions: Iterable[str]) -> Iterator[list[str]]:
    questions = iter(questions)
    while some := list(islice(questions, QUESTIONS_AT_ONCE)):
        yield some


def _ordered(judge: Opened | None, question: str, near: list[dict]) -> list[dict]:
    if judge is None or not near:
        return near
    scores = [answer["score"] for answer in _ask(judge, [_pair_of(judge)(question, each["text"]) for each in near])]
    scored = [{"score": score, **each} for score, each in zip(scores, near, strict=True)]
    return sorted(scored, key=lambda each: -each["score"])


def _read(reader: Opened, question: str, found: list[dict]) -> dict | None:
    """The answer of the highest score in any of them, and which one it stands in."""
    answers = _ask(reader, [{"question": question, "paragraph": each["text"]} for each in found]) if found else []
    spans = [(answer["score"], number) for number, answer in enumerate(answers) if answer["answer"]]
    if not spans:
        return None
    score, number = max(spans)
    return {name: answers[number][name] for name in ("answer", "begin", "end")} | {"score": score, "found": number}
