"""Tables with runs that take no time: what is run, what is skipped, and what each cell says."""

import json
import math
import shutil

import pytest

from bert_jax import config as configs
from bert_jax import hardware
from bert_jax import workdir as workdirs
from bert_jax.errors import EXIT_DONE, EXIT_RESTART, EXIT_USER_ERROR
from bert_jax.metrics.statistics import summarise
from bert_jax.plan import planning
from experiments import __main__ as experiments
from experiments import cells, costs, rendering, reproduce, tables
from experiments.tables import Claim, published
from launch.runs import SHAPES_THE_STORE

TABLE = reproduce.TABLES["bert/table5"]
ENCODERS = ["bert-base-s1", "no-nsp-s1", "ltr-no-nsp-s1"]
SMOKE = {  # the folders of its runs -> made-up accuracy
    "bert-base-mrpc-s1": 0.701,
    "bert-base-sst2-s1": 0.802,
    "no-nsp-mrpc-s1": 0.693,
    "no-nsp-sst2-s1": 0.794,
    "ltr-no-nsp-mrpc-s1": 0.69,
    "ltr-no-nsp-sst2-s1": 0.78,
    "ltr-no-nsp-bilstm-mrpc-s1": 0.7,
    "ltr-no-nsp-bilstm-sst2-s1": 0.79,
}


@pytest.fixture
def started(monkeypatch):
    """Replaces training: each start leaves a made-up result and is listed; a folder in `stops` is stopped by a signal once."""
    folders, stops = [], set()

    def start(config, folder) -> bool:
        folders.append(folder.name)
        with workdirs.opened(config, folder):
            workdirs.write_config(config, folder, {})
        if folder.name in stops:
            stops.remove(folder.name)
            return False
        (folder / "metrics.jsonl").write_text('{"step": 1}\n')
        metrics = {"masked_lm_loss": 6.25, "unigram_loss": 6.5}
        if folder.name in SMOKE:
            metrics = {"accuracy": SMOKE[folder.name], "majority_accuracy": 0.684 if "mrpc" in folder.name else 0.509}
        workdirs.write_result(folder, {"step": 1, "metrics": metrics, "num_examples": {"train": 9, "dev": 408}})
        return True

    runs = tables.runs
    monkeypatch.setattr(tables, "runs", lambda *args: (run._replace(start=start) for run in runs(*args)))
    monkeypatch.setattr(tables, "check", lambda *args: None)
    return folders, stops


@pytest.fixture
def call(tmp_path, capsys):
    def call(*flags: str) -> tuple[int, list[list[str]]]:
        """(exit code, cells of the lines of all tables)."""
        code = experiments.main(["reproduce", "bert/table5", "--scale=smoke", f"--workdir={tmp_path}", *flags])
        lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("|")]
        return code, [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]

    return call


def test_the_table_shows_ours_above_the_published_and_what_each_cell_rests_on(started, call, tmp_path):
    code, table = call()
    assert code == EXIT_DONE
    assert table[0] == ["", "", "mrpc_acc", "sst2"]
    assert table[2:6] == [
        ["BERT-base", "ours", "70.1 (1)", "80.2 (1)"],
        ["", "published", "86.7", "92.7"],
        ["No NSP", "ours", "69.3 (1)", "79.4 (1)"],
        ["", "published", "86.5", "92.6"],
    ]
    assert table[10] == ["always the commonest class", "ours", "68.4", "50.9"]
    assert ["BERT-base less No NSP", "mrpc_acc", "+0.2", "+0.8", "underpowered"] in table  # one seed has no interval
    link = "[bert-base-mrpc-s1](bert-base-mrpc-s1/result.json)", "[bert-base-s1](bert-base-s1/result.json)"
    assert ["BERT-base", "mrpc_acc", "1", "mrpc", "70.10", *link] in table
    folder = tmp_path / "bert-table5-smoke"
    text = (folder / "table.md").read_text()
    assert "not comparable with the published ones" in text and "mrpc: 408 examples" in text
    assert "arXiv 1810.04805v2, table 5" in text
    assert "BERT-base & ours & 70.1 (1) & 80.2 (1)" in (folder / "table.tex").read_text()
    assert "BERT-base,sst2,1,80.2000\nBERT-base,sst2,,92.7\n" in (folder / "table.csv").read_text()
    assert (folder / "table.png").read_bytes().startswith(b"\x89PNG")


