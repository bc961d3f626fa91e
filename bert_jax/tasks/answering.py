"""Answers that are stretches of a paragraph, with questions that may have none or not."""

import re
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from bert_jax.data import answering as data
from bert_jax.data import keyed, sentences
from bert_jax.data.answering import Question
from bert_jax.errors import UserError
from bert_jax.metrics import answers as official
from bert_jax.objectives.answer import answer
from bert_jax.tasks import spans
from bert_jax.tasks.form import Answer, Form, text_of

Score = Callable[[Sequence[Sequence[str]], Sequence[str]], float]  # gold answers of each question, its answer -> a fraction of 1

WORD = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff]|[^\W\u3400-\u4dbf\u4e00-\u9fff]+")  # a Chinese character, or what others write


def form(scores: Mapping[str, Score], *, or_none: bool = False) -> Form:
    """
    Args:
        scores: what the baselines are measured by.
        or_none: a question may have no answer: settings of `answers` then hold null_threshold, and `settled` chooses it.
    """

    def baseline(train: Sequence[Question], dev: Sequence[Question], labels) -> dict[str, float]:
        gold = gold_texts(dev)
        guesses = {"first_sentence": [first_sentence(question) for question in dev], "random_span": random_spans(train, dev)}
        if or_none:
            guesses["no_answer"] = [""] * len(dev)
        return {f"{guess}_{name}": score(gold, said) for guess, said in guesses.items() for name, score in scores.items()}

    return Form(
        objectives=lambda labels: {"answer": answer},
        pooler=False,
        encode=_encoded,
        answers=_answers_or_none if or_none else _answers,
        compared=lambda examples, answers, labels: (gold_texts(examples), [answer["answer"] for answer in answers]),
        shown=shown,
        asked=asked,
        faults=_too_long,
        baseline=baseline,
        **({"settled": settled} if or_none else {}),
    )


def _encoded(examples, labels, tokenizer, *, max_seq_length: int, doc_stride: int, max_query_length: int) -> data.Windows:
    return data.encode(
        examples, tokenizer, max_seq_length=max_seq_length, doc_stride=doc_stride, max_query_length=max_query_length
    )


def _answers(examples, labels, rows, outputs, *, n_best_size: int, max_answer_length: int) -> list[Answer]:
    return spans.answers(examples, rows, outputs, n_best_size, max_answer_length)


def _answers_or_none(
    examples, labels, rows, outputs, *, n_best_size: int, max_answer_length: int, null_threshold: float
) -> list[Answer]:
    return spans.answers(examples, rows, outputs, n_best_size, max_answer_length, null_threshold)


def settled(
    examples, labels, rows, outputs, *, n_best_size: int, max_answer_length: int, null_threshold: float
) -> dict[str, float]:
    """The null_threshold of the best F1 on these examples, by the rule of SQuAD 2.0's evaluation (find_best_thresh), as in the
    BERT paper, section 4.3. Where "" to every question is best, a threshold below all of their odds, not 0 as there."""
    said = spans.answers(examples, rows, outputs, n_best_size, max_answer_length)
    gold, texts = gold_texts(examples), [each["answer"] for each in said]
    odds = np.array([np.inf if each["null_odds"] is None else each["null_odds"] for each in said])
    unanswered = np.array([not answers for answers in gold])
    _, f1s = official.each(gold, texts)
    best, threshold = official.best_threshold(f1s, np.array([bool(text) for text in texts]), unanswered, odds)
    nothing = 100 * float(unanswered.mean())
    return {"null_threshold": threshold if best > nothing else float(odds.min()) - 1.0}


def gold_texts(examples: Sequence[Question]) -> list[tuple[str, ...]]:
    return [tuple(text for text, _ in question.answers) for question in examples]


def shown(question: Question) -> dict:
    """What is asked, and "gold", all right answers, [] where there is none; left out where they are not known."""
    asked = {"question": question.question, "paragraph": question.paragraph}
    known = question.impossible or question.answers
    return asked | ({"gold": list(gold_texts([question])[0])} if known else {})


def asked(question: dict, place: str) -> Question:
    """Of {"question", "paragraph"}; SQuAD's name "context" is understood too."""
    return Question(text_of(question, place, "question"), text_of(question, place, "paragraph", "context"), id=place)


def _too_long(examples: Sequence[Question], tokenizer, *, max_query_length: int) -> list[UserError | None]:
    sizes = [len(ids) for ids in tokenizer.encode([question.question for question in examples])]
    return [
        UserError("the question is too long", got=f"{question.id}: {size} pieces", expected=f"at most {max_query_length}")
        if size > max_query_length
        else None
        for question, size in zip(examples, sizes, strict=True)
    ]


def first_sentence(question: Question) -> str:
    return next(iter(sentences.split(question.paragraph)), "")


def random_spans(train: Sequence[Question], dev: Sequence[Question]) -> list[str]:
    """For each question of dev a stretch drawn from its paragraph, of as many words as an answer drawn from train has; a Chinese
    character is a word. The same at each call."""
    sizes = [len(WORD.findall(texts[0])) for texts in gold_texts(train) if texts] or [1]
    drawn, key = [], keyed.key_of("random spans")
    for number, question in enumerate(dev):
        words = [match.span() for match in WORD.finditer(question.paragraph)]
        size = min(max(sizes[keyed.below(len(sizes), key, number, 0)], 1), len(words))
        first = int(keyed.below(len(words) - size + 1, key, number, 1))
        drawn.append(question.paragraph[words[first][0] : words[first + size - 1][1]] if words else "")
    return drawn


def mean(score: Callable[..., float], only: bool | None = None, **rules) -> Score:
    """The mean of a score of (gold answers, answer) over questions; `only` over those that have an answer (True), or have none; 0
    where there are none of them."""

    def over_questions(gold: Sequence[Sequence[str]], predicted: Sequence[str]) -> float:
        pairs = [pair for pair in zip(gold, predicted, strict=True) if only is None or bool(pair[0]) == only]
        return float(np.mean([score(*pair, **rules) for pair in pairs])) if pairs else 0.0

    return over_questions


ENGLISH = {name: mean(score, version="1.1") for name, score in (("f1", official.f1), ("exact", official.exact))}
ENGLISH_OR_NONE = {  # the official names are HasAns_f1, NoAns_f1 and so on; of those without an answer f1 and exact are one
    "f1": mean(official.f1),
    "exact": mean(official.exact),
    "has_answer_f1": mean(official.f1, True),
    "has_answer_exact": mean(official.exact, True),
    "no_answer_exact": mean(official.exact, False),
}
CHINESE = {"f1": mean(official.chinese_f1), "exact": mean(official.chinese_exact)}

ANSWERING = form(ENGLISH)
ANSWERING_CHINESE = form(CHINESE)
ANSWERING_OR_NONE = form({name: ENGLISH_OR_NONE[name] for name in ("f1", "exact")}, or_none=True)
