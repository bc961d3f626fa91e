"""Entities of tags against conlleval.pl's rules, written again as its tables, and against seqeval where it is installed."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bert_jax.errors import UserError
from bert_jax.metrics.entities import SCHEMES, entity_scores, retagged, spans, type_scores, written

LETTERS = {"IOB1": "BI", "IOB2": "BI", "BIOES": "BIES", "BMES": "BMES"}

# conlleval.pl decides ends and beginnings apart, each by pairs of letters (before, now). The pairs with S, and B after E, are
# from its later version with single-word entities; the tables without them are its first.
ENDS = {"BB", "BO", "BS", "IB", "IO", "IS", "EB", "EI", "EE", "EO", "ES", "SB", "SI", "SE", "SO", "SS"}
BEGINS = {"OB", "BB", "IB", "EB", "SB", "OS", "BS", "IS", "ES", "SS", "OI", "EI", "SI", "OE", "EE", "SE"}


def conlleval_spans(tags: list[str]) -> list[tuple[str, int, int]]:
    before, type_before, begin, found = "O", "", 0, []
    for place, tag in enumerate([*tags, "O"]):
        letter, type_ = (tag[0], tag[2:]) if "-" in tag else (tag, "")
        letter = {"M": "I"}.get(letter, letter)
        changes = type_ != type_before
        if before + letter in ENDS or (before != "O" and changes):
            found.append((type_before, begin, place))
        if before + letter in BEGINS or (letter != "O" and changes):
            begin = place
        before, type_before = letter, type_
    return found


def tags_of(scheme: str):
    tags = [f"{letter}-{type_}" for letter in LETTERS[scheme] for type_ in ("PER", "LOC-2")]
    return st.lists(st.sampled_from(["O", *tags, *LETTERS[scheme]]), max_size=12)


@pytest.mark.parametrize("scheme", SCHEMES)
@given(data=st.data())
def test_any_tags_are_read_as_conlleval_reads_them(scheme, data):
    tags = data.draw(tags_of(scheme))
    assert spans(tags, scheme) == conlleval_spans(tags)


@pytest.mark.parametrize(
    ("scheme", "tags", "expected"),
    [
        ("IOB2", "O I-PER I-PER O", [("PER", 1, 3)]),
        ("IOB2", "B-PER I-LOC I-LOC", [("PER", 0, 1), ("LOC", 1, 3)]),
        ("IOB2", "B-PER B-PER I-PER", [("PER", 0, 1), ("PER", 1, 3)]),
        ("IOB1", "I-PER B-PER I-LOC", [("PER", 0, 1), ("PER", 1, 2), ("LOC", 2, 3)]),
        ("BIOES", "B-PER I-PER E-PER S-PER", [("PER", 0, 3), ("PER", 3, 4)]),
        ("BIOES", "E-PER I-PER B-PER O", [("PER", 0, 1), ("PER", 1, 2), ("PER", 2, 3)]),
        ("BMES", "B M E S B E", [("", 0, 3), ("", 3, 4), ("", 4, 6)]),
        ("BMES", "M-PER M-PER B-A-B E-A-B", [("PER", 0, 2), ("A-B", 2, 4)]),
    ],
)
def test_spans_by_hand(scheme, tags, expected):
    assert spans(tags.split(), scheme) == expected


@pytest.mark.parametrize("target", SCHEMES)
@pytest.mark.parametrize("source", SCHEMES)
@given(data=st.data())
def test_another_scheme_marks_the_same_entities_and_leads_back(source, target, data):
    tags = data.draw(tags_of(source))
    there = retagged(tags, source, target)
    assert spans(there, target) == spans(tags, source)
    assert retagged(there, target, source) == retagged(tags, source, source)


@pytest.mark.parametrize(
    ("scheme", "expected"),
    [
        ("IOB1", "I-PER I-PER B-PER I-LOC O I-LOC I-LOC I-LOC"),
        ("IOB2", "B-PER I-PER B-PER B-LOC O B-LOC I-LOC I-LOC"),
        ("BIOES", "B-PER E-PER S-PER S-LOC O B-LOC I-LOC E-LOC"),
        ("BMES", "B-PER E-PER S-PER S-LOC O B-LOC M-LOC E-LOC"),
    ],
)
def test_tags_written_by_hand(scheme, expected):
    entities = [("PER", 0, 2), ("PER", 2, 3), ("LOC", 3, 4), ("LOC", 5, 8)]
    assert written(entities, 8, scheme) == expected.split()
    assert retagged(expected.split(), scheme, scheme) == expected.split()


def test_scores_by_hand():
    gold = [["B-PER", "I-PER", "O", "B-LOC"], ["B-LOC", "O"]]
    predicted = [["B-PER", "I-PER", "O", "B-PER"], ["B-LOC", "I-LOC"]]
    assert entity_scores(gold, predicted, "IOB2") == pytest.approx({"precision": 1 / 3, "recall": 1 / 3, "f1": 1 / 3})
    assert type_scores(gold, predicted, "IOB2") == {
        "LOC": {"precision": 0, "recall": 0, "f1": 0, "support": 2},
        "PER": {"precision": 0.5, "recall": 1, "f1": pytest.approx(2 / 3), "support": 1},
    }
    assert entity_scores([["O"]], [["O"]], "IOB2") == {"precision": 0, "recall": 0, "f1": 0}


def test_an_entity_ends_with_its_sentence():
    halves, whole = [["B-PER"], ["I-PER"]], [["B-PER", "I-PER"]]
    assert entity_scores(halves, halves, "IOB2")["f1"] == 1
    assert type_scores(halves, halves, "IOB2")["PER"]["support"] == 2
    assert type_scores(whole, whole, "IOB2")["PER"]["support"] == 1


def random_sentences(seed: int, letters: str) -> list[list[str]]:
    rng = random.Random(seed)
    tags = ["O", *(f"{letter}-{type_}" for letter in letters for type_ in ("PER", "LOC", "MISC"))]
    return [rng.choices(tags, k=rng.randint(1, 12)) for _ in range(200)]


def altered(sentences: list[list[str]], seed: int) -> list[list[str]]:
    rng = random.Random(seed)
    tags = sorted({tag for sentence in sentences for tag in sentence})
    return [[tag if rng.random() < 0.8 else rng.choice(tags) for tag in sentence] for sentence in sentences]


@pytest.mark.parametrize("scheme", ["IOB1", "IOB2", "BIOES"])
def test_scores_are_seqevals_in_its_default_mode(scheme):
    seqeval = pytest.importorskip("seqeval.metrics", reason="the test extra is not installed")
    gold = random_sentences(1, LETTERS[scheme])
    predicted = altered(gold, 2)
    mine = entity_scores(gold, predicted, scheme)
    assert 0.3 < mine["f1"] < 0.9
    for name in ("precision", "recall", "f1"):
        assert mine[name] == pytest.approx(getattr(seqeval, f"{name}_score")(gold, predicted), abs=1e-12)
    report = seqeval.classification_report(gold, predicted, output_dict=True)
    for type_, row in type_scores(gold, predicted, scheme).items():
        other = report[type_]
        assert row == pytest.approx(
            {"precision": other["precision"], "recall": other["recall"], "f1": other["f1-score"], "support": other["support"]}
        )


def test_a_tag_of_another_scheme_and_sentences_that_do_not_fit_are_refused():
    with pytest.raises(UserError, match="IOB2 has no such tag"):
        spans(["B-PER", "E-PER"], "IOB2")
    with pytest.raises(UserError, match="BMES has no such tag"):
        spans(["I-PER"], "BMES")
    with pytest.raises(UserError, match="unknown scheme"):
        spans(["O"], "BIO")
    with pytest.raises(UserError, match="sentence 1 has another number of tags"):
        entity_scores([["O"], ["O", "O"]], [["O"], ["O"]], "IOB2")
    with pytest.raises(ValueError):
        entity_scores([["O"]], [], "IOB2")
