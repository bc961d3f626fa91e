"""Tokeniser files: what is written cuts texts as ours does, what is read is what was written."""

import json
import re
from dataclasses import replace

import pytest
from tokenizers import Tokenizer

from bert_jax.errors import UserError
from bert_jax.interop import certificate, vocabulary
from bert_jax.interop.strings import strings
from bert_jax.text import kinds
from bert_jax.text.tokenizer import BERT
from tests.interop import peers
from tests.paths import DATA, needs_data
from tests.text import modern

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
    peer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    peer.encode_special_tokens = True  # as text
    theirs = peer.encode_batch(texts, add_special_tokens=False)
    return [text for text, ours, their in zip(texts, tokenizer.encode(texts), theirs, strict=True) if ours != their.ids]


@pytest.mark.parametrize(("kind", "lower"), LEARNED)
def test_what_is_written_cuts_as_ours_and_is_read_again(kind, lower, tmp_path):
    tokenizer = learned(kind, lower, tmp_path / "learned")
    for name in ("out", "back"):
        (tmp_path / name).mkdir()
    vocabulary.write(tmp_path / "out", tokenizer, longest_row=64, segments=True)
    assert len(different(tokenizer, tmp_path / "out", 1000)) <= (2 if kind == "unigram" else 0)
    assert vocabulary.read(tmp_path / "out", tmp_path / "back") == (kind, tokenizer)


def test_the_longest_word_that_is_looked_up_goes_out_and_comes_back(tmp_path):
    tokenizer = replace(learned("wordpiece", True, tmp_path / "learned"), max_chars_per_word=100)
    written, back = out_and_back(tokenizer, tmp_path)
    assert written["model"]["max_input_chars_per_word"] == 100 and back == tokenizer
    assert not different(tokenizer, tmp_path / "out", 1000)
    others = different(replace(tokenizer, max_chars_per_word=200), tmp_path / "out", 1000)
    assert others and all(100 < max(map(len, text.split())) <= 200 for text in others)


@pytest.mark.parametrize("limit", [0, "100", None])
def test_a_limit_that_is_none_is_refused(limit, tmp_path):
    written, _ = out_and_back(learned("wordpiece", True, tmp_path / "learned"), tmp_path)
    written["model"]["max_input_chars_per_word"] = limit
    (tmp_path / "out" / "tokenizer.json").write_text(json.dumps(written))
    with pytest.raises(UserError, match="tokenizer.json: max_input_chars_per_word of its model is not one that is supported"):
        vocabulary.read(tmp_path / "out", tmp_path / "back")


def test_a_vocabulary_by_itself_gives_words_up_as_transformers_does(tmp_path):
    tokenizer = learned("wordpiece", True, tmp_path / "hf")
    (tmp_path / "W").mkdir()
    found = vocabulary.read(tmp_path / "hf", tmp_path / "W").tokenizer
    assert found == replace(tokenizer, max_chars_per_word=100)
    pytest.importorskip("transformers", reason="the parity extra is not installed")
    (tmp_path / "hf" / "config.json").write_text('{"model_type": "bert"}')
    assert certificate.compare_tokenizers(tmp_path / "hf", found, 500) == {"texts": 500, "different": 0}


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


OF_BERT = {
    "normalizer": {"type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": True, "lowercase": True},
    "pre_tokenizer": {"type": "BertPreTokenizer"},
}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"model": {"type": "Unigram", "vocab": [["a", 0.0]]}}, "another kind"),
        ({"model": {"type": "BPE", "vocab": {"a": 0}}}, "another kind"),
        ({"model": 3}, "another kind"),
        ({"model": {"type": "WordPiece", "vocab": {"a": 0, "b": 2}}}, "does not number its pieces"),
        ({"model": {"type": "WordPiece", "vocab": {"a": 0}}, "added_tokens": [{"id": 1}]}, "no description"),
        ({"model": {"type": "WordPiece", "vocab": {"a": 0, "b": "x"}}}, "no description"),
        ({"model": {"type": "WordPiece", "vocab": {"a": 0}}, "normalizer": [3]}, "no description"),
        ({"model": {"type": "WordPiece", "vocab": {"a": 0}}} | OF_BERT, "lacks"),
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


