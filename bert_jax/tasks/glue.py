"""GLUE in the layout of its official files: a folder per task, tab-separated, a header line (Wang et al. 2019, 1804.07461)."""

import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from bert_jax.data.finetune import Example
from bert_jax.data.units import COMPRESSED, decompressed
from bert_jax.errors import UserError
from bert_jax.metrics.classification import accuracy, f1


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
    path = _find(Path(folder) / task.folder / f"{split}.tsv")
    rows = _rows(path)
    header = next(rows, [])
    missing = [column for column in (*task.sentences, task.label) if column not in header]
    if missing:
        raise UserError(
            f"the file lacks the column {missing[0]!r}", got=f"{path}, line 1: {', '.join(header)}", expected="a header line"
        )
    sentences, label = [header.index(column) for column in task.sentences], header.index(task.label)
    examples = []
    for number, row in enumerate(rows, 2):
        if len(row) != len(header):
            raise UserError(
                "a row is ragged", got=f"{path}, line {number}: {len(row)} columns", expected=f"{len(header)} columns"
            )
        if row[label] not in task.labels:
            raise UserError("a label is unknown", got=f"{path}, line {number}: {row[label]!r}", expected=" or ".join(task.labels))
        examples.append(Example(tuple(row[column] for column in sentences), task.labels.index(row[label])))
    if not examples:
        raise UserError("the file holds no example", got=path, expected="rows after the header line")
    return examples


def _find(path: Path) -> Path:
    for candidate in (path, *(path.with_name(path.name + suffix) for suffix in COMPRESSED)):
        if candidate.is_file():
            return candidate
    raise UserError(
        "the data of the task is absent",
        got=f"no {path}, compressed or not",
        expected="the official GLUE files",
        fix="let data.folder, or else BERT_JAX_DATA, name a folder that holds glue/, from gluebenchmark.com",
    )


def _rows(path: Path) -> Iterator[list[str]]:
    """Cells of each line. Quotes are ordinary characters in these files, and only a line feed ends a line."""
    try:
        with open(path, "rb") as file, decompressed(file, path.suffix) as content:
            for line in io.TextIOWrapper(content, encoding="utf-8-sig", newline="\n"):
                yield line.rstrip("\r\n").split("\t")
    except UnicodeDecodeError as error:
        raise UserError("the file is not UTF-8", got=f"{path}: {error.reason} at byte {error.start} of a block") from error
    except OSError as error:
        raise UserError("the file cannot be read", got=f"{path}: {error.strerror or error}") from error
