"""Where words begin, for masks that hide whole words."""

import numpy as np

from bert_jax.data.store import Split, Store
from bert_jax.errors import UserError
from bert_jax.text.tokenizer import Tokenizer

# The blocks of ideographs that BERT's tokenizer puts blanks around (google-research/bert, tokenization._is_chinese_char).
IDEOGRAPHS = (
    (0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xF900, 0xFAFF), (0x20000, 0x2A6DF), (0x2A700, 0x2CEAF), (0x2F800, 0x2FA1F),
)  # fmt: skip
MAX_IDEOGRAPH_SHARE = 0.1  # a text with more is taken for Chinese


def begins_word(split: Split, places: np.ndarray) -> np.ndarray:
    """bool, True where the piece at this place of the split begins a word."""
    return split.side("word_starts", places) > 0


def require_words(store: Store, tokenizer: Tokenizer) -> None:
    """Raises UserError where the store cannot tell words: Chinese text, each character being a piece, without a segmenter."""
    if store.manifest.get("segmenter"):
        return
    is_ideograph = np.array([len(piece) == 1 and _is_ideograph(piece) for piece in tokenizer.pieces])
    share = store.unigram_counts[is_ideograph].sum() / max(store.unigram_counts.sum(), 1)
    if share > MAX_IDEOGRAPH_SHARE:
        raise UserError(
            "masks of whole words need to know the words, and Chinese text does not show them",
            got=f"{share:.0%} of the pieces are single Chinese characters, and the store was prepared without a segmenter",
            fix="prepare the store with a segmenter, or give data.mask_unit=token",
        )


def _is_ideograph(character: str) -> bool:
    return any(first <= ord(character) <= last for first, last in IDEOGRAPHS)
