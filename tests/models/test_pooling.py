import jax.numpy as jnp
import numpy as np
import pytest

from bert_jax.errors import UserError
from bert_jax.models.encoder import EncoderOutput
from bert_jax.models.pooling import POOLINGS, check_pooling, mean_of_words, pool

MASK = np.array([[1, 1, 1, 0], [1, 1, 0, 0], [0, 0, 0, 0]], np.int32)
HIDDEN = np.random.default_rng(0).normal(size=(3, 4, 5)).astype(np.float32)
OF_REAL_TOKENS = {"cls": lambda real: real[0], "mean": lambda real: real.mean(axis=0), "max": lambda real: real.max(axis=0)}


def output(hidden_BLD) -> EncoderOutput:
    return EncoderOutput(hidden_BLD, hidden_BLD[:, 0], None, None)


@pytest.mark.parametrize("name", POOLINGS)
def test_only_real_tokens_count(name):
    pooled = np.asarray(pool(name, output(jnp.asarray(HIDDEN)), MASK))
    for row, length in enumerate((3, 2)):
        np.testing.assert_allclose(pooled[row], OF_REAL_TOKENS[name](HIDDEN[row, :length]), rtol=1e-6)
    assert np.isfinite(pooled[2]).all()  # a row without any token


def test_sums_are_taken_in_float32():
    ones = jnp.ones((1, 1000, 1), jnp.bfloat16)
    pooled = pool("mean", output(jnp.concatenate([ones, 1.0078125 * ones], axis=1)), np.ones((1, 2000), np.int32))
    assert pooled.dtype == jnp.float32 and float(pooled[0, 0]) == pytest.approx(1.00390625)


def test_an_unknown_pooling_names_those_there_are():
    with pytest.raises(UserError, match="cls or mean or max"):
        check_pooling("average")


def test_the_mean_of_a_word_stands_at_each_of_its_pieces_and_zeros_elsewhere():
    hidden = np.arange(1.0, 13.0, dtype=np.float32).reshape(1, 6, 2)
    means = np.asarray(mean_of_words(hidden, np.array([[0, 1, 1, 2, 0, 0]], np.int32)))
    assert means[0].tolist() == [[0, 0], [4, 5], [4, 5], [7, 8], [0, 0], [0, 0]]
