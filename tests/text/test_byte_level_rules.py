"""The rules that ModernBERT's vocabulary has and RoBERTa's has not: composed text, and pieces found in it as they are spelled."""

import json
import pickle
import random
import re
import unicodedata
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer

from bert_jax.errors import UserError
from bert_jax.text import byte_level, kinds
from bert_jax.text.byte_level import MERGES_FILE, PLAIN, RULES_FILE, Rules
from tests.paths import ROOT
from tests.text import hostile, modern

TEXTS = (ROOT / "README.md").read_text(encoding="utf-8").split("\n") * 2
LETTERS = "aeK '|1\t\n\u0301\u0323\u0338\u212a\u00e9\u1112\u1161\u11ab\ud55c中😀"
PARTS = [*modern.LITERALS[-8:], *LETTERS, "the", "[MASK]", "<|endoftext|>"]
AWKWARD = [
    "",
    *(" " * length for length in range(1, 31)),
    *(f"a{' ' * length}b" for length in range(1, 31)),
    *(f"é{' ' * length}\té" for length in range(1, 31)),
    " \t  \t   ",
    "cafe\u0301 re\u0301sume\u0323\u0301",
    "\u1112\u1161\u11ab\u1100\u1173\u11af \u1112\u1161 \u11ab",
    "\U0001f469\u200d\U0001f4bb 😀",
    "to|||EMAIL_ADDRESS|||or|||PHONE_NUMBER||||||IP_ADDRESS|||, |||EMAIL_ADDRESS||",
    "|||EMAIL_ADDRESS|||\u0338 [unused0]\u0338 [unused2]",
    "the [MASK] <|endoftext|><|padding|> [CLS]",
    "\u0344\u0958\u212b\u2126\U0001d15e",
]
DAMAGED = [
    ("[]", "not these two rules"),
    ("{", "not these two rules"),
    ('{"nfc": true}', "not these two rules"),
    ('{"nfc": true, "literals": [], "nfd": true}', "not these two rules"),
    ('{"nfc": 1, "literals": []}', "nfc is 1"),
    ('{"nfc": true, "literals": "the"}', "literals are 'the'"),
    ('{"nfc": true, "literals": ["[unused0]", "no piece"]}', "literal 'no piece'"),
    ('{"nfc": true, "literals": [["the"]]}', "literal .'the'.$"),
    ('{"nfc": true, "literals": ["[MASK]"]}', r"literal '\[MASK\]'"),
    ('{"nfc": true, "literals": ["\\u00e9"]}', "literal 'é'"),
]


@pytest.fixture(scope="module")
def described():
    return modern.described(TEXTS)


@pytest.fixture(scope="module")
def peer(described):
    found = Tokenizer.from_str(json.dumps(described))
    found.encode_special_tokens = True  # "[MASK]" in a text is text
    return found


@pytest.fixture(scope="module")
def ours(described, tmp_path_factory):
    number_of = described["model"]["vocab"] | {token["content"]: token["id"] for token in described["added_tokens"]}
    path = tmp_path_factory.mktemp("modern") / "vocab.json"
    merges = [tuple(merge) for merge in described["model"]["merges"]]
    byte_level.save(sorted(number_of, key=number_of.get), merges, path, Rules(True, modern.LITERALS))
    return kinds.load("bytelevel", path, do_lower_case=False), path


def compare(ours, peer, texts: list[str]) -> None:
    theirs = peer.encode_batch(texts, add_special_tokens=False)
    found = zip(texts, ours.encode(texts), ours.encode_with_offsets(texts), theirs, strict=True)
    for text, ids, (same_ids, offsets, _), their in found:
        assert ids == same_ids == their.ids, ascii(text)
        composed = unicodedata.normalize("NFC", text)
        assert ours.decode(ids) == peer.decode(ids, skip_special_tokens=False) == composed, ascii(text)
        for (start, end), (their_start, their_end) in zip(offsets, their.offsets, strict=True):
            trimmed = their_end - len(text[their_start:their_end].lstrip(" ")), their_end
            if text == composed:
                assert (start, end) == trimmed, ascii(text)
            else:  # theirs are without the marks that went into a letter
                assert start <= trimmed[0] and trimmed[1] <= end, ascii(text)
        for i, (start, end) in zip(ids, offsets):
            spelled = ours.decode([i]).lstrip(" ")
            assert "\ufffd" in spelled or spelled in unicodedata.normalize("NFC", text[start:end]), ascii(text)


def test_awkward_texts_are_cut_as_by_the_library(ours, peer):
    compare(ours[0], peer, AWKWARD)
    spelled = [ours[0].pieces_of(ids) for ids in ours[0].encode([f"a{' ' * 27}b", "a|||EMAIL_ADDRESS|||b"])]
    assert spelled == [["a", " " * 24, "   ", "b"], ["a", "|||EMAIL_ADDRESS|||", "b"]]


def test_hostile_texts_with_literals_in_them_are_cut_as_by_the_library(ours, peer):
    draw, texts = random.Random(0), []
    for text in filter(hostile.known_to_every_unicode, hostile.strings(1500, seed=3)):
        for _ in range(draw.randint(0, 3)):
            place = draw.randint(0, len(text))
            text = text[:place] + draw.choice(PARTS) + text[place:]
        texts.append(text)
    assert len(texts) > 400
    compare(ours[0], peer, texts)


