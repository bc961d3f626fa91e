"""Small trained directories, each made once for all tests of a worker that serve it."""

import json

import pytest

from bert_jax import convert
from bert_jax.__main__ import main
from tests import tiny
from tests.test_predicting import WORDS, untuned

TEXTS = [f"{first} {second}" for first in WORDS[:8] for second in WORDS[8:]]


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """Name -> a trained directory: "words" fills masks, "vectors" has a vector for each word, others are tasks."""
    place = tmp_path_factory.mktemp("served")

    def made(name: str):
        if not (place / name).exists():
            if name == "words":
                changes = {"model__num_hidden_layers": 1, "model__initializer_range": 0.5}
                tiny.untrained(tiny.config(tiny.write_corpus(place / "text.txt"), **changes), place / name)
            elif name == "vectors":
                lines = [f"{word} {n % 3} {n % 5} {n % 7}\n" for n, word in enumerate(WORDS)]
                (place / "words.txt").write_text("".join(lines))
                convert.bring_in(place / "words.txt", place / name, num_strings=1, say=str)
            else:
                untuned(name, made("words"), place / name)
        return place / name

    return made


@pytest.fixture(scope="session")
def collection(folder):
    """Of "vectors", each text with its number."""
    workdir = folder("vectors")
    file, collection = workdir.with_name("texts.jsonl"), workdir.with_name("C")
    file.write_text("".join(json.dumps({"text": text, "number": number}) + "\n" for number, text in enumerate(TEXTS)))
    assert main(["embed", f"--workdir={workdir}", f"--file={file}", f"--collection={collection}"]) == 0
    return collection