def test_every_run_comes_after_what_it_begins_with_and_rows_may_share_an_encoder(started, call):
    call()
    folders, _ = started
    assert sorted(folders) == sorted([*ENCODERS, *SMOKE])
    assert folders.index("ltr-no-nsp-s1") < folders.index("ltr-no-nsp-bilstm-sst2-s1")


def test_finished_runs_are_skipped_and_a_stopped_one_is_taken_up(started, call):
    folders, stops = started
    stops.add("no-nsp-s1")
    assert call() == (EXIT_RESTART, [])
    assert folders == ["bert-base-s1", "bert-base-mrpc-s1", "bert-base-sst2-s1", "no-nsp-s1"]
    folders.clear()
    assert call()[0] == EXIT_DONE and folders[0] == "no-nsp-s1" and len(folders) == 8
    folders.clear()
    assert call()[0] == EXIT_DONE and folders == []


def test_deleting_a_run_turns_its_cells_into_not_run(started, call, tmp_path):
    full = call()[1]
    shutil.rmtree(tmp_path / "bert-table5-smoke" / "bert-base-sst2-s1")
    table = call("--table")[1]
    assert table[2][2:] == ["70.1 (1)", "not run"] and table[4] == full[4]
    shutil.rmtree(tmp_path / "bert-table5-smoke" / "no-nsp-s1")
    assert call("--table")[1][4][2:] == ["not run", "not run"]
    assert len(started[0]) == 11  # --table ran nothing
    assert call()[1] == full


def test_a_pretraining_that_was_made_anew_turns_what_began_with_the_old_one_into_not_run(started, call, tmp_path):
    call()
    folder = tmp_path / "bert-table5-smoke" / "bert-base-s1"
    seal = json.loads((folder / "seal.json").read_text())
    (folder / "metrics.jsonl").write_text("another run\n")
    run = tables.pretraining(TABLE, TABLE.scales["smoke"], folder.parent, "BERT-base", 1)
    run.seal()
    assert json.loads((folder / "seal.json").read_text()) != seal
    assert call("--table")[1][2][2:] == ["not run", "not run"]


@pytest.mark.parametrize("name", ["result.json", "metrics.jsonl", "config.json"])
def test_an_edited_file_of_a_finished_run_is_noticed(started, call, tmp_path, capsys, name):
    call()
    path = tmp_path / "bert-table5-smoke" / "no-nsp-sst2-s1" / name
    path.write_text(path.read_text().replace("1", "2", 1))
    assert experiments.main(["reproduce", "bert/table5", "--table", f"--workdir={tmp_path}"]) == EXIT_USER_ERROR
    assert f"was changed after its end\n  got:      {path}" in capsys.readouterr().err


CHAIN = TABLE._replace(
    encoders={"E": tables.Encoder("masked")},
    steps={"T": tables.Row("E")},
    rows={
        "first": tables.Row("E"),
        "second": tables.Row("E", teacher="T", after="first"),
        "as measured": tables.Row("E"),
    },
    claims=(Claim("second", "as measured"),),
    scales={
        "smoke": TABLE.scales["smoke"]._replace(
            columns={
                "mrpc_acc": tables.Column(
                    (tables.Score("finetune_glue.py:mrpc-tiny-layers", "masked_lm_loss", 1.0),),
                    of_rows={
                        "T": (tables.Score("finetune_glue.py:mrpc", "masked_lm_loss", 1.0),),
                        "as measured": (tables.Score("", "unigram_loss", 10.0),),
                    },
                )
            },
            text=lambda path: path.write_text("made"),
        )
    },
    ours_alone="a chain",
)


