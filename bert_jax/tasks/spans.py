"""From the logits of the windows of a question to its answers, the best and the next best.

As google-research/bert run_squad.write_predictions, but for one thing: there the spans are made of the 20 best begins and the 20
best ends of a window, here every span of a window is looked at, so that the best one cannot be missed.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from bert_jax.data.answering import Question, Windows, has_max_context
from bert_jax.errors import UserError
from bert_jax.tasks.form import Answer


class Span(NamedTuple):
    """Characters of a paragraph, end exclusive, None for no answer, and the sum of the logits of begin and end."""

    text: str
    begin: int | None
    end: int | None
    score: float


def answers(
    questions: Sequence[Question],
    rows: Windows,
    outputs: Sequence[dict],
    n_best_size: int,
    max_answer_length: int,
    null_threshold: float | None = None,
) -> list[Answer]:
    """
    Args:
        outputs: for each row start_logits_BL and end_logits_BL without the axis B.
        max_answer_length: in pieces.
        null_threshold: the answer is "" where null_odds are higher; None: wherever there is any span, one is the answer.

    Returns:
        For each question answer, begin, end (characters, None for ""), score; null_odds, the score of [CLS], the least over the
        windows, minus that of the best span; n_best, of different texts, with probabilities among them, "" too where it may be
        the answer. null_odds are None where the paragraph has no span.
    """
    if n_best_size < 1 or max_answer_length < 1:
        raise UserError(
            "predict.n_best_size or predict.max_answer_length is too small",
            got=f"{n_best_size}, {max_answer_length}",
            expected="at least 1",
        )
    found = []
    for number, question in enumerate(questions):
        of_question = rows.of_question(number)
        logits = [_logits(outputs[row]) for row in of_question]
        best = n_best(spans(question, rows, of_question, logits, max_answer_length), n_best_size)
        null = min(starts[cls] + ends[cls] for (starts, ends), cls in zip(logits, rows.cls_positions[of_question], strict=True))
        found.append(_answer(best, Span("", None, None, float(null)), null_threshold))
    return found


def _answer(best: Sequence[Span], nothing: Span, null_threshold: float | None) -> Answer:
    null_odds = nothing.score - best[0].score if best else None
    may_be_nothing = not best or null_threshold is not None
    says_nothing = not best or (may_be_nothing and null_odds > null_threshold)
    said = nothing if says_nothing else best[0]
    listed = sorted([*best, nothing] if may_be_nothing else best, key=lambda span: -span.score)
    return {
        "answer": said.text,
        "begin": said.begin,
        "end": said.end,
        "score": said.score,
        "null_odds": null_odds,
        "n_best": with_probabilities(listed),
    }


def _logits(output: dict) -> tuple[np.ndarray, np.ndarray]:
    return np.asarray(output["start_logits_BL"], np.float64), np.asarray(output["end_logits_BL"], np.float64)


def spans(
    question: Question, rows: Windows, of_question: np.ndarray, logits: Sequence[tuple[np.ndarray, np.ndarray]], longest: int
) -> Iterator[Span]:
    """Those of at most `longest` pieces that begin where their first piece has the most context, the best first, then the first.

    A span of nothing but blanks is none.
    """
    scores, firsts, lasts = [], [], []
    begins, sizes = rows.begins[of_question], rows.sizes[of_question]
    own = zip(of_question, logits, has_max_context(begins, sizes), strict=True)
    for row, (start_L, end_L), is_widest in own:
        place, size = rows.first_lengths[row], rows.sizes[row]
        starts = np.where(is_widest, start_L[place : place + size], -np.inf)
        ends = np.concatenate([end_L[place : place + size], np.full(longest, -np.inf)])
        first, further = np.meshgrid(np.arange(size), np.arange(longest), indexing="ij")
        scores.append((starts[:, None] + ends[first + further]).ravel())
        firsts.append((rows.begins[row] + first).ravel())
        lasts.append((rows.begins[row] + first + further).ravel())
    scores, firsts, lasts = map(np.concatenate, (scores, firsts, lasts))
    offsets = rows.offsets[rows.owners[of_question[0]]]
    for place in np.argsort(-scores, kind="stable"):
        if not scores[place] > -np.inf:  # NaN is no score either
            return
        begin, end = int(offsets[firsts[place], 0]), int(offsets[lasts[place], 1])
        stretch = question.paragraph[begin:end]
        begin, end = begin + len(stretch) - len(stretch.lstrip()), end - len(stretch) + len(stretch.rstrip())
        if begin < end:
            yield Span(question.paragraph[begin:end], begin, end, float(scores[place]))


def n_best(found: Iterator[Span], size: int) -> list[Span]:
    """The first spans of different texts."""
    best: dict[str, Span] = {}
    for span in found:
        best.setdefault(span.text, span)
        if len(best) == size:
            break
    return list(best.values())


def with_probabilities(found: Sequence[Span]) -> list[dict]:
    """The softmax of the scores of those that are listed (run_squad._compute_softmax)."""
    powers = np.exp([span.score - found[0].score for span in found])
    return [
        {"answer": span.text, "begin": span.begin, "end": span.end, "probability": float(probability)}
        for span, probability in zip(found, powers / powers.sum(), strict=True)
    ]
