"""What every table is made of: runs that leave their results in folders, and published numbers with their source."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from bert_jax import config as configs
from bert_jax import workdir as workdirs
from launch.table import NOT_RUN, markdown

PUBLISHED = Path(__file__).with_name("published")
# A run is the same wherever its folder is moved.
PATH_KEYS = ("data.folder", "data.store", "init_checkpoint", "text.new_words", "text.vocab_file")


class Run(NamedTuple):
    """One training run of a table.

    Attributes:
        start: (config, folder) -> true when the run is finished, false when a signal stopped it.
    """

    name: str
    folder: Path
    config: object
    start: Callable

    def result(self) -> dict | None:
        """What the run wrote at its end; None if it has not ended, or the folder holds a run of another config."""
        saved, result = workdirs.read_config(self.folder), workdirs.finished(self.folder)
        if saved is None or result is None:
            return None
        changed = {key for key, _, _ in configs.difference(saved, self.config.to_dict())} - set(PATH_KEYS)
        return None if changed else result


class Published(NamedTuple):
    """A table of a paper; rows[name][column] is a number as printed there."""

    title: str
    source: str
    columns: list[str]
    rows: dict[str, dict[str, float]]


def published(paper: str, table: str) -> Published:
    return Published(**json.loads((PUBLISHED / f"{paper}.json").read_text(encoding="utf-8"))[table])


def side_by_side(theirs: Published, ours: Mapping[str, Mapping[str, float]], baselines: Mapping[str, Mapping[str, float]]) -> str:
    """A Markdown table: for each row of `ours` our numbers and below them the published ones, then the baselines.

    Args:
        ours: row -> column -> percent; a column that is absent was not run.
        baselines: the same, for rows that the paper does not have.
    """

    def cells(numbers: Mapping[str, float], absent: str) -> Sequence[str]:
        return [f"{numbers[column]:.1f}" if column in numbers else absent for column in theirs.columns]

    rows = [["", "", *theirs.columns]]
    for name, numbers in ours.items():
        rows.append([name, "ours", *cells(numbers, NOT_RUN)])
        rows.append(["", "published", *cells(theirs.rows[name], "")])
    rows += [[name, "ours", *cells(numbers, NOT_RUN)] for name, numbers in baselines.items()]
    return markdown(rows)
