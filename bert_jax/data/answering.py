"""Questions about paragraphs as rows: the question, and a window of the paragraph in which the answer may stand.

Windows, labels and the rule of the widest context are those of google-research/bert run_squad.convert_examples_to_features.
Answers are marked by characters: the pieces that share a character with the answer. The released code knows the words between
blanks alone, and looks within them for the pieces that spell the answer (_improve_answer_span); here nothing is to be looked
for, and as an answer is cut out of the paragraph by its characters, nothing is to be put together again (get_final_text).
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from bert_jax.data.finetune import read_places
from bert_jax.data.loader import Batch
from bert_jax.errors import UserError
from bert_jax.text.tokenizer import Tokenizer

NOWHERE = -1  # where an answer begins that counts as right and does not stand in the paragraph as it is spelled
SPECIAL_PIECES = 3  # of a row: [CLS], [SEP] and [SEP]
LENGTH_SHARE = 0.01  # of a window's length that counts as context, so that the longer of two is preferred (_check_is_max_context)


class Question(NamedTuple):
    """
    Attributes:
        answers: (text, its first character in the paragraph or NOWHERE) each, all of them right; the first that stands in the
            paragraph is learned. () where there is none, or it is asked for.
        impossible: the paragraph holds no answer; answers are ().
        id: its name in the file.
        title: of the article that the paragraph is from.
    """

    question: str
    paragraph: str
    answers: tuple[tuple[str, int], ...] = ()
    impossible: bool = False
    id: str = ""
    title: str = ""


class Windows(NamedTuple):
    """N rows [CLS] question [SEP] window [SEP] of L places, one or several for each question; [CLS] may stand last.

    Attributes:
        input_ids: int32[N, L].
        first_lengths: int32[N], the question with the special pieces beside it: the place of the window's first piece.
        lengths: int32[N], the whole row.
        owners: int64[N], the number of the question.
        begins: int32[N], the number in its paragraph of the window's first piece.
        sizes: int32[N], pieces of the paragraph in the window.
        cls_positions: int32[N].
        start_positions, end_positions: int32[N], of the first and the last piece of the answer, of [CLS] where it is not whole
            in the window.
        offsets: for each question int32[pieces, 2], the characters of the paragraph that each of its pieces comes from.
        questions_cut: how many questions were longer than max_query_length.
        answers_lost: how many questions have an answer that is whole in no window.
    """

    input_ids: np.ndarray
    first_lengths: np.ndarray
    lengths: np.ndarray
    owners: np.ndarray
    begins: np.ndarray
    sizes: np.ndarray
    cls_positions: np.ndarray
    start_positions: np.ndarray
    end_positions: np.ndarray
    offsets: tuple[np.ndarray, ...]
    questions_cut: int
    answers_lost: int

    def batch(self, rows: np.ndarray, weights: np.ndarray, length: int) -> Batch:
        """See bert_jax/data/finetune.py, Rows."""
        return {
            **read_places(self, rows, weights, length),
            "start_positions": self.start_positions[rows],
            "end_positions": self.end_positions[rows],
            "label_weights": weights.astype(np.float32),
        }

    def of_question(self, number: int) -> np.ndarray:
        """int64[W], the rows of a question."""
        return np.arange(*np.searchsorted(self.owners, (number, number + 1)))


def encode(
    questions: Sequence[Question], tokenizer: Tokenizer, *, max_seq_length: int, doc_stride: int, max_query_length: int
) -> Windows:
    """Every window of every question, in order. A paragraph without pieces has one, of size 0.

    Args:
        max_seq_length: places of a row.
        doc_stride: pieces from the begin of one window to that of the next.
        max_query_length: pieces of a question that are kept, the first ones.

    Raises:
        UserError: no window has room for a piece, or the stride is none.
    """
    if max_seq_length < max_query_length + SPECIAL_PIECES + 1 or max_query_length < 1:
        raise UserError(
            "data.max_seq_length has no room for a question and a piece of the paragraph",
            got=f"max_seq_length {max_seq_length}, max_query_length {max_query_length}",
            expected=f"at least max_query_length + {SPECIAL_PIECES + 1}, and max_query_length at least 1",
        )
    if doc_stride < 1:
        raise UserError("data.doc_stride is too small", got=doc_stride, expected="at least 1")
    asked = tokenizer.encode([question.question for question in questions])
    texts = list(dict.fromkeys(question.paragraph for question in questions))
    read = dict(zip(texts, tokenizer.encode_with_offsets(texts), strict=True))
    offsets = {text: np.array(pieces.offsets, np.int32).reshape(-1, 2) for text, pieces in read.items()}
    rows, places, lost = [], [], 0
    for number, (question, ids) in enumerate(zip(questions, asked, strict=True)):
        ids, paragraph = ids[:max_query_length], read[question.paragraph].ids
        answer = answer_pieces(question, offsets[question.paragraph])
        found = windows(len(paragraph), max_seq_length - SPECIAL_PIECES - len(ids), doc_stride)
        framed = [tokenizer.framed((ids, paragraph[begin : begin + size])) for begin, size in found]
        rows += framed
        marked = [_places(len(ids), window, answer, tokenizer.cls_last) for window in found]
        places += [(number, *window, *place) for window, place in zip(found, marked, strict=True)]
        lost += bool(question.answers) and all(start == cls for _, cls, start, _ in marked)
    return _stacked(
        rows,
        places,
        max_seq_length,
        tokenizer.pad_id,
        offsets=tuple(offsets[question.paragraph] for question in questions),
        questions_cut=sum(len(ids) > max_query_length for ids in asked),
        answers_lost=lost,
    )


def windows(pieces: int, room: int, stride: int) -> list[tuple[int, int]]:
    """(number of the first piece, size) of the windows over a paragraph of so many pieces, until one reaches its end.

    Each begins `stride` pieces after the one before, or right behind it where that is less.
    """
    found, begin = [], 0
    while True:
        found.append((begin, min(pieces - begin, room)))
        if sum(found[-1]) == pieces:
            return found
        begin += min(room, stride)


def answer_pieces(question: Question, offsets: np.ndarray) -> tuple[int, int] | None:
    """The numbers of the first and the last piece that have a character of the answer; None where there is none."""
    placed = [(begin, begin + len(text)) for text, begin in question.answers if begin != NOWHERE]
    if not placed:
        return None
    begin, end = placed[0]
    inside = np.flatnonzero((offsets[:, 0] < end) & (offsets[:, 1] > begin))
    return (int(inside[0]), int(inside[-1])) if len(inside) else None


def _places(asked: int, window: tuple[int, int], answer: tuple[int, int] | None, cls_last: bool) -> tuple[int, int, int, int]:
    """(first_length, place of [CLS], start, end) of the row of a window, whose question has so many pieces."""
    begin, size = window
    first = asked + (1 if cls_last else 2)
    cls = first + size + 1 if cls_last else 0
    if answer is None or answer[0] < begin or answer[1] >= begin + size:
        return first, cls, cls, cls
    return first, cls, first + answer[0] - begin, first + answer[1] - begin


def _stacked(rows: list[list[int]], places: list[tuple[int, ...]], length: int, pad_id: int, **facts) -> Windows:
    input_ids = np.full((len(rows), length), pad_id, np.int32)
    for number, row in enumerate(rows):
        input_ids[number, : len(row)] = row
    owners, begins, sizes, first_lengths, cls, starts, ends = np.array(places, np.int32).reshape(-1, 7).T
    return Windows(
        input_ids,
        first_lengths,
        np.array([len(row) for row in rows], np.int32),
        owners.astype(np.int64),
        begins,
        sizes,
        cls,
        starts,
        ends,
        **facts,
    )


def has_max_context(begins: np.ndarray, sizes: np.ndarray) -> list[np.ndarray]:
    """bool[size] for each of the windows of one question: whether a piece has the most context there.

    Its context is the lesser of the numbers of pieces before and behind it in the window; of equals the first window has it.
    """
    number = np.arange(int((begins + sizes).max()))
    before, behind = number - begins[:, None], (begins + sizes)[:, None] - 1 - number
    context = np.where((before >= 0) & (behind >= 0), np.minimum(before, behind) + LENGTH_SHARE * sizes[:, None], -1.0)
    best = context.argmax(axis=0) if len(number) else number
    return [best[begin : begin + size] == window for window, (begin, size) in enumerate(zip(begins, sizes, strict=True))]
