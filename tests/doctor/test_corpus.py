"""What is planted in a corpus is found with file and line, and in a clean one nothing is."""

import random

import pytest

from bert_jax.doctor import corpus as corpora
from experiments import planted
from tests import tiny

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
