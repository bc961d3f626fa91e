import unicodedata

import pytest

from bert_jax.text import aligned
from tests.text import hostile

TEXTS = hostile.strings(500, seed=2)


def test_lower_case_is_that_of_python():
    for text in TEXTS:
        assert aligned.text_of(aligned.lower_case(aligned.aligned(text))) == text.lower(), ascii(text)


@pytest.mark.parametrize("form", ["NFD", "NFKD"])
def test_decomposition_is_that_of_python(form):
    for text in [*TEXTS, "a\u0301\u0323\U0001d165\U0001d16d"]:  # marks in another order than the canonical one
        kept = aligned.without_marks(aligned.aligned(text), form, lambda _: False)
        assert aligned.text_of(kept) == unicodedata.normalize(form, text), ascii(text)


def test_replaced_and_cut_text_remembers_its_places():
    letters = aligned.replaced(aligned.aligned("a ``b"), "``", '"')
    assert letters == [("a", 0, 1), (" ", 1, 2), ('"', 2, 4), ("b", 4, 5)]
    assert [aligned.span(word) for word in aligned.words(letters)] == [(0, 1), (2, 5)]
