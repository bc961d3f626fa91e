"""The table of compressed models: its configs load, differences are paired by seed, and what must hold is judged as it says."""

import math

import pytest

from bert_jax import jobs
from bert_jax import workdir as workdirs
from bert_jax.errors import EXIT_DONE, UserError
from experiments import compression, reproduce
from experiments.compression import KINDS, Row
from experiments.proofs.compression import judged


def row(first: float, second: float, *, megabytes: float = 100.0, faster: float = 1.0) -> Row:
    """With the scores of seeds 1 and 2."""
    return Row({1: first, 2: second}, megabytes, 1.0, 10.0, faster)


FOUND = {
    "full": row(90, 88),
    "full, int8": row(89.5, 87.5, megabytes=25),
    "full, tuned for int8, int8": row(89, 89, megabytes=25),
    "pruned to 50%": row(87, 86, faster=1.7),
    "50% at random": row(80, 84, faster=1.7),
    "student of 3 layers": row(88, 88, faster=1.9),
    "3 layers alone": row(85, 85, faster=1.9),
    "student of 2 layers": row(86, 84, faster=2.9),
    "2 layers alone": row(85, 85, faster=2.9),
}


def test_what_must_hold_is_judged_by_the_means_over_seeds():
    found = judged(FOUND)
    assert found["pruned"]["points_lost"] == 2.5 and found["pruned"]["holds"]
    assert found["pruned"]["less_random"]["points"] == 4.5
    assert (found["int8"]["points_lost"], found["int8"]["part_of_the_size"], found["int8"]["holds"]) == (0.5, 0.25, True)
    assert found["int8"]["tuned_for_it_less_not"]["points"] == 0.5
    three, two = found["students"].values()
    assert three["part_of_the_accuracy"] == 88 / 89 and not three["holds"]  # 1.9 times as fast, not twice
    assert two["part_of_the_accuracy"] == 85 / 89 and two["holds"] and found["a_student_holds"]
    for name, changed, part in (
        ("pruned to 50%", {"faster": 1.59}, "pruned"),
        ("pruned to 50%", {"scores": {1: 86.9, 2: 84.9}}, "pruned"),
        ("full, int8", {"scores": {1: 88.9, 2: 86.9}}, "int8"),
        ("full, int8", {"megabytes": 31.0}, "int8"),
    ):
        assert not judged(FOUND | {name: FOUND[name]._replace(**changed)})[part]["holds"]
    assert not judged(FOUND | {"student of 2 layers": row(84, 84, faster=2.9)})["a_student_holds"]


def test_differences_are_of_seeds_that_both_have():
    more = FOUND | {"full": FOUND["full"]._replace(scores={1: 90.0, 2: 88.0, 3: 10.0})}
    found = compression.less(more, "pruned to 50%", "full")
    assert (found.n, found.mean) == (2, -2.5)


@pytest.mark.parametrize("task", compression.METRICS)
def test_every_training_has_a_config(task, tmp_path):
    for name in compression.kinds_of(task):
        config = compression.config_of(task, 7, name, compression.SCALES["desk"], tmp_path)
        assert (config.seed, config.task, config.train.train_batch_size) == (7, task, 16)
        assert ("prune" in config) == KINDS[name].prune
        start = compression.place(tmp_path, task, 7, "full") if KINDS[name].start else tmp_path / "minilm"
        assert config.init_checkpoint == str(start)
        assert compression.METRICS[task] in jobs.task_of(config).metrics
        assert config.objective.name in compression.OUTPUTS
    assert KINDS.keys() >= {*compression.WITHOUT.values()} - {"full, int8"}


def test_what_is_finished_stays_only_if_its_recipe_is_the_same(tmp_path, monkeypatch):
    monkeypatch.setattr(compression.jobs, "read_examples", lambda config: None)
    monkeypatch.setattr(compression.convert, "require_packages", lambda form: None)
    monkeypatch.setattr(compression, "KINDS", {"full": compression.Kind()})
    scale, where = compression.SCALES["smoke"], compression.place(tmp_path, "sst2", 1, "full")
    (tmp_path / "minilm").mkdir()
    where.mkdir()
    workdirs.write_config(compression.config_of("sst2", 1, "full", scale, tmp_path), where, {})
    workdirs.write_result(where, {"step": 1})
    assert compression.train(scale, tmp_path)
    other = scale._replace(tasks={"sst2": scale.tasks["sst2"] | {"train.num_train_epochs": 2.0}})
    for asked in (compression.train, lambda scale, folder: compression.rows_of("sst2", scale, folder)):
        with pytest.raises(UserError, match="another config"):
            asked(other, tmp_path)


def test_the_table_and_its_figures(tmp_path):
    text = compression.as_markdown("desk", compression.SCALES["desk"], {"sst2": FOUND})
    line = next(line for line in text.splitlines() if line.startswith("| pruned to 50%"))
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    assert cells[1:5] == ["100.0", "1.0", "10", "1.70"] and cells[5].startswith("86.5 ±")
    assert cells[6].startswith("-2.5 ±") and cells[7].startswith("4.5 ±")
    csv = compression.as_csv({"sst2": FOUND}).splitlines()
    assert csv[0].split(",")[0] == "task" and "sst2,pruned to 50%,100,1,10,1.7,1,87.0000" in csv
    empty = FOUND["full"]._replace(scores={})
    assert math.isnan(empty.summary.mean) and compression.picture({"sst2": FOUND}).axes[0].get_title() == "sst2"


def test_the_command_knows_it(tmp_path, capsys):
    given = [compression.NAME, "--scale=smoke", f"--workdir={tmp_path}", "--dry-run"]
    assert reproduce.main(given) == EXIT_DONE
    assert capsys.readouterr().out.count("missing   sst2, seed 1, ") == len(KINDS)
