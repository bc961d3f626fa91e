"""Runs what is missing of a table of a paper, then prints the table. Killed at any moment, the same command goes on."""

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from bert_jax.errors import EXIT_DONE, EXIT_RESTART, UserError
from experiments import bert_table5
from experiments.tables import Run
from launch import table as files

# A table is a module with SCALES, check(scale, folder), runs(scale, folder) and render(scale's name, folder).
TABLES = {"bert/table5": bert_table5}


def main(arguments: Sequence[str]) -> int:
    """0 when every run is done, 42 when a signal stopped one."""
    given = _parser().parse_args(arguments)
    table = _known("table", given.name, TABLES)
    scale = _known("scale", given.scale, table.SCALES)
    folder = Path(given.workdir) / f"{given.name.replace('/', '-')}-{given.scale}"
    if not given.table:
        table.check(scale, folder)
        try:
            if not _execute(table.runs(scale, folder)):
                return EXIT_RESTART
        except KeyboardInterrupt:
            print("interrupted; the same command goes on", file=sys.stderr)
            return EXIT_RESTART
    text = table.render(given.scale, folder)
    print(text)
    if folder.is_dir():
        files.write(folder / "table.md", text)
        print(f"\nwritten to {folder / 'table.md'}")
    return EXIT_DONE


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m experiments reproduce", description=__doc__, allow_abbrev=False)
    parser.add_argument("name", metavar="TABLE", help=f"one of: {', '.join(TABLES)}")
    parser.add_argument("--scale", default="smoke", help="how large the runs are; smoke: minutes on two cores")
    parser.add_argument("--workdir", default="runs/reproduce", help="folder of the runs and the table")
    parser.add_argument("--table", action="store_true", help="print the table of what is there and run nothing")
    return parser


def _known(what: str, name: str, known: dict):
    if name not in known:
        raise UserError(f"the {what} is unknown", got=name, expected=" or ".join(known))
    return known[name]


def _execute(runs: Sequence[Run]) -> bool:
    """False when a signal stopped a run."""
    began = time.monotonic()
    for number, run in enumerate(runs, 1):
        label = f"[{number}/{len(runs)}] {run.name}"
        if run.result():
            print(f"{label}: finished before", flush=True)
            continue
        print(f"{label}: {run.folder}", flush=True)
        if not run.start(run.config, run.folder):
            return False
        print(f"{label}: done, {time.monotonic() - began:.0f} seconds in all", flush=True)
    return True
