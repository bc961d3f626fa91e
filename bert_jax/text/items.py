"""Items of a history, separated by blanks, each a piece of its own: sequences without any language, as BERT4Rec has them."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from bert_jax.errors import UserError
from bert_jax.text.tokenizer import BERT, Encoded, SpecialPieces, Tokenizer
from bert_jax.text.wordpiece import read_pieces, save_vocab


@dataclass(frozen=True)
class Items(Tokenizer):
    @property
    def special(self) -> SpecialPieces:
        return BERT

    @property
    def settings(self) -> dict:
        return {"kind": "items"}

    def begins_word(self, piece: str) -> bool:
        return True

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        return [[self._number(item) for item in text.split()] for text in texts]

    def encode_with_offsets(self, texts: Sequence[str]) -> list[Encoded]:
        return [self._with_offsets(text) for text in texts]

    def _with_offsets(self, text: str) -> Encoded:
        offsets, end = [], 0
        for item in text.split():
            start = text.index(item, end)
            end = start + len(item)
            offsets.append((start, end))
        return self._encoded([self._number(text[start:end]) for start, end in offsets], offsets)

    def decode(self, ids: Sequence[int]) -> str:
        return " ".join(piece for piece in self.pieces_of(ids) if piece != BERT.pad)

    def _number(self, item: str) -> int:
        return self.unk_id if item in BERT else self.id_of.get(item, self.unk_id)


def load(vocab_file: str | Path, do_lower_case: bool) -> Items:
    """Reads a list of one item per line, the special pieces of BERT among them.

    Raises:
        UserError: the file is no such list, or items are to be in lower case.
    """
    if do_lower_case:
        raise UserError("items are names, not words", got="text.do_lower_case=True", expected="False with text.kind=items")
    return Items(read_pieces(Path(vocab_file)), do_lower_case)


def words(do_lower_case: bool) -> Callable[[str], Iterable[str]]:
    return str.split


def save(counts: Counter[str], vocab_size: int, do_lower_case: bool, path: Path) -> None:
    """The special pieces, then the most frequent items, as many as there is room for.

    Raises:
        UserError: there are no items, or no room for any.
    """
    by_frequency = sorted(counts.keys() - {*BERT}, key=lambda item: (-counts[item], item))
    if not by_frequency:
        raise UserError("there are no items to make a vocabulary of", fix="check data.input_file")
    if vocab_size <= len(BERT):
        raise UserError("text.vocab_size leaves no room for items", got=vocab_size, expected=f"more than {len(BERT)}")
    save_vocab([*BERT, *by_frequency[: vocab_size - len(BERT)]], path)
