"""Examples of text as it stands, without a second segment: every token of the split comes exactly once, but for `sentences`.

RoBERTa (arXiv 1907.11692, section 4.2) fills a row with whole sentences: FULL-SENTENCES goes on into the next document, with a
separator between the two; DOC-SENTENCES ends the row there. SpanBERT (arXiv 1907.10529, section 3.3) cuts each document into
segments that fill a row to its last token. Encoders of sentences read them one by one (SimCSE, arXiv 2104.08821, section 3).
"""

from collections.abc import Iterator

import numpy as np

from bert_jax.data.store import Split
from bert_jax.data.stretches import OPENS, blocks, document_of, follow, ranges, starts, target_lengths
from bert_jax.errors import UserError

SPECIALS = 2  # [CLS] text [SEP]
SHORTEST = 2  # pieces of a sentence that is read by itself: one is mostly a full stop


def full_sentences(split: Split, max_seq_length: int, short_seq_prob: float, key: np.uint64) -> Iterator[np.ndarray]:
    """Blocks of stretches (stretches.py): one for each document that an example holds sentences of."""
    _refuse_short(short_seq_prob, "full_sentences")
    return _sentences(split, max_seq_length - SPECIALS, crossing=True)


def doc_sentences(split: Split, max_seq_length: int, short_seq_prob: float, key: np.uint64) -> Iterator[np.ndarray]:
    """Blocks of stretches (stretches.py), one for each example."""
    _refuse_short(short_seq_prob, "doc_sentences")
    return _sentences(split, max_seq_length - SPECIALS, crossing=False)


def _refuse_short(short_seq_prob: float, mode: str) -> None:
    if short_seq_prob:
        raise UserError(
            f"data.rows={mode} draws no lengths",
            got=f"data.short_seq_prob={short_seq_prob}",
            expected="0.0",
            fix="give that, or data.rows=segments",
        )


def _sentences(split: Split, max_tokens: int, *, crossing: bool) -> Iterator[np.ndarray]:
    """A sentence that is longer than a row is cut into units that fill one; what is left of it is a unit like a sentence."""
    place = 0  # the token that the next example begins with
    for first, last in blocks(split):
        # An example that begins in this block ends within the next max_tokens sentences, a token being the least of each.
        sentence = np.arange(first, min(last + max_tokens, split.num_sentences))
        length = split.sentence_offsets[sentence + 1] - split.sentence_offsets[sentence]
        units = -(-length // max_tokens)
        owner = np.repeat(np.arange(len(sentence)), units)
        begin = split.sentence_offsets[sentence][owner] + max_tokens * ranges(np.zeros_like(units), units)
        end = np.minimum(begin + max_tokens, split.sentence_offsets[sentence + 1][owner])
        document = document_of(split, sentence)[owner]

        # Each document that is entered costs a separator: tokens and separators are counted through from the start.
        following = np.searchsorted(end + document, begin + document + max_tokens, side="right")
        if not crossing:
            following = np.minimum(following, np.searchsorted(document, document, side="right"))
        here = int(np.searchsorted(begin, split.sentence_offsets[last]))  # units of this block
        read, _ = follow(int(np.searchsorted(begin, place)), following[:here], 0)
        if len(read):
            place = int(end[following[read[-1]] - 1])
            yield _by_document(split, begin[read], end[following[read] - 1], document[read], document[following[read] - 1])


def _by_document(split: Split, begin: np.ndarray, end: np.ndarray, first: np.ndarray, last: np.ndarray) -> np.ndarray:
    """Stretches of the examples that hold the tokens from begin to end, of the documents first to last."""
    documents = last - first + 1
    document, example = ranges(first, documents), np.repeat(np.arange(len(begin)), documents)
    start = np.maximum(begin[example], split.sentence_offsets[split.document_offsets[document]])
    stop = np.minimum(end[example], split.sentence_offsets[split.document_offsets[document + 1]])
    flags = np.zeros(len(document), np.int64)
    flags[starts(documents)] = OPENS
    return np.stack([start, stop - start, flags], axis=1)


def segments(split: Split, max_seq_length: int, short_seq_prob: float, key: np.uint64) -> Iterator[np.ndarray]:
    """Blocks of stretches (stretches.py), one for each example: a document from its first token on, in segments that fill a row,
    or one random length for the share short_seq_prob of the documents."""
    for first, last in blocks(split):
        block_begin, block_end = split.sentence_offsets[first], split.sentence_offsets[last]
        document = np.arange(*document_of(split, np.array([first, last - 1])) + [0, 1])
        begin = split.sentence_offsets[split.document_offsets[document]]
        end = split.sentence_offsets[split.document_offsets[document + 1]]
        target = target_lengths(document, max_seq_length - SPECIALS, short_seq_prob, key)
        # Segments that begin in this block: a document may have begun in an earlier one and go on in the next.
        lowest = -(-np.maximum(block_begin - begin, 0) // target)
        count = np.maximum(-(-(np.minimum(block_end, end) - begin) // target) - lowest, 0)
        owner = np.repeat(np.arange(len(document)), count)
        start = begin[owner] + target[owner] * ranges(lowest, count)
        length = np.minimum(target[owner], end[owner] - start)
        yield np.stack([start, length, np.full_like(start, OPENS)], axis=1)


def sentences(split: Split, max_seq_length: int, short_seq_prob: float, key: np.uint64) -> Iterator[np.ndarray]:
    """Blocks of stretches (stretches.py), one for each example: every sentence of SHORTEST pieces and more, cut off where the row
    ends."""
    _refuse_short(short_seq_prob, "sentences")
    for first, last in blocks(split):
        begin, end = split.sentence_offsets[first:last], split.sentence_offsets[first + 1 : last + 1]
        length = np.minimum(end - begin, max_seq_length - SPECIALS)
        yield np.stack([begin, length, np.full_like(begin, OPENS)], axis=1)[end - begin >= SHORTEST]
