"""What is planted in a corpus is found with file and line, and in a clean one nothing is."""

import random
import tempfile
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bert_jax.data import loader
from bert_jax.doctor import corpus as corpora
from bert_jax.doctor import lengths
from bert_jax.doctor.findings import KEPT, Fault
from bert_jax.errors import UserError
from bert_jax.text import wordpiece
from experiments import planted
from tests import tiny
from tests.data.small import split_of

LENGTH = 24
KINDS = {  # what is planted -> how the finding begins
    "decomposed accents": "sentences that become other pieces than with letters and accents in one character",
    "compatibility forms": "sentences with characters that the vocabulary knows in their plain form",
    "capitals": "sentences with words that the vocabulary knows without capitals alone",
    "sentence too long": "sentences that are longer than a row",
    "not UTF-8": "lines that are not UTF-8",
    "NUL characters": "NUL characters",
    "evaluation sentence": "texts of",
    "repeated line": "sentences that come 10 times and more",
    "duplicate": "documents with the words of an earlier one",
    "near empty": "documents that are near empty",
    "one sentence": "documents of one sentence",
    "unknown": "documents of which the vocabulary does not know more than",
}


@pytest.fixture
def look(tmp_path):
    """Documents -> (facts, findings) of a file of them, and the file."""

    def checked(documents, against="", **changes):
        planted.write(tmp_path / "text.txt", documents)
        settings = {"text__vocab_file": planted.write_vocabulary(tmp_path / "vocab.txt"), "text__do_lower_case": False}
        config = tiny.config(tmp_path / "text.txt", **settings | {"data__input_format": "sentences"} | changes)
        return *corpora.check(config, tmp_path / "W", against, say=str), tmp_path / "text.txt"

    return checked


def test_a_clean_corpus_gives_nothing(look, tmp_path):
    (tmp_path / "eval.txt").write_text(planted.EVALUATED, encoding="utf-8")
    _, findings, _ = look(planted.clean(random.Random(1), 200), str(tmp_path / "eval.txt"))
    assert findings == []


@pytest.mark.parametrize("seed", range(3))
def test_every_planted_fault_is_named_with_its_line_and_nothing_else(look, tmp_path, seed):
    (tmp_path / "eval.txt").write_text(f"{planted.EVALUATED}\n", encoding="utf-8")
    draw = random.Random(seed)
    documents = planted.clean(draw, 100)
    texts = planted.plant(documents, draw, LENGTH)
    _, findings, path = look(documents, str(tmp_path / "eval.txt"))
    for kind, begins in KINDS.items():
        (finding,) = [finding for finding in findings if finding.what.startswith(begins)]
        place = f"{path}, line {planted.line_of(path, texts[kind])}:"
        assert finding.count == 1 and len(finding.examples) == 1
        assert finding.examples[0].removeprefix("first in ").startswith(place.rstrip(":")), kind
    others = [finding.what for finding in findings if not finding.what.startswith(tuple(KINDS.values()))]
    assert others == []


@pytest.mark.parametrize(("rows", "share"), [("full_sentences", 1.0), ("doc_sentences", 1.0), ("sentences", (22 + 5) / 36)])
def test_the_share_of_pieces_in_rows_is_that_of_the_plan(rows, share):
    """A sentence of 30 pieces, one of 5 and one alone in rows of 22 pieces and two special ones."""
    phase = loader.Phase(0, LENGTH, 4, 8)
    config = loader.LoaderConfig((phase,), short_seq_prob=0.0, dupe_factor=1, seed=0, rows=rows)
    assert corpora.share_in_rows(split_of([[30, 5], [1]]), config) == pytest.approx(share)


def test_pairs_lose_what_is_beyond_the_end_of_a_row():
    phase = loader.Phase(0, LENGTH, 4, 8)
    config = loader.LoaderConfig((phase,), short_seq_prob=0.0, dupe_factor=1, seed=0, rows="sop")
    assert corpora.share_in_rows(split_of([[6, 6], [9, 9]]), config) == 1.0  # each document is a pair of 18 pieces at most
    assert corpora.share_in_rows(split_of([[6, 6], [20, 20]]), config) == pytest.approx((12 + 21) / 52)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.lists(st.integers(0, 5), max_size=6), max_size=8), st.integers(1, 7))
