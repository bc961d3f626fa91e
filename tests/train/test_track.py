"""What is said of a run from its records: figures made by hand, one sign at a time."""

import json
import math

import pytest

from bert_jax import config as configs
from bert_jax.finding import Finding
from bert_jax.train import bands, track
from bert_jax.train.track import Expected, Verdict
from tests import tiny

EXPECTED = Expected(
    loss="masked_lm_loss",
    unigram_loss=6.5,
    random_loss=math.log(6000),  # 8.70
    num_warmup_steps=200,
    num_train_steps=4000,
    weight_decay=0.01,
    untrained=frozenset(),
    band={1000: (0.5, 0.9)},
)
RATIOS = {"encoder/embeddings/word": 0.004, "encoder/layers": 0.005, "masked_lm/dense": 0.008}


def line(step: int, loss: float, *, rate: float = 1e-3, **changes: float) -> dict:
    ratios = RATIOS | {name.replace("__", "/"): value for name, value in changes.items()}
    of_groups = {f"update_ratio/{name}": value for name, value in ratios.items()}
    return {"kind": "train", "step": step, "masked_lm_loss": loss, "learning_rate": rate, **of_groups}


def held_out(step: int, loss: float) -> dict:
    return {"kind": "held_out", "step": step, "masked_lm_loss": loss}


def found(*records: dict, expected: Expected = EXPECTED) -> list[str]:
    return [finding.what for finding in track.verdict(records, expected).findings]


HEALTHY = (
    line(100, 7.5, rate=5e-4, encoder__layers=0.03),
    line(200, 6.6),
    line(1000, 6.0),
    held_out(1000, 5.9),
    line(4000, 5.2, rate=2.5e-7, encoder__embeddings__word=1e-6, encoder__layers=1e-6, masked_lm__dense=2e-6),
    held_out(4000, 5.1),
)


def test_a_healthy_run_is_on_track_at_every_line():
    for count in range(len(HEALTHY) + 1):
        assert found(*HEALTHY[:count]) == []
    assert track.verdict(HEALTHY[:4], EXPECTED).lines() == [
        "on track: 0.60 nats below the unigram plateau of this vocabulary, 6.50 (reference runs 0.50 to 0.90 below)"
    ]
    assert track.verdict([], EXPECTED).lines() == ["on track"]


@pytest.mark.parametrize("still", [0.0, 1e-5])
def test_what_decay_alone_moves_is_named_with_its_part(still):
    """A rate of 1e-3 and a decay of 0.01 shorten weights by 1e-5 of their length."""
    (finding,) = track.verdict([line(100, 7.0, encoder__embeddings__word=still)], EXPECTED).findings
    assert finding.what == track.NOT_TRAINED and "encoder/embeddings/word" in finding.seen
    assert found(line(100, 7.0, encoder__embeddings__word=5e-5)) == []


def test_what_learned_once_is_told_from_what_never_did():
    (finding,) = track.verdict([line(100, 7.0), line(200, 7.0, encoder__layers=1e-5)], EXPECTED).findings
    assert finding.what == track.TOO_HIGH and finding.seen.startswith("encoder/layers learns no more")


def test_a_rate_that_has_come_to_its_end_says_nothing_of_what_learns():
    """Below one hundredth of the highest rate an update may be lost in the rounding of float32."""
    assert found(line(3000, 6.0), line(4000, 6.0, rate=9e-6, encoder__layers=0.0)) == []
    assert found(line(3000, 6.0), line(3900, 6.0, rate=1.1e-5, encoder__layers=0.0)) == [track.TOO_HIGH]


def test_nothing_stands_still_where_all_does_or_where_no_loss_reaches():
    nothing = dict.fromkeys(("encoder__embeddings__word", "encoder__layers", "masked_lm__dense"), 0.0)
    assert found(line(1, 8.7, rate=0.0, **nothing)) == []  # the first update of BERT's schedule
    unused = EXPECTED._replace(untrained=frozenset({"encoder/pooler"}))
    assert found(line(100, 7.0, encoder__pooler=0.0), expected=unused) == []


FAST = {"encoder__embeddings__word": 0.12, "encoder__layers": 0.1, "masked_lm__dense": 0.2}


