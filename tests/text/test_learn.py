import pytest

from bert_jax.errors import UserError
from bert_jax.text import learn
from bert_jax.text.counting import count_words
from bert_jax.text.wordpiece import SPECIAL_PIECES, WordPiece
from tests.paths import DATA, needs_data


def learn_wordpiece(texts, vocab_size, do_lower_case):
    counts = count_words(texts, learn.wordpiece_words(do_lower_case)).counts
    return learn.learn_wordpiece(counts, vocab_size, do_lower_case)


def test_the_most_frequent_pair_is_merged_first():
    # hug 10, pug 5, pun 12, bun 4, hugs 5: u+g comes 20 times, then u+n 16 times, then h+ug 15 times, the others 12 at most.
    text = " ".join(["hug"] * 10 + ["pug"] * 5 + ["pun"] * 12 + ["bun"] * 4 + ["hugs"] * 5)
    alphabet = ["##g", "##n", "##s", "##u", "b", "g", "h", "n", "p", "s", "u"]
    assert learn_wordpiece([text], 19, True) == [*SPECIAL_PIECES, *alphabet, "##ug", "##un", "hug"]


def test_ties_are_broken_the_same_way_whatever_the_order_of_the_text():
    words = [a + b for a in "abcdefgh" for b in "stuvwxyz"] * 3
    assert learn_wordpiece(words, 60, True) == learn_wordpiece(list(reversed(words)), 60, True)


@needs_data
def test_a_learned_vocabulary_spells_nearly_every_word_of_its_text():
    lines = (DATA / "text/wiki_en/sample_1mb.txt").read_text(encoding="utf-8").split("\n")
    pieces = learn_wordpiece(lines, 3000, True)
    tokenizer = WordPiece(tuple(pieces), True)
    ids = [number for line in tokenizer.encode(lines) for number in line]
    assert len(pieces) == len(set(pieces)) == 3000
    assert ids.count(tokenizer.unk_id) < 0.002 * len(ids)


def test_a_text_may_be_read_only_once():
    assert learn_wordpiece(iter(["aa ab", "aa ab"]), 20, True) == learn_wordpiece(["aa ab", "aa ab"], 20, True)


def test_a_text_without_words_is_refused():
    with pytest.raises(UserError, match="no words"):
        learn_wordpiece(["", " \n"], 100, True)


def test_a_vocabulary_smaller_than_the_alphabet_is_refused():
    with pytest.raises(UserError, match="too small.*\n.*vocab_size 8\n.*5 special pieces and 26 for single characters"):
        learn_wordpiece(["a b c d e f g h i j k l m n o p q r s t u v w x y z"], 8, True)


def test_words_too_long_to_have_pieces_change_nothing():
    texts = ["the cat sat on the mat", "the dog ate the cat"]
    endless = "ab" * 2**19  # the trainer alone would need minutes for it
    assert learn_wordpiece([*texts, endless], 40, True) == learn_wordpiece(texts, 40, True)
