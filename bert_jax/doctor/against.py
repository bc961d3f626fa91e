"""The evaluation sets that a corpus is held against."""

import difflib
from collections.abc import Callable, Iterator
from pathlib import Path

from ml_collections import ConfigDict

from bert_jax import jobs
from bert_jax.doctor.overlap import Text
from bert_jax.errors import UserError
from bert_jax.predict import asked
from bert_jax.tasks import benchmarks, tables

DEV = "dev"
SPLITS = (DEV, "test")
NOT_READ = ("gold", "query_id", "words")  # in what is shown of an example: no text, or a text again


def texts_of(against: str, say: Callable[[str], None] = print) -> Iterator[Text]:
    """The texts of evaluation sets.

    Args:
        against: separated by commas: tasks, of which the dev and test sets are read, and files, .jsonl with an object a line or
            any other with a text a line.

    Raises:
        UserError: a name is neither, or the data of a task is absent.
    """
    names = [name.strip() for name in against.split(",") if name.strip()]
    unknown = [name for name in names if name not in benchmarks.TASKS and not Path(name).is_file()]
    if unknown:
        near = difflib.get_close_matches(unknown[0], benchmarks.TASKS, n=3) or list(benchmarks.TASKS)
        raise UserError("there is no such evaluation set", got=unknown[0], expected=f"a file, or {' or '.join(near)}")
    for name in names:
        yield from _of_task(name, say) if name in benchmarks.TASKS else _of_file(name)


def _of_file(name: str) -> Iterator[Text]:
    for row in asked.of_file(Path(name)):
        if isinstance(row, UserError):
            raise row
        place, value = row
        yield from (Text(name, place, text) for text in _strings(value))


def _of_task(name: str, say: Callable[[str], None]) -> Iterator[Text]:
    task = benchmarks.TASKS[name]
    config = ConfigDict({"task": name, "data": {"folder": ""}})
    for split in (split for split in SPLITS if split in task.files):
        if split != DEV and _is_absent(task.files[split]):
            say(f"the {split} set of {name} is absent, so it is not looked for")
            continue
        for example in jobs.split_of(task, config, split, skipped=[]):
            yield from (Text(f"{name} {split}", example.id, text) for text in _strings(task.form.shown(example)))


def _is_absent(file: str) -> bool:
    try:
        tables.find(jobs.data_folder() / file)
    except tables.Absent:
        return True
    return False


def _strings(value) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        yield from (text for key, part in value.items() if key not in NOT_READ for text in _strings(part))
    elif isinstance(value, list):
        yield from (text for part in value for text in _strings(part))
