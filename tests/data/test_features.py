import numpy as np
import pytest

from bert_jax.data.features import Wanted, check_wanted, feature_arrays, word_place
from bert_jax.errors import UserError

#                 [CLS] the moon light s [SEP] ##ing a [SEP] [PAD]
IS_TEXT = np.array([[0, 1, 1, 1, 1, 0, 1, 1, 0, 0]]) > 0
BEGINS = np.array([[0, 1, 1, 0, 0, 0, 0, 1, 0, 0]]) > 0
PLACES = [[0, 4, 1, 2, 3, 0, 4, 4, 0, 0]]  # what the second stretch begins with counts as a word


def test_pieces_are_begin_middle_end_or_single():
    found = word_place(IS_TEXT, BEGINS)
    assert found.tolist() == PLACES and found.dtype == np.int32
    one_long = word_place(np.ones((1, 3), bool), np.array([[True, False, False]]))
    assert one_long.tolist() == [[1, 2, 3]]  # a word may end where the row does


def test_what_betrays_the_piece_is_hidden_with_it_and_the_rest_stays():
    original = np.arange(10, 20, dtype=np.int32)[None]
    shown = original.copy()
    shown[0, [2, 7]] = 4, 99  # one under the mask, one replaced; a chosen piece that stays is shown anyway
    for hidden, expected in ((False, PLACES), (True, [[0, 4, 0, 2, 3, 0, 4, 0, 0, 0]])):
        arrays = feature_arrays((Wanted("word_place", hidden),), IS_TEXT, BEGINS, shown, original)
        assert {name: array.tolist() for name, array in arrays.items()} == {"feature_word_place": expected}
        assert arrays["feature_word_place"].dtype == np.int32


def test_a_feature_that_text_does_not_give_is_refused():
    with pytest.raises(UserError, match=r"(?s)does not follow from text.*model\.features\.pinyin.*word_place.*from Python"):
        check_wanted((Wanted("word_place"), Wanted("pinyin", True)))
