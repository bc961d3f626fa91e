"""Sentences whose words have tags, as rows of pieces, and back: what a model gives for pieces, for words."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import NamedTuple

import numpy as np

from bert_jax.data.loader import Batch
from bert_jax.errors import UserError
from bert_jax.text.tokenizer import Tokenizer
from bert_jax.text.wordpiece import BasicTokenizer

MIN_SEQ_LENGTH = 3  # a piece between [CLS] and [SEP]
Pieces = Sequence[int]  # of a word


class TaggedExample(NamedTuple):
    """A sentence in words.

    Attributes:
        tags: of each word; None where they are asked for.
        id: file and line.
        document: the words of each sentence of its document, itself among them, in order; () where nothing stands beside it.
        place: its number in the document, from 0.
        text: what the words were cut from; None where the file has words.
        offsets: where in that text each word stands, in characters, end exclusive.
    """

    words: tuple[str, ...]
    tags: tuple[str, ...] | None
    id: str = ""
    document: Sequence[tuple[str, ...]] = ()
    place: int = 0
    text: str | None = None
    offsets: tuple[tuple[int, int], ...] = ()


def from_text(text: str, *, characters: bool = False) -> TaggedExample:
    """A text cut at blanks and around punctuation, Chinese characters one by one (google-research/bert tokenization.py,
    BasicTokenizer, in the case that it has); or, as sets of Chinese names have it, into all its characters but blanks."""
    if characters:
        offsets = tuple((place, place + 1) for place, character in enumerate(text) if not character.isspace())
    else:
        found = BasicTokenizer(do_lower_case=False).aligned_words(text)
        offsets = tuple((min(begin for _, begin, _ in word), max(end for _, _, end in word)) for word in found)
    return TaggedExample(tuple(text[begin:end] for begin, end in offsets), None, text=text, offsets=offsets)


def located(example: TaggedExample) -> tuple[str, tuple[tuple[int, int], ...]]:
    """(text, where in it each word stands). Words of a file are joined by blanks; single characters, if all are, without."""
    if example.text is not None:
        return example.text, example.offsets
    between = "" if all(len(word) == 1 for word in example.words) else " "
    ends = np.cumsum([len(word) + len(between) for word in example.words]) - len(between)
    return between.join(example.words), tuple((int(end) - len(word), int(end)) for word, end in zip(example.words, ends))


class EncodedWords(NamedTuple):
    """N rows [CLS] words [SEP] of L places, padded at the end; [CLS] may stand last. See data.finetune.Rows.

    A word to tag is labelled at its first piece and is so in one row alone. The rows of an example, one at least, follow one
    another in the order of its words.
    """

    input_ids: np.ndarray  # int32[N, L]
    word_ids: np.ndarray  # int32[N, L], as bert_jax/batch.py has them
    labels: np.ndarray  # int32[N, L], at first pieces; 0 elsewhere and where tags are asked for
    lengths: np.ndarray  # int32[N]
    owners: np.ndarray  # int[N]

    def batch(self, rows: np.ndarray, weights: np.ndarray, length: int) -> Batch:
        """See Rows."""
        real = weights[:, None] > 0
        mask = (np.arange(length) < self.lengths[rows, None]) & real
        word_ids = np.where(real, self.word_ids[rows, :length], 0)
        return {
            "input_ids": self.input_ids[rows, :length],
            "input_mask": mask.astype(np.int32),
            "segment_ids": np.zeros(mask.shape, np.int32),
            "word_ids": word_ids,
            "label_ids": self.labels[rows, :length],
            "label_weights": first_pieces(word_ids).astype(np.float32),
        }


def first_pieces(word_ids: np.ndarray) -> np.ndarray:
    """bool[N, L], True where a word to tag begins."""
    return (word_ids > 0) & (word_ids != np.pad(word_ids[:, :-1], ((0, 0), (1, 0))))


def by_word(rows: EncodedWords, values: Sequence[np.ndarray]) -> list[np.ndarray]:
    """For each example what stands at its words, [words, ...], from what stands at the places of each row, [at least its length,
    ...]."""
    parts: list[list[np.ndarray]] = [[] for _ in range(rows.owners[-1] + 1)]
    for owner, first, value in zip(rows.owners, first_pieces(rows.word_ids), values, strict=True):
        parts[owner].append(value[np.flatnonzero(first)])
    return [np.concatenate(part) for part in parts]


def encode(
    examples: Sequence[TaggedExample],
    tokenizer: Tokenizer,
    max_seq_length: int,
    labels: Sequence[str],
    *,
    document_context: bool = False,
) -> EncodedWords:
    """
    Each word is cut into pieces by itself; where nothing is left of it, as of control characters, it is [UNK]. A sentence that
    does not fit goes on in further rows, between words: none is lost, where google-research/bert cuts off. Of a single word that
    does not fit the first pieces are read.

    Args:
        labels: the tags, in order.
        document_context: rows are filled up with what stands around their words in the document, on both sides alike as far as
            there is something (BERT paper, section 5.3: "the maximal document context provided by the data"), whole words, of
            the same sentence too.

    Raises:
        UserError: max_seq_length leaves no room, or a tag is none of the labels.
    """
    if max_seq_length < MIN_SEQ_LENGTH:
        raise UserError("data.max_seq_length is too small", got=max_seq_length, expected=f"at least {MIN_SEQ_LENGTH}")
    room, cut = max_seq_length - 2, _cut(examples, tokenizer, document_context)
    rows: list[tuple[Pieces, list[int], list[int], int]] = []
    for owner, example in enumerate(examples):
        numbers = label_numbers(example, labels)
        words = [cut[word][:room] for word in example.words]
        for begin, end in _stretches([len(word) for word in words], room):
            own, before, after = words[begin:end], [], []
            if document_context:
                around = _outward(example, words, begin, end, cut)
                before, after = _filled(*around, room - sum(map(len, own)))
            word_ids = [0 for word in before for _ in word]
            word_ids += [number for number, word in enumerate(own, 1) for _ in word]
            pieces = [piece for word in (*reversed(before), *own, *after) for piece in word]
            rows.append((pieces, word_ids, numbers[begin:end], owner))
    return _as_arrays(rows, tokenizer, max_seq_length)


def label_numbers(example: TaggedExample, labels: Sequence[str]) -> list[int]:
    """The places of its tags among the labels; 0 for each word where they are asked for."""
    if example.tags is None:
        return [0] * len(example.words)
    if unknown := [tag for tag in example.tags if tag not in labels]:
        raise UserError("a tag is none of those known", got=f"{example.id}: {unknown[0]!r}", expected=" or ".join(labels))
    return [labels.index(tag) for tag in example.tags]


def _cut(examples: Sequence[TaggedExample], tokenizer: Tokenizer, document_context: bool) -> dict[str, Pieces]:
    """The pieces of every word. A blank before it says that it begins a word, to kinds of pieces that tell this by a blank."""
    words = {word for example in examples for word in example.words}
    if document_context:
        documents = {id(example.document): example.document for example in examples}
        words.update(word for document in documents.values() for sentence in document for word in sentence)
    ordered = sorted(words)
    pieces = tokenizer.encode([f" {word}" for word in ordered])
    return {word: found or [tokenizer.unk_id] for word, found in zip(ordered, pieces)}


def _stretches(sizes: Sequence[int], room: int) -> Iterator[tuple[int, int]]:
    """Begin and end of the words of each row, as many as fit, each size at most `room`; one row where there are no words."""
    begin, used = 0, 0
    for number, size in enumerate(sizes):
        if used + size > room:
            yield begin, number
            begin, used = number, 0
        used += size
    yield begin, len(sizes)


def _outward(example: TaggedExample, words: Sequence[Pieces], begin: int, end: int, cut: dict[str, Pieces]) -> tuple:
    """The words before and those behind a stretch of the example, each the nearest first."""
    earlier = (cut[word] for place in reversed(range(example.place)) for word in reversed(example.document[place]))
    later = (cut[word] for sentence in example.document[example.place + 1 :] for word in sentence)
    return chain(reversed(words[:begin]), earlier), chain(words[end:], later)


def _filled(before: Iterable[Pieces], after: Iterable[Pieces], room: int) -> tuple[list[Pieces], list[Pieces]]:
    """The nearest words of both sides that fit together: half of the room each, and what the other side does not need."""
    before, after = _nearest(before, room), _nearest(after, room)
    before = _nearest(before, max(room // 2, room - sum(map(len, after))))
    return before, _nearest(after, room - sum(map(len, before)))


def _nearest(words: Iterable[Pieces], room: int) -> list[Pieces]:
    taken = []
    for word in words:
        room -= len(word)
        if room < 0:
            break
        taken.append(word)
    return taken


def _as_arrays(rows: Sequence[tuple], tokenizer: Tokenizer, max_seq_length: int) -> EncodedWords:
    shape = len(rows), max_seq_length
    input_ids, word_ids, labels = np.full(shape, tokenizer.pad_id, np.int32), np.zeros(shape, np.int32), np.zeros(shape, np.int32)
    lengths = np.zeros(len(rows), np.int32)
    start = 0 if tokenizer.cls_last else 1
    for row, (pieces, words, _, _) in enumerate(rows):
        ids = tokenizer.framed([pieces])
        lengths[row] = len(ids)
        input_ids[row, : len(ids)] = ids
        word_ids[row, start : start + len(words)] = words
    first = first_pieces(word_ids)
    labels[first] = [number for _, _, numbers, _ in rows for number in numbers]  # row by row, as `first` is read
    return EncodedWords(input_ids, word_ids, labels, lengths, np.array([owner for *_, owner in rows], np.int64))