def test_a_cell_stands_as_long_as_all_that_it_rests_on(started, call, tmp_path, monkeypatch):
    """The figures that `started` makes up are 6.25, and 6.5 for what the pretraining measures, here ten times that."""
    monkeypatch.setitem(reproduce.TABLES, TABLE.name, CHAIN)
    full = call()[1]
    folder = tmp_path / "bert-table5-smoke"
    assert [row[:3] for row in full[2:5]] == [
        ["first", "ours", "6.2 (1)"],
        ["second", "ours", "6.2 (1)"],
        ["as measured", "ours", "65.0 (1)"],
    ]
    assert ["second less as measured", "mrpc_acc", "", "-58.8", "underpowered"] in full
    assert [cell.partition("]")[0] for cell in full[-2][5:]] == ["[second-mrpc-tiny-layers-s1", "[t-mrpc-s1"]
    assert full[-2][6].endswith("[first-mrpc-tiny-layers-s1](first-mrpc-tiny-layers-s1/result.json)")
    assert (folder / "shared" / "text.txt").read_text() == "made"
    assert call(f"--keep={tmp_path / 'kept'}")[1] == full == call("--table", f"--workdir={tmp_path / 'kept'}")[1]
    left = {
        "first-mrpc-tiny-layers-s1": ["not run", "not run", "65.0 (1)"],
        "t-mrpc-s1": ["6.2 (1)", "not run", "65.0 (1)"],
        "e-s1": ["not run"] * 3,
    }
    for gone, shown in left.items():
        shutil.rmtree(folder / gone)
        assert [row[2] for row in call("--table")[1][2:5]] == shown
        assert call()[1] == full


def test_a_run_of_another_config_is_no_cell_and_is_not_overwritten(started, call, tmp_path, monkeypatch, capsys):
    call()
    scale = TABLE.scales["smoke"]
    longer = scale._replace(finetuning=scale.finetuning | {"optim.learning_rate": 2e-3})
    monkeypatch.setitem(TABLE.scales, "smoke", longer)
    assert call("--table")[1][2][2:] == ["not run", "not run"]
    assert experiments.main(["reproduce", "bert/table5", f"--workdir={tmp_path}"]) == EXIT_USER_ERROR
    assert "optim.learning_rate: 0.001 -> 0.002" in capsys.readouterr().err


def test_runs_of_another_version_of_the_code_are_not_mixed_with_new_ones_unless_asked(
    started, call, tmp_path, monkeypatch, capsys
):
    full, folder = call()[1], tmp_path / "bert-table5-smoke"
    shutil.rmtree(folder / "no-nsp-sst2-s1")
    monkeypatch.setattr(workdirs, "code_hash", lambda: "another")
    assert experiments.main(["reproduce", "bert/table5", f"--workdir={tmp_path}"]) == EXIT_USER_ERROR
    shown = capsys.readouterr().err
    assert (
        "another version of the code" in shown
        and str(folder / "bert-base-s1") in shown
        and not (folder / "no-nsp-sst2-s1").exists()
    )
    assert call("--other_code")[1] == full
    assert "Code: " in (text := (folder / "table.md").read_text()) and '"another"' in text and text.count('"code"') == 2


def test_what_is_kept_names_no_folder_of_the_machine(started, call, tmp_path, monkeypatch):
    monkeypatch.setenv("BERT_JAX_DATA", "/somebody/data")
    call("--keep", str(tmp_path / "kept"))
    texts = [path.read_text() for path in (tmp_path / "kept").rglob("*.json*")]
    assert len(texts) == 5 * 11 and not [text for text in texts if str(tmp_path) in text or "/somebody" in text]
    assert any('"./bert-base-s1"' in text for text in texts)


def test_what_is_kept_gives_the_same_table_without_the_checkpoints(started, call, tmp_path):
    full = call(f"--keep={tmp_path / 'kept'}")[1]
    shutil.rmtree(tmp_path / "bert-table5-smoke")
    assert call("--table", f"--workdir={tmp_path / 'kept'}")[1] == full
    assert not list((tmp_path / "kept").rglob("checkpoints"))


