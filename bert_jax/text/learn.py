"""Learning a vocabulary from text: the same text gives the same pieces in the same order, always.

Words are counted first, in bounded memory, and the trainers of `tokenizers` and `sentencepiece` see the counts only. Left to
itself the Rust trainer numbers the characters in the order of a hash map, which changes from run to run, and breaks ties between
equally frequent merges by those numbers: so the alphabet is handed to it in a fixed order. SentencePiece sums likelihoods in the
order of its threads: so it has one.
"""

import io
import json
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from itertools import accumulate
from pathlib import Path

from sentencepiece import SentencePieceTrainer
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

from bert_jax.errors import UserError
from bert_jax.text import byte_level, wordpiece
from bert_jax.text.files import write_vocabulary
from bert_jax.text.sentence_piece import TextRules
from bert_jax.text.tokenizer import BERT, ROBERTA

CHARACTER_COVERAGE = 0.9999  # of all characters of the text; what holds rarer ones becomes [UNK]
MIN_MERGE_COUNT = 2  # a piece seen once teaches nothing
WORDS_PER_CHUNK = 10_000
MAX_CHARS = 200  # longer stretches without a blank are counted in parts: they would fill the table


def wordpiece_words(do_lower_case: bool) -> Callable[[str], Iterator[str]]:
    """What is counted for WordPiece: chunks as they stand in the text, and of long ones the words."""
    basic = wordpiece.BasicTokenizer(do_lower_case)

    def words_of(text: str) -> Iterator[str]:
        for chunk in basic.chunks(text):
            if len(chunk) <= MAX_CHARS:
                yield chunk
            else:  # words too long are [UNK]; the trainer would need minutes for one of a million characters
                yield from (word for word in basic.words(chunk) if len(word) <= wordpiece.MAX_CHARS_PER_WORD)

    return words_of


def sentencepiece_words(do_lower_case: bool) -> Callable[[str], Iterator[str]]:
    rules = TextRules(do_lower_case)
    return lambda text: (part for word in rules.apply(text).split() for part in _parts(word))


def bytelevel_words(do_lower_case: bool) -> Callable[[str], Iterator[str]]:
    """Each word with the blank before it, which is part of its pieces."""

    def words_of(text: str) -> Iterator[str]:
        for number, word in enumerate(byte_level.prepared(text, do_lower_case).split()):
            yield from _parts(f" {word}" if number else word)

    return words_of


def _parts(word: str) -> Iterable[str]:
    return (word[start : start + MAX_CHARS] for start in range(0, len(word), MAX_CHARS))


def learn_wordpiece(counts: Counter[str], vocab_size: int, do_lower_case: bool) -> list[str]:
    """The special pieces, the characters, then the merges by frequency.

    Raises:
        UserError: there are no words, or the characters alone do not fit into vocab_size.
    """
    basic = wordpiece.BasicTokenizer(do_lower_case)
    words: Counter[str] = Counter()
    for chunk, count in counts.items():
        for word in basic.words(chunk):
            words[word] += count
    _check_words(words)
    alphabet = _alphabet(words)
    fixed = [*BERT, *alphabet]
    _check_size(vocab_size, fixed, f"{len(BERT)} special pieces and {len(alphabet)} for single characters")
    tokenizer = Tokenizer(models.WordPiece(unk_token=BERT.unk))
    spelled = _spell_out({word: count for word, count in words.items() if set(alphabet).issuperset(word)})
    _train(tokenizer, trainers.WordPieceTrainer, spelled, vocab_size, fixed)
    return _in_order(tokenizer)


def learn_bytelevel(counts: Counter[str], vocab_size: int) -> tuple[list[str], list[tuple[str, str]]]:
    """The special pieces as RoBERTa names them, the 256 bytes, then the merges by frequency; and the merges themselves.

    Raises:
        UserError: there are no words, or vocab_size is too small for the bytes.
    """
    _check_words(counts)
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    fixed = [ROBERTA.cls, ROBERTA.pad, ROBERTA.sep, ROBERTA.unk, ROBERTA.mask, *alphabet]  # RoBERTa has its mask at the end
    _check_size(vocab_size, fixed, f"{len(ROBERTA)} special pieces and {len(alphabet)} bytes")
    cut = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    words: Counter[str] = Counter()
    for chunk, count in counts.items():
        for word, _ in cut.pre_tokenize_str(chunk):
            words[word] += count
    tokenizer = Tokenizer(models.BPE())
    _train(tokenizer, trainers.BpeTrainer, _spell_out(words), vocab_size, fixed)
    return _in_order(tokenizer), [tuple(merge) for merge in json.loads(tokenizer.to_str())["model"]["merges"]]


