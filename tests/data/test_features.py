import numpy as np
import pytest

from bert_jax import batch as contract
from bert_jax.data.features import Wanted, check_wanted, feature_arrays, word_place
from bert_jax.data.loader import Loader, LoaderConfig, Phase
from bert_jax.errors import UserError
from tests.data.small import TWELVE, split_of

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
        arrays = feature_arrays((Wanted("word_place", 5, hidden),), IS_TEXT, BEGINS, shown, original)
        assert {name: array.tolist() for name, array in arrays.items()} == {"feature_word_place": expected}
        assert arrays["feature_word_place"].dtype == np.int32


def test_a_feature_that_text_does_not_give_is_refused():
    with pytest.raises(UserError, match=r"(?s)does not follow from text.*model\.features\.pinyin.*word_place.*from Python"):
        check_wanted((Wanted("word_place", 5), Wanted("pinyin", 9, True)))


@pytest.mark.parametrize("rows", [0, 4])
def test_a_table_too_small_for_the_places_is_refused(rows):
    with pytest.raises(UserError, match=r"(?s)model\.features\.word_place has no row for each place.*size=5 or more"):
        check_wanted((Wanted("word_place", rows),))


@pytest.mark.parametrize("hidden", [False, True])
def test_batches_hold_the_places_of_the_pieces_before_masking(hidden, tmp_path):
    """In the split every seventh piece, ##g, goes on with the word of the one before it, f."""
    features = (Wanted("word_place", 5, hidden),)
    settings = LoaderConfig((Phase(0, 16, 4, 8),), 0.0, 1, seed=0, rows="full_sentences", features=features)
    batch = Loader(split_of([[20, 30], [25, 11, 40], [9, 100]]), TWELVE, settings, tmp_path).batch(0)
    contract.check(batch)
    original = batch["input_ids"].copy()
    row, slot = np.nonzero(batch["masked_lm_weights"])
    original[row, batch["masked_lm_positions"][row, slot]] = batch["masked_lm_ids"][row, slot]
    f, g, expected = TWELVE.id_of["f"], TWELVE.id_of["##g"], np.zeros_like(original)
    for i, ids in enumerate(original.tolist()):
        for place, (before, piece, after) in enumerate(zip([0, *ids], ids, [*ids[1:], 0])):
            if piece > TWELVE.mask_id:
                expected[i, place] = 1 if (piece, after) == (f, g) else 3 if (before, piece) == (f, g) else 4
    changed = batch["input_ids"] != original
    assert changed.any() and (expected == 3).any() and (expected[changed] > 0).all()
    if hidden:
        expected[changed] = 0
    np.testing.assert_array_equal(batch["feature_word_place"], expected)
