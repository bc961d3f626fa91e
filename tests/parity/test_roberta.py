"""Ours against Hugging Face's RobertaForMaskedLM with the same weights, in float32."""

import jax
import numpy as np
import pytest

from bert_jax import config as configs
from bert_jax import run
from bert_jax.interop.names import ROBERTA, from_huggingface
from bert_jax.models.encoder import EncoderConfig
from bert_jax.objectives.pretrain import bert
from tests import tiny
from tests.parity import case, theirs

PADDING = 1
SHAPE = {"position_offset": PADDING + 1, "type_vocab_size": 1, "pooler": False, "layer_norm_eps": 1e-5}


@pytest.fixture(scope="module")
def peer():
    torch = pytest.importorskip("torch", reason="the parity extra is not installed")
    transformers = pytest.importorskip("transformers", reason="the parity extra is not installed")
    torch.manual_seed(0)
    sizes = case.SIZES | {"num_hidden_layers": 3, "type_vocab_size": 1, "layer_norm_eps": 1e-5, "pad_token_id": PADDING}
    return transformers.RobertaForMaskedLM(transformers.RobertaConfig(attn_implementation="eager", **sizes)).eval()


def batch() -> dict[str, np.ndarray]:
    whole = case.batch()
    kept = {name: array for name, array in whole.items() if not name.startswith("next_sentence")}
    return kept | {"input_ids": np.where(whole["input_mask"] > 0, whole["input_ids"], PADDING).astype(np.int32)}


def test_logits_loss_and_gradients_equal_torch(peer):
    import torch

    rows = batch()
    labels = np.full(rows["input_ids"].shape, -100)
    row, slot = np.nonzero(rows["masked_lm_weights"])
    labels[row, rows["masked_lm_positions"][row, slot]] = rows["masked_lm_ids"][row, slot]
    out = peer(
        input_ids=torch.from_numpy(rows["input_ids"].astype(np.int64)),
        attention_mask=torch.from_numpy(rows["input_mask"].astype(np.int64)),
        labels=torch.from_numpy(labels),
    )
    out.loss.backward()
    objective = bert(EncoderConfig(num_hidden_layers=3, **case.SIZES | SHAPE), next_sentence=False)
    like = jax.eval_shape(objective.init, jax.random.key(0))
    params = from_huggingface(theirs.tensors(peer), like, ROBERTA)
    # Segments of the second sentence stay in the batch: they must make no difference.
    found = objective.predict(params, case.as_jax(rows))["logits_BPV"]
    expected = out.logits.detach().numpy()[np.arange(len(labels))[:, None], rows["masked_lm_positions"]]
    used = rows["masked_lm_weights"] > 0
    np.testing.assert_allclose(np.asarray(found)[used], expected[used], atol=1e-4, rtol=0)

    def loss(params):
        return objective.loss(objective.sums(params, case.as_jax(rows), None), objective.counts(rows))

    value, gradients = jax.value_and_grad(loss)(params)
    assert float(value) == pytest.approx(out.loss.item(), abs=1e-5)
    reference = from_huggingface({name: p.grad.numpy() for name, p in peer.named_parameters()}, like, ROBERTA)
    for ours, torchs in zip(jax.tree.leaves(gradients), jax.tree.leaves(reference)):
        assert np.linalg.norm(ours - torchs) <= 1e-4 * max(np.linalg.norm(torchs), 1e-6)


def test_published_rows_have_as_many_parameters_as_the_peer():
    transformers = pytest.importorskip("transformers", reason="the parity extra is not installed")
    torch = pytest.importorskip("torch", reason="the parity extra is not installed")
    for size, published_millions in (("base", 125), ("large", 355)):
        config = configs.load(str(tiny.ROOT / "configs" / f"roberta.py:{size}"), ())
        shapes = jax.eval_shape(run.build_objective(config, vocab_size=50265).init, jax.random.key(0))
        model, names = config.model, ("num_hidden_layers", "hidden_size", "num_attention_heads", "intermediate_size")
        with torch.device("meta"):
            peer = transformers.RobertaForMaskedLM(
                transformers.RobertaConfig(
                    vocab_size=50265, max_position_embeddings=514, type_vocab_size=1, **{name: model[name] for name in names}
                )
            )
        peer.tie_weights()
        count = sum(int(np.prod(leaf.shape)) for leaf in jax.tree.leaves(shapes))
        assert count == sum(parameter.numel() for parameter in peer.parameters())
        assert count / 1e6 == pytest.approx(published_millions, rel=0.01)
