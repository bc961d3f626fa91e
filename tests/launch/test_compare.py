"""Comparisons of two systems by predictions that can be checked by hand."""

import json
import math

import numpy as np
import pytest

from bert_jax.errors import EXIT_DONE, EXIT_USER_ERROR, UserError
from bert_jax.metrics.classification import f1, matthews
from bert_jax.metrics.correlation import spearman
from bert_jax.metrics.entities import entity_scores
from bert_jax.metrics.statistics import smallest_difference
from bert_jax.tasks import ranked
from launch import __main__ as launch
from launch import compare, paired


def lines_of(gold: str, said: str, folder: str = "data") -> list[dict]:
    probabilities = {"0": 0.5, "1": 0.5}
    return [
        {"id": f"{folder}/dev.tsv, line {n + 2}", "gold": true, "label": label, "probabilities": probabilities}
        for n, (true, label) in enumerate(zip(gold, said, strict=True))
    ]


def write(folder, lines: list[dict], task: str = "sst2", **config):
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps({"task": task, "seed": 0} | config))
    (folder / "result.json").write_text(json.dumps({"status": "done", "step": 1, "metrics": {"accuracy": 0.5}}))
    (folder / "predictions.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


def said(capsys, *arguments) -> str:
    assert launch.main(["compare", *map(str, arguments)]) == EXIT_DONE, capsys.readouterr().err
    return capsys.readouterr().out


GOLD = "1" * 20


def right(count: int) -> str:
    """What a system says that is right on the first so many of GOLD."""
    return "1" * count + "0" * (20 - count)


def test_six_examples_that_one_alone_got_right_are_enough_and_five_are_not(tmp_path, capsys):
    a = write(tmp_path / "A", lines_of(GOLD, right(10)))
    # six coins on one side: 2 / 2^6; five: 2 / 2^5
    out = said(capsys, a, write(tmp_path / "B", lines_of(GOLD, right(16))))
    assert "| 20 examples | 50.00 (n=1) | 80.00 (n=1) | +30.00 |" in out and "| 0.031 McNemar |" in out
    assert f"{tmp_path}/B is better than {tmp_path}/A by 30.00 points of accuracy" in out
    out = said(capsys, a, write(tmp_path / "C", lines_of(GOLD, right(15))))
    assert "| 0.062 McNemar |" in out
    assert "are not told apart: B - A is +25.00 points of accuracy" in out
    assert "this set could show no difference, being too small" in out  # 5 of 20 differ: at most those
    assert math.isinf(smallest_difference(20, discordant=0.25))


def test_the_better_one_is_named_whichever_comes_first(tmp_path, capsys):
    a, b = write(tmp_path / "A", lines_of(GOLD, right(4))), write(tmp_path / "B", lines_of(GOLD, right(20)))
    assert f"{b} is better than {a} by 80.00 points" in said(capsys, a, b)
    assert f"{b} is better than {a} by 80.00 points" in said(capsys, b, a)


def test_what_the_set_could_show_is_said_where_nothing_was_shown(tmp_path, capsys):
    gold, one, other = "1" * 400, "1" * 200 + "0" * 200, "0" * 20 + "1" * 200 + "0" * 180  # 20 each way
    out = said(capsys, write(tmp_path / "A", lines_of(gold, one)), write(tmp_path / "B", lines_of(gold, other)))
    assert f"this set could show {100 * smallest_difference(400, discordant=0.1):.2f} points" in out
    assert "Other seeds may turn it" in out


def test_several_tasks_are_corrected_together(tmp_path, capsys):
    a, b = write(tmp_path / "A", lines_of(GOLD, right(10))), write(tmp_path / "B", lines_of(GOLD, right(16)))
    out = said(capsys, a, b, a, b)
    assert "p (Holm)" in out and out.count("| 0.031 McNemar |") == 2  # 2 * 0.031 is no longer below 0.05
    assert out.count("are not told apart") == 2 and "p = 0.062 after correction" in out


def test_seeds_have_to_agree_too(tmp_path, capsys):
    gold = "1" * 1000
    for system, counts in (("A", (500, 700)), ("B", (650, 750))):
        for seed, count in enumerate(counts):
            write(tmp_path / system / f"s{seed}", lines_of(gold, "1" * count + "0" * (1000 - count)), seed=seed)
    out = said(capsys, tmp_path / "A", tmp_path / "B")
    assert "| 60.00 (n=2) | 70.00 (n=2) | +10.00 |" in out and "< 0.0001 bootstrap" in out
    assert "are not told apart" in out and "other seeds could turn it: more of them are needed" in out
    assert "this set could show" not in out and "Other seeds may" not in out


def test_runs_of_a_system_that_differ_in_more_than_the_seed_are_refused(tmp_path):
    for seed, rate in ((0, 1e-3), (1, 2e-3)):
        write(tmp_path / "A" / f"s{seed}", lines_of(GOLD, right(4)), seed=seed, optim={"learning_rate": rate})
    with pytest.raises(UserError, match="s1, optim.learning_rate: 0.001 -> 0.002"):
        compare.side(str(tmp_path / "A"))


def test_a_cell_of_a_sweep_has_its_seeds_and_its_failures_are_said(tmp_path, capsys):
    runs = [write(tmp_path / "w" / f"x-s{seed}-0", lines_of(GOLD, right(16 + seed)), seed=seed).name for seed in (0, 1)]
    failed = tmp_path / "w" / "x-s2-0"
    failed.mkdir()
    (failed / "status.json").write_text(json.dumps({"state": "diverged", "seed": 2}))
    found = [{"cell": "x", "runs": [{"folder": name} for name in (*runs, "x-s2-0")]}, {"cell": "y", "runs": []}]
    (tmp_path / "w" / "table.json").write_text(json.dumps({"cells": found, "best": "x"}))
    a = write(tmp_path / "A", lines_of(GOLD, right(4)))
    for name in (tmp_path / "w" / "x", tmp_path / "w"):
        out = said(capsys, a, name)
        assert f"{name} is better than {a} by 62.50 points" in out
        assert f"Of {name} 1 of 3 runs failed and are left out" in out and "was chosen on this dev set" in out
    with pytest.raises(UserError, match="no such cell"):
        compare.side(str(tmp_path / "w" / "z"))


def test_the_data_may_lie_in_another_folder(tmp_path, capsys):
    a, b = lines_of(GOLD, right(4)), lines_of(GOLD, right(4), folder="/elsewhere")
    assert "have the same accuracy on each of the 20 examples" in said(capsys, write(tmp_path / "A", a), write(tmp_path / "B", b))


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (lines_of("1" * 5 + "0" + "1" * 14, right(4)), "the first gold that differs is in line 6"),
        ([*lines_of(GOLD, right(4))[:3], *lines_of(GOLD, right(4))[4:]], "the first id that differs is in line 4"),
        (lines_of(GOLD, right(4))[:19], "19 predictions"),
    ],
)
def test_other_examples_are_refused_and_the_first_is_named(tmp_path, capsys, other, message):
    a, b = write(tmp_path / "A", lines_of(GOLD, right(4))), write(tmp_path / "B", other)
    assert launch.main(["compare", str(a), str(b)]) == EXIT_USER_ERROR
    error = capsys.readouterr().err
    assert message in error and f"{b}/predictions.jsonl" in error


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("A",), "pairs"),
        (("A", "R"), "different tasks"),
        (("A", "nowhere"), "no fine-tuned model"),
        (("A", "A", "--metric=f1"), "metric"),
    ],
)
def test_mistakes_end_in_one_message(tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "A", lines_of(GOLD, right(4)))
    write(tmp_path / "R", lines_of(GOLD, right(4)), task="rte")
    assert launch.main(["compare", *arguments]) == EXIT_USER_ERROR
    assert message in capsys.readouterr().err