def test_updates_that_make_the_weights_anew_are_too_large_until_the_loss_is_below_the_plateau():
    assert found(line(125, 7.5, **FAST)) == [track.TOO_HIGH]
    assert found(line(125, 7.5, **FAST), line(500, 6.45)) == [track.TOO_HIGH]
    assert found(line(125, 7.5, **FAST), line(500, 6.2)) == []
    assert found(line(125, 7.5, encoder__layers=0.2)) == []  # one part of three
    assert found(line(100, 7.5, **FAST)) == []  # the first updates of BERT's Adam, whose moments begin at 0, are large


def test_a_loss_above_that_of_guessing_evenly_is_named_after_warm_up():
    assert found(line(200, 9.0)) == []
    assert found(line(300, 9.0)) == ["the loss is above that of guessing evenly"]


def test_a_loss_that_stays_on_the_plateau_is_named_a_thousand_steps_after_warm_up():
    assert found(held_out(1100, 6.45)) == []
    assert found(held_out(1200, 6.45)) == ["the model has not learnt from context"]
    assert found(held_out(1200, 6.35)) == []
    assert found(held_out(1200, 6.45), expected=EXPECTED._replace(num_train_steps=1_000_000)) == []


def test_a_loss_that_rises_is_named_with_where_it_was_lowest():
    (finding,) = track.verdict([held_out(2000, 5.0), held_out(2500, 5.4)], EXPECTED).findings
    assert finding.what == "the held-out loss has risen" and finding.expected == "near 5.00, that of step 2,000"
    assert found(held_out(2000, 5.0), held_out(2500, 5.2)) == []
    assert found(line(2000, 5.0), line(2100, 6.2)) == ["the train loss has risen"]
    assert found(line(2000, 5.0), line(2100, 5.8)) == []


def test_a_run_behind_the_band_is_named_and_one_ahead_of_it_is_not():
    assert found(held_out(1000, 6.1)) == ["the model learns more slowly than reference runs"]
    assert found(held_out(1000, 5.0)) == []


def test_an_objective_without_a_loss_of_pieces_is_judged_by_its_updates():
    alone = EXPECTED._replace(loss="", unigram_loss=math.inf, band={})
    records = {"kind": "held_out", "step": 3000, "contrastive_loss": 9.0}, line(3000, 9.0, encoder__layers=0.0)
    assert found(*records, expected=alone) == [track.NOT_TRAINED]
    assert track.verdict(records[:1], alone).lines() == ["on track"]


def test_a_verdict_reads_back_from_its_record():
    verdict = track.verdict(HEALTHY[:4], EXPECTED, [Finding("a", "b", "c", "d")])
    assert Verdict.of_record({"kind": "verdict", "step": 1, **verdict.record()}) == verdict
    assert verdict.lines() == ["not on track: a: seen b; expected c; do: d"] and not verdict.record()["on_track"]


def test_a_band_holds_for_every_seed_and_layout_of_a_config_and_for_no_other():
    def key(*overrides: str) -> str:
        return bands.key_of(configs.load(str(tiny.ROOT / "configs" / "quickstart.py"), overrides).to_dict())

    assert key("seed=3", "parallel.mode=pmap", "data.store=/elsewhere", "train.log_every_steps=7") == key()
    for other in ("optim.learning_rate=1e-4", "train.num_train_steps=9", "data.input_file=mine.txt", "model.hidden_size=64"):
        assert key(other) != key()


def test_the_bands_are_those_of_the_committed_runs_and_hold_for_the_quickstart_as_it_is():
    """Where this fails the quickstart learns otherwise now: run `python -m experiments.acceptance reference_runs` again."""
    quickstart = configs.load(str(tiny.ROOT / "configs" / "quickstart.py"))
    figures = json.loads((tiny.ROOT / "experiments/benchmarks/results/reference_runs.json").read_text())["figures"]
    assert figures["key"] == bands.key_of(quickstart.to_dict())
    assert bands.BANDS[figures["key"]] == {int(step): tuple(band) for step, band in figures["band"].items()}
    for step, gains in figures["nats_below_unigram"].items():
        assert all(figures["band"][step][0] < gain < figures["band"][step][1] for gain in gains)
