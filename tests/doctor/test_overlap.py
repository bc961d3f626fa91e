"""What is computed of the overlap of a corpus with evaluation sets, by hand and by property."""

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bert_jax.doctor.overlap import END_OF_DOCUMENT, Hashes, Rolling, Text, Texts, gram_length, words
from experiments import planted


def found(texts: list[str], *documents: str) -> dict[str, float]:
    """Text -> the share of its n-grams in these documents, of those that stand there."""
    looked_for = Texts(Text("set", f"file, line {n}", text) for n, text in enumerate(texts, 1))
    flat = [word for document in documents for word in (*words(document), END_OF_DOCUMENT)]
    for length, (numbers, places) in looked_for.grams.found_in(Rolling(Hashes()(flat))).items():
        for number, place in zip(numbers.tolist(), places.tolist()):
            looked_for.add(length, number, flat[place])
    return {one.text.text: one.share for one in looked_for.standing()}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Don't STOP -- it's well-known.", ["dont", "stop", "its", "well", "known"]),
        ("do n't , it 's", ["dont", "its"]),
        ("don\u2019t it\u2019s", ["dont", "its"]),
        ("``quoted'' (so)", ["quoted", "so"]),
        ("\uff26\uff29\uff2e\uff25 \ufb01ne Stra\u00dfe", ["fine", "fine", "strasse"]),
        ("BERT是模型v2", ["bert", "是", "模", "型", "v2"]),
        ("_a_b 3.5", ["a", "b", "3", "5"]),
    ],
)
def test_words_are_those_of_the_text_without_case_and_punctuation(text, expected):
    assert words(text) == expected


@pytest.mark.parametrize(
    ("text", "length"),
    [("a b c d", 0), ("a b c d e", 5), ("a b c d e f g h i j", 8), ("今天下雨了我", 0), ("今天下雨了我们不", 8), ("今" * 30, 13)],
)
def test_the_length_of_n_grams_is_8_words_or_13_characters_or_the_whole_text(text, length):
    assert gram_length(words(text)) == length


def test_the_share_is_that_of_the_n_grams():
    text = "one two three four five six seven eight nine ten"  # three n-grams of 8 words
    assert found([text], f"so {text} then") == {text: 1.0}
    assert found([text], "two three four five six seven eight nine ten") == {}  # two of three are too few
    longer = f"{text} eleven"  # four
    assert found([longer], text) == {longer: 0.75}


def test_n_grams_may_be_scattered_but_do_not_reach_over_the_end_of_a_document():
    text = "one two three four five six seven eight nine"
    first, second = "one two three four five six seven eight", "two three four five six seven eight nine"
    assert found([text], first, second) == {text: 1.0}
    assert found([text], "one two three four", "five six seven eight nine") == {}


def test_the_place_of_a_text_is_where_most_of_its_n_grams_are_met_first():
    text = "one two three four five six seven eight nine ten eleven"
    looked_for = Texts([Text("set", "1", text)])
    lines = {1: "one two three four five six seven eight", 7: text, 9: text}
    for line, content in lines.items():
        for number in looked_for.grams.found_in(Rolling(Hashes()(words(content))))[8][0].tolist():
            looked_for.add(8, number, f"line {line}")
    assert [(one.share, one.place) for one in looked_for.standing()] == [(1.0, "line 7")]


def test_short_texts_are_not_looked_for_and_equal_ones_once():
    looked_for = Texts(
        [Text("a", "1", "Yes."), Text("a", "2", "a b c d e"), Text("a", "3", "A, B, C, D, E!"), Text("b", "4", "a b c d e")]
    )
    assert looked_for.too_short == 1 and [text.place for text in looked_for.texts] == ["2", "4"]


def test_the_place_of_an_n_gram_is_that_of_its_first_word_where_it_stands_first():
    looked_for = Texts([Text("set", "1", "a b c d e")])
    numbers, places = looked_for.grams.found_in(Rolling(Hashes()("x a b c d e y a b c d e".split())))[5]
    assert numbers.tolist() == [0] and places.tolist() == [1]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from("abc"), max_size=40), st.integers(1, 9))
def test_stretches_have_one_hash_if_and_only_if_they_are_equal(letters, length):
    grams = Rolling(Hashes()(letters)).grams(length).tolist()
    stretches = [tuple(letters[n : n + length]) for n in range(len(letters) - length + 1)]
    assert len(grams) == len(stretches) and len(set(zip(grams, stretches))) == len(set(grams)) == len(set(stretches))


def test_a_stretch_has_the_hash_of_the_n_gram_of_its_words():
    rolling = Rolling(Hashes()(list("abcabcab")))
    begins, ends = np.array([0, 3, 5]), np.array([3, 6, 8])
    assert rolling.stretches(begins, ends).tolist() == rolling.grams(3)[begins].tolist()


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6))
def test_case_and_punctuation_hide_nothing(seed):
    draw = random.Random(seed)
    text = planted.sentence(draw, draw.randint(5, 30))
    assert found([text], f"{planted.sentence(draw)} {planted.disguised(text, draw)} {planted.sentence(draw)}") == {text: 1.0}
