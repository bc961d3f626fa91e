"""The causal language model against transformers' BertLMHeadModel and torch's cross-entropy, with the same weights."""

from dataclasses import replace

import jax
import numpy as np
import pytest

from bert_jax.batch import Context
from bert_jax.errors import UserError
from bert_jax.interop.names import BERT, from_huggingface
from bert_jax.models.encoder import EncoderConfig
from bert_jax.objectives import causal_lm
from tests.parity import case, theirs

CONFIG = EncoderConfig(num_hidden_layers=2, left_to_right=True, pooler=False, **case.SIZES | {"initializer_range": 0.3})
LENGTH = 20
OBJECTIVE = causal_lm.causal_lm(CONFIG)


@pytest.fixture(autouse=True)
def several_parts(monkeypatch):
    monkeypatch.setattr(causal_lm, "AT_ONCE", 8)


def batch() -> dict[str, np.ndarray]:
    """Four rows with padding, in which each real piece but the first is to be predicted."""
    rows = case.batch()
    place = np.arange(1, LENGTH, dtype=np.int32)[None].repeat(len(case.LENGTHS), 0)
    used = place < case.LENGTHS[:, None]
    return rows | {
        "masked_lm_positions": np.where(used, place, 0),
        "masked_lm_ids": np.where(used, rows["input_ids"][:, 1:], 0),
        "masked_lm_weights": used.astype(np.float32),
    }


@jax.jit
def means(params, rows):
    return OBJECTIVE.means(OBJECTIVE.sums(params, rows, Context()), OBJECTIVE.counts(rows))


logits = jax.jit(lambda params, rows: OBJECTIVE.predict(params, rows)["logits_BPV"])


@pytest.fixture(scope="module")
def params():
    return jax.jit(OBJECTIVE.init)(jax.random.key(0))


def test_logits_loss_and_gradients_equal_the_peers():
    torch = pytest.importorskip("torch", reason="the parity extra is not installed")
    transformers = pytest.importorskip("transformers", reason="the parity extra is not installed")
    torch.manual_seed(0)
    sizes = {"num_hidden_layers": 2, "is_decoder": True, "attn_implementation": "eager", **case.SIZES, "initializer_range": 0.3}
    peer, rows = transformers.BertLMHeadModel(transformers.BertConfig(**sizes)).eval(), batch()
    inputs = {"input_ids": "input_ids", "attention_mask": "input_mask", "token_type_ids": "segment_ids"}
    out = peer(**{name: torch.tensor(rows[ours], dtype=torch.long) for name, ours in inputs.items()}).logits
    labels = torch.tensor(np.where(rows["input_mask"] > 0, rows["input_ids"], -100), dtype=torch.long)
    loss = torch.nn.functional.cross_entropy(out[:, :-1].reshape(-1, out.shape[-1]), labels[:, 1:].reshape(-1))
    loss.backward()

    like = jax.eval_shape(OBJECTIVE.init, jax.random.key(0))
    params, used = from_huggingface(theirs.tensors(peer), like, BERT), rows["masked_lm_weights"] > 0
    np.testing.assert_allclose(logits(params, rows)[used], out.detach().numpy()[:, :-1][used], atol=1e-4, rtol=0)
    found, gradients = jax.jit(jax.value_and_grad(lambda params: means(params, rows)["loss"]))(params)
    assert float(found) == pytest.approx(loss.item(), abs=1e-5)
    right = out[:, :-1].argmax(-1) == labels[:, 1:]
    assert float(means(params, rows)["causal_lm_accuracy"]) == pytest.approx(right.sum().item() / used.sum(), abs=1e-6)
    reference = from_huggingface({name: p.grad.numpy() for name, p in peer.named_parameters()}, like, BERT)
    whole = np.sqrt(sum(np.vdot(leaf, leaf) for leaf in jax.tree.leaves(reference)))
    for (path, mine), peers in zip(jax.tree_util.tree_leaves_with_path(gradients), jax.tree.leaves(reference)):
        assert np.linalg.norm(mine - peers) <= 1e-4 * max(np.linalg.norm(peers), 1e-3 * whole), path


def test_a_later_piece_changes_no_earlier_logit(params):
    rows = batch()
    before = logits(params, rows)
    for place in (1, 5, 12, LENGTH - 1):
        ids = rows["input_ids"].copy()
        ids[:, place] = ids[:, place] % 60 + 5
        after = logits(params, rows | {"input_ids": ids})
        np.testing.assert_array_equal(after[:, :place], before[:, :place])  # slot s predicts place s + 1
        if place < LENGTH - 1:
            assert np.abs(after[0, place:] - before[0, place:]).max() > 1e-3


def test_what_is_computed_at_once_changes_nothing(params, monkeypatch):
    expected = means(params, batch())
    for at_once in (1, 32):
        monkeypatch.setattr(causal_lm, "AT_ONCE", at_once)
        found = jax.jit(lambda params, rows: OBJECTIVE.sums(params, rows, Context()))(params, batch())
        for name, value in found.items():
            assert float(value) / batch()["masked_lm_weights"].sum() == pytest.approx(float(expected[name]), rel=1e-5), name


def test_an_encoder_that_sees_both_ways_is_refused():
    with pytest.raises(UserError, match="model.left_to_right=False"):
        causal_lm.causal_lm(replace(CONFIG, left_to_right=False))
    with pytest.raises(UserError, match="model.num_lstm_layers=1"):
        causal_lm.causal_lm(replace(CONFIG, num_lstm_layers=1))
