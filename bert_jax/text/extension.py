"""A WordPiece vocabulary that grows: its pieces keep their numbers, and new ones come after them.

Pieces of the other kinds do not stand alone: in byte-level BPE merges lead to each, in SentencePiece each has its likelihood.
"""

from pathlib import Path
from typing import NamedTuple

from bert_jax.errors import UserError
from bert_jax.text.files import read_vocabulary_text
from bert_jax.text.tokenizer import Tokenizer
from bert_jax.text.wordpiece import WordPiece


class Words(NamedTuple):
    """What a list of words comes to.

    Attributes:
        new: those that the vocabulary lacks, as pieces of it, in the order of the list.
        known: how many are in the vocabulary already, or came before in the list.
        never_found: (number of the line, word) of those that would never be looked up: text is cut inside them before that.
    """

    new: tuple[str, ...]
    known: int
    never_found: tuple[tuple[int, str], ...]


def read_words(path: Path, tokenizer: Tokenizer) -> Words:
    """A file of one word per line, in any case; empty lines mean nothing.

    Raises:
        UserError: it cannot be read, or the vocabulary is not of WordPiece.
    """
    if not isinstance(tokenizer, WordPiece):
        raise UserError(
            "text.new_words can only extend a vocabulary of WordPiece",
            got=f"one of {type(tokenizer).__name__}",
            expected="text.kind=wordpiece",
        )
    known, never_found = 0, []
    new: dict[str, None] = {}  # in order
    for number, line in enumerate(read_vocabulary_text(path, "text.new_words").split("\n"), 1):
        if not (word := line.strip()):
            continue
        piece = tokenizer.whole_word(word)
        if piece is None:
            never_found.append((number, word))
        elif piece in tokenizer.id_of or piece in new:
            known += 1
        else:
            new[piece] = None
    return Words(tuple(new), known, tuple(never_found))


def cuts_of_new_pieces(tokenizer: Tokenizer, old: Tokenizer) -> list[tuple[int, ...]] | None:
    """For each piece that `tokenizer` has more than `old`, the numbers of the pieces that it is to `old`: [UNK] where it is none.

    None unless both follow the same rules and the pieces of `old` have the same numbers in `tokenizer`.
    """
    if tokenizer.content_hash == old.content_hash:
        return []
    both_wordpiece = isinstance(tokenizer, WordPiece) and isinstance(old, WordPiece)
    if not both_wordpiece or tokenizer.settings != old.settings:
        return None
    if tokenizer.do_lower_case != old.do_lower_case or tokenizer.pieces[: old.size] != old.pieces:
        return None
    return [old.cut(piece) for piece in tokenizer.pieces[old.size :]]
