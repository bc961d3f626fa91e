"""Features of tokens that follow from the text itself, for encoders that sum them into the embeddings (models/features.py)."""

from typing import NamedTuple

import numpy as np

from bert_jax.errors import UserError

NONE, BEGIN, MIDDLE, END, SINGLE = range(5)


class Wanted(NamedTuple):
    """
    Attributes:
        rows: of its table; 0 for one that is no number.
        hidden: 0 where the piece shown is not the original one.
    """

    name: str
    rows: int
    hidden: bool = False


def word_place(is_text: np.ndarray, begins_word: np.ndarray) -> np.ndarray:
    """int32[B, L]: where a piece stands in its word, BEGIN, MIDDLE or END, or SINGLE for a word of one; NONE at [CLS], [SEP] and
    padding. For Chinese these are the labels of word segmentation (Zhao and Kit 2008, I08-4017; "Softword" in Ma et al. 2020,
    arXiv 1908.05969, section 3.1).

    Args:
        is_text: bool[B, L], False at special pieces and padding; what a stretch of text begins with counts as a word's begin.
        begins_word: bool[B, L].
    """
    edge = np.zeros_like(is_text[:, :1])
    begins = is_text & (begins_word | ~np.concatenate([edge, is_text[:, :-1]], axis=1))
    goes_on = np.concatenate([(is_text & ~begins)[:, 1:], edge], axis=1)
    place = np.where(begins, np.where(goes_on, BEGIN, SINGLE), np.where(goes_on, MIDDLE, END))
    return np.where(is_text, place, NONE).astype(np.int32)


FROM_TEXT = {"word_place": word_place}  # name of a feature -> (is_text, begins_word) -> int32[B, L]


def check_wanted(wanted: tuple[Wanted, ...]) -> None:
    """Raises UserError for a feature that cannot be made from text."""
    for name, rows, _ in wanted:
        if name in FROM_TEXT and rows <= SINGLE:
            expected = f"kind=ids and size={SINGLE + 1} or more"
            raise UserError(f"model.features.{name} has no row for each place", got=f"{rows} rows", expected=expected)
        if name not in FROM_TEXT:
            raise UserError(
                "a feature of the model does not follow from text",
                got=f"model.features.{name}",
                expected=" or ".join(FROM_TEXT),
                fix="name its file if it follows from the piece, or give it from Python (bert_jax/models/features.py)",
            )


def feature_arrays(wanted: tuple[Wanted, ...], is_text, begins_word, shown_ids, original_ids) -> dict[str, np.ndarray]:
    """feature_NAME -> int32[B, L] for each that is wanted; the ids, int32[B, L], are those after and before masking."""
    made = {name: FROM_TEXT[name](is_text, begins_word) for name, _, _ in wanted}
    return {f"feature_{name}": np.where(hidden & (shown_ids != original_ids), 0, made[name]) for name, _, hidden in wanted}