RNG = np.random.default_rng(0)


def classes():
    gold, *runs = ("".join(RNG.choice(["0", "1"], 50)) for _ in range(3))
    sides = [np.array([*map(int, text)]) for text in (gold, *runs)]
    return [lines_of(gold, each) for each in runs], sides[0], sides[1:]


@pytest.mark.parametrize("metric", ["accuracy", "matthews"])
def test_interval_and_difference_are_of_b_less_a(metric):
    lines = [lines_of("10" * 20, "10" * 10 + "01" * 10), lines_of("10" * 20, "10" * 19 + "01")]
    found = paired.compare(paired.scores(lines, metric, {"accuracy": None, "matthews": matthews}), 1)
    assert 0 < found.examples.low < found.examples.difference < found.examples.high
    assert found.examples.difference == pytest.approx(found.b - found.a)
    swapped = paired.compare(paired.scores(lines[::-1], metric, {"accuracy": None, "matthews": matthews}), 1)
    assert swapped.examples.difference == -found.examples.difference and swapped.examples.high < 0


def test_the_metric_of_a_run_is_that_of_its_task_whatever_it_is():
    lines, gold, (a, b) = classes()
    for name, metric in (("f1", f1), ("matthews", matthews)):
        found = paired.compare(paired.scores(lines, name, {name: metric}), 1)
        assert (found.a, found.b) == pytest.approx((metric(gold, a), metric(gold, b)))
        assert found.test == "bootstrap" and found.examples.low < found.b - found.a < found.examples.high
    gold, a, b = RNG.random((3, 40)).tolist()
    lines = [[{"gold": true, "score": score} for true, score in zip(gold, each)] for each in (a, b)]
    found = paired.compare(paired.scores(lines, "spearman", {"spearman": spearman}), 1)
    assert (found.a, found.b) == pytest.approx([spearman(np.array(gold), np.array(each)) for each in (a, b)])


