"""Runs what is missing of a table of a paper, then prints the table. Killed at any moment, the same command goes on."""

import argparse
import os
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from bert_jax import hardware, jobs
from bert_jax.config import make_folder
from bert_jax.errors import EXIT_DONE, EXIT_RESTART, UserError
from bert_jax.report import drawing
from experiments import (
    albert_tables,
    bert4rec_tables,
    bert_score_tables,
    bert_tables,
    cells,
    chinese_tables,
    compression,
    costs,
    distilbert_tables,
    electra_tables,
    equal_data_tables,
    lamb_tables,
    rendering,
    roberta_tables,
    sentence_tables,
    spanbert_tables,
    tables,
    tinybert_tables,
)
from experiments.tables import Run, Scale, Table
from launch import table as files

PAPERS = (
    bert_score_tables,
    bert_tables,
    roberta_tables,
    albert_tables,
    electra_tables,
    spanbert_tables,
    lamb_tables,
    distilbert_tables,
    tinybert_tables,
    sentence_tables,
    bert4rec_tables,
    chinese_tables,
    equal_data_tables,
)
TABLES = {table.name: table for paper in PAPERS for table in paper.TABLES}


def main(arguments: Sequence[str]) -> int:
    """0 when every run is done, 42 when a signal stopped one."""
    given = _parser().parse_args(arguments)
    folder = Path(given.workdir) / f"{given.name.replace('/', '-')}-{given.scale}"
    if given.name == compression.NAME:
        if given.cost or given.keep or given.text or given.other_code:
            raise UserError(
                f"{compression.NAME} is made and shown, and no more", expected="--scale, --workdir, --dry-run, --table"
            )
        scale = _known("scale", given.scale, compression.SCALES)
        return compression.reproduce(given.scale, scale, folder, dry_run=given.dry_run, table=given.table)
    table = _known("table", given.name, TABLES)
    scale = _known("scale", given.scale, table.scales)
    if given.cost:
        print(costs.as_markdown(table, scale, hardware.parse_target(given.cost)))
        return EXIT_DONE
    if given.dry_run:
        for run in tables.runs(table, scale, folder):
            print(f"{'finished' if run.result() else 'missing':10s}{run.name}: {run.folder}")
        return EXIT_DONE
    if not given.table:
        runs = list(tables.runs(table, scale, folder, given.text or _text_of(given.scale, scale, folder)))
        if not given.other_code:
            tables.check_code(runs)
        tables.check(table, scale, folder)
        try:
            if not _execute(runs):
                return EXIT_RESTART
        except KeyboardInterrupt:
            print("interrupted; the same command goes on", file=sys.stderr)
            return EXIT_RESTART
    _show(table, given.scale, folder)
    if given.keep:
        _keep(tables.runs(table, scale, folder), folder, Path(given.keep) / folder.name)
    return EXIT_DONE


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m experiments reproduce", description=__doc__, allow_abbrev=False)
    parser.add_argument("name", metavar="TABLE", help=f"one of: {', '.join((*TABLES, compression.NAME))}")
    parser.add_argument("--scale", default="smoke", help="how large the runs are: smoke (minutes), desk (hours), lab, paper")
    parser.add_argument("--workdir", default="runs/reproduce", help="folder of the runs and the table")
    parser.add_argument("--text", default="", help="what to pretrain on, as data.input_file; without it, that of the scale")
    parser.add_argument("--table", action="store_true", help="print the table of what is there and run nothing")
    parser.add_argument("--dry-run", action="store_true", help="print which runs are there and which missing, and run nothing")
    parser.add_argument("--cost", metavar="SLICE", help="print what the pretrainings cost on v5litepod-8, say, and run nothing")
    parser.add_argument(
        "--other_code", action="store_true", help="go on beside finished runs that another version of the code made"
    )
    parser.add_argument("--keep", metavar="DIR", help="copy the table and what its cells rest on there, without the checkpoints")
    return parser


def _known(what: str, name: str, known: dict):
    if name not in known:
        raise UserError(f"the {what} is unknown", got=name, expected=" or ".join(known))
    return known[name]


def _text_of(name: str, scale: Scale, folder: Path) -> str:
    if scale.text is None:
        raise UserError(f"scale {name} needs a text to pretrain on", fix="give --text='my_text/*.txt'")
    if not callable(scale.text):
        return str(jobs.data_folder() / scale.text) if scale.text else ""
    path = folder / "shared" / "text.txt"
    if not path.exists():
        make_folder(path.parent)
        scale.text(part := path.with_suffix(".part"))
        part.replace(path)
    return str(path)


def _execute(runs: Sequence[Run]) -> bool:
    """False when a signal stopped a run."""
    began, made = time.monotonic(), 0
    for number, run in enumerate(runs, 1):
        label = f"[{number}/{len(runs)}] {run.name}"
        if run.result():
            print(f"{label}: finished before", flush=True)
            continue
        print(f"{label}: {run.folder}", flush=True)
        if not run.start(run.config, run.folder):
            return False
        run.seal()
        made += 1
        spent = (time.monotonic() - began) / 60
        print(f"{label}: done; {spent:.0f} minutes, about {spent / made * (len(runs) - number):.0f} left", flush=True)
    return True


def _show(table: Table, name: str, folder: Path) -> None:
    """Prints the table; where there is a folder, writes it there."""
    scale, theirs = table.scales[name], tables.published(table)
    found = cells.cells(table, scale, folder)
    effects = cells.effects(table, scale, found, theirs)
    text = rendering.as_markdown(table, name, found, effects, theirs, folder)
    print(text)
    if folder.is_dir():
        files.write(folder / "table.md", text)
        files.write(folder / "table.tex", rendering.as_latex(table, scale, found, theirs))
        files.write(folder / "table.csv", rendering.as_csv(table, scale, found, theirs))
        drawing.write(rendering.picture(table, scale, found, theirs), folder / "table.png")
        print(f"\nwritten to {folder}: table.md, table.tex, table.csv, table.png")


def _keep(runs: Sequence[Run], folder: Path, kept: Path) -> None:
    kept.mkdir(parents=True, exist_ok=True)
    for name in ("table.md", "table.tex", "table.csv", "table.png"):
        shutil.copy(folder / name, kept / name)
    for run in runs:  # each after what it rests on
        if run.result():
            copy = _moved(run, kept)
            copy.folder.mkdir(exist_ok=True)
            for name in tables.SEALED:
                text = (run.folder / name).read_text(encoding="utf-8").rstrip("\n")
                files.write(copy.folder / name, _without_places(text, folder))
            copy.seal()
    print(f"kept in {kept}")


def _moved(run: Run, folder: Path) -> Run:
    return run._replace(folder=folder / run.folder.name, rests_on=tuple(_moved(other, folder) for other in run.rests_on))


def _without_places(text: str, folder: Path) -> str:
    """Folders of the machine are nobody's concern where a table is published."""
    places = {str(folder): "."} | ({data: "BERT_JAX_DATA"} if (data := os.environ.get("BERT_JAX_DATA")) else {})
    for place, shown in places.items():
        text = text.replace(place, shown)
    return text
