"""A plan said in one page, without the machine; what cannot be is refused in one message."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bert_jax import __main__ as command
from bert_jax import config as configs
from bert_jax import hardware
from bert_jax.errors import EXIT_DONE, EXIT_USER_ERROR
from bert_jax.plan import planning, report
from bert_jax.plan.estimate import estimate
from bert_jax.plan.job import with_rows
from tests.tiny import ROOT

TINY = f"--config={ROOT}/configs/bert.py:tiny"
ONE_PHASE = "data.later_phases=()"


def plan(target: str, *overrides: str, config: str = "bert.py:tiny"):
    loaded = configs.load(f"{ROOT}/configs/{config}", overrides)
    return planning.make_plan(loaded, hardware.parse_target(target), "no", say=print)


def said(capsys, *arguments: str) -> tuple[int, str, str]:
    code = command.main(["plan", *arguments])
    return code, *capsys.readouterr()


@given(st.integers(0, 5000), st.integers(1, 5000))
def test_the_border_is_found_from_anywhere(largest, guess):
    asked = []
    assert planning.border(lambda number: asked.append(number) or number <= largest, guess) == largest
    assert len(asked) == len(set(asked)) and all(number > 0 for number in asked)


def test_a_plan_says_what_was_computed_and_what_was_assumed(capsys):
    code, out, _ = said(capsys, TINY, "--target=v5litepod-8", "--compile=no", "--mfu=0.5")
    assert code == EXIT_DONE
    assert "v5e:2x4 (v5litepod-8)" in out
    lines = [line for line in out.splitlines() if line.startswith("  ")]
    assert lines and all(line.endswith(("[computed]", "[assumed]")) for line in lines)
    assert "phase 2: 100,000 steps of 256 rows x 512" in out
    assert f"prices of {hardware.PRICES_READ}" in out
    assert "at 50% MFU" in out


def test_an_unknown_price_is_said_to_be_unknown(capsys):
    code, out, _ = said(capsys, TINY, "--target=H100:8", f"--config.{ONE_PHASE}")
    assert code == EXIT_DONE
    assert out.count("price unknown") == 2 and "$" not in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--target=v5e:16x17"], "perhaps v5e:16x16"),
        (["--target=v5litepod-255"], "perhaps v5litepod-256"),
        (["--target=v9:2x2"], "no such chip"),
        (["--target=H100:3"], "255 or 258"),
        (["--target=v4-8", "--mfu=1.5"], "more than 0, at most 1"),
        (["--target=v4-8", "--config.parallel.fsdp=3"], "do not divide into parallel.fsdp"),
        (["--target=H100:8", "--compile=border"], "needs the compiler of a TPU"),
        (["--target=v4-8", "--config.model.hidden_sise=3"], "model.hidden_size"),
    ],
)
def test_a_mistake_is_one_message_and_exit_code_2(capsys, arguments, message):
    code, out, error = said(capsys, TINY, *arguments)
    assert code == EXIT_USER_ERROR and message in error and not out


def test_fine_tuning_is_refused(capsys):
    code, _, error = said(capsys, f"--config={ROOT}/configs/finetune_glue.py:mrpc", "--target=v4-8")
    assert code == EXIT_USER_ERROR and "plan is for pretraining" in error


@pytest.fixture(scope="module")
def large():
    """BERT-large on four chips, in batches that do not fit."""
    return plan("v5e:2x2", "train.train_batch_size=4096", ONE_PHASE, config="bert.py:large")


def one_row(plan):
    (phase,), job = plan.phases, plan.job
    smallest = with_rows(phase.phase, job, 1)
    return phase._replace(phase=smallest, estimate=estimate(job, smallest), model_flops=planning.flops_of_model(job, smallest))


def test_what_does_not_fit_is_told_what_would(large):
    (phase,) = large.phases
    assert not phase.fits(large.granted) and 0 < phase.largest_batch < 4096
    assert any("train.accumulate=" in line for line in large.advice)


def test_the_largest_batch_fits_and_one_row_more_does_not(large):
    (phase,), job = large.phases, large.job
    rows = phase.largest_batch // job.row_groups
    at_border, beyond = (estimate(job, with_rows(phase.phase, job, count)).total for count in (rows, rows + 1))
    assert at_border <= large.granted < beyond


def test_no_step_is_faster_than_products_at_the_peak(large):
    assert 0.9 < report.most_mfu(large, *large.phases) <= 1


def test_few_rows_on_many_chips_are_slow_and_dear(large):
    """Parameters and moments are read and written whatever the batch; hours cannot be below that, and the page says why."""
    few = planning.Plan(large.job, large.granted, [one_row(large)], [])
    least = few.phases[0].steps * report.seconds_at_least(few, few.phases[0]) / 3600
    assert report.most_mfu(few, few.phases[0]) < 0.1
    assert report.hours(few, 0.4) == least
    assert "memory sets the pace" in "\n".join(report.lines(few, "large", 0.4))
    assert "memory sets the pace" not in "\n".join(report.lines(large, "large", 0.4))


def test_hours_are_those_of_all_steps_at_the_share_of_the_peak_that_is_given(large):
    """Against 6NT (Kaplan et al. 2020, arXiv 2001.08361, section 2.1), N without the tables: the product with the word table is
    made at the predicted places alone."""
    tokens = 1e6 * 4096 * 128
    by_6nt = 6 * 24 * 12 * 1024**2 * tokens / (0.4 * 4 * 197e12) / 3600
    assert report.hours(large, 0.4) == pytest.approx(by_6nt, rel=0.1)
    assert report.hours(large, 0.2) == pytest.approx(2 * report.hours(large, 0.4))