def test_entities_are_drawn_by_sentences():
    gold = [["B-PER", "I-PER", "O"], ["O", "B-LOC"], ["B-ORG"]] * 5
    a, b = [["B-PER", "O", "O"], ["O", "B-LOC"], ["O"]] * 5, gold
    lines = [[{"gold": true, "tags": tags, "words": true} for true, tags in zip(gold, each, strict=True)] for each in (a, b)]
    found = paired.compare(paired.scores(lines, "f1", {"f1": None}), 1)
    assert (found.unit, found.count, found.b) == ("sentences", 15, 1.0)
    assert found.a == pytest.approx(entity_scores(gold, a, "BIOES")["f1"]) == pytest.approx(2 * 1 / (3 + 2))
    words = paired.compare(paired.scores(lines, "token_accuracy", {"token_accuracy": None}), 1)
    assert words.a == pytest.approx(4 / 6)


def test_answers_are_compared_by_what_each_question_scores():
    metric = {"f1": lambda gold, said: float(np.mean([text in texts for texts, text in zip(gold, said, strict=True)]))}
    lines = [[{"gold": ["x", "y"], "answer": text} for text in each] for each in ("xyzx", "zzzz")]
    found = paired.compare(paired.scores(lines, "f1", metric), 1)
    assert (found.unit, found.a, found.b, found.count) == ("questions", 0.75, 0.0, 4)


def test_rankings_are_drawn_by_queries():
    queries, relevance = "qqrrss", [1, 0, 1, 0, 0, 0]
    a, b = [0.9, 0.1, 0.5, 0.6, 0.1, 0.2], [0.9, 0.1, 0.7, 0.6, 0.1, 0.2]  # a has the relevant candidate of r second
    lines = [
        [{"query_id": query, "gold": gold, "score": score} for query, gold, score in zip(queries, relevance, each)]
        for each in (a, b)
    ]
    found = paired.compare(paired.scores(lines, "mrr@10", ranked.METRICS), 1)
    assert (found.unit, found.count) == ("queries", 2)  # s has no relevant candidate
    assert (found.a, found.b) == (0.75, 1.0)
