"""Every cell of a table times every seed, each exactly once, here or on a cluster, and the table of what came of it.

    python -m launch sweep plan   --config=F --workdir=W --seeds=0,1    what would run
    python -m launch sweep submit --config=F --workdir=W --seeds=0,1    runs what is missing
    python -m launch sweep status --workdir=W [--watch]                 where each run stands
    python -m launch sweep resume --workdir=W                           runs what is still missing
    python -m launch sweep table  --workdir=W                           the metrics over the seeds

The run directories are the only record of what is done; sweep.json beside them says what was asked for. Killed at any moment,
resume goes on, and so does the same submit. Of runs that an engine keeps in a bucket of Google's, status and table first bring
what they read.
"""

import argparse
import json
import re
import time
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

from bert_jax import config as configs
from bert_jax.command import run_verb
from bert_jax.config import make_folder
from bert_jax.errors import EXIT_DONE, UserError
from launch import board, flags, gke, local, pages, sky, slurm, table, tpu_slice
from launch.engine import only_one
from launch.local import TRAINER
from launch.runs import Run, distinct, expand, from_json, require_unchanged, to_json

ENGINES = {"local": local, "slurm": slurm, "tpu-slice": tpu_slice, "gke": gke, "sky": sky}  # what one is: launch/engine.py
REQUEST = "sweep.json"
# Of a run, by status, table and its page; the first is written when the others are whole.
READ = ("result.json", *(name for name in board.SIGNS_OF_LIFE if name != "result.json"), "config.json", "predictions.jsonl")


class Request(NamedTuple):
    """What was asked for: the runs, the metric that the best cell is chosen by, the engine and its flags."""

    runs: list[Run]
    best_by: str
    engine: str = "local"
    settings: dict = {}


def main(arguments: Sequence[str], trainer: Sequence[str] = TRAINER) -> int:
    verbs = {
        "plan": (plan, "list the runs, and which of them are missing"),
        "submit": (lambda rest: submit(rest, trainer), "run what is missing; with --dry-run show how"),
        "status": (status, "where each run stands; with --watch redrawn until all have ended"),
        "resume": (lambda rest: resume(rest, trainer), "run what is missing of a sweep that was submitted"),
        "table": (show, "the metrics over the seeds, as far as there are any"),
    }
    return run_verb("python -m launch sweep", verbs, list(arguments))


def plan(arguments: Sequence[str]) -> int:
    given, request = _asked("plan", arguments)
    rows = [["cell", "seed", "state", "folder"]]
    rows += [[run.cell, str(run.seed), table.state(run.folder), run.folder.name] for run in request.runs]
    print(_counted(request.runs))
    print(table.markdown(rows))
    return EXIT_DONE


def submit(arguments: Sequence[str], trainer: Sequence[str] = TRAINER) -> int:
    """As the engine says: of local 0 when every run is done or diverged, 1 when one failed, 42 when interrupted."""
    given, request = _asked("submit", arguments)
    workdir = Path(given.workdir)
    if not given.dry_run:
        make_folder(workdir)
        saved = request._asdict() | {"runs": to_json(request.runs, workdir)}
        configs.write_json(workdir / REQUEST, saved)
    return _send(request, workdir, given.dry_run, trainer)


def resume(arguments: Sequence[str], trainer: Sequence[str] = TRAINER) -> int:
    parser = _parser("resume", "Runs what is missing of a sweep that was submitted; killed at any moment, it can be given again.")
    parser.add_argument("--dry-run", action="store_true", help="show what would be started and start nothing")
    given = parser.parse_args(arguments)
    request = _read(given.workdir)
    require_unchanged(_missing(request.runs))
    return _send(request, Path(given.workdir), given.dry_run, trainer)


def status(arguments: Sequence[str]) -> int:
    parser = _parser("status", "Where each run of a sweep stands.")
    parser.add_argument("--watch", action="store_true", help="redraw it in the terminal until every run has ended, or Ctrl-C")
    given = parser.parse_args(arguments)
    request, workdir = _read(given.workdir), Path(given.workdir)
    runs = request.runs
    _bring(request, workdir)
    if given.watch:
        try:
            board.watch(runs, lambda: _bring(request, workdir))
        except KeyboardInterrupt:
            pass
        return EXIT_DONE
    print(board.render(runs, time.time()))
    return EXIT_DONE


def show(arguments: Sequence[str]) -> int:
    parser = _parser("table", "The metrics of a sweep over the seeds, as far as there are any.")
    parser.add_argument("--by", default="", help="metric that the best cell is chosen by; without it, as it was submitted")
    given = parser.parse_args(arguments)
    request = _read(given.workdir)
    _bring(request, Path(given.workdir))
    best_by = pages.chosen_by(request.runs[0].task, given.by) if given.by else request.best_by
    _show(request.runs, Path(given.workdir), best_by)
    return EXIT_DONE


