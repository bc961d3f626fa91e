"""New words for a vocabulary: what becomes of each line of a list, and what the old vocabulary made of them."""

import pytest

from bert_jax.errors import UserError
from bert_jax.text import kinds, wordpiece
from bert_jax.text.extension import cuts_of_new_pieces, read_words
from bert_jax.text.tokenizer import BERT
from tests.text import full_tokenizer

PIECES = [*BERT, "immun", "##o", "##glob", "##ulin", "re", "##n", "##al", "renal", "i", "##i", "x"]


@pytest.fixture
def old(tmp_path):
    wordpiece.save_vocab(PIECES, tmp_path / "old.txt")
    return wordpiece.load(tmp_path / "old.txt", do_lower_case=True)


def words_file(tmp_path, *lines):
    (tmp_path / "words.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return tmp_path / "words.txt"


def test_words_are_read_as_text_is(old, tmp_path):
    found = read_words(words_file(tmp_path, "Immunoglobulin", "", " İmmun ", "RENAL", "immunoglobulin", "β"), old)
    assert found.new == ("immunoglobulin", "β")  # a dotted capital I loses its dot: immun
    assert found.known == 3 and found.never_found == ()


def test_what_text_is_cut_inside_of_is_told_by_its_line(old, tmp_path):
    lines = ["non-renal", "renalx", "two words", "免疫", "[MASK]", "##in", "a" * 201]
    found = read_words(words_file(tmp_path, *lines), old)
    assert found.new == ("renalx",)
    assert found.never_found == tuple((number, line) for number, line in enumerate(lines, 1) if line != "renalx")


def test_new_pieces_are_cut_as_the_original_cuts_them(old, tmp_path):
    words = ["immunoglobulin", "immunorenal", "renali", "xi", "qq"]
    wordpiece.save_vocab([*PIECES, *words], tmp_path / "new.txt")
    cuts = cuts_of_new_pieces(wordpiece.load(tmp_path / "new.txt", do_lower_case=True), old)
    originals = [full_tokenizer.tokenize(word, frozenset(PIECES), do_lower_case=True) for word in words]
    assert [old.pieces_of(cut) for cut in cuts] == originals
    assert old.pieces_of(cuts[-1]) == ["[UNK]"] and len(cuts[0]) == 4


def test_a_piece_from_inside_of_words_is_cut_as_one(old, tmp_path):
    wordpiece.save_vocab([*PIECES, "##oglobulin", "##"], tmp_path / "new.txt")
    inside, mark = cuts_of_new_pieces(wordpiece.load(tmp_path / "new.txt", do_lower_case=True), old)
    assert old.pieces_of(inside) == ["##o", "##glob", "##ulin"] and old.pieces_of(mark) == ["[UNK]"]


@pytest.mark.parametrize("other", ["shuffled", "shorter", "cased", "limited"])
def test_what_does_not_begin_with_the_old_pieces_is_no_extension(old, tmp_path, other):
    pieces = {"shuffled": [*PIECES[:-2], "x", "##i", "y"], "shorter": PIECES[:-1]}.get(other, [*PIECES, "y"])
    wordpiece.save_vocab(pieces, tmp_path / "new.txt", 100 if other == "limited" else 200)
    assert cuts_of_new_pieces(wordpiece.load(tmp_path / "new.txt", do_lower_case=other != "cased"), old) is None
    assert cuts_of_new_pieces(old, old) == []


@pytest.mark.parametrize(("kind", "name"), [("bytelevel", "ByteLevel"), ("bpe", "SentencePiece")])
def test_only_wordpiece_can_be_extended(kind, name, tmp_path):
    path = tmp_path / kinds.KINDS[kind].file_name
    kinds.learn_vocabulary(kind, ["the cat sees a fish", "a dog sees the moon"] * 9, path, vocab_size=300, do_lower_case=True)
    with pytest.raises(UserError, match=f"(?s)WordPiece.*{name}.*text.kind=wordpiece"):
        read_words(words_file(tmp_path, "aunt"), kinds.load(kind, path, do_lower_case=True))


def test_an_absent_file_of_words_is_named_with_its_setting(old, tmp_path):
    with pytest.raises(UserError, match=r"(?s)cannot be read.*absent\.txt.*check text\.new_words"):
        read_words(tmp_path / "absent.txt", old)
