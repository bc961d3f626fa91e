"""Where words begin in text that does not put blanks between them.

Whole-word masking of Chinese needs words (Cui et al., arXiv 1906.08101); WordPiece sees single characters. A segmenter cuts a
sentence into segments whose pieces, one after another, are those of the sentence: next to a Chinese character WordPiece always
ends a word.
"""

import logging
import re
from collections.abc import Callable
from typing import NamedTuple

from bert_jax.errors import UserError
from bert_jax.text.wordpiece import CHINESE_BLOCKS

CHINESE = "".join(f"{chr(first)}-{chr(last)}" for first, last in CHINESE_BLOCKS)
RUN = re.compile(f"[{CHINESE}]+|[^{CHINESE}]+")
CHARACTER = re.compile(f"[{CHINESE}]")
NONE, JIEBA, PRESEGMENTED = "", "jieba", "presegmented"


class Segment(NamedTuple):
    text: str
    is_word: bool  # one word, whatever pieces it has; else the pieces tell where words begin


Segmenter = Callable[[str], list[Segment]]


def open_segmenter(name: str) -> Segmenter | None:
    """ "" gives None: pieces alone tell where words begin. "jieba" cuts runs of Chinese characters into words; "presegmented"
    takes the blanks of the text for it.

    Raises:
        UserError: an unknown name, or jieba is not installed.
    """
    openers = {NONE: lambda: None, JIEBA: _jieba, PRESEGMENTED: lambda: _at_blanks}
    if name not in openers:
        raise UserError("unknown data.segmenter", got=name, expected=", ".join(map(repr, openers)))
    return openers[name]()


def version(name: str) -> str:
    """The version of the library behind a segmenter, for the manifest."""
    if name != JIEBA:
        return ""
    import jieba

    return jieba.__version__


def _at_blanks(sentence: str) -> list[Segment]:
    return [Segment(word, bool(CHARACTER.search(word))) for word in sentence.split()]


def _jieba() -> Segmenter:
    try:
        import jieba
    except ImportError as error:
        raise UserError(
            "data.segmenter=jieba needs the package jieba", got="not installed", fix="pip install -e '.[chinese]'"
        ) from error
    jieba.setLogLevel(logging.WARNING)
    words_of = jieba.Tokenizer()

    def segments(sentence: str) -> list[Segment]:
        found = []
        for run in RUN.findall(sentence):
            is_chinese = CHARACTER.match(run) is not None
            found += [Segment(word, True) for word in words_of.cut(run)] if is_chinese else [Segment(run, False)]
        return found

    return segments