@given(st.lists(st.lists(st.sampled_from(PARTS), max_size=12).map("".join), max_size=4))
def test_any_text_is_cut_as_by_the_library(ours, peer, texts):
    compare(ours[0], peer, texts)


def test_what_a_mark_makes_another_letter_of_is_no_literal(ours):
    er = replace(ours[0], rules=Rules(True, ("er",)))
    assert er.encode(["er", "er\u0301"]) == [[er.id_of["er"]], *er.encode(["e\u0155"])]


def test_a_composed_letter_has_the_span_of_all_its_parts(ours):
    text = "e\u0301   |||EMAIL_ADDRESS|||o\u0323\u0301.\u1112\u1161\u11ab"
    ids, offsets, starts = ours[0].encode_with_offsets([text])[0]
    email = ours[0].pieces_of(ids).index("|||EMAIL_ADDRESS|||")
    assert sorted(set(offsets)) == [(0, 2), (5, 5), (5, 24), (24, 27), (27, 28), (28, 31)]
    assert starts[email - 1 : email + 2] == [True, True, False]  # the blanks, the literal, the letter at its end


def test_a_text_without_a_place_in_utf8_is_no_traceback(ours):
    assert ours[0].decode(ours[0].encode(["e\u0301\ud800"])[0]) == "\u00e9\ufffd"
    assert ours[0].encode_with_offsets(["e\u0301\ud800"])[0].offsets[-1] == (2, 3)


def test_the_rules_go_to_another_process(ours):
    ours[0].encode(AWKWARD)
    arrived = pickle.loads(pickle.dumps(ours[0]))
    assert arrived == ours[0] and arrived.encode(AWKWARD) == ours[0].encode(AWKWARD)


def test_the_rules_are_copied_with_the_vocabulary_and_go_with_it(ours, tmp_path):
    kinds.copy("bytelevel", ours[1], tmp_path)
    assert kinds.load("bytelevel", tmp_path / "vocab.json", False) == ours[0]
    byte_level.save(ours[0].pieces, ours[0].merges, tmp_path / "vocab.json")
    assert kinds.load("bytelevel", tmp_path / "vocab.json", False).rules == PLAIN
    assert not (tmp_path / RULES_FILE).exists()


def test_the_order_in_the_file_means_nothing(ours, tmp_path):
    kinds.copy("bytelevel", ours[1], tmp_path)
    (tmp_path / RULES_FILE).write_text(json.dumps({"literals": modern.LITERALS[::-1], "nfc": True}))
    assert kinds.load("bytelevel", tmp_path / "vocab.json", False) == ours[0]


def test_each_rule_is_in_the_hash_and_none_is_not(ours):
    rules = [PLAIN, Rules(True), Rules(False, modern.LITERALS), Rules(True, modern.LITERALS), Rules(True, modern.LITERALS[1:])]
    assert len({replace(ours[0], rules=some).content_hash for some in rules}) == len(rules)
    assert replace(ours[0], rules=PLAIN).settings == {"kind": "bytelevel", "merges": ours[0].merges}


@pytest.mark.parametrize(("content", "fault"), DAMAGED)
def test_damaged_rules_are_named(content, fault, ours, tmp_path):
    kinds.copy("bytelevel", ours[1], tmp_path)
    (tmp_path / RULES_FILE).write_text(content, encoding="utf-8")
    with pytest.raises(UserError, match=f"(?m){re.escape(str(tmp_path / RULES_FILE))}: {fault}"):
        kinds.load("bytelevel", tmp_path / "vocab.json", False)


def test_a_literal_of_more_than_100_characters_is_refused(ours, tmp_path):
    longest, path = byte_level.LONGEST_LITERAL * "y", tmp_path / "vocab.json"

    def opened(*literals: str):
        byte_level.save([*ours[0].pieces, longest, f"{longest}y"], ours[0].merges, path, Rules(True, literals))
        return kinds.load("bytelevel", path, False)

    tokenizer = opened(longest)
    assert tokenizer.pieces_of(tokenizer.encode([f"x{longest}"])[0]) == ["x", longest]
    with pytest.raises(UserError, match="literal 'y{101}'(.|\n)*none of more than 100 characters"):
        opened(longest, f"{longest}y")


def test_rules_are_for_text_as_it_is_written(ours):
    with pytest.raises(UserError, match=f"not one for lower case(.|\n)*{RULES_FILE}"):
        kinds.load("bytelevel", ours[1], True)


def test_a_byte_that_some_text_has_must_have_its_piece(ours, tmp_path):
    kinds.copy("bytelevel", ours[1], tmp_path)
    (tmp_path / MERGES_FILE).write_text("")
    number_of = json.loads((tmp_path / "vocab.json").read_text(encoding="utf-8"))
    number_of["no byte"] = number_of.pop("\u00f4")  # the first of the four bytes of the last plane
    (tmp_path / "vocab.json").write_text(json.dumps(number_of))
    with pytest.raises(UserError, match="lacks single bytes(.|\n)* 1 missing"):
        kinds.load("bytelevel", tmp_path / "vocab.json", False)


@given(st.lists(st.text("ab(|", min_size=1, max_size=5), min_size=1, unique=True), st.text("ab(|", max_size=20))
def test_the_longest_word_is_found_at_each_place(words, text):
    by_length = "|".join(map(re.escape, sorted(words, key=len, reverse=True)))
    assert re.findall(byte_level.longest_of(words), text) == re.findall(by_length, text)
