from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bert_jax.data.answering import Question, encode
from bert_jax.errors import UserError
from bert_jax.tasks import spans
from bert_jax.tasks.answering import ANSWERING, ANSWERING_OR_NONE, settled
from tests.data.small import TWELVE

SETTINGS = {"max_seq_length": 8, "doc_stride": 2, "max_query_length": 2}
DECODING = {"n_best_size": 20, "max_answer_length": 30}


def outputs_of(start_NL, end_NL) -> list[dict]:
    return [{"start_logits_BL": start, "end_logits_BL": end} for start, end in zip(start_NL, end_NL, strict=True)]


def one_row(text: str, starts: list[float], ends: list[float], **changes) -> dict:
    """The answer about a paragraph of one window behind a question of one piece; logits from [CLS] on, of the other places 0."""
    question = Question("a", text)
    rows = encode([question], TWELVE, **SETTINGS | {"max_seq_length": 16})
    assert len(rows.lengths) == 1
    found = outputs_of(*([np.pad(np.array(logits, np.float32), (0, 16 - len(logits)))] for logits in (starts, ends)))
    return spans.answers([question], rows, found, **DECODING | changes)[0]


def test_an_answer_by_hand():
    #                        CLS  a SEP b  c  d
    found = one_row("b c  d", [1, 9, 9, 0, 5, 1], [2, 9, 9, 4, 1, 3])
    assert (found["answer"], found["begin"], found["end"], found["score"]) == ("c  d", 2, 6, 8.0)
    assert found["null_odds"] == 3 - 8
    assert [each["answer"] for each in found["n_best"]] == ["c  d", "c", "b", "d", "b c  d", "b c"]  # 8 6 4 4 3 1
    powers = np.exp([8, 6, 4, 4, 3, 1])
    assert [each["probability"] for each in found["n_best"]] == pytest.approx(powers / powers.sum())


def test_the_same_text_is_listed_once_where_it_is_best():
    found = one_row("b c b", [0, 0, 0, 1, 0, 2], [0, 0, 0, 1, 0, 2], max_answer_length=1)
    assert [(each["answer"], each["begin"]) for each in found["n_best"]] == [("b", 4), ("c", 2)]


def test_no_answer_is_said_above_the_threshold_alone():
    logits = [3, 0, 0, 2, 0], [3, 0, 0, 2, 0]
    assert one_row("b c", *logits)["answer"] == "b"
    said = one_row("b c", *logits, null_threshold=2.0)
    assert (said["answer"], said["null_odds"]) == ("b", 2.0)
    unsaid = one_row("b c", *logits, null_threshold=1.9)
    assert (unsaid["answer"], unsaid["begin"], unsaid["end"], unsaid["score"]) == ("", None, None, 6.0)
    assert [each["answer"] for each in unsaid["n_best"]] == ["", "b", "b c", "c"]
    assert unsaid["n_best"] == said["n_best"]


def test_a_paragraph_without_pieces_is_answered_by_nothing():
    found = one_row(" ", [1], [1])
    assert (found["answer"], found["begin"], found["null_odds"]) == ("", None, None)
    assert found["n_best"] == [{"answer": "", "begin": None, "end": None, "probability": 1.0}]


def test_logits_that_are_no_numbers_give_no_span():
    assert one_row("b c", [0, 0, 0, np.nan, 1], [0, 0, 0, 0, 0])["answer"] == "c"
    assert one_row("b", [0, 0, 0, np.nan], [0, 0, 0, 0])["answer"] == ""


def test_with_cls_last_the_score_of_no_answer_is_that_of_its_place():
    question = Question("a", "b c")
    rows = encode([question], replace(TWELVE, cls_last=True), **SETTINGS)  # a [SEP] b c [SEP] [CLS]
    logits = np.array([9, 9, 4, 0, 9, 2, 9, 9], np.float32)
    (said,) = spans.answers([question], rows, outputs_of([logits], [logits]), **DECODING)
    assert (said["answer"], said["score"], said["null_odds"]) == ("b", 8.0, 4.0 - 8.0)