def test_a_dry_run_says_what_is_missing(started, tmp_path, capsys):
    assert experiments.main(["reproduce", "bert/table5", "--dry-run", f"--workdir={tmp_path}"]) == EXIT_DONE
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 11 and all(line.startswith("missing") for line in lines) and not started[0]


@pytest.mark.parametrize(
    ("differences", "published", "verdict"),
    [
        ([1.0, 1.2, 1.1], 0.5, "shown"),
        ([1.0, 1.2, 1.1], -0.5, "opposite"),
        ([-1.0, -1.2, -1.1], -0.5, "shown"),
        ([-1.0, 1.2, 1.1], 0.5, "underpowered"),
        ([1.0], 0.5, "underpowered"),
        ([1.0, 1.2, 1.1], 0.0, "underpowered"),
        ([], 0.5, "not run"),
        ([1.0, 1.2, 1.1], None, "higher"),
        ([-1.0, -1.2, -1.1], None, "lower"),
        ([-1.0, 1.2, 1.1], None, "underpowered"),
    ],
)
def test_a_verdict_goes_by_the_interval_and_the_published_side(differences, published, verdict):
    assert cells.verdict(summarise(differences), published) == verdict


def test_a_value_is_held_against_the_interval_at_paper_scale():
    ours = summarise([84.0, 84.4, 84.2])
    assert [cells.value_verdict(ours, value) for value in (84.3, 90.0, 80.0)] == ["within", "above", "below"]
    assert cells.value_verdict(summarise([]), 84.3) == "not run"


def test_a_cell_of_several_tasks_is_their_mean_for_the_seeds_that_have_all():
    score = tables.Score("a:b")
    parts = [cells.Part(None, seed, score, value, None) for seed, value in ((1, 60.0), (1, 70.0), (2, 80.0))]
    assert cells._by_seed(parts, 2) == {1: 65.0}


def test_effects_are_paired_by_seed_and_need_all_of_both(started):
    whole = {"A": {1: 80.0, 2: 90.0}, "B": {2: 89.0, 1: 79.5}}
    theirs = tables.Published("", "", ["sst2"], {"A": {"sst2": 92.0}, "B": {"sst2": 91.0}})

    def effect(values: dict):
        found = {(row, "sst2"): cells.Cell([], of, 2) for row, of in values.items()}
        return cells._effect(Claim("A", "B"), "sst2", found, theirs)

    assert effect(whole).ours.n == 2 and effect(whole).ours.mean == 0.75 and effect(whole).published == 1.0
    for row in whole:
        assert effect(whole | {row: {1: 80.0}}).verdict == "not run"


def test_a_cell_that_lacks_a_seed_has_no_mean():
    cell = cells.Cell([], {1: 80.0, 3: 90.0}, 3)
    assert cell.summary.n == 0 and rendering._of_cell(cell) == "not run: 2 of 3 seeds"
    assert rendering._of_cell(cell._replace(by_seed={})) == "not run"
    assert rendering._of_cell(cell._replace(seeds=2)).startswith("85.0 ±")


@pytest.mark.parametrize("table", reproduce.TABLES.values(), ids=lambda table: table.name)
def test_all_scales_load_their_columns_and_rows_are_published_and_seeds_are_three(table, tmp_path):
    theirs = published(table)
    used = {row.encoder for row in table.finetuned.values()}
    used |= {name for encoder in table.encoders.values() for name in (encoder.teacher, encoder.after)}
    assert set(table.rows) <= set(theirs.rows) and used - {""} == set(table.encoders)
    assert all(claim.row in table.rows and claim.other in table.rows for claim in table.claims)
    for name, scale in table.scales.items():
        assert set(scale.columns) <= set(theirs.columns)
        assert len(scale.seeds) >= 3 or name == "smoke"
        runs = list(tables.runs(table, scale._replace(seeds=(7,)), tmp_path))
        assert len({run.folder for run in runs}) == len(runs) and all(run.config.seed == 7 for run in runs)
        places = {run.folder: place for place, run in enumerate(runs)}
        assert all(places[other.folder] < place for place, run in enumerate(runs) for other in run.rests_on)


