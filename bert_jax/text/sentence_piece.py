"""SentencePiece models (.model files), unigram or BPE: those of ALBERT and XLNet, and those learned here.

A published model comes with the text rules of the code it was released with, preprocess_text of google-research/albert
(tokenization.py) and zihangdai/xlnet (prepro_utils.py): blanks collapsed, `` and '' made ", accents removed in any case. A model
learned here removes accents only together with case, as BERT does. Left out: the released code cuts a comma off pieces that end
in a digit and a comma, which transformers does not do.
"""

import hashlib
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from itertools import groupby
from pathlib import Path

from google.protobuf.message import DecodeError
from sentencepiece import SentencePieceProcessor, sentencepiece_model_pb2

from bert_jax.errors import UserError
from bert_jax.text import aligned
from bert_jax.text.files import read_vocabulary
from bert_jax.text.tokenizer import ALBERT, BERT, ROBERTA, XLNET, Encoded, SpecialPieces, Tokenizer

WORD_MARK = "\u2581"
NAMES = (BERT, ALBERT, XLNET, ROBERTA)  # the first whose pieces are all in the model
QUOTES = ("``", "''")
SURROGATE = re.compile("[\ud800-\udfff]")  # half a character: UTF-8 and hence the library have no place for it
_Piece = sentencepiece_model_pb2.ModelProto.SentencePiece
_Spec = sentencepiece_model_pb2.TrainerSpec
MODEL_TYPES = {"unigram": _Spec.UNIGRAM, "bpe": _Spec.BPE}


def _is_accent(character: str) -> bool:
    return unicodedata.combining(character) != 0


@dataclass(frozen=True)
class TextRules:
    """What is done to a text before the model sees it."""

    do_lower_case: bool
    released: bool = False  # as in the code released with ALBERT and XLNet

    def apply(self, text: str) -> str:
        if not text.isascii():
            text = SURROGATE.sub("\ufffd", text)
        if self.released:
            text = " ".join(text.split())
            for quotes in QUOTES:
                text = text.replace(quotes, '"')
        if (self.released or self.do_lower_case) and not text.isascii():
            text = "".join(c for c in unicodedata.normalize("NFKD", text) if not _is_accent(c))
        return text.lower() if self.do_lower_case else text

    def apply_aligned(self, text: str) -> aligned.Aligned:
        """The same, each character with its place in `text`."""
        letters = aligned.aligned(SURROGATE.sub("\ufffd", text))
        if self.released:
            words = list(aligned.words(letters))
            blanks = [(" ", before[-1][2], after[0][1]) for before, after in zip(words, words[1:])]
            letters = [letter for word, blank in zip(words, [*blanks, None]) for letter in (*word, *([blank] if blank else []))]
            for quotes in QUOTES:
                letters = aligned.replaced(letters, quotes, '"')
        if self.released or self.do_lower_case:
            letters = aligned.without_marks(letters, "NFKD", _is_accent)
        return aligned.lower_case(letters) if self.do_lower_case else letters


@dataclass(frozen=True)
class SentencePiece(Tokenizer):
    """`model` is the content of the file, its special pieces made control symbols, which no text can spell."""

    names: SpecialPieces
    model: bytes = field(repr=False)

    @property
    def special(self) -> SpecialPieces:
        return self.names

    @property
    def settings(self) -> dict:
        return {"kind": "sentencepiece", "model": hashlib.sha256(self.model).hexdigest()}

    def begins_word(self, piece: str) -> bool:
        return piece.startswith(WORD_MARK)

    @cached_property
    def rules(self) -> TextRules:
        return TextRules(self.do_lower_case, released=self.names != BERT)

    @cached_property
    def _processor(self) -> SentencePieceProcessor:
        return SentencePieceProcessor(model_proto=self.model)

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        return self._processor.encode([self.rules.apply(text) for text in texts])

    def encode_with_offsets(self, texts: Sequence[str]) -> list[Encoded]:
        return [self._with_offsets(text) for text in texts]

    def _with_offsets(self, text: str) -> Encoded:
        letters = self.rules.apply_aligned(text)
        prepared = aligned.text_of(letters)
        mapping = self._processor.encode(prepared, return_type="offset_mapping")
        starts, ends = self._normal_places(prepared)
        offsets, first = [], 0
        for surface in mapping["pieces"]:
            last = first + len(surface)
            first += len(surface) - len(surface.lstrip(WORD_MARK))
            if first < last:
                offsets.append(aligned.span(letters[starts[first] : ends[last - 1]]))
            else:  # a mark alone: where the next piece begins
                here = letters[starts[last]][1] if starts[last] < len(letters) else len(text)
                offsets.append((here, here))
            first = last
        return self._encoded(mapping["ids"], offsets)

    def _normal_places(self, prepared: str) -> tuple[list[int], list[int]]:
        """Where each character of the normalised text, which the pieces make up, starts and ends in `prepared`.

        The library's own offsets of pieces give nothing to one half of a ligature that is cut in two.
        """
        _, starts = self._processor.normalize(prepared, with_offsets=True)
        ends = starts[1:]
        for number in range(len(ends) - 2, -1, -1):
            if ends[number] == starts[number]:
                ends[number] = ends[number + 1]
        return starts, ends

    def decode(self, ids: Sequence[int]) -> str:
        """The text as the model knows it; special pieces but padding as words of their own."""
        special_ids = {self.id_of[piece] for piece in self.names}
        runs = groupby((i for i in ids if i != self.pad_id), key=special_ids.__contains__)
        return " ".join(" ".join(self.pieces_of(run)) if special else self._processor.decode(list(run)) for special, run in runs)


def load(model_type: str, vocab_file: str | Path, do_lower_case: bool) -> SentencePiece:
    """Reads a .model file.

    Args:
        model_type: "unigram" or "bpe", which the file must be.

    Raises:
        UserError: the file is unreadable, no SentencePiece model or one of another type, or a special piece is missing.
    """
    path = Path(vocab_file)
    model = sentencepiece_model_pb2.ModelProto()
    try:
        model.ParseFromString(read_vocabulary(path))
    except DecodeError:
        model.Clear()
    if not model.pieces:
        raise UserError("the vocabulary file is no SentencePiece model", got=path, expected="a .model file")
    types = {number: name for name, number in MODEL_TYPES.items()}
    found = types.get(model.trainer_spec.model_type, "of another type")
    if found != model_type:
        raise UserError(f"the SentencePiece model is not {model_type}", got=f"{path}: {found}", fix=f"--config.text.kind={found}")
    pieces = tuple(piece.piece for piece in model.pieces)
    names = next((names for names in NAMES if set(pieces).issuperset(names)), None)
    if model.trainer_spec.byte_fallback:
        raise UserError("the SentencePiece model falls back on bytes, which is not supported", got=path)
    if names is None:
        raise UserError(
            "the SentencePiece model lacks special pieces",
            got=path,
            expected="all of " + ", or all of ".join(" ".join(names) for names in NAMES),
            fix="leave text.vocab_file empty to learn one",
        )
    for piece in model.pieces:
        if piece.piece in names and piece.type != _Piece.UNKNOWN:
            piece.type = _Piece.CONTROL
    return SentencePiece(pieces, do_lower_case, names, model.SerializeToString(deterministic=True))


load_unigram = partial(load, "unigram")
load_bpe = partial(load, "bpe")
