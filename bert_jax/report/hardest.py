"""The examples that a model does worst on: mistakes to learn from, and labels to doubt."""

import math
from collections.abc import Callable, Sequence
from itertools import groupby
from typing import NamedTuple

from bert_jax.metrics.answers import f1


class Hard(NamedTuple):
    """An example as people see it.

    Attributes:
        place: among the predictions.
        texts: (what it is, the text) of each; "" where it needs no name.
        hardness: by which they are in order, the hardest first; its meaning is MEASURES of the form.
        probability: that the model gives its answer; None where it gives none.
    """

    place: int
    id: str
    texts: tuple[tuple[str, str], ...]
    gold: str
    predicted: str
    hardness: float
    probability: float | None = None


def hardest(form: str, predictions: Sequence[dict], count: int = 20, answer_f1: Callable | None = None) -> list[Hard]:
    """At most `count`, the hardest first, of equal ones in their order; those that are right come last or, in tagging and
    answering, not at all.

    Args:
        form: of runs.FORMS.
        predictions: lines of predictions.jsonl; those without a gold label are left out.
        answer_f1: (gold answers, answer) -> F1; None for that of SQuAD.
    """
    found = []
    for place, each in enumerate(predictions):
        if each.get("gold") is None:
            continue
        hard = _answer(place, each, answer_f1 or f1) if form == "answering" else OF_FORM[form](place, each)
        if hard is not None:
            found.append(hard)
    return sorted(found, key=lambda hard: -hard.hardness)[:count]


def _class(place: int, each: dict) -> Hard:
    """-log p(gold), the example's part in the loss; without a limit where the probability is 0."""
    probabilities, gold = each["probabilities"], str(each["gold"])
    loss = surprise(probabilities.get(gold, 0.0))
    return Hard(place, str(each["id"]), _texts(each), gold, each["label"], loss, probabilities[each["label"]])


def surprise(probability: float) -> float:
    """In nats."""
    return -math.log(probability) if probability > 0 else math.inf


def _score(place: int, each: dict) -> Hard:
    gold, score = float(each["gold"]), float(each["score"])
    return Hard(place, str(each["id"]), _texts(each), f"{gold:.2f}", f"{score:.2f}", abs(gold - score))


def _choice(place: int, each: dict) -> Hard:
    gold, choice, probabilities = int(each["gold"]), int(each["choice"]), each["probabilities"]
    context = (("", each["context"]),) if "context" in each else ()
    texts = (*context, *((f"choice {number}", text) for number, text in enumerate(each["texts"])))
    loss = surprise(probabilities[gold])
    return Hard(place, str(each["id"]), texts, f"choice {gold}", f"choice {choice}", loss, probabilities[choice])


def _tags(place: int, each: dict) -> Hard | None:
    """The longest stretch of words that all have another tag than they should, shown in brackets."""
    words, gold, tags = each["words"], each["gold"], each["tags"]
    stretches = []
    for differ, group in groupby(range(len(words)), key=lambda word: gold[word] != tags[word]):
        if differ:
            stretches.append([*group])
    if not stretches:
        return None
    longest = max(stretches, key=len)
    begin, end = longest[0], longest[-1] + 1
    marked = " ".join([*words[:begin], "[", *words[begin:end], "]", *words[end:]])
    total = sum(map(len, stretches))
    return Hard(
        place,
        str(each["id"]),
        (("", marked),),
        " ".join(gold[begin:end]),
        " ".join(tags[begin:end]),
        len(longest) + total / (1 + len(words)),  # of stretches as long, that of the sentence with more mistakes
    )


def _answer(place: int, each: dict, answer_f1: Callable) -> Hard | None:
    """Of the answers that share nothing with a right one, those that the model was surest of."""
    if answer_f1(each["gold"], each["answer"]) > 0:
        return None
    gold = " / ".join(dict.fromkeys(each["gold"])) or NO_ANSWER
    texts = (("question", each["question"]), ("paragraph", each["paragraph"]))
    return Hard(place, str(each["id"]), texts, gold, each["answer"] or NO_ANSWER, float(each["score"]))


NO_ANSWER = "(no answer)"


def _texts(each: dict) -> tuple[tuple[str, str], ...]:
    texts = each["texts"]
    return tuple((f"{number}" if len(texts) > 1 else "", text) for number, text in enumerate(texts, 1))


OF_FORM = {"classification": _class, "regression": _score, "choice": _choice, "tagging": _tags}
MEASURES = {
    "classification": "loss, -log p(gold), in nats",
    "choice": "loss, -log p(gold), in nats",
    "regression": "distance of the scores",
    "tagging": "words in a row with another tag",
    "answering": "score of an answer that shares nothing with a right one",
}
