"""Static vectors of words from a text file: a word and its numbers on each line, with blanks between them. GloVe has nothing else
(Pennington et al. 2014, nlp.stanford.edu/projects/glove), word2vec a first line of its own (Mikolov et al. 2013, arXiv
1301.3781): how many words, and how many numbers each."""

from array import array
from pathlib import Path
from typing import NamedTuple

import numpy as np

from bert_jax.errors import UserError
from bert_jax.text.tokenizer import BERT
from bert_jax.text.wordpiece import BasicTokenizer

CAPITALS = 0.01  # of the words; with more the vocabulary is cased
# Fields of EncoderConfig with which the encoder gives the vectors of the file and nothing else.
ENCODER = {
    "num_hidden_layers": 0,
    "positions": "none",
    "type_vocab_size": 0,
    "embedding_norm": False,
    "hidden_dropout_prob": 0.0,
    "pooler": False,
    "classifier_pooling": "mean",  # without layers [CLS] says nothing about the text
}


class WordVectors(NamedTuple):
    """As the file has them, in its order."""

    words: list[str]
    vectors_VD: np.ndarray  # float32
    first_line: int = 1  # that of the first word; each has a line


def read(path: Path) -> WordVectors:
    """Raises UserError, naming file and line: no UTF-8, a word for the second time, what is no number, too many or too few."""
    line_of: dict[str, int] = {}
    values, width, promised = array("f"), 0, None
    with _opened(path) as file:
        for number, line in enumerate(file, 1):
            try:
                word, *fields = line.decode("utf-8").rstrip("\r\n ").split(" ")  # other kinds of blanks may be words
                numbers = [float(field) for field in fields]
            except ValueError as error:
                raise _wrong(path, number, error, "UTF-8: a word and its numbers, between blanks") from None
            if number == 1 and len(fields) == 1 and word.isdecimal() and fields[0].isdecimal():
                promised = int(word), int(fields[0])
                continue
            width = width or len(numbers)
            if not word or not numbers or len(numbers) != width:
                raise _wrong(path, number, f"{word!r} and {len(numbers)} numbers", f"a word and {width or 'its'} numbers")
            if line_of.setdefault(word, number) != number:
                raise _wrong(path, number, f"{word!r} for the second time", f"each word once; it is on line {line_of[word]}")
            values.extend(numbers)
    if not line_of or promised not in (None, (len(line_of), width)):
        expected = "{:,} of width {}, as its first line says".format(*promised) if promised else "a word and its numbers a line"
        raise UserError(f"{path} does not hold its vectors", got=f"{len(line_of):,} of width {width}", expected=expected)
    found = WordVectors(list(line_of), np.frombuffer(values, np.float32).reshape(-1, width), min(line_of.values()))
    endless = np.flatnonzero(~np.isfinite(found.vectors_VD).all(axis=1))
    if len(endless):
        word = found.words[endless[0]]
        raise _wrong(path, line_of[word], f"{word!r} with a number that is not finite in float32", "finite numbers")
    return found


def _opened(path: Path):
    try:
        return open(path, "rb")
    except OSError as error:
        raise UserError(f"cannot read {path}", got=error.strerror, expected="vectors of word2vec or GloVe as text") from None


def _wrong(path: Path, line: int, got: object, expected: str) -> UserError:
    return UserError(f"{path}, line {line} is no vector of a word", got=got, expected=expected)


class Vocabulary(NamedTuple):
    """
    Attributes:
        pieces: the special ones of BERT, then the words that a text can give.
        vectors_VD: theirs; zeros for special pieces that are not in the file.
        left_out: words of the file that no text gives, because BERT's tokeniser cuts or changes them.
    """

    pieces: list[str]
    vectors_VD: np.ndarray
    do_lower_case: bool
    left_out: list[str]


def vocabulary(found: WordVectors) -> Vocabulary:
    """What of the vectors is used under the rules of BERT's tokeniser; text is lower-cased where the words are."""
    lower = sum(word != word.lower() for word in found.words) <= CAPITALS * len(found.words)
    basic = BasicTokenizer(lower)
    number_of = {word: number for number, word in enumerate(found.words) if word in BERT or basic.whole_word(word) == word}
    pieces = [*BERT, *(word for word in number_of if word not in BERT)]
    vectors_VD = np.zeros((len(pieces), found.vectors_VD.shape[1]), np.float32)
    in_file = [place for place, piece in enumerate(pieces) if piece in number_of]
    vectors_VD[in_file] = found.vectors_VD[[number_of[pieces[place]] for place in in_file]]
    return Vocabulary(pieces, vectors_VD, lower, [word for word in found.words if word not in number_of])
