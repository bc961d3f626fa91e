"""Sweeps of fine-tuning: statistics over seeds, the cell that was chosen on dev, page and curve, with a trainer that needs no
time; and one of real training."""

import json
import re
import sys
from pathlib import Path

import pytest

from bert_jax.errors import UserError
from launch import runs as runs_of
from launch import sweep, table
from tests import test_finetune, tiny

GLUE = f"--config={tiny.ROOT}/configs/finetune_glue.py:mrpc"
FEW = f"--config={tiny.ROOT}/configs/sweep_few_labels.py"
# Writes what PLAN says for "batch rate examples seed": [accuracy, loss], or an exit code.
FAKE_TRAINER = """
import json, os, pathlib, sys
verb, flags = sys.argv[1], dict(word.split("=", 1) for word in sys.argv[2:])
assert verb == "finetune" and flags["--config.init_checkpoint"] == "P" and "--config.text.vocab_file" not in flags
workdir, seed = pathlib.Path(flags["--workdir"]), int(flags["--config.seed"])
keys = ("train.train_batch_size", "optim.learning_rate", "data.max_train_examples")
values = [flags.get(f"--config.{key}", "") for key in keys]
todo = json.loads(os.environ["PLAN"])[" ".join(filter(None, [*values, str(seed)]))]
if isinstance(todo, int):
    sys.exit(todo)
(workdir / "config.json").write_text(json.dumps({"task": "mrpc", "seed": seed, "init_checkpoint": "P"}))
metrics = dict(zip(("accuracy", "loss"), todo))
(workdir / "result.json").write_text(json.dumps({"status": "done", "step": 4, "metrics": metrics}))
lines = [{"id": f"dev.tsv, line {n}", "gold": "0", "label": "01"[n % 2], "probabilities": {"0": 0.6, "1": 0.4}} for n in range(4)]
(workdir / "predictions.jsonl").write_text("".join(json.dumps(line | {"texts": ["a", "b"]}) + "\\n" for line in lines))
"""
TWO_CELLS = ("--cells=batch16-lr5e-05,batch32-lr2e-05", "--seeds=0,1,2")
PLAN = {  # means 0.7 and 0.8
    "16 5e-05 0": [0.6, 0.3], "16 5e-05 1": [0.7, 0.3], "16 5e-05 2": [0.8, 0.3],
    "32 2e-05 0": [0.8, 0.4], "32 2e-05 1": [0.8, 0.4], "32 2e-05 2": [0.8, 0.4],
}  # fmt: skip


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """(plan, flags) -> (exit code, what was printed, table.json)."""
    (tmp_path / "trainer.py").write_text(FAKE_TRAINER)

    def run(plan: dict, *flags: str):
        monkeypatch.setenv("PLAN", json.dumps(plan))
        given = [f"--workdir={tmp_path / 'w'}", "--config.init_checkpoint=P", *flags]
        code = sweep.submit(given, (sys.executable, str(tmp_path / "trainer.py")))
        found = tmp_path / "w" / "table.json"
        return code, capsys.readouterr().out, json.loads(found.read_text()) if found.exists() else {}

    return run


def cells(found: dict) -> dict[str, dict]:
    return {cell["cell"]: cell for cell in found["cells"]}


def test_the_grid_of_the_paper_is_fine_tuned_with_every_seed_and_nothing_is_prepared(tmp_path):
    runs = runs_of.expand(GLUE.partition("=")[2], ["--config.init_checkpoint=P"], [0, 1, 2, 3, 4], tmp_path)
    assert len({run.folder for run in runs}) == 8 * 5
    assert {run.training[0] for run in runs} == {"finetune"} and runs_of.preparations(runs) == {}


def test_every_figure_has_its_seeds_and_the_best_cell_says_that_it_was_chosen(run):
    code, out, found = run(PLAN, GLUE, *TWO_CELLS)
    assert code == 0
    # deviation 0.1; t of two degrees of freedom is 4.3027, so 0.7 - 4.3027 * 0.1 / sqrt(3) = 0.4516
    assert re.search(r"\| batch16-lr5e-05 +\| 3 done \| 0.7000 ± 0.1000 \[0.4516, 0.9484\] \(n=3\) \| 0.3000 ± 0.0000 ", out)
    assert "| batch32-lr2e-05 (best on dev) | 3 done | 0.8000" in out
    assert "batch32-lr2e-05, chosen among 2 cells on this very dev set" in out
    assert (found["best_by"], found["best"]) == ("accuracy", "batch32-lr2e-05")
    first = cells(found)["batch16-lr5e-05"]
    assert [(each["seed"], each["metrics"]["accuracy"]) for each in first["runs"]] == [(0, 0.6), (1, 0.7), (2, 0.8)]
    assert first["metrics"]["accuracy"]["n"] == 3 and first["metrics"]["accuracy"]["mean"] == pytest.approx(0.7)
    assert "--config.init_checkpoint=P" in first["runs"][0]["flags"]


