"""Tables with runs that take no time: what is run, what is skipped, and what each cell says."""

import shutil
from pathlib import Path

import pytest

from bert_jax import workdir as workdirs
from bert_jax.errors import EXIT_DONE, EXIT_RESTART, EXIT_USER_ERROR
from experiments import __main__ as experiments
from experiments import bert_table5, reproduce
from experiments.tables import published

ACCURACY = {"bert-base/mrpc": 0.701, "bert-base/sst2": 0.802, "no-nsp/mrpc": 0.693, "no-nsp/sst2": 0.794}


@pytest.fixture
def started(monkeypatch):
    """Replaces training: each start leaves a made-up result and is listed; a folder in `stops` is stopped by a signal once."""
    folders, stops = [], set()

    def start(config, folder: Path) -> bool:
        name = f"{folder.parent.name}/{folder.name}"
        folders.append(name)
        with workdirs.opened(config, folder):
            workdirs.write_config(config, folder, {})
        if name in stops:
            stops.remove(name)
            return False
        metrics = {"masked_lm_loss": 6.25, "unigram_loss": 6.5}
        if folder.name != "pretraining":
            metrics = {"accuracy": ACCURACY[name], "majority_accuracy": 0.684 if folder.name == "mrpc" else 0.509}
        workdirs.write_result(folder, {"step": 1, "metrics": metrics, "num_examples": {"train": 9, "dev": 408}})
        return True

    runs = bert_table5.runs
    monkeypatch.setattr(bert_table5, "runs", lambda *args: [run._replace(start=start) for run in runs(*args)])
    monkeypatch.setattr(bert_table5, "check", lambda *args: None)
    return folders, stops


@pytest.fixture
def call(tmp_path, capsys):
    def call(*flags: str) -> tuple[int, list[list[str]]]:
        """(exit code, cells of the table)."""
        code = experiments.main(["reproduce", "bert/table5", "--scale=smoke", f"--workdir={tmp_path}", *flags])
        lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("|")]
        return code, [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]

    return call


def test_the_table_shows_ours_above_the_published_and_what_was_not_run(started, call, tmp_path):
    code, table = call()
    assert code == EXIT_DONE
    assert table[0] == ["", "", "mnli_m", "qnli", "mrpc_acc", "sst2", "squad1_f1"]
    assert table[2:] == [
        ["BERT-base", "ours", "not run", "not run", "70.1", "80.2", "not run"],
        ["", "published", "84.4", "88.4", "86.7", "92.7", "88.5"],
        ["No NSP", "ours", "not run", "not run", "69.3", "79.4", "not run"],
        ["", "published", "83.9", "84.9", "86.5", "92.6", "87.9"],
        ["always the commonest class", "ours", "not run", "not run", "68.4", "50.9", "not run"],
    ]
    text = (tmp_path / "bert-table5-smoke" / "table.md").read_text()
    assert "not comparable with the published ones" in text and "mrpc dev (408 examples)" in text
    assert "masked-LM loss 6.25 (unigram baseline 6.50)" in text and "arXiv 1810.04805v2, table 5" in text


def test_finished_runs_are_skipped_and_a_stopped_one_is_taken_up(started, call):
    folders, stops = started
    stops.add("no-nsp/pretraining")
    assert call() == (EXIT_RESTART, [])
    assert folders == ["bert-base/pretraining", "bert-base/mrpc", "bert-base/sst2", "no-nsp/pretraining"]
    folders.clear()
    assert call()[0] == EXIT_DONE
    assert folders == ["no-nsp/pretraining", "no-nsp/mrpc", "no-nsp/sst2"]
    folders.clear()
    assert call()[0] == EXIT_DONE and folders == []


def test_deleting_a_run_turns_its_cells_into_not_run(started, call, tmp_path):
    full = call()[1]
    shutil.rmtree(tmp_path / "bert-table5-smoke" / "bert-base" / "sst2")
    table = call("--table")[1]
    assert table[2][4:6] == ["70.1", "not run"] and table[4] == full[4]
    shutil.rmtree(tmp_path / "bert-table5-smoke" / "no-nsp" / "pretraining")
    assert call("--table")[1][4][4:6] == ["not run", "not run"]
    assert len(started[0]) == 6  # --table ran nothing
    assert call()[1] == full


def test_a_run_of_another_config_is_no_cell_and_is_not_overwritten(started, call, tmp_path, monkeypatch, capsys):
    call()
    scale = bert_table5.SCALES["smoke"]
    longer = scale._replace(finetuning=scale.finetuning | {"optim.learning_rate": 2e-3})
    monkeypatch.setitem(bert_table5.SCALES, "smoke", longer)
    assert call("--table")[1][2][4:6] == ["not run", "not run"]
    assert experiments.main(["reproduce", "bert/table5", f"--workdir={tmp_path}"]) == EXIT_USER_ERROR
    assert "optim.learning_rate: 0.001 -> 0.002" in capsys.readouterr().err


def test_a_moved_workdir_keeps_its_cells(started, call, tmp_path):
    full = call()[1]
    (tmp_path / "elsewhere").mkdir()
    shutil.move(tmp_path / "bert-table5-smoke", tmp_path / "elsewhere")
    assert call("--table", f"--workdir={tmp_path / 'elsewhere'}")[1] == full


def test_the_rows_differ_in_the_objective_and_where_they_lie_alone(tmp_path):
    scale = bert_table5.SCALES["smoke"]
    first, second = (bert_table5.pretraining(scale, tmp_path, row).config.to_dict() for row in bert_table5.ROWS)
    assert [config.pop("objective") for config in (first, second)] == [
        {"name": "bert", "next_sentence": True},
        {"name": "bert", "next_sentence": False},
    ]
    assert first == second


def test_published_numbers_by_hand():
    table = published("bert", "table5")
    assert table.rows["BERT-base"]["mnli_m"] == 84.4 and table.rows["No NSP"]["qnli"] == 84.9
    assert table.rows["LTR & No NSP + BiLSTM"]["squad1_f1"] == 84.9
    assert all(set(row) == set(table.columns) for row in table.rows.values())
    assert set(bert_table5.ROWS) <= set(table.rows) and set(bert_table5.TASKS) <= set(table.columns)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["reproduce", "bert/table6"], "the table is unknown\n  got:      bert/table6\n  expected: bert/table5"),
        (["reproduce", "bert/table5", "--scale=desk"], "the scale is unknown\n  got:      desk\n  expected: smoke"),
        (["replicate"], "unknown verb"),
        (["reproduce", "bert/table5"], "BERT_JAX_DATA"),
    ],
)
def test_mistakes_end_in_one_message(arguments, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("BERT_JAX_DATA", raising=False)
    assert experiments.main(arguments) == EXIT_USER_ERROR
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_absent_files_are_named_before_anything_is_run(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("BERT_JAX_DATA", str(tmp_path / "nothing"))
    assert experiments.main(["reproduce", "bert/table5", f"--workdir={tmp_path / 'W'}"]) == EXIT_USER_ERROR
    shown = capsys.readouterr().err
    assert "glue/MRPC/train.tsv" in shown and "BERT_JAX_DATA" in shown
    assert not (tmp_path / "W").exists()


def test_every_table_has_the_functions_that_reproduce_calls():
    for table in reproduce.TABLES.values():
        assert table.SCALES and all(callable(getattr(table, name)) for name in ("check", "runs", "render"))
