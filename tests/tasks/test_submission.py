"""The files that gluebenchmark.com takes."""

import pytest

from bert_jax.errors import UserError
from bert_jax.tasks import submission, tables
from tests.paths import DATA, needs_data

PART = submission.Part("STS-B", "sts.tsv", ("sentence1", "sentence2"), 4)


def test_scores_stay_in_their_range_with_three_decimals_and_labels_are_spelled_as_in_the_files():
    content = submission.content(PART, [{"score": score} for score in (-0.2, 2.34567, 5.01, 5.0)])
    assert content == "index\tprediction\n0\t0.000\n1\t2.346\n2\t5.000\n3\t5.000\n"
    labels = [{"label": label, "probabilities": {}} for label in ("not_entailment", "entailment", "0", "1")]
    assert submission.content(PART, labels).splitlines()[1] == "0\tnot_entailment"
    with pytest.raises(UserError, match="an answer to every row"):
        submission.content(PART, labels[:3])


def test_the_files_have_the_names_that_are_asked_for():
    names = {part.name for parts in submission.PARTS.values() for part in parts}
    assert names == {"CoLA", "SST-2", "MRPC", "STS-B", "QQP", "MNLI-m", "MNLI-mm", "QNLI", "RTE", "WNLI", "AX"}


@needs_data
@pytest.mark.parametrize("part", {part.name: part for parts in submission.PARTS.values() for part in parts}.values())
def test_the_official_test_sets_have_the_official_numbers(part):
    try:
        examples = submission.read(part, DATA)
    except tables.Absent:
        pytest.skip(f"no {part.source} here")
    assert len(examples) == part.count and all(len(example.texts) == len(part.texts) for example in examples)
