"""A trained model made larger before it is trained on: rows for new pieces, and for more positions."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

# Ends of the paths of all that has a row for each piece.
OF_PIECES = (("embeddings", "word", "embedding"), ("masked_lm", "bias"), ("span_boundary", "bias"))
POSITIONS = ("encoder", "embeddings", "position", "embedding")


class Extended(NamedTuple):
    params: dict
    said: tuple[str, ...]  # what was added and how, for people


def extend(
    params: dict, cuts: Sequence[Sequence[int]], *, unk_id: int, max_position_embeddings: int, position_offset: int
) -> Extended:
    """
    Args:
        params: of any objective.
        cuts: for each new piece the numbers of the pieces that the vocabulary so far cuts it into.
        max_position_embeddings: rows that the table of positions is to have; where it has as many or more, or there is none, it
            stays.
        position_offset: the row of that table at which a row of the batch begins.
    """
    tensors, said = flatten_dict(params), []
    if cuts:
        of_pieces = [path for path in tensors if any(path[-len(end) :] == end for end in OF_PIECES)]
        grown = {path: with_new_pieces(tensors[path], cuts) for path in of_pieces}
        unknown = sum(tuple(cut) == (unk_id,) for cut in cuts)
        names = ", ".join(sorted("/".join(path) for path in grown))
        said.append(
            f"extended by {len(cuts):,} pieces, each the mean of those it was cut into, {unknown:,} of them [UNK] alone: {names}"
        )
        tensors |= grown
    rows = len(tensors.get(POSITIONS, ()))
    if 0 < rows < max_position_embeddings:
        tensors[POSITIONS] = with_more_positions(tensors[POSITIONS], max_position_embeddings, position_offset)
        said.append(f"positions {rows:,} -> {max_position_embeddings:,}, repeated")
    return Extended(unflatten_dict(tensors), tuple(said))


def with_new_pieces(tensor, cuts: Sequence[Sequence[int]]) -> np.ndarray:
    """The rows of the tensor [V, ...], then one for each cut: the mean of the rows of its pieces.

    Of the ways to begin with that Koto et al. 2021 (IndoBERTweet, arXiv 2109.04607) compare, this one needs the fewest steps.
    Biases as well: the logit of a new piece is then the mean of the logits of its pieces, so that it is at first neither likelier
    nor less likely than what stood in its place.
    """
    tensor = np.asarray(tensor)
    return np.concatenate([tensor, np.stack([tensor[list(cut)].mean(axis=0) for cut in cuts])])


def with_more_positions(table, rows: int, offset: int) -> np.ndarray:
    """A table [rows, D] whose rows from `offset` on are those of the given table from there on, again and again.

    So Longformer begins (Beltagy et al. 2020, arXiv 2004.05150, section 5; scripts/convert_model_to_long.ipynb of the released
    code): near by, positions differ as they did before, everywhere but where two copies meet.
    """
    table = np.asarray(table)
    places = np.arange(rows)
    return table[np.where(places < offset, places, offset + (places - offset) % (len(table) - offset))]
