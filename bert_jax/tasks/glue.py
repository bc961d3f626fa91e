"""GLUE in the layout of its official files: a folder per task, tab-separated, a header line (Wang et al. 2019, 1804.07461)."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from bert_jax.data.finetune import Example
from bert_jax.errors import UserError
from bert_jax.metrics.classification import accuracy, f1
from bert_jax.tasks import tables


class Task(NamedTuple):
    """One benchmark.

    Attributes:
        folder: under the folder of all GLUE tasks.
        sentences: the columns of the one or two sentences.
        label: the column of the label.
        labels: as the files spell them; the place in the tuple is the class.
        metrics: name -> function of (labels, predicted classes).
    """

    folder: str
    sentences: tuple[str, ...]
    label: str
    labels: tuple[str, ...]
    metrics: dict[str, Callable[[np.ndarray, np.ndarray], float]]


TASKS = {
    "mrpc": Task("MRPC", ("#1 String", "#2 String"), "Quality", ("0", "1"), {"accuracy": accuracy, "f1": f1}),
    "sst2": Task("SST-2", ("sentence",), "label", ("0", "1"), {"accuracy": accuracy}),
}


def task(name: str) -> Task:
    """Raises UserError for a name that is not in the table."""
    if name not in TASKS:
        raise UserError("the task is unknown", got=name, expected=" or ".join(TASKS))
    return TASKS[name]


def read(task: Task, folder: Path, split: str) -> list[Example]:
    """The examples of a split with labels, in the order of the file.

    Args:
        folder: holds the folders of the tasks, that is MRPC/train.tsv and so on; a file may be compressed (.xz, .gz).
        split: "train" or "dev".

    Raises:
        UserError: the file is absent, unreadable or empty, lacks a column, or a row of it is ragged or has an unknown label.
    """
    path, examples = Path(folder) / task.folder / f"{split}.tsv", []
    for place, (*sentences, label) in tables.read(path, (*task.sentences, task.label)):
        if label not in task.labels:
            raise UserError("a label is unknown", got=f"{place}: {label!r}", expected=" or ".join(task.labels))
        examples.append(Example(tuple(sentences), task.labels.index(label)))
    if not examples:
        raise UserError("the file holds no example", got=path, expected="rows after the header line")
    return examples
