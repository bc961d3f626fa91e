"""The user's own files: a form of task, and where its parts are found."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from bert_jax.data import keyed
from bert_jax.errors import UserError
from bert_jax.metrics.classification import accuracy, macro_f1
from bert_jax.metrics.correlation import pearson, spearman
from bert_jax.tasks import answering, choices, ner, ranked, squad, tag_files
from bert_jax.tasks.form import Form, Task
from bert_jax.tasks.texts import CLASSIFICATION, REGRESSION, reader


class Own(NamedTuple):
    """A form, for files of one's own.

    Attributes:
        read: the section data of the config -> Task.read and, where there may be files without labels, Task.read_unlabelled.
    """

    form: Form
    read: Callable[[Any], tuple[Callable, Callable | None]]
    metrics: dict[str, Callable]


def _texts(scores: bool) -> Callable:
    def read(section) -> tuple[Callable, Callable]:
        texts = tuple(section.text_columns)
        return reader(texts, section.label_column, scores=scores), reader(texts, None)

    return read


def _questions(section) -> tuple[Callable, Callable]:
    return squad.reader(), squad.reader(labelled=False)


def _questions_or_none(section) -> tuple[Callable, Callable]:
    return squad.reader(or_none=True), squad.reader(or_none=True, labelled=False)


def _choices(section) -> tuple[Callable, Callable]:
    columns = section.context_column, section.beginning_column or None, tuple(section.option_columns)
    return choices.table_reader(*columns, section.label_column), choices.table_reader(*columns, None)


def _candidates(section) -> tuple[Callable, Callable]:
    columns = tuple(section.candidate_columns)
    return ranked.reader(columns), ranked.reader(columns, labelled=False)


def _tagged(section) -> tuple[Callable, None]:
    return tag_files.reader(section.tag_scheme, indexed=section.words_are_numbered, columns=tuple(section.tag_columns)), None


FORMS = {
    "classification": Own(CLASSIFICATION, _texts(scores=False), {"accuracy": accuracy, "macro_f1": macro_f1}),
    "regression": Own(REGRESSION, _texts(scores=True), {"spearman": spearman, "pearson": pearson}),
    "tagging": Own(ner.TAGGING, _tagged, ner.METRICS),
    "answering": Own(answering.ANSWERING, _questions, answering.ENGLISH),
    "answering_or_none": Own(answering.ANSWERING_OR_NONE, _questions_or_none, answering.ENGLISH_OR_NONE),
    "choice": Own(choices.CHOICES, _choices, {"accuracy": accuracy}),
    "ranking": Own(ranked.RANKING, _candidates, ranked.METRICS),
}
SPLITS = ("train", "dev", "test")


def task(name: str, section) -> Task:
    """Raises UserError when no training file is named."""
    if not section.train_file:
        raise UserError("data.train_file is empty", expected="--config.data.train_file=FILE, .tsv, .csv or .jsonl")
    own = FORMS[name]
    files = {split: section[f"{split}_file"] for split in SPLITS if section[f"{split}_file"]}
    read, read_unlabelled = own.read(section)
    source, texts = "the file that the config names", len(section.text_columns) if "text_columns" in section.keys() else 0
    return Task(own.form, files, read, own.metrics, source=source, read_unlabelled=read_unlabelled, texts=texts)


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
    """Raises UserError when an example has a label or a tag that the training examples do not know."""
    for example in examples if labels else ():
        said = example.tags if hasattr(example, "tags") else (example.label,)
        if unknown := [label for label in said or () if label is not None and label not in labels]:
            raise UserError(
                "a label does not occur in training", got=f"{example.id}: {unknown[0]!r}", expected=" or ".join(labels)
            )