def _bring(request: Request, workdir: Path) -> None:
    """What is to be read of the runs that have not ended here and lie in a bucket."""
    from bert_jax import buckets  # imports numpy, without which --help answers

    engine, missing = ENGINES[request.engine], {run.folder for run in _missing(request.runs)}
    for folder, place in engine.places(workdir).items() if hasattr(engine, "places") else ():
        if workdir / folder in missing and buckets.is_bucket(place):
            buckets.bring(place, READ, workdir / folder)


def _send(request: Request, workdir: Path, dry_run: bool, trainer: Sequence[str]) -> int:
    engine, settings = ENGINES[request.engine], request.settings
    if dry_run:
        missing = _missing(request.runs)
        print(engine.render(missing, workdir, settings, trainer) if missing else "")
        return EXIT_DONE
    with only_one(workdir) as lock:
        missing = _missing(request.runs)
        held = engine.in_hand(missing, workdir)
        print(_counted(request.runs) + (f", {len(held)} of these already with {request.engine}" if held else ""), flush=True)
        waiting = [run for run in missing if run.folder not in held]
        code = engine.submit(waiting, workdir, settings, trainer, lock) if waiting else EXIT_DONE
    if code in engine.ENDED:
        _show(request.runs, workdir, request.best_by)
    return code


def _missing(runs: Sequence[Run]) -> list[Run]:
    return [run for run in distinct(runs) if table.state(run.folder) not in table.FINAL]


def _counted(runs: Sequence[Run]) -> str:
    cells, seeds = ({getattr(run, name) for run in runs} for name in ("cell", "seed"))
    return f"{len(cells)} cells, {len(seeds)} seeds: {len(distinct(runs))} runs, {len(_missing(runs))} to make"


def _show(runs: Sequence[Run], workdir: Path, best_by: str) -> None:
    """Prints the table and writes it, and after fine-tuning the page of its best cell."""
    found = table.collect(runs, best_by)
    text = table.render(found)
    print(text)
    table.write(workdir / "table.md", text)
    configs.write_json(workdir / "table.json", found)
    if runs[0].task:
        for what, path in pages.write(workdir, runs[0].task, found).items():
            print(f"{what}: {path}")


def _read(workdir: str) -> Request:
    path = Path(workdir) / REQUEST
    try:
        saved = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise UserError(
            "no sweep was submitted here",
            got=f"no {REQUEST} in {workdir}",
            expected="the --workdir of python -m launch sweep submit",
        ) from None
    except ValueError:
        raise UserError(f"{path} is not valid JSON", fix="delete it and submit the sweep again; finished runs are kept") from None
    return Request(**saved | {"runs": from_json(saved["runs"], Path(workdir))})


def _asked(verb: str, arguments: Sequence[str]) -> tuple[argparse.Namespace, Request]:
    """The flags of plan and submit, and the request they make."""
    engine = _engine(arguments)
    parser = _parser(verb, "A sweep: every cell of a config file times every seed.")
    parser.epilog = f"{flags.ANY_KEY}, for every run"
    parser.add_argument("--config", required=True, help="a config file; its sweep(add) names the cells")
    parser.add_argument("--seeds", default="", help="such as 0,1,2; without it, the seed of the config")
    parser.add_argument("--cells", default="", help="names of cells with commas between; without it, all of them")
    parser.add_argument("--no-grid", action="store_true", help="the config as it stands, as one cell; so is a file without sweep")
    parser.add_argument("--by", default="", help="metric that the best cell is chosen by; without it, the first of the task")
    if verb == "submit":
        parser.add_argument("--dry-run", action="store_true", help="show what would be started and start nothing")
        parser.add_argument("--engine", default="local", help=f"{' or '.join(ENGINES)}; --engine=X --help shows the flags of X")
        flags.add(parser, engine.FLAGS)
    given, overrides = flags.parse(parser, arguments)
    workdir, wanted = Path(given.workdir), [name for name in given.cells.split(",") if name]
    runs = expand(given.config, overrides, _seeds(given.seeds), workdir, wanted, not given.no_grid)
    best_by = pages.chosen_by(runs[0].task, given.by)
    if verb == "plan":
        return given, Request(runs, best_by)
    return given, Request(runs, best_by, given.engine, {name: getattr(given, name) for name in engine.FLAGS})


def _engine(arguments: Sequence[str]) -> ModuleType:
    first = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    first.add_argument("--engine", default="local")
    name = first.parse_known_args(arguments)[0].engine
    if name not in ENGINES:
        raise UserError("there is no such engine", got=f"--engine={name}", expected=" or ".join(ENGINES))
    return ENGINES[name]


def _parser(verb: str, about: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=f"python -m launch sweep {verb}", description=about, allow_abbrev=False)
    parser.add_argument("--workdir", required=True, help="folder of the run directories, sweep.json and the table")
    return parser


def _seeds(text: str) -> list[int]:
    if not re.fullmatch("([0-9]{1,9}(,[0-9]{1,9})*)?", text):
        raise UserError("--seeds cannot be read", got=text, expected="numbers with commas between: 0,1,2")
    return list(dict.fromkeys(int(seed) for seed in text.split(",") if seed))
