"""What the kinds of tasks have in common: a form says how examples become rows and what a model's outputs mean, a task names a
form, its files and its metrics.

The way of every task: files -> examples -> rows -> outputs of the model, for each row -> answers, for each example -> metrics.
Answers are JSON objects: what is written as predictions, shown to people and scored is the same thing.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from bert_jax.errors import UserError
from bert_jax.objectives.objective import Objective

Answer = dict[str, Any]


class Form(NamedTuple):
    """A kind of task.

    Attributes:
        objectives: labels -> {objective.name: (encoder, further settings of the section) -> Objective}.
        pooler: whether they read the pooled vector of [CLS].
        encode: (examples, labels, tokenizer, settings by name) -> rows, as bert_jax/data/finetune.py has them. An example of
            predict has no label.
        answers: (examples, labels, rows, outputs, settings by name) -> an Answer for each example. outputs holds for each row
            what objective.predict gives for it, without the axis B, padded to any length.
        compared: (examples, answers, labels) -> (gold, predicted), what the metrics are computed from.
        shown: (example) -> what people see of it, JSON; its label under "gold" where it has one.
        labels: training examples -> their labels, for tasks that do not list them; () where the form has none.
        baseline: (training examples, dev examples, labels) -> metrics of a guess that reads nothing.
        settled: (examples, labels, rows, outputs, settings by name) -> what is chosen on the dev set, as settings of `answers`.
        asked: (JSON object that a user asks about, its place for a message) -> an example without a label; raises UserError.
        faults: (examples, tokenizer, settings by name) -> for each what is wrong with it, or None: for what is learned from all
            the same, cut, and not answered.
        together: whether the answer to an example depends on the other examples.
    """

    objectives: Callable[[tuple[str, ...]], Mapping[str, Callable[..., Objective]]]
    pooler: bool
    encode: Callable
    answers: Callable
    compared: Callable
    shown: Callable[[Any], dict]
    asked: Callable[[dict, str], Any]
    labels: Callable[[Sequence], tuple[str, ...]] = lambda examples: ()
    baseline: Callable[..., dict[str, float]] = lambda train, dev, labels: {}
    settled: Callable[..., dict] = lambda examples, labels, rows, outputs, **settings: {}
    faults: Callable[..., Sequence[UserError | None]] = lambda examples, tokenizer: [None] * len(examples)
    together: bool = False


class Task(NamedTuple):
    """A benchmark.

    Attributes:
        form: of FORMS.
        files: split -> path under the folder of all data; "train", "dev", and "test" where there is one.
        read: (path, skipped) -> examples. A bad row is a UserError with file and line; where skipped is a list, the row is left
            out and its message added there.
        metrics: name -> (gold, predicted) -> a figure, a fraction of 1; the first is the one that runs are chosen by.
        labels: as the files spell them; () where the training examples show them, or there are none.
        source: where people get the data.
        read_unlabelled: `read` for a test set without labels; None where it has them.
        part: (examples, split) -> those of the split, where one file holds several.
        texts: how many texts an example has, where the form leaves that open; 0 where it does not.
    """

    form: Form
    files: Mapping[str, str]
    read: Callable
    metrics: Mapping[str, Callable[[Any, Any], float]]
    labels: tuple[str, ...] = ()
    source: str = ""
    read_unlabelled: Callable | None = None
    part: Callable = lambda examples, split: examples
    texts: int = 0


def text_of(asked: dict, place: str, *names: str) -> str:
    """The text that stands in what is asked under the first of these names that it has; raises UserError where none does."""
    name = next((name for name in names if name in asked), None)
    if name is None:
        raise UserError(
            f"the key {names[0]!r} is missing", got=f"{place}: {', '.join(asked) or '{}'}", expected=" or ".join(names)
        )
    return checked_text(asked[name], place, name)


def texts_of(asked: dict, place: str, name: str) -> tuple[str, ...]:
    """The list of texts of this name; raises UserError where there is none."""
    texts = asked.get(name)
    if not isinstance(texts, list) or not texts:
        raise UserError(f"the key {name!r} is no list of texts", got=f"{place}: {str(texts)[:60]}", expected='["...", "..."]')
    return tuple(checked_text(text, place, f"{name}[{number}]") for number, text in enumerate(texts))


def checked_text(text, place: str, name: str) -> str:
    """Raises UserError for what is no text, or an empty one, or holds half of a character, which no encoding can write."""
    if not isinstance(text, str):
        raise UserError(f"the value of {name!r} is no text", got=f"{place}: {str(text)[:60]}", expected='"..."')
    if not text.strip():
        raise UserError("a text is empty", got=f"{place}: {name}", expected="at least a word")
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise UserError("a text holds half of a surrogate pair", got=f"{place}: {name}", expected="whole characters")
    return text