@pytest.mark.parametrize("table", reproduce.TABLES.values(), ids=lambda table: table.name)
def test_the_encoders_of_a_table_read_one_store(table, tmp_path):
    """They share the folder of the vocabulary and of the store, which these keys shape."""
    for scale in table.scales.values():
        made = [tables.pretraining(table, scale, tmp_path, encoder, 1).config.to_dict() for encoder in table.encoders]
        shapes = [{key: value for key, value in configs.flatten(config) if key.startswith(SHAPES_THE_STORE)} for config in made]
        of_store = {shape["data.store"]: shape for shape in shapes}
        assert all(shape == of_store[shape["data.store"]] for shape in shapes)
        assert len({(shape["text.kind"], shape["text.vocab_size"], shape["text.do_lower_case"]) for shape in shapes}) == 1


def test_a_task_with_two_metrics_is_run_once_and_fills_both_columns(tmp_path):
    table = reproduce.TABLES["bert/table2"]
    scale = table.scales["lab"]
    assert [run.name for run in tables.runs(table, scale, tmp_path)][:2] == [
        "BERT-base, seed 1, pretraining",
        "BERT-base, seed 1, squad1_dev_split",
    ]
    assert len(list(tables.runs(table, scale, tmp_path))) == 2 * 2 * 3


def test_a_student_comes_after_its_teacher_and_rests_on_it(tmp_path):
    table = reproduce.TABLES["distilbert/table4"]
    made = list(tables.runs(table, table.scales["desk"], tmp_path))
    teacher, student = (
        run for run in made if run.name in ("BERT-base, seed 2, pretraining", "random start, seed 2, pretraining")
    )
    assert rests_on(student) == [teacher.folder.name]
    assert student.config.objective.teacher == str(teacher.folder)
    assert student.config.objective.teacher_layers == () and rests_on(teacher) == []


def rests_on(run) -> list[str]:
    return [other.folder.name for other in run.rests_on]


def test_a_stage_goes_on_from_the_one_before_it_and_learns_from_the_teacher_of_the_same_task(tmp_path):
    table = reproduce.TABLES["tinybert/table3"]
    made = {run.folder.name: run for run in tables.runs(table, table.scales["desk"], tmp_path)}
    first, second = made["w-o-hidden-layers-sst2-s2"], made["w-o-hidden-sst2-s2"]
    teacher = "bert-base-teacher-sst2-s2"
    assert rests_on(first) == [teacher, "w-o-hidden-s2"] and rests_on(second) == [teacher, "w-o-hidden-layers-sst2-s2"]
    assert second.config.init_checkpoint == str(first.folder) and second.config.objective.teacher == str(made[teacher].folder)
    assert [run.config.objective.weights.hidden for run in (first, second)] == [0.0, 0.0]
    assert first.config.objective.weights.attention == second.config.objective.weights.prediction == 1.0
    assert rests_on(made["w-o-prediction-sst2-s2"]) == [teacher, "tinybert4-layers-sst2-s2"]


def test_a_row_may_go_on_from_what_another_row_learned_of_another_task(tmp_path):
    table = reproduce.TABLES["sentence_bert/table2"]
    made = {run.folder.name: run for run in tables.runs(table, table.scales["desk"], tmp_path)}
    assert rests_on(made["sbert-nli-stsb-base-stsb-s1"]) == ["sbert-nli-base-sick-s1"]
    assert made["avg-bert-embeddings-mean-s1"].config.to_dict() == {
        "task": "sts:mean",
        "seed": 1,
        "init_checkpoint": str(made["bert-s1"].folder),
    }


def test_an_encoder_may_go_on_from_another(tmp_path):
    table = reproduce.TABLES["simcse/table6"]
    made = {run.folder.name: run for run in tables.runs(table, table.scales["desk"], tmp_path)}
    assert rests_on(made["cls-w-mlp-s1"]) == ["bert-s1"]
    assert made["cls-w-mlp-s1"].config.init_checkpoint == str(made["bert-s1"].folder)


