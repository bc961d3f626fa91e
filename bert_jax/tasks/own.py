"""The user's own files: a form of task, and where its parts are found."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from bert_jax.data import keyed
from bert_jax.errors import UserError
from bert_jax.metrics.classification import accuracy, macro_f1
from bert_jax.metrics.correlation import pearson, spearman
from bert_jax.tasks.form import Form, Task
from bert_jax.tasks.texts import CLASSIFICATION, REGRESSION, reader


class Own(NamedTuple):
    """A form, for files of one's own.

    Attributes:
        read: the section data of the config -> Task.read and, for files without labels, Task.read_unlabelled.
    """

    form: Form
    read: Callable[[Any], tuple[Callable, Callable]]
    metrics: dict[str, Callable]


def _texts(scores: bool) -> Callable:
    def read(section) -> tuple[Callable, Callable]:
        texts = tuple(section.text_columns)
        return reader(texts, section.label_column, scores=scores), reader(texts, None)

    return read


FORMS = {
    "classification": Own(CLASSIFICATION, _texts(scores=False), {"accuracy": accuracy, "macro_f1": macro_f1}),
    "regression": Own(REGRESSION, _texts(scores=True), {"spearman": spearman, "pearson": pearson}),
}
SPLITS = ("train", "dev", "test")


def task(name: str, section) -> Task:
    """Raises UserError when no training file is named."""
    if not section.train_file:
        raise UserError("data.train_file is empty", expected="--config.data.train_file=FILE, .tsv, .csv or .jsonl")
    own = FORMS[name]
    files = {split: section[f"{split}_file"] for split in SPLITS if section[f"{split}_file"]}
    read, read_unlabelled = own.read(section)
    return Task(own.form, files, read, own.metrics, source="the file that the config names", read_unlabelled=read_unlabelled)


def held_out(examples: Sequence, share: float, seed: int) -> tuple[list, list]:
    """(training, dev) examples, of which the latter are this share, at least one, drawn by the seed; both in the given order.

    Raises:
        UserError: nothing would be left to train on.
    """
    count = max(1, round(share * len(examples)))
    if count >= len(examples):
        raise UserError(
            "too few examples to hold some out", got=f"{len(examples)}, data.dev_fraction={share}", expected="data.dev_file"
        )
    drawn = set(keyed.permute(np.arange(count), len(examples), keyed.key_of(seed, "dev examples")).tolist())
    return tuple([one for number, one in enumerate(examples) if (number in drawn) == wanted] for wanted in (False, True))


def require_known_labels(examples: Sequence, labels: Sequence[str]) -> None:
    """Raises UserError when an example has a label that the training examples do not know."""
    for example in examples if labels else ():
        said = getattr(example, "label", None)
        if said is not None and said not in labels:
            raise UserError("a label does not occur in training", got=f"{example.id}: {said!r}", expected=" or ".join(labels))