def test_copies_are_found_however_many_parts_they_are_sorted_in(units, at_once):
    keys = [key for unit in units for key in unit]
    expected = [(number, keys.index(key)) for number, key in enumerate(keys) if keys.index(key) < number]
    with mock.patch.object(corpora, "RECORDS_AT_ONCE", at_once), tempfile.TemporaryFile() as spool:
        documents, line = corpora.Documents(spool), 0
        for unit in units:
            numbers = np.arange(line, line + len(unit))
            line += len(unit)
            documents.add(SimpleNamespace(source="f", document_keys=np.array(unit, np.uint64), document_lines=numbers))
        count, places = documents.copies()
    assert count == len(expected)
    assert places == [(f"f, line {number}", f"f, line {first}") for number, first in expected]


def test_an_evaluation_text_may_reach_over_sentences_but_not_over_documents(look, tmp_path):
    documents = planted.clean(random.Random(0), 30)
    inside, across = f"{documents[3][0]} {documents[3][1]}", f"{documents[5][-1]} {documents[6][0]}"
    (tmp_path / "eval.txt").write_text(f"{inside}\n{across}\n", encoding="utf-8")
    _, (finding,), path = look(documents, str(tmp_path / "eval.txt"))
    (example,) = finding.examples
    line = planted.line_of(path, documents[3][0])
    assert example.startswith(f"{path}, line {line}: {tmp_path / 'eval.txt'}, line 1, 100%: ")


def test_a_setting_that_rows_refuse_is_said_before_the_text_is_read(look):
    with pytest.raises(UserError, match="draws no lengths"):
        settings = {"data__rows": "full_sentences", "objective__next_sentence": False, "data__short_seq_prob": 0.1}
        look(planted.clean(random.Random(0), 3), data__input_file="absent", **settings)


def test_a_document_in_two_files_is_named_with_both(tmp_path, look):
    documents = planted.clean(random.Random(0), 30)
    planted.write(tmp_path / "other.txt", documents[10:11])
    both = f"{tmp_path / 'text.txt'},{tmp_path / 'other.txt'}"
    _, (finding,), path = look(documents, data__input_file=both)
    assert finding.examples == [f"{path}, line {planted.line_of(path, documents[10][0])}: as in {tmp_path / 'other.txt'}, line 1"]


def test_an_input_of_a_mixture_is_read_once(tmp_path, look):
    documents = planted.clean(random.Random(0), 30)
    planted.write(tmp_path / "small.txt", planted.clean(random.Random(1), 3))
    _, findings, _ = look(documents, data__input_file=f"{tmp_path / 'text.txt'}=0.5,{tmp_path / 'small.txt'}=0.5")
    assert findings == []


def test_the_vocabulary_of_another_case_is_named(look):
    _, findings, _ = look(planted.clean(random.Random(0), 30), text__do_lower_case=True)
    assert findings == []
    vocabulary = wordpiece.WordPiece((*wordpiece.SPECIAL_PIECES, "the", "The", "Cat", "[unused1]", "##S"), do_lower_case=True)
    (finding,) = corpora._never_made(vocabulary, Path("vocab.txt"))
    assert finding.count == 2 and finding.examples[0] == "vocab.txt, line 7: The"


@given(st.lists(st.lists(st.integers(0, 300), max_size=20), min_size=1, max_size=5))
def test_lengths_are_counted_by_powers_of_two_and_quantiles_are_exact(parts):
    measured = lengths.Lengths()
    for part in parts:
        measured.add(np.array(part, np.int64))
    values = sorted(value for part in parts for value in part)
    for first, last, count in measured.by_powers():
        assert count == sum(first <= value <= last for value in values)
    assert sum(count for *_, count in measured.by_powers()) == len(values)
    if values:
        for share in lengths.QUANTILES:
            quantile = measured.quantile(share)
            shorter, not_longer = sum(value < quantile for value in values), sum(value <= quantile for value in values)
            assert shorter < share * len(values) <= not_longer


def test_examples_are_bounded_and_the_rest_is_counted():
    finding = Fault("things", "mend them", of=10**6)
    for number in range(5 * KEPT):
        finding.add(f"place {number}")
    assert len(finding.examples) == KEPT
    assert finding.lines() == [
        "  things: 5,000 of 1,000,000 (0.50%)",
        *(f"      place {number}" for number in range(3)),
        "      and 4,997 more",
        "    do: mend them",
    ]
