"""Files of word2vec and GloVe: read number by number, refused by line, and made an encoder that gives what they hold."""

import jax
import numpy as np
import pytest

from bert_jax.__main__ import main
from bert_jax.build import encoder_config
from bert_jax.errors import UserError
from bert_jax.interop import word_vectors
from bert_jax.objectives.pretrain import bert
from bert_jax.predict.embed import embed
from bert_jax.text.tokenizer import BERT
from bert_jax.trained import open_trained
from bert_jax.transfer import transfer
from tests.parallel.test_layouts import encoder_config as small_config

GLOVE = "the 0.5 -1.5 2e-1\ncat 1 2 3\nsat -0.25 .5 -3.125\n"
NUMBERS = [[0.5, -1.5, 0.2], [1, 2, 3], [-0.25, 0.5, -3.125]]


def written(tmp_path, text: str | bytes):
    path = tmp_path / "vectors.txt"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


@pytest.mark.parametrize("text", [GLOVE, f"3 3\n{GLOVE}", GLOVE.replace("\n", " \n"), GLOVE.replace("\n", "\r\n"), GLOVE[:-1]])
def test_words_and_numbers_are_those_of_the_file(tmp_path, text):
    found = word_vectors.read(written(tmp_path, text))
    assert found.words == ["the", "cat", "sat"] and found.vectors_VD.dtype == np.float32
    np.testing.assert_array_equal(found.vectors_VD, np.array(NUMBERS, np.float32))


def test_only_a_plain_blank_ends_a_word(tmp_path):
    """GloVe's largest files hold other kinds of blanks, and line breaks that are none, as words."""
    words = ["\u00a0", "a\u2028b", "\x85", "3"]
    found = word_vectors.read(written(tmp_path, "".join(f"{word} 1 2\n" for word in words)))
    assert found.words == words


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "does not hold its vectors"),
        ("5 2\n", "5 of width 2"),
        (f"4 3\n{GLOVE}", "4 of width 3, as its first line says"),
        (f"3 2\n{GLOVE}", "3 of width 2, as its first line says"),
        (GLOVE + "dog 1 2\n", "line 4 is no vector of a word\n  got:      'dog' and 2 numbers\n  expected: a word and 3 numbers"),
        (GLOVE + "new york 1 2 3\n", "line 4 .*\n.*could not convert string to float: 'york'"),
        (GLOVE + "\n", "line 4 is no vector"),
        ("the\n", "line 1 is no vector"),
        (GLOVE + "cat 4 5 6\n", "line 4 .*\n.*'cat' for the second time\n.*it is on line 2"),
        (GLOVE + "dog 1 nan 2\n", "line 4 .*\n.*'dog' with a number that is not finite"),
        (f"3 3\n{GLOVE}".replace("1 2 3", "1 1e39 3"), "line 3 .*\n.*'cat' with a number that is not finite"),
        (GLOVE.encode() + b"d\xff 1 2 3\n", "line 4 .*\n.*'utf-8' codec"),
    ],
    ids=range(12),
)
def test_what_is_wrong_is_named_by_file_and_line(tmp_path, text, message):
    path = written(tmp_path, text)
    with pytest.raises(UserError, match=f"(?s){path}.*{message}"):
        word_vectors.read(path)


def test_a_word_that_no_text_gives_is_left_out_and_a_special_piece_is_kept():
    words = ["the", "n't", "[UNK]", "##s", "café", "The", *"abcdefghij"]
    found = word_vectors.WordVectors(words, np.arange(len(words) * 2, dtype=np.float32).reshape(-1, 2))
    cased = word_vectors.vocabulary(found)
    assert not cased.do_lower_case and cased.left_out == ["n't", "##s"]  # one word in sixteen has a capital
    assert cased.pieces == [*BERT, "the", "café", "The", *"abcdefghij"]
    np.testing.assert_array_equal(cased.vectors_VD[:7], [[0, 0], [4, 5], [0, 0], [0, 0], [0, 0], [0, 1], [8, 9]])
    words = [word.lower() for word in words if word not in ("The", "[UNK]")]
    lower = word_vectors.vocabulary(word_vectors.WordVectors(words, np.ones((len(words), 2), np.float32)))
    assert lower.do_lower_case and lower.left_out == ["n't", "##s", "café"]  # lower-casing takes accents away


def test_the_workdir_gives_the_mean_of_the_vectors_of_a_text(tmp_path, capsys):
    path, workdir = written(tmp_path, GLOVE + "can't 1 1 1\n"), tmp_path / "W"
    assert main(["convert", f"--from={path}", f"--workdir={workdir}"]) == 0
    said = capsys.readouterr().out
    assert "3 words in lower case, of width 3" in said and "left out are 1 words" in said and "can't" in said
    trained = open_trained(workdir, say=str)
    encoder = encoder_config(dict(trained.config.model), trained.tokenizer.size)
    texts = ["The cat sat", "cat the cat dog", "dog"]
    found = embed(encoder, trained.params["encoder"], trained.tokenizer, texts, pooling="mean")
    the, cat, sat = np.array(NUMBERS, np.float32)
    expected = [(the + cat + sat) / 5, (the + 2 * cat) / 6, np.zeros(3)]  # [CLS], [SEP] and [UNK] are zeros
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert trained.encoder.classifier_pooling == "mean"  # the vector of [CLS] is the same for all texts
    like = jax.eval_shape(bert(small_config(vocab_size=8, hidden_size=3, num_attention_heads=1)).init, jax.random.key(0))
    assert transfer(trained.params, like, source=workdir).loaded == ["encoder/embeddings/word"]


def test_a_broken_file_ends_in_one_message_and_no_workdir(tmp_path, capsys):
    path = written(tmp_path, GLOVE + "dog 1 2\n")
    assert main(["convert", f"--from={path}", f"--workdir={tmp_path / 'W'}"]) == 2
    assert capsys.readouterr().err.startswith(f"error: {path}, line 4") and not (tmp_path / "W").exists()
