"""A vocabulary of twelve pieces, and stores small enough to check by eye."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from bert_jax.data.prepare import prepare
from bert_jax.data.report import Report
from bert_jax.data.store import Split, Store, open_store
from bert_jax.data.units import Unit
from bert_jax.text.wordpiece import SPECIAL_PIECES, WordPiece

TWELVE = WordPiece((*SPECIAL_PIECES, "a", "b", "c", "d", "e", "f", "##g"), True)


def many_documents(count: int = 40) -> list[list[str]]:
    """Different documents of 1 to 12 sentences of 1 to 9 pieces, the same at each call."""
    rng = np.random.default_rng(7)

    def sentence() -> str:
        return " ".join(rng.choice(list("abcdef"), rng.integers(1, 10)))

    return [[sentence() for _ in range(rng.integers(1, 13))] for _ in range(count)]


def units_of(documents: Iterable[list[str]]) -> Iterator[Unit]:
    """Each document as a unit of its own."""
    for document in documents:
        yield Unit("sentences", "".join(f"{sentence}\n" for sentence in document).encode(), "test")


def make_store(
    folder: Path,
    documents: Iterable[list[str]] | None = None,
    held_out_fraction: float = 0.2,
    tokenizer: WordPiece = TWELVE,
    **settings,
) -> Store:
    def read_units(report: Report) -> Iterator[Unit]:
        return units_of(many_documents() if documents is None else documents)

    prepare(read_units, tokenizer, folder, held_out_fraction=held_out_fraction, source="test", **settings)
    return open_store(folder, tokenizer)


def split_of(sentence_lengths: list[list[int]]) -> Split:
    """A split in memory with these sentence lengths per document; token number t is 5 + t mod 7, so never a special piece."""
    lengths = [length for document in sentence_lengths for length in document]
    pieces = (5 + np.arange(sum(lengths)) % 7).astype(np.uint16)
    return Split(
        identity=repr(sentence_lengths),
        shards=(pieces,),
        side_shards={"word_starts": (TWELVE.starts_word[pieces].astype(np.uint8),)},
        sentence_offsets=np.cumsum([0, *lengths]),
        document_offsets=np.cumsum([0, *map(len, sentence_lengths)]),
    )