def out_and_back(tokenizer, folder):
    """(what was written, what is read of it)."""
    for name in ("out", "back"):
        (folder / name).mkdir()
    vocabulary.write(folder / "out", tokenizer, longest_row=64, segments=False)
    return json.loads((folder / "out" / "tokenizer.json").read_text()), vocabulary.read(folder / "out", folder / "back").tokenizer


@pytest.fixture
def released(tmp_path):
    """(folder, what tokenizer.json holds) of a vocabulary as that of ModernBERT."""
    (tmp_path / "hf").mkdir()
    (tmp_path / "W").mkdir()
    modern.write(tmp_path / "hf", peers.TEXTS)
    return tmp_path / "hf", json.loads((tmp_path / "hf" / "tokenizer.json").read_text())


def test_the_rules_of_modernbert_come_in_and_go_out(released, tmp_path):
    kind, tokenizer = vocabulary.read(released[0], tmp_path / "W")
    assert kind == "bytelevel" and tokenizer.rules == (True, modern.LITERALS) and tokenizer.special == BERT
    assert not different(tokenizer, released[0], 1000)
    written, back = out_and_back(tokenizer, tmp_path)
    assert back == tokenizer and back.content_hash == tokenizer.content_hash
    assert not different(tokenizer, tmp_path / "out", 1000)
    assert written["normalizer"] == released[1]["normalizer"]
    literals = [[token for token in found["added_tokens"] if not token["special"]] for found in (released[1], written)]
    assert literals[0] == literals[1] and len(literals[0]) == len(modern.LITERALS)
    # By itself it would be read without the rules.
    assert not (tmp_path / "out" / "vocab.json").exists() and not (tmp_path / "out" / "merges.txt").exists()


def test_the_rules_beside_a_vocab_json_are_followed(released, tmp_path):
    number_of = released[1]["model"]["vocab"] | {token["content"]: token["id"] for token in released[1]["added_tokens"]}
    (tmp_path / "hf" / "vocab.json").write_text(json.dumps(number_of))
    (tmp_path / "hf" / "merges.txt").write_text("".join(f"{one} {two}\n" for one, two in released[1]["model"]["merges"]))
    assert vocabulary.read(tmp_path / "hf", tmp_path / "W").tokenizer.rules == (True, modern.LITERALS)


def test_older_descriptions_say_the_same(released, tmp_path):
    (tmp_path / "old").mkdir()
    described = released[1]
    del described["model"]["type"], described["pre_tokenizer"]["use_regex"], described["model"]["ignore_merges"]
    described["model"]["merges"] = [" ".join(merge) for merge in described["model"]["merges"]]
    described["normalizer"] = {"type": "Sequence", "normalizers": [described["normalizer"]]}
    (tmp_path / "old" / "tokenizer.json").write_text(json.dumps(described))
    assert vocabulary.read(tmp_path / "old", tmp_path / "W") == vocabulary.read(tmp_path / "hf", tmp_path / "W")


MODERN_FAULTS = [
    ("its normalizer", lambda found: found["normalizer"].update(type="NFKC")),
    ("its normalizer", lambda found: found.update(normalizer=in_sequence("normalizers", "NFC", "Strip"))),
    ("its pre_tokenizer", lambda found: found.update(pre_tokenizer=in_sequence("pretokenizers", "Digits", "ByteLevel"))),
    ("add_prefix_space of ByteLevel", lambda found: found["pre_tokenizer"].update(add_prefix_space=True)),
    ("use_regex of ByteLevel", lambda found: found["pre_tokenizer"].update(use_regex=False)),
    ("ignore_merges of its model", lambda found: found["model"].update(ignore_merges=True)),
    ("end_of_word_suffix of its model", lambda found: found["model"].update(end_of_word_suffix="</w>")),
    ("single_word of the added token '[unused0]'", lambda found: added(found, "[unused0]").update(single_word=True)),
    ("rstrip of the added token '[unused0]'", lambda found: added(found, "[unused0]").update(rstrip=True)),
    ("lstrip of the added token '[unused0]'", lambda found: added(found, "[unused0]").update(lstrip=True)),
    ("normalized of the added token '[unused0]'", lambda found: added(found, "[unused0]").update(normalized=False)),
    (
        "normalized of the added token '[unused0]'",
        lambda found: (added(found, "[unused0]").update(normalized=False), found.update(normalizer=None)),
    ),
    (
        "normalized of the added token '|||IP_ADDRESS|||'",
        lambda found: [token.update(normalized=False) for token in found["added_tokens"]],
    ),
    ("its normalizer", lambda found: found["normalizer"].update(type="Lowercase")),
    ("the added token '[MASK]'", lambda found: added(found, "[MASK]").update(special=False)),
    (f"the added token '{101 * 'y'}'", lambda found: added(found, "[unused0]").update(content=101 * "y")),
    ("the added token 'é!'", lambda found: added(found, "[unused0]").update(content="é!")),
]


