from dataclasses import replace

import jax
import numpy as np
import pytest

from bert_jax.errors import UserError
from bert_jax.models.encoder import Encoder
from bert_jax.predict.embed import embed
from tests.data.small import TWELVE
from tests.objectives.test_contrastive import STILL

CONFIG = replace(STILL, vocab_size=TWELVE.size, max_position_embeddings=20)
TEXTS = ["a b c", "d", "", "a a a a b b b b c c c c d d d d e e e e f f", "c b a", "b d f a", "e"]


@pytest.fixture(scope="module")
def params():
    ids = np.zeros((1, 2), np.int32)
    return jax.jit(lambda rng: Encoder(CONFIG).init(rng, ids, ids, ids, train=False))(jax.random.key(0))["params"]


@pytest.mark.parametrize("batch_size", [2, 32])
def test_each_text_has_the_vector_it_has_alone(params, batch_size):
    """In the order given; a text that is too long is cut off."""
    found = embed(CONFIG, params, TWELVE, TEXTS, pooling="mean", batch_size=batch_size)
    encode = jax.jit(lambda ids: Encoder(CONFIG).apply({"params": params}, ids, 0 * ids, 0 * ids + 1, train=False).hidden_BLD)
    for text, vector in zip(TEXTS, found, strict=True):
        ids = [TWELVE.cls_id, *TWELVE.encode([text])[0][:18], TWELVE.sep_id]
        alone = np.asarray(encode(np.array([ids], np.int32)))[0].mean(axis=0)
        np.testing.assert_allclose(vector, alone, rtol=1e-4, atol=1e-6)


def test_an_unknown_pooling_is_refused(params):
    with pytest.raises(UserError, match="cls or mean or max"):
        embed(CONFIG, params, TWELVE, TEXTS, pooling="pooler")
