"""Tokeniser files: what is written cuts texts as ours does, what is read is what was written."""

import json

import pytest
from tokenizers import Tokenizer

from bert_jax.errors import UserError
from bert_jax.interop import vocabulary
from bert_jax.interop.strings import strings
from bert_jax.text import kinds
from tests.interop import peers
from tests.paths import DATA, needs_data

LEARNED = [
    ("wordpiece", True),
    ("wordpiece", False),
    ("bytelevel", True),
    ("bytelevel", False),
    ("unigram", True),
    ("unigram", False),
]


def learned(kind: str, lower: bool, folder, size: int = 400):
    folder.mkdir()
    path = folder / kinds.KINDS[kind].file_name
    kinds.learn_vocabulary(kind, peers.TEXTS, path, vocab_size=size, do_lower_case=lower)
    return kinds.load(kind, path, lower)


def different(tokenizer, folder, count: int) -> list[str]:
    texts = strings([piece for piece in tokenizer.pieces if piece not in tokenizer.special], count)
    theirs = Tokenizer.from_file(str(folder / "tokenizer.json")).encode_batch(texts, add_special_tokens=False)
    return [text for text, ours, their in zip(texts, tokenizer.encode(texts), theirs, strict=True) if ours != their.ids]


@pytest.mark.parametrize(("kind", "lower"), LEARNED)
def test_what_is_written_cuts_as_ours_and_is_read_again(kind, lower, tmp_path):
    tokenizer = learned(kind, lower, tmp_path / "learned")
    for name in ("out", "back"):
        (tmp_path / name).mkdir()
    vocabulary.write(tmp_path / "out", tokenizer, longest_row=64, segments=True)
    assert len(different(tokenizer, tmp_path / "out", 1000)) <= (2 if kind == "unigram" else 0)
    assert vocabulary.read(tmp_path / "out", tmp_path / "back") == (kind, tokenizer)


@needs_data
@pytest.mark.parametrize("name", ["uncased", "cased", "multilingual-cased", "chinese"])
def test_published_vocabularies_are_written_as_they_cut(name, tmp_path):
    tokenizer = kinds.load("wordpiece", DATA / "vocab" / f"bert-base-{name}-vocab.txt", name in ("uncased", "chinese"))
    vocabulary.write(tmp_path, tokenizer, longest_row=512, segments=True)
    assert not different(tokenizer, tmp_path, 1000)
    assert (tmp_path / "vocab.txt").read_bytes().rstrip() == (
        DATA / "vocab" / f"bert-base-{name}-vocab.txt"
    ).read_bytes().rstrip()


@pytest.mark.parametrize(("kind", "lower"), LEARNED[:4])
def test_tokenizer_json_alone_is_enough(kind, lower, tmp_path):
    tokenizer = learned(kind, lower, tmp_path / "learned")
    for name in ("out", "back"):
        (tmp_path / name).mkdir()
    vocabulary.write(tmp_path / "out", tokenizer, longest_row=64, segments=True)
    for path in (tmp_path / "out").iterdir():
        if path.name != "tokenizer.json":
            path.unlink()
    assert vocabulary.read(tmp_path / "out", tmp_path / "back") == (kind, tokenizer)


def test_the_words_of_a_pair_have_their_segments(tmp_path):
    tokenizer = learned("wordpiece", True, tmp_path / "learned")
    for segments in (True, False):
        vocabulary.write(tmp_path, tokenizer, longest_row=64, segments=segments)
        pair = Tokenizer.from_file(str(tmp_path / "tokenizer.json")).encode("the text", "of the model")
        second = pair.ids.index(tokenizer.sep_id) + 1
        assert pair.type_ids == [0] * second + [int(segments)] * (len(pair.ids) - second)


@pytest.mark.parametrize(
    ("settings", "lower"), [(None, True), ({}, True), ({"do_lower_case": False}, False), ({"strip_accents": None}, True)]
)
def test_the_case_is_what_the_files_say(settings, lower, tmp_path):
    learned("wordpiece", True, tmp_path / "hf")
    (tmp_path / "W").mkdir()
    if settings is not None:
        (tmp_path / "hf" / "tokenizer_config.json").write_text(json.dumps(settings))
    assert vocabulary.read(tmp_path / "hf", tmp_path / "W").tokenizer.do_lower_case == lower


@pytest.mark.parametrize(
    ("kind", "settings", "key"),
    [
        ("wordpiece", {"do_lower_case": True, "strip_accents": False}, "strip_accents"),
        ("wordpiece", {"tokenize_chinese_chars": False}, "tokenize_chinese_chars"),
        ("bytelevel", {"add_prefix_space": True}, "add_prefix_space"),
        ("unigram", {"keep_accents": True}, "keep_accents"),
    ],
)
def test_rules_that_are_not_ours_are_refused(kind, settings, key, tmp_path):
    learned(kind, kind != "bytelevel", tmp_path / "hf")
    (tmp_path / "W").mkdir()
    (tmp_path / "hf" / "tokenizer_config.json").write_text(json.dumps(settings))
    with pytest.raises(UserError, match=f"tokenizer_config.json: {key} is not one that is supported"):
        vocabulary.read(tmp_path / "hf", tmp_path / "W")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"model": {"type": "Unigram", "vocab": [["a", 0.0]]}}, "another kind"),
        ({"model": {"type": "BPE", "vocab": {"a": 0}}}, "another kind"),
        ({"model": 3}, "another kind"),
        ({"model": {"type": "WordPiece", "vocab": {"a": 0, "b": 2}}}, "does not number its pieces"),
        ({"model": {"type": "WordPiece", "vocab": {"a": 0}}, "added_tokens": [{"id": 1}]}, "no description"),
        ({"model": {"type": "WordPiece", "vocab": {"a": 0, "b": "x"}}}, "no description"),
        ({"model": {"type": "WordPiece", "vocab": {"a": 0}}}, "lacks"),
    ],
)
def test_a_description_that_makes_no_sense(content, message, tmp_path):
    (tmp_path / "W").mkdir()
    (tmp_path / "tokenizer.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match=message):
        vocabulary.read(tmp_path, tmp_path / "W")


def test_what_transformers_has_no_class_for_is_not_written(tmp_path):
    tokenizer = learned("bpe", True, tmp_path / "learned", 500)
    with pytest.raises(UserError, match="no class for this type of SentencePiece"):
        vocabulary.write(tmp_path, tokenizer, longest_row=64, segments=True)


@pytest.mark.parametrize("kind", ["unigram", "bpe"])
def test_a_sentencepiece_model_is_read_under_any_name(kind, tmp_path):
    """In the archives of ALBERT it is 30k-clean.model."""
    tokenizer = learned(kind, True, tmp_path / "hf", 500)
    (tmp_path / "hf" / "spiece.model").rename(tmp_path / "hf" / "30k-clean.model")
    (tmp_path / "W").mkdir()
    assert vocabulary.read(tmp_path / "hf", tmp_path / "W") == (kind, tokenizer)
