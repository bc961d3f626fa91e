"""Tagging as a form of tasks: sentences to rows to tags to entities, and the official sizes of the sets."""

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bert_jax.data.tagging import TaggedExample, from_text
from bert_jax.metrics.entities import retagged, spans
from bert_jax.tasks import ner
from tests.data.small import TWELVE
from tests.objectives.test_pretrain import CONFIG
from tests.paths import DATA, needs_data

FORM = ner.TAGGING
LABELS = ner.labels_of(("LOC", "PER"))
SETTINGS = {"max_seq_length": 8, "document_context": False}


def example(words: str, tags: str | None = None) -> TaggedExample:
    return TaggedExample(tuple(words.split()), tags and tuple(tags.split()), "f, line 1")


def outputs_of(rows, tags_of_rows: list[str], odds: float = 9.0) -> list[dict]:
    """Logits of a model that gives the words of each row these tags, each `odds` times as likely as any other."""
    found = []
    for word_ids, tags in zip(rows.word_ids, tags_of_rows):
        logits = np.random.default_rng(0).normal(size=(len(word_ids), len(LABELS)))  # noise where no word is
        for number, tag in enumerate(tags.split(), 1):
            place = np.flatnonzero(word_ids == number)[0]
            logits[place] = np.log(odds) * (np.arange(len(LABELS)) == LABELS.index(tag))
        found.append({"logits_BLC": logits})
    return found


def test_labels_are_all_tags_of_the_types_whatever_the_order():
    assert LABELS == ("O", "B-LOC", "I-LOC", "B-PER", "I-PER")
    assert FORM.labels([example("a b", "O B-PER"), example("c d", "B-LOC I-LOC")]) == LABELS
    assert FORM.labels([example("a b", "O S-X")]) == ("O", "B-X", "I-X", "E-X", "S-X")
    assert FORM.labels([example("a b", "B I")]) == ("O", "B", "I")


def test_answers_of_a_raw_text_have_places_in_it():
    found = from_text("ag  b, c!")
    rows = FORM.encode([found], LABELS, TWELVE, max_seq_length=7, document_context=False)  # ag b , c | !
    (answer,) = FORM.answers([found], LABELS, rows, outputs_of(rows, ["B-PER I-PER O B-LOC", "O"]))
    sure = pytest.approx(9 / 13)
    assert answer == {
        "tags": ["B-PER", "I-PER", "O", "B-LOC", "O"],
        "entities": [
            {"type": "PER", "text": "ag  b", "begin": 0, "end": 5, "score": sure},
            {"type": "LOC", "text": "c", "begin": 7, "end": 8, "score": sure},
        ],
    }
    assert found.text[0:5] == "ag  b"


def test_the_path_of_a_chain_is_taken_before_the_likeliest_tags():
    rows = FORM.encode([example("a b")], LABELS, TWELVE, **SETTINGS)
    probabilities = np.full((8, 5), 0.2)
    probabilities[1], probabilities[2] = [0.7, 0.3, 0, 0, 0], [0.1, 0.1, 0.5, 0.2, 0.1]
    output = {"logits_BLC": np.zeros((8, 5)), "tags_BL": np.array([0, 1, 2, 0, 0, 0, 0, 0]), "probabilities_BLC": probabilities}
    (answer,) = FORM.answers([example("a b")], LABELS, rows, [output])
    assert answer["tags"] == ["B-LOC", "I-LOC"] and answer["entities"][0]["score"] == pytest.approx(0.4)


def test_a_sentence_without_words_has_an_answer():
    rows = FORM.encode([from_text(" "), example("a")], LABELS, TWELVE, **SETTINGS)
    first, second = FORM.answers([from_text(" "), example("a")], LABELS, rows, outputs_of(rows, ["", "B-PER"]))
    assert first == {"tags": [], "entities": []} and second["tags"] == ["B-PER"]


def test_people_see_the_words_and_the_tags_of_the_file():
    assert ner.shown(example("New York .", "B-LOC I-LOC O")) == {
        "text": "New York .",
        "words": ["New", "York", "."],
        "gold": ["B-LOC", "I-LOC", "O"],
    }
    assert "gold" not in ner.shown(example("New York"))


def scored(gold: list[list[str]], predicted: list[list[str]]) -> dict[str, float]:
    examples = [TaggedExample(tuple("w" * len(tags)), tuple(tags)) for tags in gold]
    sides = FORM.compared(examples, [{"tags": tags} for tags in predicted], LABELS)
    return {name: metric(*sides) for name, metric in ner.METRICS.items()}


