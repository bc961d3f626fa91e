"""A class or a score for a sentence or a pair of sentences."""

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from bert_jax.data import finetune as data
from bert_jax.data.finetune import Example
from bert_jax.errors import UserError
from bert_jax.metrics.classification import accuracy
from bert_jax.objectives.classify import classify
from bert_jax.objectives.distill import distill_classes
from bert_jax.objectives.regress import regress
from bert_jax.tasks import tables
from bert_jax.tasks.form import Answer, Form, text_of, texts_of


def reader(texts: Sequence[tables.Column], label: tables.Column | None, *, labels: Sequence[str] = (), scores: bool = False):
    """Task.read for a table.

    Args:
        texts: the columns of one sentence, or of two.
        label: the column of the label; None for a file without, such as a test set.
        labels: those that there are; () takes any.
        scores: labels are numbers.
    """

    def read(path: Path, skipped: list[str] | None = None) -> list[Example]:
        columns = (*texts, *(() if label is None else (label,)))

        def example(place: str, cells: tuple[str, ...]) -> Example:
            if label is None:
                return Example(cells, None, place)
            *sentences, said = cells
            if labels and said not in labels:
                raise UserError("a label is unknown", got=f"{place}: {said!r}", expected=" or ".join(labels))
            return Example(tuple(sentences), _number(place, said) if scores else said, place)

        examples = tables.parsed(tables.read(path, columns, skipped=skipped), example, skipped)
        if not examples:
            raise UserError("the file holds no example", got=path, expected="rows, after the header line where there is one")
        return examples

    return read


def _number(place: str, cell: str) -> float:
    try:
        return float(cell)
    except ValueError:
        raise UserError("a score is not a number", got=f"{place}: {cell!r}", expected="for instance 3.8") from None


def _encoded(examples: Sequence[Example], labels: tuple[str, ...], tokenizer, *, max_seq_length: int, long_texts: str):
    return data.encode(examples, tokenizer, max_seq_length, labels, long_texts)


def _classes(examples, labels: tuple[str, ...], rows, outputs: Sequence[dict]) -> list[Answer]:
    """Of a text cut into several rows the mean of their probabilities. A student that learned from its teacher's layers alone
    gives no classes."""
    if not outputs or "logits_BC" not in outputs[0]:
        return []
    probabilities = mean_by_owner(softmax(np.stack([output["logits_BC"] for output in outputs])), rows.owners)
    return [
        {"label": labels[each.argmax()], "probabilities": dict(zip(labels, map(float, each), strict=True))}
        for each in probabilities
    ]


def _scores_of(examples, labels, rows, outputs: Sequence[dict]) -> list[Answer]:
    scores = mean_by_owner(np.array([output["scores_B"] for output in outputs], np.float64), rows.owners)
    return [{"score": float(score)} for score in scores]


def mean_by_owner(values: np.ndarray, owners: np.ndarray) -> np.ndarray:
    """float64[N, ...] of rows -> the means over the rows of each example; owners ascend without gaps."""
    counts = np.bincount(owners).reshape(-1, *[1] * (values.ndim - 1))
    return np.add.reduceat(values, np.searchsorted(owners, np.arange(len(counts)))) / counts


def softmax(logits: np.ndarray) -> np.ndarray:
    """float64[..., C], over the last axis."""
    powers = np.exp(np.asarray(logits, np.float64) - logits.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def _class_numbers(examples, answers, labels: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray]:
    gold, predicted = ([labels.index(label) for label in side] for side in _sides(examples, answers, "label"))
    return np.array(gold), np.array(predicted)


def _scores(examples, answers, labels) -> tuple[np.ndarray, np.ndarray]:
    gold, predicted = _sides(examples, answers, "score")
    return np.array(gold, np.float64), np.array(predicted, np.float64)


def _sides(examples, answers, name: str) -> tuple[list, list]:
    return [example.label for example in examples], [answer[name] for answer in answers]


def _commonest(train: Sequence[Example], dev: Sequence[Example], labels: tuple[str, ...]) -> dict[str, float]:
    """Always guessing the commonest class of the training set, the first of several."""
    counts = Counter(example.label for example in train)
    guess = max(labels, key=lambda label: counts[label])
    return {"majority_accuracy": accuracy(np.array([example.label for example in dev]), np.array([guess] * len(dev)))}


def shown(example: Example) -> dict:
    return {"texts": list(example.texts), **({} if example.label is None else {"gold": example.label})}


def asked(question: dict, place: str) -> Example:
    """Of {"text"}, {"text", "text_pair"} or {"texts": [...]} with one or two."""
    if "texts" not in question:
        names = ("text", "text_pair") if "text_pair" in question else ("text",)
        return Example(tuple(text_of(question, place, name) for name in names), None, place)
    texts = texts_of(question, place, "texts")
    if len(texts) > 2:
        raise UserError("there are too many texts", got=f"{place}: {len(texts)}", expected="one or two")
    return Example(texts, None, place)


def seen_labels(examples: Sequence[Example]) -> tuple[str, ...]:
    """Sorted: the same whatever order the file has."""
    return tuple(sorted({example.label for example in examples}))


def _classifying(labels: tuple[str, ...]) -> dict[str, Callable]:
    def distill(encoder, teacher, temperature, weights):
        return distill_classes(encoder, len(labels), teacher=teacher, temperature=temperature, weights=weights)

    def classes(encoder, class_weights):
        return classify(encoder, len(labels), class_weights)

    return {"classify": classes, "distill": distill}


CLASSIFICATION = Form(
    objectives=_classifying,
    pooler=True,
    encode=_encoded,
    answers=_classes,
    compared=_class_numbers,
    shown=shown,
    asked=asked,
    labels=seen_labels,
    baseline=_commonest,
)
REGRESSION = Form(
    objectives=lambda labels: {"regress": regress},
    pooler=True,
    encode=_encoded,
    answers=_scores_of,
    compared=_scores,
    shown=shown,
    asked=asked,
)
