"""The right one of several texts: the ending of a situation, the answer to a question on a text.

SWAG: Zellers et al. 2018 (arXiv 1808.05326); CODAH, of the same form: Chen et al. 2019 (1904.04365); C3, Chinese: Sun et al. 2020
(1904.09679).
"""

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from bert_jax.data import finetune as data
from bert_jax.data.finetune import Example
from bert_jax.errors import UserError
from bert_jax.metrics.classification import accuracy
from bert_jax.objectives.choose import choose
from bert_jax.tasks import tables
from bert_jax.tasks.form import Answer, Form, Task
from bert_jax.tasks.tables import Column
from bert_jax.tasks.texts import softmax


class Choice(NamedTuple):
    """
    Attributes:
        context: the first text of each pair.
        beginning: stands before each option in the second text: the subject of an ending, a question.
        options: at least two.
        label: the number of the right option, from 0; None where it is asked for.
        id: its name in the file.
    """

    context: str
    beginning: str
    options: tuple[str, ...]
    label: int | None
    id: str = ""


def table_reader(context: Column, beginning: Column | None, options: Sequence[Column], label: Column | None):
    """Task.read for a table, a row a choice.

    Args:
        beginning: its column; None where the options stand alone.
        label: the column of the number of the right option, from 0; None for a file without.
    """

    def read(path: Path, skipped: list[str] | None = None) -> list[Choice]:
        columns = (context, *options, *(column for column in (beginning, label) if column is not None))

        def choice(place: str, cells: tuple[str, ...]) -> Choice:
            cell = dict(zip(columns, cells, strict=True))
            number = None if label is None else _number(cell[label], len(options), place)
            return Choice(cell[context], cell.get(beginning, ""), tuple(cell[option] for option in options), number, place)

        return _some(tables.parsed(tables.read(path, columns, skipped=skipped), choice, skipped), path)

    return read


def _number(cell: str, count: int, place: str) -> int:
    if cell not in map(str, range(count)):
        raise UserError("a label is not the number of an option", got=f"{place}: {cell!r}", expected=f"0 to {count - 1}")
    return int(cell)


def read_c3(path: Path, skipped: list[str] | None = None) -> list[Choice]:
    """Task.read for the files of C3: a list of [sentences of a text, questions on it, name]."""
    path = tables.find(path)
    try:
        content = json.loads("\n".join(tables.lines(path)))
    except (ValueError, RecursionError) as error:
        raise UserError("the file is not JSON", got=f"{path}: {error}") from error

    def rows():
        for number, document in enumerate(content if isinstance(content, list) else [None]):
            match document:
                case [list(sentences), list(questions), _] if all(isinstance(sentence, str) for sentence in sentences):
                    yield from ((f"{path}: [{number}][1][{place}]", sentences, asked) for place, asked in enumerate(questions))
                case _:
                    expected = "[[sentences], [questions], name]"
                    yield UserError("an element is not a text with questions", got=f"{path}: [{number}]", expected=expected)

    return _some(tables.parsed(tables.kept(rows(), skipped), _c3_choice, skipped), path)


def _c3_choice(place: str, sentences: list[str], asked) -> Choice:
    match asked:
        case {"question": str(question), "choice": list(options), "answer": str(right)} if right in options:
            if len(options) > 1 and all(isinstance(option, str) for option in options):
                return Choice("\n".join(sentences), question, tuple(options), options.index(right), place)
    expected = "question, choice, a list of at least two texts, and answer, one of them"
    raise UserError("a question is not of the agreed form", got=f"{place}: {str(asked)[:100]}", expected=expected)


def _some(choices: list[Choice], path: Path) -> list[Choice]:
    if not choices:
        raise UserError("the file holds no choice", got=path, expected="rows, after the header line where there is one")
    return choices


def _encoded(examples: Sequence[Choice], labels, tokenizer, *, max_seq_length: int) -> data.EncodedTexts:
    """[CLS] context [SEP] beginning and option [SEP], a text for each option (BERT paper, section 4.4). An example with fewer
    than the others has empty options behind its own."""
    sides = []
    for place in range(max(len(example.options) for example in examples)):
        pairs = [Example((example.context, _option(example, place)), None) for example in examples]
        sides.append(data.encode(pairs, tokenizer, max_seq_length))
    numbers = np.array([example.label or 0 for example in examples], np.int32)
    return data.stacked(sides, numbers, weighted=True)


def _option(example: Choice, place: int) -> str:
    return f"{example.beginning} {example.options[place]}".strip() if place < len(example.options) else ""


def _answers(examples: Sequence[Choice], labels, rows, outputs: Sequence[dict]) -> list[Answer]:
    answers = []
    for example, output in zip(examples, outputs, strict=True):
        probabilities = softmax(output["logits_BC"][: len(example.options)])
        best = int(probabilities.argmax())
        answers.append({"choice": best, "text": example.options[best], "probabilities": [float(each) for each in probabilities]})
    return answers


def _compared(examples: Sequence[Choice], answers: Sequence[Answer], labels) -> tuple[np.ndarray, np.ndarray]:
    return np.array([example.label for example in examples]), np.array([answer["choice"] for answer in answers])


def _guesses(train: Sequence[Choice], dev: Sequence[Choice], labels) -> dict[str, float]:
    """Of any option, and of the number that is right most often in training, the first of several."""
    counts = Counter(example.label for example in train)
    commonest = max(sorted(counts), key=counts.__getitem__)
    return {
        "chance_accuracy": float(np.mean([1 / len(example.options) for example in dev])),
        "majority_accuracy": accuracy(np.array([example.label for example in dev]), np.full(len(dev), commonest)),
    }


def _shown(example: Choice) -> dict:
    seen = {"context": example.context, "texts": [_option(example, place) for place in range(len(example.options))]}
    return seen | ({} if example.label is None else {"gold": example.label})


CHOICES = Form(
    objectives=lambda labels: {"choose": choose},
    pooler=True,
    encode=_encoded,
    answers=_answers,
    compared=_compared,
    shown=_shown,
    baseline=_guesses,
)

ENDINGS = ("ending0", "ending1", "ending2", "ending3")
read_swag = table_reader("sent1", "sent2", ENDINGS, "label")
read_codah = table_reader(1, None, (2, 3, 4, 5), 6)

TASKS = {
    "swag": Task(
        CHOICES,
        {"train": "multiple_choice/swag/train.csv", "dev": "multiple_choice/swag/val.csv"},
        read_swag,
        {"accuracy": accuracy},
        source="github.com/rowanz/swagaf, data",
    ),
    "codah": Task(
        CHOICES,
        {"train": "multiple_choice/codah/train.tsv", "dev": "multiple_choice/codah/dev.tsv"},
        read_codah,
        {"accuracy": accuracy},
        source="github.com/Websail-NU/CODAH, data/cv_split/fold_0",
    ),
    "c3": Task(
        CHOICES,
        {"train": "multiple_choice/c3_zh_train.json", "dev": "multiple_choice/c3_zh_dev.json"},
        read_c3,
        {"accuracy": accuracy},
        source="github.com/nlpdata/c3, data; the parts of dialogues and of mixed texts as one list",
    ),
}
