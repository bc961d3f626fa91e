"""Questions on paragraphs in the JSON form of SQuAD: SQuAD itself, CMRC 2018, XQuAD, MLQA.

SQuAD: Rajpurkar et al. 2016 (arXiv 1606.05250) and 2018 (1806.03822); CMRC 2018: Cui et al. 2019 (1810.07366); XQuAD: Artetxe et
al. 2020 (1910.11856).
"""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from bert_jax.data import keyed
from bert_jax.data.answering import NOWHERE, Question
from bert_jax.errors import UserError
from bert_jax.metrics.answers import normalise
from bert_jax.tasks import tables
from bert_jax.tasks.answering import ANSWERING, ANSWERING_CHINESE, ANSWERING_OR_NONE, CHINESE, ENGLISH, ENGLISH_OR_NONE
from bert_jax.tasks.form import Task

HELD_OUT_ARTICLES = 10  # of the 48 of SQuAD's dev set
MOVED_SHARE = 3  # one question of so many gets a paragraph without its answer
MOVING_TRIES = 1000
KEYS = ("data", "paragraphs", "qas")


def reader(*, or_none: bool = False, searched: bool = False, labelled: bool = True):
    """Task.read for JSON files of this form.

    Args:
        or_none: questions may be marked is_impossible, and have no answer then.
        searched: an answer that is not where it is said to begin is taken from the nearest place where it stands; one that stands
            nowhere counts as right and is not learned, if another one is at its place. For CMRC 2018: of its 9,657 dev answers
            200 do not begin where they are said to, and 193 of these stand nowhere.
        labelled: False for files without answers; those that there are are left out.
    """

    def read(path: Path, skipped: list[str] | None = None) -> list[Question]:
        path = tables.find(path)

        def question(place: str, parents: tuple[dict, dict, dict]) -> Question:
            article, paragraph, asked = parents
            texts = (_text(asked, "question", place), _text(paragraph, "context", place.rpartition(".")[0]))
            facts = {"id": str(asked.get("id", place)), "title": str(article.get("title", ""))}
            if not labelled:
                return Question(*texts, **facts)
            place = f"{place}, id {facts['id']}"
            answers, impossible = _answers(asked, place), asked.get("is_impossible", False) is True
            if bool(answers) == impossible or (impossible and not or_none):
                raise UserError(
                    "a question has no answer, or one although it is marked is_impossible",
                    got=f"{place}: {len(answers)} answers",
                    expected="an answer, or none and is_impossible" if or_none else "an answer",
                )
            return Question(*texts, _placed(answers, texts[1], place, searched), impossible, **facts)

        rows = tables.kept(_objects(_content(path), f"{path}: ", KEYS), skipped)
        questions = tables.parsed(rows, question, skipped)
        if not questions:
            raise UserError("the file holds no question", got=path, expected='{"data": [{"paragraphs": [{"qas": [...]}]}]}')
        return questions

    return read


def _content(path: Path) -> dict:
    try:
        content = json.loads("\n".join(tables.lines(path)))
    except (ValueError, RecursionError) as error:
        raise UserError("the file is not JSON", got=f"{path}: {error}") from error
    if not isinstance(content, dict):
        raise UserError("the file is not a JSON object", got=path, expected='{"data": [...]}')
    return content


def _objects(parent: dict, place: str, keys: Sequence[str]) -> Iterator:
    """(place, the objects on the way to it and itself) for each object that the keys lead to, or a UserError."""
    key, *further = keys
    children = parent.get(key)
    if not isinstance(children, list):
        yield UserError(f"the key {key!r} is missing, or is no list", got=f"{place}{key}", expected=f'"{key}": [...]')
        return
    for number, child in enumerate(children):
        here = f"{place}{key}[{number}]"
        if not isinstance(child, dict):
            yield UserError("an element is not a JSON object", got=here, expected="{...}")
        elif not further:
            yield here, (child,)
        else:
            for found in _objects(child, f"{here}.", further):
                yield found if isinstance(found, UserError) else (found[0], (child, *found[1]))


def _text(parent: dict, key: str, place: str) -> str:
    if not isinstance(parent.get(key), str):
        raise UserError(f"the key {key!r} is missing, or is no text", got=f"{place}.{key}", expected=f'"{key}": "..."')
    return parent[key]


def _answers(asked: dict, place: str) -> list[tuple[str, int]]:
    answers = asked.get("answers", [])
    for answer in answers if isinstance(answers, list) else [None]:
        right = isinstance(answer, dict) and isinstance(answer.get("text"), str) and type(answer.get("answer_start")) is int
        if not right:
            expected = '"answers": [{"text": "...", "answer_start": a whole number}]'
            raise UserError("an answer is not of the agreed form", got=f"{place}: {answer}", expected=expected)
    return [(answer["text"], answer["answer_start"]) for answer in answers]


def _placed(answers: list[tuple[str, int]], paragraph: str, place: str, searched: bool) -> tuple[tuple[str, int], ...]:
    """The answers, each where it begins, or NOWHERE."""
    placed = [(text, _begin(text, begin, paragraph) if searched else begin) for text, begin in answers]
    for text, begin in placed:
        stands = bool(text) and begin >= 0 and paragraph.startswith(text, begin)
        if not stands and (not searched or all(found == NOWHERE for _, found in placed)):
            there = paragraph[begin : begin + len(text)] if begin >= 0 else "nothing"
            raise UserError(
                "an answer is not in its paragraph",
                got=f"{place}: {text!r} at character {begin}, where {there!r} stands",
                expected="a stretch of the paragraph, and the number of its first character, from 0",
            )
    return tuple(placed)


