"""Every line of the test text, through the four BERT vocabularies: too long for the suite, run by `make acceptance`."""

import lzma

import pytest

from bert_jax.text import wordpiece
from tests.paths import DATA, needs_data
from tests.text.full_tokenizer import tokenize

LOWER = {"bert-base-uncased": True, "bert-base-cased": False, "bert-base-multilingual-cased": False, "bert-base-chinese": True}


def lines():
    for path in sorted((DATA / "text").rglob("*.txt*")):
        opened = lzma.open if path.suffix == ".xz" else open
        with opened(path, "rt", encoding="utf-8", newline="\n") as file:
            yield from (line.rstrip("\n") for line in file)


@needs_data
@pytest.mark.acceptance
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("name", LOWER)
def test_no_line_of_all_the_text_differs_from_the_released_rules(name):
    tokenizer = wordpiece.load(DATA / "vocab" / f"{name}-vocab.txt", LOWER[name])
    vocabulary, compared, different = frozenset(tokenizer.pieces), 0, []
    for line in lines():
        compared += 1
        if tokenizer.pieces_of(tokenizer.encode([line])[0]) != tokenize(line, vocabulary, LOWER[name]):
            different.append(line)
    print(f"\n{name}: {compared:,} lines, {len(different)} differ")
    assert compared > 1_000_000 and different == []