def test_figures_of_more_than_one_version_of_the_code_are_said_to_be(run, tmp_path, capsys):
    _, out, found = run(PLAN, GLUE, *TWO_CELLS)
    assert "versions of the code" not in out
    folders = [tmp_path / "w" / each["folder"] for cell in found["cells"] for each in cell["runs"]]
    for number, folder in enumerate(folders):
        (folder / "run.json").write_text(json.dumps({"code": "one" if number else "other"}))
    assert sweep.show([f"--workdir={tmp_path / 'w'}"]) == 0
    assert "These figures are of 2 versions of the code" in capsys.readouterr().out
    assert json.loads((tmp_path / "w" / "table.json").read_text())["cells"][0]["runs"][0]["code"] == "other"


def test_the_lowest_loss_is_the_best(run):
    _, _, found = run(PLAN, GLUE, *TWO_CELLS, "--by=loss")
    assert (found["best_by"], found["best"]) == ("loss", "batch16-lr5e-05")


def test_a_diverged_run_and_a_figure_that_is_not_finite_are_counted_and_never_averaged(run):
    code, out, found = run(PLAN | {"32 2e-05 0": 3, "32 2e-05 1": [float("nan"), 0.4]}, GLUE, *TWO_CELLS)
    assert code == 0
    assert re.search(r"\| batch32-lr2e-05 +\| 1 diverged, 2 done \| 0.8000 \(n=1 of 3\) ", out)
    assert (
        cells(found)["batch32-lr2e-05"]["metrics"]["accuracy"] | {"n": 1, "failed": 2, "mean": 0.8, "low": None}
        == (cells(found)["batch32-lr2e-05"]["metrics"]["accuracy"])
    )
    assert table.values(cells(found)["batch32-lr2e-05"], "accuracy") == [None, None, 0.8]
    # 0.8 of one seed is no better than 0.7 of three
    assert found["best"] == "batch16-lr5e-05" and "Not considered, having fewer figures: batch32-lr2e-05." in out


def test_the_page_shows_the_seeds_of_the_best_cell(run, tmp_path):
    _, out, _ = run(PLAN, GLUE, *TWO_CELLS)
    page = tmp_path / "w" / "report" / "index.html"
    assert f"page of batch32-lr2e-05: {page}" in out
    text = page.read_text()
    assert "Fine-tuning on mrpc: batch32-lr2e-05" in text and all(f"seed {seed}" in text for seed in (0, 1, 2))


def test_there_is_no_page_before_a_run_is_done(run, tmp_path):
    _, out, found = run(dict.fromkeys(PLAN, 3), GLUE, *TWO_CELLS)
    assert "page of" not in out and found["best"] == "" and not (tmp_path / "w" / "report").exists()


def test_a_config_as_it_stands_is_one_cell(run, tmp_path):
    plan = {"0": [0.7, 0.3], "1": [0.8, 0.2]}
    _, out, found = run(plan, GLUE, "--no-grid", "--seeds=0,1")
    assert "best" not in out and cells(found).keys() == {"seeds"} and found["best"] == "seeds"
    assert cells(found)["seeds"]["metrics"]["accuracy"]["n"] == 2
    # a file without sweep(add)
    _, _, same = run(plan, f"--config={tiny.ROOT}/configs/finetune_texts.py:chnsenticorp", "--seeds=0,1")
    assert cells(same).keys() == {"seeds"} and len(list((tmp_path / "w").glob("seeds-s?-*"))) == 4


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--cells=batch16-lr5e-5",), "batch16-lr5e-05"),
        (("--by=recall",), "accuracy or f1 or loss"),
        (("--config.train.train_batch_size=8",), "sets train.train_batch_size itself"),
    ],
)
def test_a_mistake_is_found_before_the_first_run(run, flags, message):
    with pytest.raises(UserError, match=message):
        run({}, GLUE, *flags)


def test_few_labels_end_in_a_curve_of_which_nothing_is_chosen(run, tmp_path):
    plan = {f"{size} {seed}": [0.5 + size / 4000, 0.5] for size in (100, 500, 1000) for seed in (0, 1)} | {"100 1": 3}
    code, out, found = run(plan, FEW, "--seeds=0,1")
    assert code == 0 and "(best on dev)" not in out and found["best"] == "n1000"
    picture = tmp_path / "w" / "report" / "few_labels.png"
    assert f"curve over the training examples: {picture}" in out and picture.read_bytes()[1:4] == b"PNG"


# Real training, of what the tests of fine-tuning make.
pretrained, data = test_finetune.pretrained, test_finetune.data


def test_two_seeds_are_really_fine_tuned_and_end_in_a_page(pretrained, data, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("XLA_FLAGS", "")  # one device starts sooner than eight
    flags = [GLUE, f"--workdir={tmp_path}", "--no-grid", "--seeds=0,1", *test_finetune.overrides(pretrained, data)]
    assert sweep.submit(flags) == 0
    out = capsys.readouterr().out
    found = json.loads((tmp_path / "table.json").read_text())
    results = [json.loads(path.read_text()) for path in sorted(tmp_path.glob("seeds-s?-*/result.json"))]
    figures = [result["metrics"]["accuracy"] for result in results]
    assert len(figures) == 2 and cells(found)["seeds"]["metrics"]["accuracy"]["mean"] == pytest.approx(sum(figures) / 2)
    assert "| seeds | 2 done | " in out and "confusion" in Path(tmp_path / "report" / "index.html").read_text().lower()
    assert sweep.submit([*flags, "--dry-run"]) == 0 and capsys.readouterr().out.strip() == ""
