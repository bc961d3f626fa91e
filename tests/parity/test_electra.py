"""ELECTRA against Hugging Face's generator and discriminator with the same weights, put together by the paper's formulas."""

import jax
import numpy as np
import pytest

from bert_jax.batch import Context
from bert_jax.interop.names import ELECTRA, ELECTRA_GENERATOR, from_huggingface
from bert_jax.models.encoder import EncoderConfig
from bert_jax.objectives import electra as electra_module
from bert_jax.objectives.electra import electra, generator_config
from bert_jax.objectives.pretrain import bert
from tests.parity import case, theirs
from tests.parity.test_families import build

CONFIG = EncoderConfig(num_hidden_layers=3, **case.SIZES | {"embedding_size": 12, "pooler": False})
SETTINGS = {"generator_size": 0.5, "encoder_weight": 50.0}
KEY = jax.random.key(7)


def batch():
    return case.batch() | {"example_id": np.array([3, 1, 4, 15], np.int32)}


@pytest.fixture(scope="module")
def peers():
    """(discriminator, generator) in torch, with one embedding between them."""
    torch = pytest.importorskip("torch", reason="the parity extra is not installed")
    torch.manual_seed(0)
    sizes = case.SIZES | {"num_hidden_layers": 3, "embedding_size": 12}
    small = sizes | {"hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 24}
    encoder, generator = build("ElectraForPreTraining", **sizes).eval(), build("ElectraForMaskedLM", **small).eval()
    generator.electra.embeddings = encoder.electra.embeddings
    generator.tie_weights()
    return encoder, generator


def of_peers(peers, values) -> dict:
    """The params, or what `values` gives for each of their tensors, in our structure."""
    like = jax.eval_shape(electra(CONFIG, learns="replaced", **SETTINGS).init, KEY)
    whole = jax.eval_shape(bert(generator_config(CONFIG, 0.5), next_sentence=False).init, KEY)
    params = from_huggingface(values(peers[0]), {name: like[name] for name in ("encoder", "replaced")}, ELECTRA)
    generator = from_huggingface(values(peers[1]), whole, ELECTRA_GENERATOR)
    tables = generator["encoder"]["embeddings"]
    generator["encoder"]["embeddings"] = {name: tables[name] for name in like["generator"]["encoder"]["embeddings"]}
    return params | {"generator": generator}


def drawn_by_hand(logits_BPV, rows) -> np.ndarray:
    """Where one uniform number of each slot falls among the cumulative probabilities of the pieces."""
    slots = logits_BPV.shape[1]
    keys = [jax.random.fold_in(KEY, number) for number in rows["example_id"]]
    uniform_BP = np.stack([jax.random.uniform(key, (slots,)) for key in keys]).astype(np.float64)
    probs = np.exp(logits_BPV.astype(np.float64) - logits_BPV.max(-1, keepdims=True))
    up_to = np.cumsum(probs / probs.sum(-1, keepdims=True), axis=-1)
    return (up_to <= uniform_BP[..., None]).sum(-1)


def filled(rows, pieces_BP) -> np.ndarray:
    ids = rows["input_ids"].copy()
    for row, slot in zip(*np.nonzero(rows["masked_lm_weights"])):
        ids[row, rows["masked_lm_positions"][row, slot]] = pieces_BP[row, slot]
    return ids


def peers_loss(peers, rows):
    """(loss, metrics): appendix A and section 2 of the paper, and section 3.4 for the masks alone."""
    import torch
    import torch.nn.functional as F

    encoder, generator = peers
    long = {name: torch.tensor(array, dtype=torch.long) for name, array in rows.items() if array.dtype == np.int32}
    inputs = {"attention_mask": long["input_mask"], "token_type_ids": long["segment_ids"]}
    used = torch.tensor(rows["masked_lm_weights"]) > 0
    at = long["masked_lm_positions"]
    logits_BLV = generator(input_ids=long["input_ids"], **inputs).logits
    logits_BPV = torch.gather(logits_BLV, 1, at[..., None].expand(-1, -1, logits_BLV.shape[-1]))
    lm_loss = F.cross_entropy(logits_BPV[used], long["masked_lm_ids"][used])
    fakes = filled(rows, drawn_by_hand(logits_BPV.detach().numpy(), rows))
    replaced = torch.tensor(fakes != filled(rows, rows["masked_lm_ids"])).float()
    logits_BL = encoder(input_ids=torch.tensor(fakes).long(), **inputs).logits
    real = long["input_mask"] > 0
    loss = F.binary_cross_entropy_with_logits(logits_BL[real], replaced[real])
    picked = [torch.gather(x, 1, at)[used] for x in (logits_BL, replaced)]
    metrics = {
        "masked_lm_loss": lm_loss,
        "replaced_loss": loss,
        "replaced_at_masks_loss": F.binary_cross_entropy_with_logits(*picked),
        "replaced_share": replaced[real].mean(),
        "replaced_accuracy": ((logits_BL > 0) == (replaced > 0))[real].float().mean(),
    }
    return lm_loss + 50 * loss, {name: value.item() for name, value in metrics.items()}


def means(objective, params, rows) -> dict:
    data = case.as_jax(rows)
    return jax.jit(lambda: objective.means(objective.sums(params, data, Context(row_rng=KEY)), objective.counts(data)))()


def test_losses_and_gradients_equal_the_peers(peers):
    rows, objective = batch(), electra(CONFIG, learns="replaced", **SETTINGS)
    params = of_peers(peers, theirs.tensors)
    for peer in peers:
        peer.zero_grad()
    loss, expected = peers_loss(peers, rows)
    loss.backward()
    assert 0.1 < expected["replaced_share"] < 0.4
    found = means(objective, params, rows)
    for name in ("masked_lm_loss", "replaced_loss", "replaced_share", "replaced_accuracy"):
        assert float(found[name]) == pytest.approx(expected[name], abs=1e-5), name
    assert float(found["loss"]) == pytest.approx(loss.item(), abs=1e-4)

    gradients = jax.grad(lambda params: means(objective, params, rows)["loss"])(params)
    of = lambda peer: {name: parameter.grad.numpy() for name, parameter in peer.named_parameters()}  # noqa: E731
    reference = of_peers(peers, of)
    whole = np.sqrt(sum(np.vdot(leaf, leaf) for leaf in jax.tree.leaves(reference)))
    leaves = zip(jax.tree_util.tree_leaves_with_path(gradients), jax.tree.leaves(reference), strict=True)
    for (path, mine), peers_leaf in leaves:
        assert np.linalg.norm(mine - peers_leaf) <= 1e-4 * max(np.linalg.norm(peers_leaf), 1e-3 * whole), path


def test_at_the_masks_alone_the_loss_is_that_of_the_masks(peers):
    params = of_peers(peers, theirs.tensors)
    found = means(electra(CONFIG, learns="replaced_at_masks", **SETTINGS), params, batch())
    expected = peers_loss(peers, batch())[1]
    assert float(found["replaced_loss"]) == pytest.approx(expected["replaced_at_masks_loss"], abs=1e-5)


def test_pieces_are_drawn_by_their_probabilities():
    vocab, draws = 700, 4000  # more than two blocks, the last not full
    logits = 3 * np.random.default_rng(0).normal(size=vocab).astype(np.float32)
    tiled = np.broadcast_to(logits, (draws, 2, vocab))
    numbers = np.arange(draws, dtype=np.int32)
    pieces = np.asarray(jax.jit(electra_module.sample)(tiled, KEY, numbers))
    np.testing.assert_array_equal(pieces, drawn_by_hand(tiled, {"example_id": numbers}))
    probs = np.exp(logits.astype(np.float64))
    expected = pieces.size * probs / probs.sum()
    often = expected > 20
    chi_squared = ((np.bincount(pieces.ravel(), minlength=vocab) - expected) ** 2 / expected)[often]
    assert abs(chi_squared.mean() - 1) < 0.5  # one a piece, with a standard deviation of sqrt(2 / pieces)
    assert len(np.unique(pieces[:, 0] - pieces[:, 1])) > 100  # the slots of a row do not draw alike


def test_a_draw_depends_on_the_number_of_the_row_and_not_on_its_place():
    logits = np.random.default_rng(0).normal(size=(4, 3, 300)).astype(np.float32)
    numbers = np.array([8, 2, 9, 5], np.int32)
    pieces = electra_module.sample(logits, KEY, numbers)
    np.testing.assert_array_equal(pieces[::-1], electra_module.sample(logits[::-1], KEY, numbers[::-1]))