def in_sequence(name: str, *types: str) -> dict:
    return {"type": "Sequence", name: [{"type": kind} for kind in types]}


def added(described: dict, piece: str) -> dict:
    return next(token for token in described["added_tokens"] if token["content"] == piece)


@pytest.mark.parametrize(("rule", "change"), MODERN_FAULTS)
def test_rules_of_bytes_that_are_not_ours_are_refused(rule, change, released, tmp_path):
    change(released[1])
    (tmp_path / "hf" / "tokenizer.json").write_text(json.dumps(released[1]))
    with pytest.raises(UserError, match=f"tokenizer.json: {re.escape(rule)} is not one that is supported here"):
        vocabulary.read(tmp_path / "hf", tmp_path / "W")


def test_where_nothing_changes_the_text_literals_may_be_looked_for_before(released, tmp_path):
    for token in released[1]["added_tokens"]:
        token["normalized"] = False
    released[1]["normalizer"] = None
    (tmp_path / "hf" / "tokenizer.json").write_text(json.dumps(released[1]))
    tokenizer = vocabulary.read(tmp_path / "hf", tmp_path / "W").tokenizer
    assert tokenizer.rules == (False, modern.LITERALS) and not different(tokenizer, tmp_path / "hf", 1000)


WORDPIECE_FAULTS = {
    "its normalizer": lambda found: found.update(normalizer=None),
    "its pre_tokenizer": lambda found: found.update(pre_tokenizer={"type": "Whitespace"}),
    "clean_text of BertNormalizer": lambda found: found["normalizer"].update(clean_text=False),
    "strip_accents of BertNormalizer": lambda found: found["normalizer"].update(strip_accents=False),
    "continuing_subword_prefix of its model": lambda found: found["model"].update(continuing_subword_prefix="@@"),
    "the added token 'the'": lambda found: found["added_tokens"].append(
        found["added_tokens"][0] | {"id": found["model"]["vocab"]["the"], "content": "the", "special": False}
    ),
}


@pytest.mark.parametrize("beside", [True, False], ids=["beside vocab.txt", "alone"])
@pytest.mark.parametrize("rule", WORDPIECE_FAULTS)
def test_rules_of_words_that_are_not_ours_are_refused(rule, beside, tmp_path):
    described, _ = out_and_back(learned("wordpiece", True, tmp_path / "learned"), tmp_path)
    WORDPIECE_FAULTS[rule](described)
    (tmp_path / "out" / "tokenizer.json").write_text(json.dumps(described))
    if not beside:
        (tmp_path / "out" / "vocab.txt").unlink()
    with pytest.raises(UserError, match=f"tokenizer.json: {rule} is not one that is supported here"):
        vocabulary.read(tmp_path / "out", tmp_path / "back")


@pytest.mark.parametrize(("kind", "name"), [("bytelevel", "RobertaTokenizer"), ("wordpiece", "BertTokenizer")])
def test_what_transformers_writes_for_its_classes_has_no_other_rules(kind, name, tmp_path):
    transformers = pytest.importorskip("transformers", reason="the parity extra is not installed")
    tokenizer = learned(kind, kind == "wordpiece", tmp_path / "hf")
    getattr(transformers, name).from_pretrained(tmp_path / "hf").save_pretrained(tmp_path / "saved")
    assert (tmp_path / "saved" / "tokenizer.json").exists()
    (tmp_path / "W").mkdir()
    if kind == "wordpiece":
        tokenizer = replace(tokenizer, max_chars_per_word=100)
    assert vocabulary.read(tmp_path / "saved", tmp_path / "W") == (kind, tokenizer)
