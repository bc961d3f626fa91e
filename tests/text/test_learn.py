import hashlib
import os
import subprocess
import sys

import pytest

from bert_jax.errors import UserError
from bert_jax.text import learn
from bert_jax.text.learn import count_words, learn_wordpiece
from bert_jax.text.wordpiece import SPECIAL_PIECES, WordPiece
from tests.paths import DATA, ROOT, needs_data

LEARN = """
import hashlib, sys
from bert_jax.text import learn
from bert_jax.text.learn import learn_wordpiece
lines = open(sys.argv[1], encoding="utf-8").read().split("\\n")
print(hashlib.sha256("\\n".join(learn_wordpiece(lines, 3000, True)).encode()).hexdigest())
"""


def test_the_most_frequent_pair_is_merged_first():
    # hug 10, pug 5, pun 12, bun 4, hugs 5: u+g comes 20 times, then u+n 16 times, then h+ug 15 times, the others 12 at most.
    text = " ".join(["hug"] * 10 + ["pug"] * 5 + ["pun"] * 12 + ["bun"] * 4 + ["hugs"] * 5)
    alphabet = ["##g", "##n", "##s", "##u", "b", "g", "h", "n", "p", "s", "u"]
    assert learn_wordpiece([text], 19, True) == [*SPECIAL_PIECES, *alphabet, "##ug", "##un", "hug"]


def test_ties_are_broken_the_same_way_whatever_the_order_of_the_text():
    words = [a + b for a in "abcdefgh" for b in "stuvwxyz"] * 3
    assert learn_wordpiece(words, 60, True) == learn_wordpiece(list(reversed(words)), 60, True)


def test_words_are_counted_however_many_chunks_are_counted_before_they_are_cleaned(monkeypatch):
    texts = ["A a, b", "a. É\te b,a", "今天 a a a"]
    expected = {"a": 7, "b": 2, ",": 2, ".": 1, "e": 2, "今": 1, "天": 1}
    assert count_words(texts, True) == expected
    monkeypatch.setattr(learn, "MAX_CHUNKS", 2)
    assert count_words(texts, True) == expected


@needs_data
def test_every_process_learns_the_same_pieces():
    def digest(threads: str) -> str:
        environment = {**os.environ, "RAYON_NUM_THREADS": threads, "PYTHONPATH": str(ROOT)}
        command = [sys.executable, "-c", LEARN, str(DATA / "text/wiki_en/sample_1mb.txt")]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout

    lines = (DATA / "text/wiki_en/sample_1mb.txt").read_text(encoding="utf-8").split("\n")
    here = hashlib.sha256("\n".join(learn_wordpiece(lines, 3000, True)).encode()).hexdigest()
    assert {digest("1").strip(), digest("2").strip(), digest("4").strip()} == {here}


@needs_data
def test_a_learned_vocabulary_spells_nearly_every_word_of_its_text():
    lines = (DATA / "text/wiki_en/sample_1mb.txt").read_text(encoding="utf-8").split("\n")
    pieces = learn_wordpiece(lines, 3000, True)
    tokenizer = WordPiece(tuple(pieces), True)
    ids = [number for line in tokenizer.encode(lines) for number in line]
    assert len(pieces) == len(set(pieces)) == 3000
    assert ids.count(tokenizer.unk_id) < 0.002 * len(ids)


def test_words_are_what_wordpiece_cuts_up():
    assert count_words(["Caf\u00e9, caf\u00e9! \u4e2d\u6587", "x_y"], True) == {
        "cafe": 2, ",": 1, "!": 1, "\u4e2d": 1, "\u6587": 1, "x": 1, "_": 1, "y": 1,
    }  # fmt: skip


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