def test_scores_by_hand_the_first_is_f1():
    gold, predicted = [["B-PER", "I-PER", "O"], ["B-LOC"]], [["B-PER", "O", "B-LOC"], ["B-LOC"]]
    assert scored(gold, predicted) == {
        "f1": pytest.approx(0.4),
        "precision": pytest.approx(1 / 3),
        "recall": pytest.approx(1 / 2),
        "token_accuracy": 0.5,
    }
    assert next(iter(ner.METRICS)) == "f1"


@given(st.lists(st.tuples(st.sampled_from(LABELS), st.sampled_from(LABELS)), min_size=1, max_size=8))
def test_the_scheme_of_the_tags_does_not_change_the_score(pairs):
    gold, predicted = (list(side) for side in zip(*pairs))
    by_scheme = [scored([retagged(gold, "IOB2", to)], [retagged(predicted, "IOB2", to)]) for to in ("IOB2", "BIOES")]
    for name in ("f1", "precision", "recall"):
        assert by_scheme[0][name] == by_scheme[1][name]


def test_the_baseline_finds_the_phrases_of_training_longest_first_in_their_commonest_type():
    train = [example("York", "B-PER"), example("York", "B-PER"), example("York", "B-LOC"), example("New York", "B-LOC I-LOC")]
    dev = [example("New York saw York", "B-LOC I-LOC O B-PER"), example("New", "B-LOC")]
    assert FORM.baseline(train, dev, LABELS) == {"seen_phrases_f1": pytest.approx(0.8)}  # 2 of 3, nothing wrong


def test_objectives_take_the_settings_of_their_section():
    made = FORM.objectives(LABELS)
    assert set(made) == {"tag", "tag_crf", "tag_features"}
    for name, settings in (("tag", {"word_vector": "mean"}), ("tag_crf", {"word_vector": "first"})):
        params = jax.eval_shape(made[name](CONFIG, **settings).init, jax.random.key(0))
        assert params["token_classifier"]["logits"]["bias"].shape == (5,)
    params = jax.eval_shape(made["tag_features"](CONFIG, layers="last", lstm_width=6).init, jax.random.key(0))
    assert params["token_classifier"]["logits"]["kernel"].shape == (6, 5)


SIZES = {  # sentences and entities, of CoNLL-2003 and Resume as published
    "conll2003": {"train": (14041, 23499), "dev": (3250, 5942), "test": (3453, 5648)},
    "msra": {"train": (12000, 18260), "dev": (2318, 3819), "test": (4636, 7707)},
    "resume_zh": {"train": (3821, 13440), "dev": (463, 1497), "test": (477, 1630)},
    "wikineural_fr": {"train": (11340, 20428), "dev": (1260, 2210), "test": (12678, 22171)},
    "europeana_fr": {"train": (1931, 8030), "dev": (241, 877), "test": (242, 935)},
    "wikiann_en": {"test": (10000, 13958)},
}


@needs_data
@pytest.mark.parametrize("name", SIZES)
def test_the_files_have_their_sizes_and_no_tag_that_is_not_listed(name):
    task = ner.TASKS[name]
    assert set(task.files) == set(SIZES[name])
    for split, (sentences, entities) in SIZES[name].items():
        examples = task.read(DATA / task.files[split])
        found = sum(len(spans(example.tags, "IOB2")) for example in examples)
        assert (len(examples), found) == (sentences, entities), split
        assert {tag for example in examples for tag in example.tags} <= set(task.labels)
        assert all(ner.shown(example)["text"] for example in examples[:20])


@needs_data
@pytest.mark.parametrize("name", ner.CHARACTERS)
def test_chinese_texts_are_cut_as_the_files_are(name):
    task = ner.TASKS[name]
    for example in task.read(DATA / task.files["dev"])[:200]:
        assert from_text(ner.shown(example)["text"], characters=True).words == example.words


@needs_data
def test_the_baseline_of_the_shared_task_is_found_again():
    task = ner.TASKS["conll2003"]
    train, dev, test = (task.read(DATA / task.files[split]) for split in ("train", "dev", "test"))
    assert FORM.baseline(train, dev, task.labels)["seen_phrases_f1"] == pytest.approx(0.7118, abs=5e-4)
    assert FORM.baseline(train, test, task.labels)["seen_phrases_f1"] == pytest.approx(0.5961, abs=5e-4)
    assert [len({id(example.document) for example in examples}) for examples in (train, dev, test)] == [946, 216, 231]
