"""The kinds of tokenisers: how each is read from its file, and learned."""

import difflib
import json
import shutil
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

from bert_jax.config import write_json
from bert_jax.errors import UserError
from bert_jax.text import byte_level, items, learn, sentence_piece, wordpiece
from bert_jax.text.counting import MAX_WORDS, Sample, count_words
from bert_jax.text.tokenizer import Tokenizer


class Kind(NamedTuple):
    file_name: str  # of a vocabulary learned into a workdir
    load: Callable[[Path, bool], Tokenizer]  # vocab_file, do_lower_case
    words: Callable[[bool], Callable[[str], Iterable[str]]]  # do_lower_case -> text -> what is counted
    learn: Callable[[Counter[str], int, bool, Path], None]  # counts, vocab_size, do_lower_case, where it is written
    beside: tuple[str, ...] = ()  # names of the other files in its folder
    may_be_beside: tuple[str, ...] = ()  # of those that only some vocabularies have


KINDS = {
    "wordpiece": Kind(
        "vocab.txt", wordpiece.load, learn.wordpiece_words, learn.save_wordpiece, may_be_beside=(wordpiece.RULES_FILE,)
    ),
    "unigram": Kind("spiece.model", sentence_piece.load_unigram, learn.sentencepiece_words, learn.save_unigram),
    "bpe": Kind("spiece.model", sentence_piece.load_bpe, learn.sentencepiece_words, learn.save_bpe),
    "bytelevel": Kind(
        "vocab.json",
        byte_level.load,
        learn.bytelevel_words,
        learn.save_bytelevel,
        (byte_level.MERGES_FILE,),
        (byte_level.RULES_FILE,),
    ),
    "items": Kind("items.txt", items.load, items.words, items.save),
}


def kind_of(name: str) -> Kind:
    if name not in KINDS:
        near = difflib.get_close_matches(name, KINDS, n=1) or KINDS
        raise UserError("unknown kind of vocabulary", got=f"text.kind {name!r}", expected=f"perhaps {' or '.join(near)}")
    return KINDS[name]


def load(kind: str, vocab_file: str | Path, do_lower_case: bool) -> Tokenizer:
    """Reads a vocabulary: vocab.txt (wordpiece), a .model file (unigram, bpe), vocab.json with merges.txt beside it (bytelevel).

    Raises:
        UserError: an unknown kind, or a file that is not a complete vocabulary of it.
    """
    return kind_of(kind).load(Path(vocab_file), do_lower_case)


def copy(kind: str, vocab_file: Path, folder: Path) -> None:
    """Puts a vocabulary into a folder, under the names that its kind has there."""
    rules = kind_of(kind)
    shutil.copyfile(vocab_file, folder / rules.file_name)
    for name in (*rules.beside, *(name for name in rules.may_be_beside if vocab_file.with_name(name).exists())):
        shutil.copyfile(vocab_file.with_name(name), folder / name)


@dataclass(frozen=True)
class VocabularyReport:
    """What was learned, and how it cuts a sample spread evenly over the text it was learned from. Blanks separate words."""

    kind: str
    content_hash: str
    pieces_asked: int  # a small text gives fewer
    pieces: int
    different_words: int  # in the table of counts at the end
    words_forgotten: int  # occurrences lost because the table was full
    sampled_texts: int
    sampled_words: int
    sampled_pieces: int
    unk_rate: float  # share of the pieces
    pieces_per_word: float
    characters_per_piece: float

    def describe(self) -> str:
        text = f"{self.pieces:,} {self.kind} pieces; on {self.sampled_texts:,} sampled sentences"
        text += f" {self.pieces_per_word:.2f} pieces per word, {self.characters_per_piece:.2f} characters per piece"
        text += f", {100 * self.unk_rate:.3f}% unknown"
        return text + (f"; {self.words_forgotten:,} rare words not counted" if self.words_forgotten else "")


def learn_vocabulary(
    kind: str,
    texts: Iterable[str],
    path: Path,
    *,
    vocab_size: int,
    do_lower_case: bool,
    max_words: int = MAX_WORDS,
) -> VocabularyReport:
    """Learns a vocabulary, writes it to `path` (merges.txt beside it for bytelevel), and its report as JSON beside it.

    Args:
        texts: read once.
        vocab_size: wanted number of pieces; a small text may give fewer.
        max_words: different words counted at the same time; see WordCounts for what happens beyond.

    Raises:
        UserError: an unknown kind, no words, a vocab_size too small for the characters, a folder that cannot be written to.
    """
    rules, sample = kind_of(kind), Sample()
    table = count_words(sample.watch(texts), rules.words(do_lower_case), max_words)
    rules.learn(table.counts, vocab_size, do_lower_case, path)
    tokenizer = load(kind, path, do_lower_case)
    ids = [number for encoded in tokenizer.encode(sample.texts) for number in encoded]
    words = sum(len(text.split()) for text in sample.texts)
    report = VocabularyReport(
        kind=kind,
        content_hash=tokenizer.content_hash,
        pieces_asked=vocab_size,
        pieces=tokenizer.size,
        different_words=len(table.counts),
        words_forgotten=table.forgotten,
        sampled_texts=len(sample.texts),
        sampled_words=words,
        sampled_pieces=len(ids),
        unk_rate=ids.count(tokenizer.unk_id) / max(1, len(ids)),
        pieces_per_word=len(ids) / max(1, words),
        characters_per_piece=sum(map(len, sample.texts)) / max(1, len(ids)),
    )
    write_json(report_path(path), asdict(report))
    return report


def report_path(vocab_file: Path) -> Path:
    return vocab_file.with_name(f"{vocab_file.name}.report.json")


def read_report(vocab_file: Path) -> VocabularyReport | None:
    """The report of a vocabulary that was learned; None for one that came from elsewhere."""
    try:
        return VocabularyReport(**json.loads(report_path(vocab_file).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None
