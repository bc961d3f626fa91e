import json
import lzma
from functools import cache

import numpy as np
import pytest

from bert_jax.data.answering import NOWHERE, Question, encode
from bert_jax.errors import UserError
from bert_jax.metrics import answers as official
from bert_jax.tasks import squad
from bert_jax.tasks.answering import ANSWERING, ANSWERING_OR_NONE, ENGLISH, ENGLISH_OR_NONE, first_sentence, random_spans
from bert_jax.text import kinds
from tests.paths import DATA, needs_data

ENCODING = {"max_seq_length": 384, "doc_stride": 128, "max_query_length": 64}
DECODING = {"n_best_size": 20, "max_answer_length": 100}
PARAGRAPH = "A cat sat. A dog ran."


def document(*asked: dict, context: str = PARAGRAPH) -> dict:
    return {"data": [{"title": "Pets", "paragraphs": [{"context": context, "qas": list(asked)}]}]}


def asked(*answers: tuple[str, int], **changes) -> dict:
    found = [{"text": text, "answer_start": begin} for text, begin in answers]
    return {"id": "q1", "question": "Who?", "answers": found} | changes


def read(folder, content, skipped=None, **rules):
    path = folder / "dev.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content, indent=1), encoding="utf-8")
    return squad.reader(**rules)(path, skipped)


def test_questions_by_hand(tmp_path):
    content = document(asked(("cat", 2), ("A cat", 0)), asked(id="q2", is_impossible=True))
    first = Question("Who?", PARAGRAPH, (("cat", 2), ("A cat", 0)), False, "q1", "Pets")
    assert read(tmp_path, content, or_none=True) == [first, Question("Who?", PARAGRAPH, (), True, "q2", "Pets")]
    assert read(tmp_path, content, labelled=False) == [
        Question("Who?", PARAGRAPH, id="q1", title="Pets"),
        Question("Who?", PARAGRAPH, id="q2", title="Pets"),
    ]
    (tmp_path / "dev.json").unlink()
    (tmp_path / "dev.json.xz").write_bytes(lzma.compress(json.dumps(document(asked(("cat", 2)))).encode()))
    assert [question.answers for question in squad.reader()(tmp_path / "dev.json")] == [(("cat", 2),)]


@pytest.mark.parametrize(
    "content, message",
    [
        ('{"data": [', "dev.json: Expecting value: line 1 column 11"),
        ("[" * 100_000, "not JSON"),
        ("[]", "not a JSON object"),
        ({}, "the key 'data' is missing.*\n.*dev.json: data"),
        ({"data": [{}]}, r"'paragraphs' is missing.*\n.*dev.json: data\[0\].paragraphs"),
        ({"data": [3]}, r"not a JSON object\n.*data\[0\]"),
        ({"data": []}, "holds no question"),
        (document(asked(("cat", 2), question=3)), r"'question' is missing.*\n.*data\[0\].paragraphs\[0\].qas\[0\].question"),
        (document(asked(("cat", 2)), context=None), r"'context' is missing.*\n.*data\[0\].paragraphs\[0\].context"),
        (document(asked(("cat", 3))), r"not in its paragraph\n.*dev.json: .*qas\[0\], id q1: 'cat' at character 3, where 'at '"),
        (document(asked(("cat", -19))), "not in its paragraph"),
        (document(asked(("", 0))), "not in its paragraph"),
        (document(asked(("cat", 99))), "where '' stands"),
        (document(asked(("cat", "2"))), "an answer is not of the agreed form"),
        (document(asked(answers=None)), "an answer is not of the agreed form"),
        (document(asked()), "a question has no answer"),
        (document(asked(is_impossible=True)), "a question has no answer"),  # SQuAD 1.1 has none of the kind
    ],
)
def test_bad_files_and_questions_are_refused_where_they_are(tmp_path, content, message):
    with pytest.raises(UserError, match=message):
        read(tmp_path, content)


def test_an_answer_to_what_has_none_is_refused(tmp_path):
    with pytest.raises(UserError, match="although it is marked is_impossible"):
        read(tmp_path, document(asked(("cat", 2), is_impossible=True)), or_none=True)


def test_bad_questions_are_left_out_and_counted(tmp_path):
    content = document(asked(("cat", 3)), asked(("dog", 13), id="q2"), asked(id="q3"))
    content["data"].append({"title": "Nothing"})
    skipped = []
    assert [question.id for question in read(tmp_path, content, skipped)] == ["q2"]
    assert len(skipped) == 3 and "id q1" in skipped[0] + skipped[1] + skipped[2]


def test_misplaced_answers_are_looked_for_where_that_is_asked(tmp_path):
    content = document(asked(("A", 9), ("none", 0), ("dog", 13)))
    (found,) = read(tmp_path, content, searched=True)
    assert found.answers == (("A", 11), ("none", NOWHERE), ("dog", 13))  # the nearer of two
    with pytest.raises(UserError, match="not in its paragraph"):
        read(tmp_path, document(asked(("none", 0))), searched=True)