def test_settings_that_leave_no_answer_are_refused():
    with pytest.raises(UserError, match="predict.n_best_size"):
        one_row("b", [0], [0], n_best_size=0)


@settings(max_examples=150, deadline=None)
@given(
    words=st.lists(st.sampled_from(["a", "b", "fg", ","]), max_size=9),
    longest=st.integers(1, 6),
    size=st.integers(1, 8),
    data=st.data(),
)
def test_decoding_equals_a_search_of_all_spans(words, longest, size, data):
    """Few different logits, so that many spans are equally good."""
    questions = [Question("a", " ".join(words)), Question("b c", "a b")]
    rows = encode(questions, TWELVE, **SETTINGS)
    logits = st.lists(st.sampled_from([0.0, 1.0, 1.5, -2.0]), min_size=8, max_size=8)
    starts, ends = (np.array([data.draw(logits) for _ in rows.lengths], np.float32) for _ in range(2))
    found = spans.answers(questions, rows, outputs_of(starts, ends), size, longest, 0.0)
    for number, question in enumerate(questions):
        windows, offsets = rows.of_question(number), rows.offsets[number]
        scored = []
        for row in windows:
            for first in range(rows.sizes[row]):
                piece = rows.begins[row] + first
                context = [_context(piece, rows.begins[other], rows.sizes[other]) for other in windows]
                if windows[int(np.argmax(context))] != row:
                    continue
                for last in range(first, min(first + longest, rows.sizes[row])):
                    place = rows.first_lengths[row]
                    text = question.paragraph[offsets[piece, 0] : offsets[rows.begins[row] + last, 1]]
                    scored.append((float(starts[row, place + first] + ends[row, place + last]), text))
        best = {}
        for score, text in sorted(scored, key=lambda each: -each[0]):
            best.setdefault(text, score)
        null = min(float(starts[row, 0] + ends[row, 0]) for row in windows)
        kept = list(best.items())[:size]
        listed = sorted([*kept, ("", null)], key=lambda each: -each[1])
        assert [each["answer"] for each in found[number]["n_best"]] == [text for text, _ in listed]
        if kept:
            assert found[number]["null_odds"] == pytest.approx(null - kept[0][1])
            assert found[number]["answer"] == ("" if null - kept[0][1] > 0 else kept[0][0])


def _context(piece: int, begin: int, size: int) -> float:
    return min(piece - begin, begin + size - 1 - piece) + 0.01 * size if begin <= piece < begin + size else -1.0


def asked_and_scored(null_scores: list[float], impossible: list[bool]):
    """Questions about "b c" whose best span is always the right "b", with score 0, and these scores of [CLS]."""
    questions = [Question("a", "b c", () if none else (("b", 0),), none) for none in impossible]
    rows = encode(questions, TWELVE, **SETTINGS)
    starts = np.full((len(questions), 8), -9.0)
    starts[:, 0], starts[:, 3] = null_scores, 0.0
    ends = np.full((len(questions), 8), -9.0)
    ends[:, 0] = ends[:, 3] = 0.0
    return questions, rows, outputs_of(starts, ends)


@pytest.mark.parametrize(
    "null_scores, impossible, threshold, right",
    [
        ([-3.0, 2.0, -1.0, 4.0], [False, True, False, True], -1.0, 4),
        ([-3.0, -5.0, -1.0, 4.0], [False, True, False, True], -1.0, 3),  # one that has no answer is let stand for two that have
        ([-1.0, -4.0, -3.0, -2.0], [False, True, True, True], -5.0, 3),  # nothing at all is best
    ],
)
def test_the_threshold_of_the_best_f1_is_found(null_scores, impossible, threshold, right):
    questions, rows, found = asked_and_scored(null_scores, impossible)
    chosen = settled(questions, (), rows, found, **DECODING, null_threshold=0.0)
    assert chosen == {"null_threshold": threshold}
    said = ANSWERING_OR_NONE.answers(questions, (), rows, found, **DECODING | chosen)
    gold, predicted = ANSWERING_OR_NONE.compared(questions, said, ())
    assert sum(bool(answers) == bool(text) for answers, text in zip(gold, predicted)) == right
    assert ANSWERING.settled(questions, (), rows, found) == {}
