from types import SimpleNamespace

import numpy as np
import pytest

from bert_jax.data.words import begins_word, require_words
from bert_jax.errors import UserError
from bert_jax.text.wordpiece import SPECIAL_PIECES, WordPiece
from tests.data.small import split_of

CHINESE = WordPiece((*SPECIAL_PIECES, "a", "中", "文", "。"), True)


def test_a_piece_that_continues_begins_no_word():
    # The pieces of the split are a to f and ##g in turn.
    assert begins_word(split_of([[7]]), np.arange(7)).tolist() == [True] * 6 + [False]


def test_chinese_without_a_segmenter_is_refused_and_told_what_to_do():
    counts = np.array([0, 0, 0, 0, 0, 20, 40, 30, 10])
    with pytest.raises(UserError, match="70% of the pieces are single Chinese characters") as error:
        require_words(SimpleNamespace(unigram_counts=counts, manifest={}), CHINESE)
    assert "with a segmenter, or give data.mask_unit=token" in str(error.value)
    require_words(SimpleNamespace(unigram_counts=counts, manifest={"segmenter": "jieba"}), CHINESE)
    counts[5] = 2000  # a few characters in other text do no harm
    require_words(SimpleNamespace(unigram_counts=counts, manifest={}), CHINESE)
