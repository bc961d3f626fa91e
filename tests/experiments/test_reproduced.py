"""The tables that are kept in the project: what their runs say, and nothing where one of these is missing."""

import re
import shutil

import pytest

from bert_jax.errors import EXIT_DONE
from experiments import __main__ as experiments
from tests.tiny import ROOT

KEPT = sorted((ROOT / "experiments" / "reproduced").iterdir())


@pytest.fixture(params=KEPT, ids=lambda kept: kept.name)
def kept(request, tmp_path):
    """(the folder in the project, a copy of it, what shows the table of the copy)."""
    table, _, scale = request.param.name.replace("-", "/", 1).rpartition("-")
    shutil.copytree(request.param, tmp_path / request.param.name)
    show = ["reproduce", table, f"--scale={scale}", f"--workdir={tmp_path}", "--table"]
    return request.param, tmp_path / request.param.name, lambda: experiments.main(show)


def test_it_is_what_its_runs_say(kept):
    committed, copy, show = kept
    assert show() == EXIT_DONE
    for name in ("table.md", "table.tex", "table.csv"):
        assert (copy / name).read_bytes() == (committed / name).read_bytes()


def test_without_one_of_three_seeds_a_cell_and_its_differences_are_not_run(kept, capsys):
    committed, copy, show = kept
    assert "| not run" not in (committed / "table.md").read_text(encoding="utf-8")
    some = next(copy.glob("*-sst2-s2"))
    shutil.rmtree(some)
    assert show() == EXIT_DONE
    said = capsys.readouterr().out
    assert said.count("not run: 2 of 3 seeds") == 1 and re.search(r"less .*\| not run *\| not run *\|$", said, re.M)


def test_without_a_pretraining_all_that_began_with_it_is_not_run(kept, capsys):
    _, copy, show = kept
    begun = [copy / path.name.replace("-sst2", "") for path in copy.glob("*-sst2-s2")]
    shutil.rmtree(next(path for path in begun if path.exists()))
    assert show() == EXIT_DONE
    assert capsys.readouterr().out.count("not run: 2 of 3 seeds") >= 1
