"""What is said at the end of a run: every held-out metric, with its baseline, and commands that go with the model."""

import io

import pytest
from rich.console import Console

from bert_jax import config as configs
from bert_jax import summary
from bert_jax import workdir as workdirs
from tests import tiny

MASKED_LM = {"loss": 9.0, "masked_lm_loss": 5.0, "masked_lm_accuracy": 0.25, "unigram_loss": 6.5}


def shown(name: str, metrics: dict, workdir, monkeypatch, **result) -> list[str]:
    config = configs.load(f"{tiny.ROOT}/configs/{name}", [])
    workdirs.write_config(config, workdir, {})
    workdirs.write_result(workdir, {"step": 12, "metrics": MASKED_LM | metrics, "plots": [], **result})
    monkeypatch.setattr(summary, "open_trained", lambda workdir: None)
    monkeypatch.setattr(summary, "_print_examples", lambda console, trained, workdir: None)
    out = io.StringIO()
    summary.print_summary(workdir, name, already_finished=False, console=Console(file=out, width=200))
    return [" ".join(line.split()) for line in out.getvalue().splitlines()]


@pytest.mark.parametrize("share", [0.125, 0.875])
def test_what_electra_finds_stands_beside_the_commoner_answer(share, tmp_path, monkeypatch):
    metrics = {"replaced_loss": 0.3, "replaced_accuracy": 0.9, "replaced_share": share}
    lines = shown("electra.py:tiny", metrics, tmp_path, monkeypatch)
    assert "replaced loss 0.300" in lines
    assert "replaced accuracy 90.0% (87.5% by always answering as is commoner)" in lines
    assert not any(line.startswith(("replaced share", "loss")) for line in lines)
    assert any("predict --workdir=" in line for line in lines)


def test_losses_beside_masked_lm_are_shown(tmp_path, monkeypatch):
    lines = shown("spanbert.py:tiny", {"span_boundary_loss": 7.25}, tmp_path, monkeypatch)
    assert "span boundary loss 7.250" in lines and "masked-LM loss 5.000 nats per masked piece" in lines


def test_items_are_ranked_beside_popularity_and_asked_nothing_in_words(tmp_path, monkeypatch):
    metrics = {"hr@10": 0.5, "full_ndcg@5": 0.25, "popularity_hr@10": 0.125, "popularity_full_ndcg@5": 0.0625}
    lines = shown("bert4rec.py:tiny", metrics, tmp_path, monkeypatch)
    assert "hr@10 0.500 (0.125 by popularity)" in lines and "full ndcg@5 0.250 (0.062 by popularity)" in lines
    assert not any("--text" in line or "popularity hr@10" in line for line in lines)


def test_the_verdict_is_among_the_results_where_there_is_one(tmp_path, monkeypatch):
    finding = {"what": "labels are wrong", "seen": "a", "expected": "b", "do": "c"}
    verdict = {"kind": "verdict", "step": 12, "on_track": False, "standing": "", "findings": [finding]}
    assert "not on track: labels are wrong: seen a; expected b; do: c" in shown(
        "bert.py:tiny", {}, tmp_path, monkeypatch, verdict=verdict
    )
    good = verdict | {"standing": "1.00 nats below", "findings": []}
    assert "on track: 1.00 nats below" in shown("bert.py:tiny", {}, tmp_path, monkeypatch, verdict=good)
    assert not any("on track" in line for line in shown("bert.py:tiny", {}, tmp_path, monkeypatch))
