"""What files say of pieces (models/features.py): for a feature of kind ids a piece, a tab and a number on each line, that of its
pinyin for instance; for vectors what word2vec and GloVe write as text (interop/word_vectors.py). Pieces are spelled as in the
vocabulary; those that a file does not name have 0, or the zero vector."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from bert_jax.errors import UserError
from bert_jax.interop import word_vectors
from bert_jax.models.features import Feature
from bert_jax.text.tokenizer import Tokenizer


def read(features: Sequence[Feature], tokenizer: Tokenizer) -> dict:
    """What the files of these features give to a model with this vocabulary: a part of its params, empty where none has a file.

    Raises:
        UserError: a file cannot be read, or a line of it, which is named: no such piece, one for the second time, a number out of
            range, a vector of another width.
    """
    tables = {
        feature.of_piece: {"given": (_ids if feature.kind == "ids" else _vectors)(feature, tokenizer)}
        for feature in features
        if feature.file
    }
    return {"encoder": {"embeddings": {"features": tables}}} if tables else {}


def _ids(feature: Feature, tokenizer: Tokenizer) -> np.ndarray:
    """float32[V], whole numbers."""
    table, line_of = np.zeros(tokenizer.size, np.float32), {}
    for number, line in enumerate(_lines(feature), 1):
        piece, _, value = line.rpartition("\t")
        if not value.isdecimal() or int(value) >= feature.size:
            raise _wrong(feature, number, line, f"a piece, a tab and a number from 0 to {feature.size - 1}")
        if line_of.setdefault(piece, number) != number:
            raise _wrong(feature, number, f"{piece!r} for the second time", f"each piece once; it is on line {line_of[piece]}")
        table[_known(piece, feature, number, tokenizer)] = int(value)
    return table


def _vectors(feature: Feature, tokenizer: Tokenizer) -> np.ndarray:
    """float32[V, size]."""
    found = word_vectors.read(Path(feature.file))
    if found.vectors_VD.shape[1] != feature.size:
        got = f"vectors of width {found.vectors_VD.shape[1]}"
        raise _wrong(feature, found.first_line, got, f"width {feature.size}, as model.features.{feature.name}.size says")
    table = np.zeros((tokenizer.size, feature.size), np.float32)
    for line, (piece, vector_D) in enumerate(zip(found.words, found.vectors_VD), found.first_line):
        table[_known(piece, feature, line, tokenizer)] = vector_D
    return table


def _lines(feature: Feature) -> list[str]:
    """A line ends where it does for an editor: what else breaks lines may be a piece."""
    try:
        text = Path(feature.file).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        got = getattr(error, "strerror", None) or error
        raise UserError(f"cannot read {feature.file}", got=got, fix=f"check model.features.{feature.name}.file") from None
    return text.removesuffix("\n").split("\n")


def _known(piece: str, feature: Feature, line: int, tokenizer: Tokenizer) -> int:
    if piece not in tokenizer.id_of:
        raise _wrong(feature, line, f"{piece!r}", "a piece of the vocabulary, spelled as there")
    return tokenizer.id_of[piece]


def _wrong(feature: Feature, line: int, got: object, expected: str) -> UserError:
    return UserError(f"{feature.file}, line {line}, says nothing of a piece", got=got, expected=expected)
