"""Encoders beside BERT against Hugging Face's classes with the same weights, in float32."""

import jax
import numpy as np
import pytest

from bert_jax.batch import Context
from bert_jax.interop.names import ALBERT, DISTILBERT, ELECTRA_GENERATOR, MODERNBERT, ROBERTA, from_huggingface, to_huggingface
from bert_jax.models.encoder import EncoderConfig
from bert_jax.objectives.pretrain import bert
from experiments import sizes
from tests.parity import case, theirs

FAMILIES = {  # their class -> (names, what our encoder has beside the sizes, what their config has, number of [PAD])
    "RobertaForMaskedLM": (
        ROBERTA,
        {"position_offset": 2, "type_vocab_size": 1, "pooler": False, "layer_norm_eps": 1e-5},
        {"type_vocab_size": 1, "layer_norm_eps": 1e-5, "pad_token_id": 1},
        1,
    ),
    "AlbertForPreTraining": (
        ALBERT,
        {"embedding_size": 12, "num_hidden_groups": 2, "hidden_act": "gelu_new"},
        {"embedding_size": 12, "num_hidden_groups": 2, "hidden_act": "gelu_new"},
        0,
    ),
    "ElectraForMaskedLM": (ELECTRA_GENERATOR, {"embedding_size": 12, "pooler": False}, {"embedding_size": 12}, 0),
    "DistilBertForMaskedLM": (DISTILBERT, {"type_vocab_size": 0, "pooler": False}, {"hidden_dim": 48}, 0),
    "ModernBertForMaskedLM": (  # the first layer, a group of three and two layers that are left; five blocks in a row
        MODERNBERT,
        {
            "block": "pre_norm",
            "use_bias": False,
            "type_vocab_size": 0,
            "pooler": False,
            "layer_norm_eps": 1e-5,
            "local_attention": 8,
            "num_hidden_layers": 6,
        },
        {"local_attention": 8, "num_hidden_layers": 6, "pad_token_id": 0, "initializer_range": 0.2},
        0,
    ),
}
SIZES = (
    "num_hidden_layers hidden_size num_attention_heads intermediate_size max_position_embeddings embedding_size type_vocab_size"
).split()


def build(kind: str, **options):
    transformers = pytest.importorskip("transformers", reason="the parity extra is not installed")
    model = getattr(transformers, kind)
    return model(model.config_class(attn_implementation="eager", **options))


def padded_with(number: int) -> dict[str, np.ndarray]:
    rows = case.batch()
    return rows | {"input_ids": np.where(rows["input_mask"] > 0, rows["input_ids"], number).astype(np.int32)}


def run_peer(peer, rows: dict, pairs: bool):
    """Their output; segments and pair labels go in where they have a place for them."""
    import torch

    labels = np.full(rows["input_ids"].shape, -100)
    row, slot = np.nonzero(rows["masked_lm_weights"])
    labels[row, rows["masked_lm_positions"][row, slot]] = rows["masked_lm_ids"][row, slot]
    inputs = {"input_ids": rows["input_ids"], "attention_mask": rows["input_mask"], "labels": labels}
    if getattr(peer.config, "type_vocab_size", 0) > 1:
        inputs["token_type_ids"] = rows["segment_ids"]
    if pairs:
        inputs["sentence_order_label"] = rows["next_sentence_labels"]
    return peer(**{name: torch.from_numpy(array.astype(np.int64)) for name, array in inputs.items()})


@pytest.mark.parametrize("kind", FAMILIES)
def test_logits_loss_and_gradients_equal_the_peers(kind):
    torch = pytest.importorskip("torch", reason="the parity extra is not installed")
    names, ours, of_peer, padding = FAMILIES[kind]
    torch.manual_seed(0)
    peer = build(kind, **{"num_hidden_layers": 4} | case.SIZES | of_peer).eval()
    rows, pairs = padded_with(padding), kind.endswith("PreTraining")
    out = run_peer(peer, rows, pairs)
    out.loss.backward()

    objective = bert(EncoderConfig(**{"num_hidden_layers": 4} | case.SIZES | ours), next_sentence=pairs)
    like = jax.eval_shape(objective.init, jax.random.key(0))
    params, batch = from_huggingface(theirs.tensors(peer), like, names), case.as_jax(rows)
    exported, weights = to_huggingface(params, names), theirs.tensors(peer)
    assert exported.keys() == weights.keys()
    for name, array in exported.items():
        np.testing.assert_array_equal(array, weights[name], err_msg=name)
    found = jax.jit(objective.predict)(params, batch)
    logits = (out.prediction_logits if pairs else out.logits).detach().numpy()
    used = rows["masked_lm_weights"] > 0
    expected = logits[np.arange(len(used))[:, None], rows["masked_lm_positions"]]
    np.testing.assert_allclose(np.asarray(found["logits_BPV"])[used], expected[used], atol=1e-4, rtol=0)
    if pairs:
        np.testing.assert_allclose(found["logits_BC"], out.sop_logits.detach().numpy(), atol=1e-4, rtol=0)

    def loss(params):
        return objective.loss(objective.sums(params, batch, Context()), objective.counts(batch))

    value, gradients = jax.jit(jax.value_and_grad(loss))(params)
    assert float(value) == pytest.approx(out.loss.item(), abs=1e-5)
    reference = from_huggingface({name: p.grad.numpy() for name, p in peer.named_parameters()}, like, names)
    whole = np.sqrt(sum(np.vdot(leaf, leaf) for leaf in jax.tree.leaves(reference)))
    for (path, mine), peers in zip(jax.tree_util.tree_leaves_with_path(gradients), jax.tree.leaves(reference)):
        # The key's bias moves all scores of a query alike: its gradient is rounding, and is measured against the whole.
        assert np.linalg.norm(mine - peers) <= 1e-4 * max(np.linalg.norm(peers), 1e-3 * whole), path


@pytest.mark.parametrize("size", sizes.SIZES, ids=lambda size: " ".join((size.row, *size.parts)))
def test_published_rows_have_as_many_parameters_as_the_peer(size):
    torch = pytest.importorskip("torch", reason="the parity extra is not installed")
    encoder = sizes.encoder(size)
    given = {name: getattr(encoder, name) for name in SIZES} | {"embedding_size": encoder.table_width}
    if size.peer.startswith("Distil"):
        given["hidden_dim"] = given.pop("intermediate_size")
    with torch.device("meta"):
        peer = build(size.peer, vocab_size=size.vocab_size, **given)
    if size.peer == "BertModel":
        peer.pooler = None  # our students have none
    peer.tie_weights()
    ours = sizes.parameters(size)
    assert ours == sum(parameter.numel() for parameter in peer.parameters())
    assert size.millions is None or ours / 1e6 == pytest.approx(size.millions, rel=0.06)
