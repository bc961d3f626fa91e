from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bert_jax.errors import UserError
from bert_jax.text import kinds
from bert_jax.text.wordpiece import RULES_FILE, SPECIAL_PIECES, WordPiece, load, save_vocab
from tests.paths import DATA, needs_data
from tests.text import hostile
from tests.text.full_tokenizer import tokenize

SMALL = WordPiece((*SPECIAL_PIECES, "un", "##aff", "##able", "run", "##ning", ",", "want", "##ed", "[", "]", "mask"), True)
FOUR = [
    ("bert-base-uncased-vocab.txt", True),
    ("bert-base-cased-vocab.txt", False),
    ("bert-base-multilingual-cased-vocab.txt", False),
    ("bert-base-chinese-vocab.txt", True),
]
HAND_MADE = [
    "",
    " \t\r\n\u00a0\u3000",
    "UNwant\u00c9d,running",
    "\u0130stanbul \u03a3\u03b1\u03c2 \ufb01ne \u01c5",
    "a\u200db a\u00adb \ufffdq x\u0085y \0 \u2028 \u2029",
    "力加勝北区ᴵᴺᵀᵃছজটডণত 한국어 日本語のテキスト",
    "\uff15\uff10\uff05 $5.00 ^_^ `code` ~",
    "[MASK] [SEP] the [CLS]",
    "x" * 200 + " " + "y" * 201,
    "e\u0301 \u00e9 n\u0303 \U0001f600 \U00020000",
]


@cache
def vocabulary(name: str, do_lower_case: bool) -> WordPiece:
    return load(DATA / "vocab" / name, do_lower_case)


def test_the_longest_piece_is_taken_first_and_an_unspellable_word_is_unknown():
    assert SMALL.pieces_of(SMALL.encode(["unaffable running unwantedX"])[0]) == [
        "un",
        "##aff",
        "##able",
        "run",
        "##ning",
        "[UNK]",
    ]


def test_numbers_are_places_in_the_vocabulary():
    assert SMALL.encode(["un", "wanted , run"]) == [[5], [11, 12, 10, 8]]
    assert (SMALL.pad_id, SMALL.unk_id, SMALL.cls_id, SMALL.sep_id, SMALL.mask_id, SMALL.size) == (0, 1, 2, 3, 4, 16)


def test_text_that_spells_a_special_piece_stays_text():
    assert SMALL.pieces_of(SMALL.encode(["[MASK]"])[0]) == ["[", "mask", "]"]


@needs_data
@pytest.mark.parametrize("name, do_lower_case", FOUR)
def test_pieces_are_those_of_the_released_rules(name, do_lower_case):
    tokenizer = vocabulary(name, do_lower_case)
    lines = hostile.natural(500) + HAND_MADE
    known = frozenset(tokenizer.pieces)
    for line, ids in zip(lines, tokenizer.encode(lines), strict=True):
        assert tokenizer.pieces_of(ids) == tokenize(line, known, do_lower_case), line


@needs_data
@settings(deadline=None)
@given(st.text(st.characters(codec=None), max_size=40))
def test_any_text_gives_the_pieces_of_the_released_rules(text):
    tokenizer = vocabulary("bert-base-uncased-vocab.txt", True)
    assert tokenizer.pieces_of(tokenizer.encode([text])[0]) == tokenize(text, frozenset(tokenizer.pieces), True)


@needs_data
@pytest.mark.parametrize("name, do_lower_case", FOUR)
def test_hostile_text_gives_the_pieces_of_the_released_rules(name, do_lower_case):
    tokenizer = vocabulary(name, do_lower_case)
    known, texts = frozenset(tokenizer.pieces), hostile.strings(1000)
    for text, ids in zip(texts, tokenizer.encode(texts), strict=True):
        assert tokenizer.pieces_of(ids) == tokenize(text, known, do_lower_case), ascii(text)


def test_what_is_remembered_never_changes_the_pieces(monkeypatch):
    texts = hostile.strings(200) + HAND_MADE
    fresh = [WordPiece(SMALL.pieces, True).encode([text])[0] for text in texts]
    monkeypatch.setattr("bert_jax.text.tokenizer.MEMO_ENTRIES", 3)
    forgetful = WordPiece(SMALL.pieces, True)
    assert fresh == forgetful.encode(texts) == forgetful.encode(texts)
    assert len(forgetful._chunks) <= 3 and len(forgetful._words) <= 3


