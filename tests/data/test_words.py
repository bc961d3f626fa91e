from types import SimpleNamespace

import numpy as np
import pytest

from bert_jax.data.words import begins_word, require_words
from bert_jax.errors import UserError
from tests.data.small import split_of


def test_a_piece_that_continues_begins_no_word():
    # The pieces of the split are a to f and ##g in turn.
    assert begins_word(split_of([[7]]), np.arange(7)).tolist() == [True] * 6 + [False]


def test_chinese_without_a_segmenter_is_refused_and_told_what_to_do():
    def store(chinese: int, segmenter: str):
        manifest = {"segmenter": segmenter, "source": {"cjk_characters": chinese}, "report": {"characters": 100}}
        return SimpleNamespace(manifest=manifest)

    with pytest.raises(UserError, match="70% of the characters are Chinese") as error:
        require_words(store(70, ""))
    assert "with a segmenter, or give data.mask_unit=token" in str(error.value)
    require_words(store(70, "jieba"))
    require_words(store(5, ""))  # a few characters in other text do no harm
