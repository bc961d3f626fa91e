"""What the kinds of tasks have in common: a form says how examples become rows and what a model's outputs mean, a task names a
form, its files and its metrics.

The way of every task: files -> examples -> rows -> outputs of the model, for each row -> answers, for each example -> metrics.
Answers are JSON objects: what is written as predictions, shown to people and scored is the same thing.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

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
    """

    objectives: Callable[[tuple[str, ...]], Mapping[str, Callable[..., Objective]]]
    pooler: bool
    encode: Callable
    answers: Callable
    compared: Callable
    shown: Callable[[Any], dict]
    labels: Callable[[Sequence], tuple[str, ...]] = lambda examples: ()
    baseline: Callable[..., dict[str, float]] = lambda train, dev, labels: {}
    settled: Callable[..., dict] = lambda examples, labels, rows, outputs, **settings: {}


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
    """

    form: Form
    files: Mapping[str, str]
    read: Callable
    metrics: Mapping[str, Callable[[Any, Any], float]]
    labels: tuple[str, ...] = ()
    source: str = ""
    read_unlabelled: Callable | None = None
    part: Callable = lambda examples, split: examples
