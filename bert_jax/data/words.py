"""Where words begin, for masks that hide whole words."""

import numpy as np

from bert_jax.data.store import Split, Store
from bert_jax.errors import UserError

MAX_CHINESE_SHARE = 0.1  # of the characters; a text with more is taken for Chinese


def begins_word(split: Split, places: np.ndarray) -> np.ndarray:
    """bool, True where the piece at this place of the split begins a word."""
    return split.side("word_starts", places) > 0


def of_same_word(marked: np.ndarray, is_text: np.ndarray, begins_word: np.ndarray) -> np.ndarray:
    """bool[B, L]: pieces of text whose word begins with one that is marked, bool[B, L]."""
    starts = begins_word | ~is_text
    starts[:, 1:] |= ~is_text[:, :-1]
    start = np.maximum.accumulate(np.where(starts, np.arange(is_text.shape[1]), 0), axis=1)
    return is_text & np.take_along_axis(marked, start, axis=1)


def require_words(store: Store) -> None:
    """Raises UserError where the store cannot tell words: Chinese text without a segmenter."""
    if store.manifest["segmenter"]:
        return
    share = store.manifest["source"]["cjk_characters"] / max(store.manifest["report"]["characters"], 1)
    if share > MAX_CHINESE_SHARE:
        raise UserError(
            "what is made of whole words needs to know them, and Chinese text does not show them",
            got=f"{share:.0%} of the characters are Chinese, and the store was prepared without a segmenter",
            fix="prepare the store with a segmenter, or give data.mask_unit=token and no feature word_place",
        )
