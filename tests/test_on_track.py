"""From a wrong batch to what a person is told: in the log, in the records and in the result."""

import pytest

from bert_jax import run
from bert_jax import workdir as workdirs
from bert_jax.data import loader
from bert_jax.train.watch import read_metrics
from tests import tiny

LOADED = loader.read_rows


@pytest.fixture
def inverted(monkeypatch):
    def rows(*arguments):
        right = LOADED(*arguments)
        return right._replace(labels=1 - right.labels)

    monkeypatch.setattr(loader, "read_rows", rows)


def test_an_inverted_label_is_told_at_the_first_line_and_to_the_end_and_by_a_run_that_goes_on_not_twice(
    tmp_path, inverted, capsys
):
    corpus = tiny.write_corpus(tmp_path / "text.txt")
    for steps in (6, 12):
        assert run.train(tiny.config(corpus, train__num_train_steps=steps), tmp_path / "W")
    verdicts = [record for record in read_metrics(tmp_path / "W") if record["kind"] == "verdict"]
    assert [record["step"] for record in verdicts] == [3, 6, 12]  # at 9 nothing new
    for record in (*verdicts, workdirs.finished(tmp_path / "W")["verdict"]):
        assert not record["on_track"]
        assert "labels of pairs are inverted" in [finding["what"] for finding in record["findings"]]
    told = [line for line in capsys.readouterr().err.splitlines() if "not on track: labels of pairs are inverted" in line]
    assert len(told) == 3 and all("expected 0 where B follows A" in line and "; do: " in line for line in told)
