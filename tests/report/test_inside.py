"""Vectors as each row has them alone, and attention as Hugging Face's models give it."""

from dataclasses import replace

import jax
import numpy as np
import pytest

from bert_jax.data.finetune import Example, encode
from bert_jax.interop.names import ALBERT, BERT, from_huggingface
from bert_jax.models.encoder import Encoder, EncoderConfig
from bert_jax.objectives.pretrain import bert
from bert_jax.report import inside
from tests.data.small import TWELVE
from tests.objectives.test_contrastive import STILL
from tests.parity import case, theirs
from tests.parity.test_families import build

CONFIG = replace(STILL, vocab_size=TWELVE.size, max_position_embeddings=40)
PAIRS = [("a b c", "d"), ("d", "a"), ("a a a a b b b b c c c c d d d d", "e e e e f f"), ("c b a", "b d"), ("e", "f")]
ROWS = encode([Example(pair, "no") for pair in PAIRS], TWELVE, 40, ["no"])


def params_of(config):
    ids = np.zeros((1, 2), np.int32)
    return jax.jit(lambda rng: Encoder(config).init(rng, ids, ids, ids, train=False))(jax.random.key(0))["params"]


@pytest.fixture(scope="module")
def params():
    return params_of(CONFIG)


@pytest.mark.parametrize("pooling", ["cls", "mean"])
def test_each_row_has_the_vector_it_has_alone(params, pooling):
    numbers = np.array([3, 0, 2, 4])
    found_ND = inside.vectors(CONFIG, params, ROWS, numbers, pooling=pooling, batch_size=3)
    for number, vector_D in zip(numbers, found_ND, strict=True):
        alone = ROWS.batch(np.array([number]), np.ones(1, np.float32), int(ROWS.lengths[number]))
        ids, segments, mask = (alone[name] for name in ("input_ids", "segment_ids", "input_mask"))
        hidden_BLD = Encoder(CONFIG).apply({"params": params}, ids, segments, mask, train=False).hidden_BLD
        expected_D = np.asarray(hidden_BLD[0, 0] if pooling == "cls" else hidden_BLD[0].mean(axis=0))
        np.testing.assert_allclose(vector_D, expected_D, rtol=1e-4, atol=1e-5)


def test_one_row_is_shown_with_its_pieces(params):
    found = inside.look(CONFIG, params, ROWS, TWELVE, example=3)
    assert found.pieces == ("[CLS]", "c", "b", "a", "[SEP]", "b", "d", "[SEP]") and found.example == 3
    assert found.attention_NHLL.shape == (1, CONFIG.num_attention_heads, 8, 8)
    np.testing.assert_allclose(found.attention_NHLL.sum(-1), 1, rtol=1e-5)
    assert found.examples.tolist() == [0, 1, 2, 3, 4] and found.vectors_ND.shape == (5, CONFIG.hidden_size)
    assert inside.look(CONFIG, params, ROWS, TWELVE).example == 0


def test_a_long_row_is_shown_only_where_all_are_long(params, monkeypatch):
    monkeypatch.setattr(inside, "LONGEST_SHOWN", 6)
    assert inside.look(CONFIG, params, ROWS, TWELVE).example == 1  # the first of five pieces
    monkeypatch.setattr(inside, "LONGEST_SHOWN", 2)
    assert inside.look(CONFIG, params, ROWS, TWELVE).example == 1


def test_of_many_rows_some_are_taken_from_everywhere(params, monkeypatch):
    monkeypatch.setattr(inside, "MOST_ROWS", 3)
    assert inside.look(CONFIG, params, ROWS, TWELVE).examples.tolist() == [0, 2, 4]


@pytest.mark.parametrize(
    ("changes", "words"),
    [({"block": "pre_norm", "num_hidden_layers": 2}, "pre_norm"), ({"num_hidden_layers": 0}, "no layers")],
)
def test_other_encoders_have_vectors_and_a_sentence_instead_of_attention(changes, words):
    config = replace(CONFIG, **changes)
    found = inside.look(config, params_of(config), ROWS, TWELVE)
    assert found.attention_NHLL is None and words in found.without_attention and len(found.vectors_ND) == 5


@pytest.mark.parametrize(
    ("kind", "names", "options"),
    [
        ("BertModel", BERT, {}),
        ("AlbertModel", ALBERT, {"embedding_size": 12, "num_hidden_groups": 2, "hidden_act": "gelu_new"}),
    ],
)
def test_attention_equals_the_peers(kind, names, options):
    torch = pytest.importorskip("torch", reason="the parity extra is not installed")
    torch.manual_seed(0)
    peer = build(kind, num_hidden_layers=4, initializer_range=0.2, **case.SIZES | options).eval()
    rows = case.batch()
    asked = {"input_ids": rows["input_ids"], "attention_mask": rows["input_mask"], "token_type_ids": rows["segment_ids"]}
    with torch.no_grad():
        out = peer(**{name: torch.from_numpy(array.astype(np.int64)) for name, array in asked.items()}, output_attentions=True)
    config = EncoderConfig(num_hidden_layers=4, **case.SIZES | options)
    like = {"encoder": jax.eval_shape(bert(config).init, jax.random.key(0))["encoder"]}
    prefix = names["encoder/pooler"].split(".")[0]
    tensors = {f"{prefix}.{name}": array for name, array in theirs.tensors(peer).items()}
    params = from_huggingface(tensors, like, names)["encoder"]
    ours_NBHLL = np.asarray(inside.attention(config, params, case.as_jax(rows)))
    assert ours_NBHLL.max() > 0.5  # wide weights: heads that look somewhere
    real = rows["input_mask"] > 0  # what a query at padding attends to, nobody reads
    for ours_BHLL, theirs_BHLL in zip(ours_NBHLL, out.attentions, strict=True):
        ours, expected = (array.swapaxes(1, 2)[real] for array in (ours_BHLL, theirs_BHLL.numpy()))
        np.testing.assert_allclose(ours, expected, atol=1e-5, rtol=0)