def test_less_text_has_a_store_of_its_own_under_the_same_vocabulary(tmp_path):
    table = reproduce.TABLES["roberta/table4"]
    of = lambda encoder: tables.pretraining(table, table.scales["desk"], tmp_path, encoder, 1).config  # noqa: E731
    less, more = of("RoBERTa with Books + Wiki"), of("+ additional data")
    assert (less.data.held_out_fraction, more.data.held_out_fraction) == (0.9, 0.005)
    assert less.data.store != more.data.store and less.text.vocab_file == more.text.vocab_file
    assert less.train == more.train and less.optim == more.optim


def test_the_rows_differ_in_the_objective_alone(tmp_path):
    scale = TABLE.scales["desk"]
    first, second = (tables.pretraining(TABLE, scale, tmp_path, row, 1).config.to_dict() for row in ("BERT-base", "No NSP"))
    assert [config.pop("objective")["next_sentence"] for config in (first, second)] == [True, False]
    assert first == second


def test_published_numbers_by_hand():
    table = published(TABLE)
    assert table.rows["BERT-base"]["mnli_m"] == 84.4 and table.rows["No NSP"]["qnli"] == 84.9
    assert table.rows["LTR & No NSP + BiLSTM"]["squad1_f1"] == 84.9
    assert published(reproduce.TABLES["roberta/table1"]).rows["dynamic"] == {"squad2_f1": 78.7, "mnli_m": 84.0, "sst2": 92.9}
    assert published(reproduce.TABLES["electra/efficiency"]).rows["All-Tokens MLM"] == {"glue": 84.3}
    assert all(math.isfinite(value) for row in table.rows.values() for value in row.values())


def test_the_cost_of_a_table_is_that_of_its_pretrainings_with_every_seed(monkeypatch, capsys):
    """As if each of the six encoders took 100 hours."""
    monkeypatch.setattr(costs.report, "hours", lambda plan, mfu: 100.0)
    assert experiments.main(["reproduce", "bert/table8", "--scale=desk", "--cost=v5litepod-8"]) == EXIT_DONE
    lines = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in capsys.readouterr().out.splitlines() if "|" in line
    ]
    dollars = 100 * hardware.parse_target("v5litepod-8").usd_per_hour(spot=False)
    assert [line[0] for line in lines[2:]] == [*reproduce.TABLES["bert/table8"].encoders, "all, 3 seeds"]
    assert lines[2][1:3] == ["100.0", f"${dollars:,.0f}"] and lines[-1][1:3] == ["1,800.0", f"${18 * dollars:,.0f}"]


def test_the_plan_of_an_encoder_of_the_lab_is_that_of_its_config(capsys):
    assert experiments.main(["reproduce", "bert/table8", "--scale=lab", "--cost=v5litepod-8"]) == EXIT_DONE
    table = capsys.readouterr().out
    keys = ["data.later_phases=()", "train.num_train_steps=100000"]
    config = configs.load(f"{tables.CONFIGS}/bert.py:base-cased", keys)
    plan = planning.make_plan(config, hardware.parse_target("v5litepod-8"), "no", print)
    assert f"| 80/10/10     | {costs.report.hours(plan, costs.MFU):,.1f} " in table


def test_rows_of_features_read_another_row_of_the_config_of_the_task(tmp_path):
    table = reproduce.TABLES["bert/table7"]
    (score,) = table.scales["lab"].tasks("BERT-base fine-tune")
    name = lambda row: tables.scored(table, table.scales["lab"], tmp_path, row, score, 1).config.objective.to_dict()  # noqa: E731
    assert name("BERT-base fine-tune")["name"] == "tag"
    assert name("BERT-base features: last hidden") == {"name": "tag_features", "layers": "last", "lstm_width": 768}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["reproduce", "bert/table5", "--scale=lab", "--cost=v5litepod-7"], "v5litepod-8"),
        (["reproduce", "bert/table9"], "the table is unknown\n  got:      bert/table9\n  expected: bert/table1"),
        (["reproduce", "bert/table5", "--scale=dusk"], "the scale is unknown\n  got:      dusk\n  expected: smoke"),
        (["reproduce", "bert/table5", "--scale=lab"], "scale lab needs a text to pretrain on"),
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
