import sys
import unicodedata
from functools import partial

import pytest

from bert_jax.text import aligned
from tests.text import hostile

TEXTS = hostile.strings(500, seed=2)


def test_lower_case_is_that_of_python():
    for text in TEXTS:
        assert aligned.text_of(aligned.lower_case(aligned.aligned(text))) == text.lower(), ascii(text)


def test_composition_is_that_of_python():
    nfc = partial(unicodedata.normalize, "NFC")
    decomposed = [unicodedata.normalize("NFD", character) for character in map(chr, range(sys.maxunicode + 1))]
    for text in [*TEXTS, *(text for text in decomposed if len(text) > 1)]:
        assert aligned.text_of(aligned.composed(aligned.aligned(text), nfc)) == nfc(text), ascii(text)


def test_what_was_composed_has_the_span_of_its_parts_and_all_else_its_own():
    letters = aligned.composed(aligned.aligned("ae\u0323\u0301\u0302b\u0302"), partial(unicodedata.normalize, "NFC"))
    assert letters == [("a", 0, 1), ("\u1eb9", 1, 5), ("\u0301", 1, 5), ("\u0302", 1, 5), ("b", 5, 6), ("\u0302", 6, 7)]


@pytest.mark.parametrize("form", ["NFD", "NFKD"])
def test_decomposition_is_that_of_python(form):
    for text in [*TEXTS, "a\u0301\u0323\U0001d165\U0001d16d"]:  # marks in another order than the canonical one
        kept = aligned.without_marks(aligned.aligned(text), form, lambda _: False)
        assert aligned.text_of(kept) == unicodedata.normalize(form, text), ascii(text)


def test_replaced_and_cut_text_remembers_its_places():
    letters = aligned.replaced(aligned.aligned("a ``b"), "``", '"')
    assert letters == [("a", 0, 1), (" ", 1, 2), ('"', 2, 4), ("b", 4, 5)]
    assert [aligned.span(word) for word in aligned.words(letters)] == [(0, 1), (2, 5)]