def test_offsets_point_into_the_original_text():
    text = " UN\u0301aff\u200bable,  xyz running"
    encoded = SMALL.encode_with_offsets([text])[0]
    assert [text[start:end] for start, end in encoded.offsets] == ["UN", "aff", "able", ",", "xyz", "run", "ning"]
    assert encoded.word_starts == [True, False, False, True, True, True, False]
    assert SMALL.pieces_of(encoded.ids) == ["un", "##aff", "##able", ",", "[UNK]", "run", "##ning"]


def test_decoding_reads_like_text():
    ids = SMALL.encode(["unable, running"])[0]
    assert SMALL.pieces_of(ids) == ["un", "##able", ",", "run", "##ning"]
    assert SMALL.decode([*ids, SMALL.mask_id, SMALL.pad_id]) == "unable, running [MASK]"


def test_the_hash_depends_on_the_pieces_and_on_the_case_rule():
    other_order = WordPiece((*SMALL.pieces[:-2], SMALL.pieces[-1], SMALL.pieces[-2]), True)
    hashes = {SMALL.content_hash, other_order.content_hash, WordPiece(SMALL.pieces, False).content_hash}
    assert len(hashes) == 3 and WordPiece(SMALL.pieces, True).content_hash == SMALL.content_hash


def test_saved_pieces_load_again(tmp_path):
    pieces = (*SPECIAL_PIECES, "\u2028", "\u00e9", "##x")
    save_vocab(pieces, tmp_path / "vocab.txt")
    assert load(tmp_path / "vocab.txt", True).pieces == pieces
    assert [path.name for path in tmp_path.iterdir()] == ["vocab.txt"]


def test_a_limit_of_its_own_is_kept_beside_the_pieces_and_goes_with_a_copy(tmp_path):
    save_vocab(SMALL.pieces, tmp_path / "vocab.txt", 6)
    found = load(tmp_path / "vocab.txt", True)
    assert [found.pieces_of(ids) for ids in found.encode(["unable", "running"])] == [["un", "##able"], ["[UNK]"]]
    assert (found.whole_word("running"), SMALL.whole_word("running")) == (None, "running")
    (tmp_path / "to").mkdir()
    kinds.copy("wordpiece", tmp_path / "vocab.txt", tmp_path / "to")
    assert load(tmp_path / "to" / "vocab.txt", True) == found and found.content_hash != SMALL.content_hash
    save_vocab(SMALL.pieces, tmp_path / "to" / "vocab.txt")
    assert load(tmp_path / "to" / "vocab.txt", True) == SMALL


@pytest.mark.parametrize("content", ["{", "[8]", "{}", '{"max_chars_per_word": 0}', '{"max_chars_per_word": 8, "more": 1}'])
def test_a_limit_that_is_none_is_refused(content, tmp_path):
    save_vocab(SMALL.pieces, tmp_path / "vocab.txt")
    (tmp_path / RULES_FILE).write_text(content)
    with pytest.raises(UserError, match=f"(?s)rules beside the vocabulary are none.*{RULES_FILE}.*a whole number from 1 on"):
        load(tmp_path / "vocab.txt", True)


def test_saving_where_nothing_can_be_written_is_one_message(tmp_path):
    with pytest.raises(UserError, match="vocabulary cannot be written.*\n.*No such file"):
        save_vocab(SMALL.pieces, tmp_path / "absent" / "vocab.txt")


@pytest.mark.parametrize(
    "content, message",
    [
        (b"", "is empty"),
        (b"[PAD]\n[UNK]\n[CLS]\n[SEP]\na\n", r"lacks \[MASK\]"),
        (b"[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na\nb\na\n", "'a' twice.*\n.*lines 6 and 8"),
        (b"[PAD]\n\n[UNK]\n", "empty line.*\n.*line 2"),
        (b"[PAD]\n\xff\n", "not UTF-8.*\n.*byte 6"),
        (None, "cannot be read.*\n.*No such file"),
    ],
)
def test_a_bad_vocabulary_is_refused_with_one_message_that_names_the_file(tmp_path, content, message):
    path = tmp_path / "vocab.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=message) as error:
        load(path, True)
    assert str(path) in str(error.value)