def test_gold_answers_score_one_and_none_at_all_nothing():
    questions = [Question("", PARAGRAPH, (("cat", 2), ("A dog", 11))), Question("", PARAGRAPH, impossible=True)]
    for form, metrics, examples in ((ANSWERING, ENGLISH, questions[:1]), (ANSWERING_OR_NONE, ENGLISH_OR_NONE, questions)):
        gold = [{"answer": question.answers[-1][0] if question.answers else ""} for question in examples]
        assert {metric(*form.compared(examples, gold, ())) for metric in metrics.values()} == {1.0}
    nothing = ANSWERING_OR_NONE.compared(questions, [{"answer": ""}] * 2, ())
    found = {name: metric(*nothing) for name, metric in ENGLISH_OR_NONE.items()}
    assert found == {"f1": 0.5, "exact": 0.5, "has_answer_f1": 0.0, "has_answer_exact": 0.0, "no_answer_exact": 1.0}


def test_baselines_read_no_question():
    questions = [
        Question("", PARAGRAPH, (("A cat", 0),)),
        Question("", "\u732b\u5750\u3002\u72d7\u8dd1\u3002", (("\u732b", 0),)),
        Question("", " ", impossible=True),
    ]
    assert [first_sentence(question) for question in questions] == ["A cat sat.", "\u732b\u5750\u3002", ""]
    spans = random_spans(questions, questions * 20)
    assert spans == random_spans(questions, questions * 20)
    assert {len(span.split()) for span in spans[::3]} == {1, 2} and {len(span) for span in spans[1::3]} <= {1, 2, 3}
    assert set(spans[2::3]) == {""} and all(span in PARAGRAPH for span in spans[::3])
    found = ANSWERING_OR_NONE.baseline(questions, questions, ())
    assert found["no_answer_f1"] == pytest.approx(1 / 3) and found["first_sentence_f1"] > found["first_sentence_exact"]


@cache
def questions_of(task: str, split: str) -> list[Question]:
    found = squad.TASKS[task]
    return found.part(found.read(DATA / found.files[split]), split)


@cache
def vocabulary(name: str):
    return kinds.load("wordpiece", DATA / f"vocab/bert-base-{name}-vocab.txt", name == "uncased")


