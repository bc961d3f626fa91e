"""Items are pieces as they are written."""

from collections import Counter

import pytest

from bert_jax.errors import UserError
from bert_jax.text import items, kinds


@pytest.fixture
def tokenizer(tmp_path):
    report = kinds.learn_vocabulary(
        "items", ["b a c", "a b a", "[MASK] ##x a"], tmp_path / "items.txt", vocab_size=8, do_lower_case=False
    )
    assert report.pieces == 8
    return items.load(tmp_path / "items.txt", do_lower_case=False)


def test_the_most_frequent_are_kept_in_this_order(tokenizer):
    assert tokenizer.pieces == ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "b", "##x")


def test_an_item_is_one_piece_and_what_is_unknown_or_special_none(tokenizer):
    assert tokenizer.encode(["a  b c", "##x [MASK] A"]) == [[5, 6, 1], [7, 1, 1]]
    encoded = tokenizer.encode_with_offsets([" a b"])[0]
    assert encoded.offsets == [(1, 2), (3, 4)] and encoded.word_starts == [True, True]
    assert tokenizer.decode([5, 7, 0]) == "a ##x"


def test_items_have_no_lower_case(tmp_path):
    items.save(Counter({"A": 1}), 10, False, tmp_path / "items.txt")
    with pytest.raises(UserError, match="do_lower_case"):
        items.load(tmp_path / "items.txt", do_lower_case=True)


def test_a_vocabulary_of_nothing_is_refused(tmp_path):
    with pytest.raises(UserError, match="no items"):
        items.save(Counter({"[PAD]": 3}), 10, False, tmp_path / "items.txt")
