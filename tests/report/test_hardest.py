"""Which examples come first, and what is said of them."""

import math

import pytest

from bert_jax.report.hardest import hardest


def classified(gold, label, **probabilities):
    return {"id": "e", "texts": ["a", "b"], "gold": gold, "label": label, "probabilities": probabilities}


def test_classes_by_what_they_add_to_the_loss():
    examples = [
        classified("yes", "yes", yes=0.9, no=0.1),
        classified("yes", "no", yes=0.2, no=0.8),
        classified("no", "yes", yes=1.0, no=0.0),
        {"id": "test", "texts": ["a"], "label": "no", "probabilities": {"yes": 0.1, "no": 0.9}},
    ]
    found = hardest("classification", examples)
    assert [hard.place for hard in found] == [2, 1, 0]
    assert found[0].hardness == math.inf and found[1].hardness == pytest.approx(-math.log(0.2))
    assert (found[1].gold, found[1].predicted, found[1].probability) == ("yes", "no", 0.8)
    assert found[1].texts == (("1", "a"), ("2", "b"))
    assert len(hardest("classification", examples, 1)) == 1


def test_scores_by_their_distance():
    examples = [{"id": str(place), "texts": ["a"], "gold": 2.0, "score": score} for place, score in enumerate((2.5, 0.0, 3.0))]
    assert [(hard.id, hard.hardness) for hard in hardest("regression", examples)] == [("1", 2.0), ("2", 1.0), ("0", 0.5)]


def test_choices_by_the_probability_of_the_right_one():
    example = {"id": 7, "texts": ["a", "b"], "gold": 1, "choice": 0, "probabilities": [0.75, 0.25]}
    (hard,) = hardest("choice", [example])
    assert (hard.id, hard.gold, hard.predicted) == ("7", "choice 1", "choice 0")
    assert (hard.hardness, hard.probability) == (pytest.approx(math.log(4)), 0.75)


def test_tags_by_the_longest_stretch_of_wrong_ones():
    """Two mistakes in a row come before two apart, those before one; a sentence without any is not hard."""
    gold = ["O", "B-PER", "I-PER", "O"]
    predicted = [["O", "O", "I-PER", "B-LOC"], ["O", "O", "O", "O"], gold, ["O", "O", "I-PER", "O"]]
    examples = [{"id": str(n), "words": ["x", "A", "B", "y"], "gold": gold, "tags": tags} for n, tags in enumerate(predicted)]
    found = hardest("tagging", examples)
    assert [hard.id for hard in found] == ["1", "0", "3"] and [int(hard.hardness) for hard in found] == [2, 1, 1]
    assert (found[0].gold, found[0].predicted, found[0].texts) == ("B-PER I-PER", "O O", (("", "x [ A B ] y"),))


def test_answers_that_share_nothing_by_their_score():
    asked = {"question": "Who?", "paragraph": "The Normans."}
    examples = [
        {"id": "right", "gold": ["the Normans"], "answer": "Normans", "score": 9.0, **asked},
        {"id": "unsure", "gold": ["the Normans"], "answer": "", "score": 1.0, **asked},
        {"id": "sure", "gold": [], "answer": "Normans", "score": 5.0, **asked},
    ]
    found = hardest("answering", examples)
    assert [(hard.id, hard.gold, hard.predicted) for hard in found] == [
        ("sure", "(no answer)", "Normans"),
        ("unsure", "the Normans", "(no answer)"),
    ]
    assert len(hardest("answering", examples, answer_f1=lambda gold, answer: 0.0)) == 3