def sample(questions: list[Question], count: int) -> list[Question]:
    return questions[:: len(questions) // count][:count]


@needs_data
@pytest.mark.parametrize(
    "task, name, exact",
    [("squad1", "uncased", 0.99), ("squad1", "cased", 0.99), ("xquad_zh", "chinese", 1), ("cmrc2018", "chinese", 0.99)],
)
def test_real_answers_can_be_cut_out_of_what_is_labelled(task, name, exact):
    """Where they cannot exactly, the answer is a part of a piece, as 'gold' of 'golden'."""
    questions = sample(questions_of(task, "dev"), 500)
    rows = encode(questions, vocabulary(name), **ENCODING)
    normalise = official.chinese_normalise if name == "chinese" else official.normalise
    same = 0
    for number, question in enumerate(questions):
        windows, offsets = rows.of_question(number), rows.offsets[number]
        labelled = windows[rows.start_positions[windows] > 0]
        text, begin = next(answer for answer in question.answers if answer[1] != NOWHERE)
        assert len(labelled) >= 1
        for row in labelled:
            first, last = (
                place[row] - rows.first_lengths[row] + rows.begins[row] for place in (rows.start_positions, rows.end_positions)
            )
            assert offsets[first, 0] <= begin + len(text) - len(text.lstrip()) and offsets[last, 1] >= begin + len(text.rstrip())
            cut = question.paragraph[offsets[first, 0] : offsets[last, 1]]
        same += normalise(cut) == normalise(text)
        assert {piece for row in windows for piece in range(rows.begins[row], rows.begins[row] + rows.sizes[row])} == set(
            range(len(offsets))
        )
    assert rows.answers_lost == rows.questions_cut == 0
    assert same >= exact * len(questions)


@needs_data
@pytest.mark.parametrize("task", ["squad1_dev_split", "squad2_dev_split"])
def test_labels_fed_back_as_logits_give_the_gold_answers(task):
    form = squad.TASKS[task].form
    questions = sample(questions_of(task, "dev"), 200)
    rows = encode(questions, vocabulary("uncased"), **ENCODING | {"max_seq_length": 192, "doc_stride": 64})
    assert len(rows.lengths) > 1.2 * len(questions)
    sides = []
    for positions in (rows.start_positions, rows.end_positions):
        logits = np.zeros(rows.input_ids.shape, np.float32)
        logits[np.arange(len(positions)), positions] = 10.0
        sides.append(logits)
    outputs = [{"start_logits_BL": start, "end_logits_BL": end} for start, end in zip(*sides)]
    settings = DECODING | ({"null_threshold": 0.0} if form is ANSWERING_OR_NONE else {})
    said = form.answers(questions, (), rows, outputs, **settings)
    for question, answer in zip(questions, said, strict=True):
        gold = question.answers[0][0].strip() if question.answers else ""
        assert gold in answer["answer"] and bool(gold) == bool(answer["answer"])
    assert squad.TASKS[task].metrics["exact"](*form.compared(questions, said, ())) > 0.98


@needs_data
def test_windows_are_those_of_transformers():
    transformers = pytest.importorskip("transformers")
    peer = transformers.BertTokenizerFast(vocab=str(DATA / "vocab/bert-base-uncased-vocab.txt"), do_lower_case=True)
    questions = sample(questions_of("squad1", "dev"), 200)
    length, stride = 128, 48
    rows = encode(questions, vocabulary("uncased"), max_seq_length=length, doc_stride=stride, max_query_length=64)
    seen = 0
    for number, question in enumerate(questions):
        asked_pieces = len(peer(question.question, add_special_tokens=False)["input_ids"])
        theirs = peer(
            question.question,
            question.paragraph,
            truncation="only_second",
            max_length=length,
            stride=length - 3 - asked_pieces - stride,  # pieces that two windows share
            return_overflowing_tokens=True,
            return_offsets_mapping=True,
            padding="max_length",
        )
        windows = rows.of_question(number)
        assert rows.input_ids[windows].tolist() == theirs["input_ids"], question.id
        batch = rows.batch(windows, np.ones(len(windows), np.float32), length)
        assert batch["segment_ids"].tolist() == theirs["token_type_ids"]
        for row, offsets in zip(windows, theirs["offset_mapping"], strict=True):
            begin, size, place = rows.begins[row], rows.sizes[row], rows.first_lengths[row]
            assert rows.offsets[number][begin : begin + size].tolist() == [list(pair) for pair in offsets[place : place + size]]
        seen += len(windows)
    assert seen > 300


@needs_data
def test_labels_are_those_of_the_released_rule():
    """run_squad: the words between blanks that the answer begins and ends in, then the first shortest-begun stretch of their
    pieces that spells the answer."""
    tokenizer = vocabulary("uncased")
    questions = sample(questions_of("squad1", "dev"), 500)
    rows = encode(questions, tokenizer, **ENCODING)
    differing = []
    for number, question in enumerate(questions):
        (text, begin), paragraph = question.answers[0], question.paragraph
        words, word_of = paragraph.split(), []
        for place, letter in enumerate(paragraph):
            is_new = not letter.isspace() and (place == 0 or paragraph[place - 1].isspace())
            word_of.append((word_of[-1] if word_of else -1) + is_new)
        pieces = tokenizer.encode(words)
        ends = np.cumsum([len(word) for word in pieces])
        flat = [piece for word in pieces for piece in word]
        first_word, last_word = word_of[begin], word_of[begin + len(text) - 1]
        first, last = ends[first_word] - len(pieces[first_word]), ends[last_word] - 1
        spelled = tokenizer.encode([" ".join(text.split())])[0]
        fits = ((a, b) for a in range(first, last + 1) for b in range(last, a - 1, -1) if flat[a : b + 1] == spelled)
        first, last = next(fits, (first, last))
        row = next(row for row in rows.of_question(number) if rows.start_positions[row])
        shift = rows.begins[row] - rows.first_lengths[row]
        if (rows.start_positions[row] + shift, rows.end_positions[row] + shift) != (first, last):
            differing.append((question.id, text))
    assert len(differing) <= 0.002 * len(questions), differing


@needs_data
def test_the_dev_set_in_two_shares_no_article_and_no_paragraph():
    train, dev = (questions_of("squad1_dev_split", split) for split in ("train", "dev"))
    assert len(train) + len(dev) == 10_570
    assert (len({question.title for question in train}), len({question.title for question in dev})) == (38, 10)
    for name in ("title", "paragraph", "id"):
        assert not {getattr(question, name) for question in train} & {getattr(question, name) for question in dev}


@needs_data
@pytest.mark.parametrize("split", ["train", "dev"])
def test_a_third_of_the_questions_is_moved_to_where_their_answers_are_not(split):
    before, after = questions_of("squad1_dev_split", split), questions_of("squad2_dev_split", split)
    moved = [(old, new) for old, new in zip(before, after, strict=True) if old != new]
    assert len(moved) == len(before) // 3 and all(new.impossible and not new.answers for _, new in moved)
    titles = {question.paragraph: question.title for question in before}
    for old, new in moved:
        assert old.question == new.question and old.id == new.id
        assert titles[new.paragraph] == new.title != old.title
        words = f" {official.normalise(new.paragraph)} "
        assert not any(f" {answer} " in words for text, _ in old.answers if (answer := official.normalise(text)))
    assert after == squad.moved(before)


@needs_data
def test_the_misplaced_answers_of_cmrc_are_found_or_kept_for_scoring_alone():
    questions = questions_of("cmrc2018", "dev")
    assert len(questions) == 3_219 and sum(len(question.answers) for question in questions) == 9_657
    assert sum(begin == NOWHERE for question in questions for _, begin in question.answers) == 193
    for question in questions:
        assert all(question.paragraph.startswith(text, begin) for text, begin in question.answers if begin != NOWHERE)
    assert len(questions_of("cmrc2018_trial", "dev")) == 1_002
    shared = {question.paragraph for question in questions} & {
        question.paragraph for question in questions_of("cmrc2018_trial", "dev")
    }
    assert not shared
