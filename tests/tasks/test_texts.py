"""Classes and scores of texts, from the outputs of their rows to answers."""

from types import SimpleNamespace

import numpy as np
import pytest

from bert_jax.data.finetune import Example
from bert_jax.errors import UserError
from bert_jax.tasks.texts import CLASSIFICATION, REGRESSION, reader

LABELS = ("a", "b")


def test_a_text_in_several_rows_has_the_mean_of_their_probabilities():
    logits = [[0.0, np.log(3)], [np.log(3), 0.0], [0.0, 0.0], [np.log(9), 0.0]]  # of b: 3/4, 1/4, 1/2, 1/10
    rows = SimpleNamespace(owners=np.array([0, 1, 1, 2]))
    answers = CLASSIFICATION.answers([None] * 3, LABELS, rows, [{"logits_BC": np.array(each)} for each in logits])
    assert [answer["label"] for answer in answers] == ["b", "a", "a"]
    assert [answer["probabilities"]["b"] for answer in answers] == pytest.approx([0.75, 0.375, 0.1])


def test_a_score_of_several_rows_is_their_mean():
    rows = SimpleNamespace(owners=np.array([0, 0, 1]))
    answers = REGRESSION.answers([None] * 2, (), rows, [{"scores_B": np.float32(score)} for score in (1.0, 2.0, 5.0)])
    assert answers == [{"score": 1.5}, {"score": 5.0}]


def test_the_guess_beside_is_the_commonest_class_of_training():
    train, dev = ([Example(("x",), label) for label in labels] for labels in ("aab", "abb"))
    assert CLASSIFICATION.baseline(train, dev, LABELS) == {"majority_accuracy": pytest.approx(1 / 3)}


def test_a_score_that_is_no_number_is_named_with_its_line(tmp_path):
    path = tmp_path / "train.tsv"
    path.write_text("text\tlabel\nx\t1.5\ny\tmany\n")
    with pytest.raises(UserError, match=r"not a number\n.*train\.tsv, line 3: 'many'"):
        reader(("text",), "label", scores=True)(path)