def learn_sentencepiece(counts: Counter[str], vocab_size: int, model_type: str) -> bytes:
    """A .model file, its first five pieces the special ones as BERT names them. A small text may give fewer than vocab_size.

    Raises:
        UserError: there are no words, or vocab_size is too small for the characters.
    """
    _check_words(counts)
    model = io.BytesIO()
    try:
        SentencePieceTrainer.train(
            sentence_iterator=(f"{word}\t{counts[word]}" for word in sorted(counts)),
            input_format="tsv",
            model_writer=model,
            model_type=model_type,
            vocab_size=vocab_size,
            hard_vocab_limit=False,
            character_coverage=CHARACTER_COVERAGE,
            pad_id=0,
            unk_id=1,
            bos_id=-1,
            eos_id=-1,
            pad_piece=BERT.pad,
            unk_piece=BERT.unk,
            control_symbols=[BERT.cls, BERT.sep, BERT.mask],
            num_threads=1,
            minloglevel=2,
        )
    except RuntimeError as error:
        raise UserError(
            f"sentencepiece cannot learn a {model_type} vocabulary from this text",
            got=f"vocab_size {vocab_size}: {error}",
            expected="room for five special pieces and for every character of the text",
            fix="raise text.vocab_size, or give more text",
        ) from None
    return model.getvalue()


def save_wordpiece(counts: Counter[str], vocab_size: int, do_lower_case: bool, path: Path) -> None:
    wordpiece.save_vocab(learn_wordpiece(counts, vocab_size, do_lower_case), path)


def save_bytelevel(counts: Counter[str], vocab_size: int, do_lower_case: bool, path: Path) -> None:
    byte_level.save(*learn_bytelevel(counts, vocab_size), path)


def save_unigram(counts: Counter[str], vocab_size: int, do_lower_case: bool, path: Path) -> None:
    write_vocabulary(path, learn_sentencepiece(counts, vocab_size, "unigram"))


def save_bpe(counts: Counter[str], vocab_size: int, do_lower_case: bool, path: Path) -> None:
    write_vocabulary(path, learn_sentencepiece(counts, vocab_size, "bpe"))


def _check_words(words: Counter[str]) -> None:
    if not words:
        raise UserError("there are no words to learn a vocabulary from", fix="check data.input_file")


def _check_size(vocab_size: int, fixed: list[str], what: str) -> None:
    if len(fixed) >= vocab_size:
        raise UserError(
            "the vocabulary is too small for the characters of this text",
            got=f"vocab_size {vocab_size}",
            expected=f"more than {len(fixed)}: {what}",
            fix="raise text.vocab_size",
        )


def _alphabet(counts: Counter[str]) -> list[str]:
    """The most frequent characters as pieces, sorted: each plain, and with ## where it comes inside a word."""
    characters: Counter[str] = Counter()
    inside: set[str] = set()
    for word, count in counts.items():
        for character in word:
            characters[character] += count
        inside.update(word[1:])
    by_frequency = sorted(characters, key=lambda character: (-characters[character], character))
    covered = list(accumulate(characters[character] for character in by_frequency))
    kept = by_frequency[: bisect_left(covered, CHARACTER_COVERAGE * characters.total()) + 1]
    return sorted([*kept, *("##" + character for character in kept if character in inside)])


def _spell_out(counts: dict[str, int]) -> Iterator[str]:
    """Each word as often as it was seen: the trainer takes texts, not counts."""
    for word in sorted(counts):
        for start in range(0, counts[word], WORDS_PER_CHUNK):
            yield " ".join([word] * min(WORDS_PER_CHUNK, counts[word] - start))


def _train(tokenizer: Tokenizer, trainer: Callable, texts: Iterable[str], vocab_size: int, fixed: list[str]) -> None:
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    settings = {"vocab_size": vocab_size, "min_frequency": MIN_MERGE_COUNT, "special_tokens": fixed, "show_progress": False}
    tokenizer.train_from_iterator(texts, trainer(**settings))


def _in_order(tokenizer: Tokenizer) -> list[str]:
    number_of = tokenizer.get_vocab()
    return sorted(number_of, key=number_of.get)