def _begin(text: str, begin: int, paragraph: str) -> int:
    """The place nearest to `begin` where the text stands; NOWHERE if there is none."""
    places, found = [], paragraph.find(text) if text else NOWHERE
    while found >= 0:
        places.append(found)
        found = paragraph.find(text, found + 1)
    return min(places, key=lambda place: abs(place - begin), default=NOWHERE)


def by_article(questions: Sequence[Question], split: str) -> list[Question]:
    """Task.part for one file that is both: HELD_OUT_ARTICLES drawn from its articles are "dev", the others "train"."""
    titles = list(dict.fromkeys(question.title for question in questions))
    places = keyed.permute(np.arange(len(titles)), len(titles), keyed.key_of("held-out articles"))
    held_out = {title for title, place in zip(titles, places, strict=True) if place < HELD_OUT_ARTICLES}
    return [question for question in questions if (question.title in held_out) == (split != "train")]


def by_article_or_none(questions: Sequence[Question], split: str) -> list[Question]:
    """`by_article`, and of each part a third of the questions without an answer, by `moved`."""
    return moved(by_article(questions, split))


def moved(questions: Sequence[Question]) -> list[Question]:
    """The same questions, one of MOVED_SHARE with a paragraph of another article in which none of its answers occurs; that one
    has no answer then. Which, and where to, is the same at each call.

    Answers are looked for in normalised words, as SQuAD compares them: "L" is not in every text. One that is nothing once it is
    normalised is not looked for: one of SQuAD's is a full stop.
    """
    paragraphs = list(dict.fromkeys((question.title, question.paragraph) for question in questions))
    words = [f" {normalise(paragraph)} " for _, paragraph in paragraphs]
    key = keyed.key_of("moved questions")
    chosen = keyed.permute(np.arange(len(questions)), len(questions), key) < len(questions) // MOVED_SHARE
    result = list(questions)
    for number in np.flatnonzero(chosen):
        question = questions[number]
        answers = [f" {normalise(text)} " for text, _ in question.answers if normalise(text)]
        for draw in keyed.below(len(paragraphs), key, int(number), np.arange(MOVING_TRIES)):
            title, paragraph = paragraphs[draw]
            if title != question.title and not any(answer in words[draw] for answer in answers):
                result[number] = question._replace(paragraph=paragraph, title=title, answers=(), impossible=True)
                break
        else:
            raise UserError("no paragraph of another article is without the answer", got=f"{question.id}: {question.answers}")
    return result


SQUAD = "rajpurkar.github.io/SQuAD-explorer"
CMRC = "github.com/ymcui/cmrc2018, squad-style-data"
XQUAD = "github.com/google-deepmind/xquad; and SQuAD's train-v1.1.json, which it is trained on"
TRAIN = "squad/train-v1.1.json"
DEV_ONLY = {"train": "squad/dev-v1.1.json", "dev": "squad/dev-v1.1.json"}

TASKS = {
    "squad1": Task(ANSWERING, {"train": TRAIN, "dev": "squad/dev-v1.1.json"}, reader(), ENGLISH, source=SQUAD),
    "squad2": Task(
        ANSWERING_OR_NONE,
        {"train": "squad/train-v2.0.json", "dev": "squad/dev-v2.0.json"},
        reader(or_none=True),
        ENGLISH_OR_NONE,
        source=SQUAD,
    ),
    # Where SQuAD's training file is not to be had: its dev set in two, and with questions that have no answer.
    "squad1_dev_split": Task(ANSWERING, DEV_ONLY, reader(), ENGLISH, source=SQUAD, part=by_article),
    "squad2_dev_split": Task(ANSWERING_OR_NONE, DEV_ONLY, reader(), ENGLISH_OR_NONE, source=SQUAD, part=by_article_or_none),
    "cmrc2018": Task(
        ANSWERING_CHINESE,
        {"train": "squad/cmrc2018_train.json", "dev": "squad/cmrc2018_dev.json"},
        reader(searched=True),
        CHINESE,
        source=CMRC,
    ),
    # The same without its training file: learned from the dev set, scored on the trial set, which shares no paragraph with it.
    "cmrc2018_trial": Task(
        ANSWERING_CHINESE,
        {"train": "squad/cmrc2018_dev.json", "dev": "squad/cmrc2018_trial.json"},
        reader(searched=True),
        CHINESE,
        source=CMRC,
    ),
    # Learned in English, asked in either. xquad.en is a part of SQuAD's dev set: never train on that for it.
    "xquad_en": Task(ANSWERING, {"train": TRAIN, "dev": "squad/xquad.en.json"}, reader(), ENGLISH, source=XQUAD),
    # Characters are compared, as in CMRC 2018; English rules would take a Chinese sentence for one word.
    "xquad_zh": Task(ANSWERING_CHINESE, {"train": TRAIN, "dev": "squad/xquad.zh.json"}, reader(), CHINESE, source=XQUAD),
}
