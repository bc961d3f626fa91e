"""Features of a frozen encoder (BERT, table 7) against the same network in torch."""

from dataclasses import replace

import jax
import numpy as np
import pytest

from bert_jax.batch import Context
from bert_jax.errors import UserError
from bert_jax.interop.names import BERT, from_huggingface
from bert_jax.models.encoder import EncoderConfig
from bert_jax.objectives.tag_features import LAYERS, tag_features
from bert_jax.optim.optimizers import make_optimizer
from tests.objectives.test_tag import CLASSES, batch
from tests.parity import case, theirs

DEPTH, WIDTH = 5, case.SIZES["hidden_size"]
CONFIG = EncoderConfig(num_hidden_layers=DEPTH, pooler=False, **case.SIZES)
MIXTURE = {"layer_weights": [0.3, -1.0, 2.0, 0.5, 1.0], "scale": 1.7}


def picked(layers: str, hidden: tuple, torch):
    """By the rows of the paper's table; hidden[0] are the embeddings."""
    if layers.startswith("weighted_sum"):
        chosen = hidden[2:] if layers.endswith("four") else hidden[1:]
        weights = torch.tensor(MIXTURE["layer_weights"][: len(chosen)]).softmax(0) * MIXTURE["scale"]
        return sum(weight * each for weight, each in zip(weights, chosen))
    if layers == "concat_last_four":
        return torch.cat(hidden[2:], dim=-1)
    return {"embeddings": hidden[0], "second_to_last": hidden[4], "last": hidden[5]}[layers]


def lstm_of(params: dict, torch):
    """torch.nn.LSTM with the weights of ours."""
    lstm = torch.nn.LSTM(
        len(params["forward_0"]["input"]["kernel"]), WIDTH // 2, num_layers=2, bidirectional=True, batch_first=True
    )
    for name, part in params.items():
        direction, number = name.split("_")
        of = f"_l{number}" + ("_reverse" if direction == "backward" else "")
        taken = {
            "weight_ih": part["input"]["kernel"].T,
            "weight_hh": part["recurrent_kernel"].T,
            "bias_ih": part["input"]["bias"],
        }
        for kind, array in taken.items():
            getattr(lstm, kind + of).copy_(torch.tensor(np.array(array)))
        getattr(lstm, f"bias_hh{of}").zero_()
    return lstm


@pytest.mark.parametrize("layers", LAYERS)
def test_logits_and_loss_equal_torch(layers):
    torch = pytest.importorskip("torch", reason="the parity extra is not installed")
    transformers = pytest.importorskip("transformers", reason="the parity extra is not installed")
    torch.manual_seed(0)
    sizes = case.SIZES | {"num_hidden_layers": DEPTH, "num_labels": CLASSES, "initializer_range": 0.2}
    peer = transformers.BertForTokenClassification(transformers.BertConfig(attn_implementation="eager", **sizes)).eval()
    objective = tag_features(CONFIG, CLASSES, layers, WIDTH)
    params = objective.init(jax.random.key(1))
    rng = np.random.default_rng(2)
    taken = {name: params[name] for name in ("encoder", "token_classifier")}
    params |= from_huggingface(theirs.tensors(peer), taken, BERT)
    params["lstm"] = jax.tree.map(lambda leaf: rng.normal(scale=0.3, size=leaf.shape).astype(np.float32), params["lstm"])
    if "mixture" in params:
        size = len(params["mixture"]["layer_weights"])
        params["mixture"] = {
            "layer_weights": np.array(MIXTURE["layer_weights"][:size], np.float32),
            "scale": np.float32(MIXTURE["scale"]),
        }
    rows = {name: array[:2] for name, array in batch().items()}  # torch packs no row without pieces
    with torch.no_grad():
        long = {name: torch.tensor(array, dtype=torch.long) for name, array in rows.items()}
        hidden = peer.bert(long["input_ids"], long["input_mask"], long["segment_ids"], output_hidden_states=True).hidden_states
        packed = torch.nn.utils.rnn.pack_padded_sequence(
            picked(layers, hidden, torch), long["input_mask"].sum(1), batch_first=True, enforce_sorted=False
        )
        read, _ = torch.nn.utils.rnn.pad_packed_sequence(lstm_of(params["lstm"], torch)(packed)[0], batch_first=True)
        expected = peer.classifier(read)
        counted = rows["label_weights"] > 0
        loss = torch.nn.functional.cross_entropy(expected[counted], long["label_ids"][counted], reduction="sum")
    predicted, sums = jax.jit(lambda p: (objective.predict(p, rows), objective.sums(p, rows, Context())))(params)
    found = np.asarray(predicted["logits_BLC"])[counted]
    assert found.std() > 0.05
    np.testing.assert_allclose(found, expected.numpy()[counted], atol=1e-5, rtol=0)
    assert float(sums["loss"]) == pytest.approx(loss.item(), rel=1e-5)


def test_the_encoder_learns_nothing_and_is_read_without_dropout_what_is_new_learns():
    objective = tag_features(replace(CONFIG, attention_probs_dropout_prob=0.5), CLASSES, "weighted_sum_all", 6)
    params = objective.init(jax.random.key(0))
    assert set(params) == {"encoder", "lstm", "token_classifier", "mixture"}
    for name in ("lstm", "token_classifier"):  # as drawn they make all rows nearly equal
        params[name] = jax.tree.map(lambda leaf: 20 * leaf, params[name])
    train = jax.jit(jax.value_and_grad(lambda p, rng: objective.sums(p, batch(), Context(rng))["loss"]))
    (one, gradients), (other, _) = (train(params, jax.random.key(seed)) for seed in (1, 2))
    assert one == other
    optimizer = make_optimizer(lambda step: 0.1, weight_decay=0.0)
    updates, _ = optimizer.update(gradients, optimizer.init(params), params)
    for found in (gradients, updates):
        assert not any(np.any(leaf) for leaf in jax.tree.leaves(found.pop("encoder")))
        assert all(np.any(leaf) for leaf in jax.tree.leaves(found))


@pytest.mark.parametrize(
    ("changes", "layers", "message"),
    [
        ({}, "first", r"(?s)layers.*first.*embeddings or .* or weighted_sum_all"),
        ({"num_hidden_layers": 3}, "concat_last_four", r"(?s)too few layers.*num_hidden_layers=3.*at least 4"),
    ],
)
def test_layers_that_are_not_there_are_refused(changes, layers, message):
    with pytest.raises(UserError, match=message):
        tag_features(replace(CONFIG, **changes), CLASSES, layers, 6)
