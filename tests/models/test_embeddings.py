"""Positions by a formula, and encoders without layers."""

from dataclasses import replace

import jax
import numpy as np
import pytest

from bert_jax.errors import UserError
from bert_jax.models.encoder import Encoder, EncoderConfig

BARE = EncoderConfig(
    vocab_size=20, hidden_size=9, num_hidden_layers=0, positions="none", type_vocab_size=0, embedding_norm=False, pooler=False
)
IDS = np.array([[2, 5, 7, 3, 5, 0], [2, 8, 3, 0, 0, 0]], np.int32)
MASK = (IDS > 0).astype(np.int32)


def hidden(config, *packing) -> tuple[dict, np.ndarray]:
    arguments = IDS, np.zeros_like(IDS), MASK, *packing

    @jax.jit
    def made(rng):
        out, variables = Encoder(config).init_with_output(rng, *arguments, train=False)
        return variables["params"], out.hidden_BLD

    return made(jax.random.key(0))


def by_the_formula(places: np.ndarray, width: int) -> np.ndarray:
    """PE(p, 2i) = sin(p / 10000^(2i/d)), PE(p, 2i + 1) = cos of the same, number by number."""
    table = np.zeros((*places.shape, width))
    for index, place in np.ndenumerate(places):
        for i in range(width):
            angle = place / 10000 ** (2 * (i // 2) / width)
            table[index][i] = np.cos(angle) if i % 2 else np.sin(angle)
    return table


@pytest.mark.parametrize(("width", "offset"), [(9, 0), (8, 2)])
def test_sinusoidal_positions_are_those_of_the_formula(width, offset):
    config = replace(BARE, hidden_size=width, positions="sinusoidal", position_offset=offset)
    params, found = hidden(config)
    assert set(params["embeddings"]) == {"word"}
    words = np.asarray(params["embeddings"]["word"]["embedding"])[IDS]
    np.testing.assert_allclose(found - words, by_the_formula(offset + np.arange(6), width)[None].repeat(2, 0), atol=1e-6)


def test_sinusoidal_positions_begin_anew_in_each_packed_example():
    places, numbers = np.array([[0, 1, 2, 0, 1, 0]] * 2, np.int32), np.array([[1, 1, 1, 2, 2, 0]] * 2, np.int32)
    params, found = hidden(replace(BARE, positions="sinusoidal"), places, numbers)
    words = np.asarray(params["embeddings"]["word"]["embedding"])[IDS]
    np.testing.assert_allclose(found - words, by_the_formula(places, 9), atol=1e-6)


def test_far_positions_are_exact_too():
    from bert_jax.models.rotary import sinusoids

    places = np.array([[511, 4095]], np.int32)
    np.testing.assert_allclose(jax.jit(lambda: sinusoids(places, 64))(), by_the_formula(places, 64), atol=5e-4)


def test_static_vectors_are_the_rows_of_the_table_and_all_the_parameters():
    params, found = hidden(BARE)
    assert jax.tree.map(np.shape, params) == {"embeddings": {"word": {"embedding": (20, 9)}}}
    np.testing.assert_array_equal(found, np.asarray(params["embeddings"]["word"]["embedding"])[IDS])


def test_without_layers_berts_embeddings_come_out():
    torch = pytest.importorskip("torch", reason="the parity extra is not installed")
    transformers = pytest.importorskip("transformers", reason="the parity extra is not installed")
    config = EncoderConfig(vocab_size=20, hidden_size=8, num_hidden_layers=0, pooler=False)
    params, found = hidden(config)
    assert set(params) == {"embeddings"}
    sizes = {"vocab_size": 20, "hidden_size": 8, "num_hidden_layers": 0, "num_attention_heads": 2}
    peer = transformers.BertModel(transformers.BertConfig(**sizes), add_pooling_layer=False).eval()
    tables = peer.embeddings.word_embeddings, peer.embeddings.position_embeddings, peer.embeddings.token_type_embeddings
    with torch.no_grad():
        for name, table in zip(("word", "position", "segment"), tables):
            table.weight.copy_(torch.tensor(np.asarray(params["embeddings"][name]["embedding"])))
        expected = peer(torch.tensor(IDS).long(), torch.tensor(MASK)).last_hidden_state
    np.testing.assert_allclose(found, expected.numpy(), atol=1e-5)


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [
        ({"positions": "rotary"}, "learned or sinusoidal or none"),
        ({"num_hidden_layers": -1}, "from 0 to 4,096"),
        ({"num_lstm_layers": -1}, "from 0 to 4,096"),
        ({"block": "pre_norm", "num_hidden_layers": 2, "hidden_size": 48, "positions": "sinusoidal"}, "rotary"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(wrong, hint):
    with pytest.raises(UserError, match=hint):
        EncoderConfig(vocab_size=20, **wrong)
