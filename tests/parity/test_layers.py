"""What the layers make on the way, against Hugging Face's models with the same weights, in float32."""

from dataclasses import replace

import flax.linen as nn
import jax
import numpy as np
import pytest

from bert_jax.batch import Context
from bert_jax.interop.names import ALBERT, BERT, from_huggingface
from bert_jax.models.attention import probabilities, visible
from bert_jax.models.encoder import Encoder, EncoderConfig
from bert_jax.objectives.apply import encode, encode_layers
from bert_jax.objectives.pretrain import bert
from tests.parity import case, theirs
from tests.parity.test_families import build

LAYERS = 4
FAMILIES = {  # their class -> (names, what both have beside the sizes)
    "BertModel": (BERT, {}),
    "AlbertModel": (ALBERT, {"embedding_size": 12, "num_hidden_groups": 2, "hidden_act": "gelu_new"}),
}


@pytest.mark.parametrize("kind", FAMILIES)
def test_hidden_states_and_attention_equal_the_peers(kind):
    torch = pytest.importorskip("torch", reason="the parity extra is not installed")
    names, options = FAMILIES[kind]
    torch.manual_seed(0)
    peer = build(kind, num_hidden_layers=LAYERS, initializer_range=0.2, **case.SIZES | options).eval()
    rows = case.batch()
    inputs = {"input_ids": rows["input_ids"], "attention_mask": rows["input_mask"], "token_type_ids": rows["segment_ids"]}
    with torch.no_grad():
        out = peer(
            **{name: torch.from_numpy(array.astype(np.int64)) for name, array in inputs.items()},
            output_hidden_states=True,
            output_attentions=True,
        )

    config = EncoderConfig(num_hidden_layers=LAYERS, **case.SIZES | options)
    like = {"encoder": jax.eval_shape(bert(config).init, jax.random.key(0))["encoder"]}
    prefix = names["encoder/pooler"].split(".")[0]
    tensors = {f"{prefix}.{name}": array for name, array in theirs.tensors(peer).items()}
    params = from_huggingface(tensors, like, names)["encoder"]
    _, layers = jax.jit(lambda data: encode_layers(Encoder(config), params, data, None))(case.as_jax(rows))
    real = rows["input_mask"] > 0
    assert len(layers.hidden_NBLD) == len(out.hidden_states) == LAYERS + 1
    for number, (ours, hidden) in enumerate(zip(layers.hidden_NBLD, out.hidden_states)):
        np.testing.assert_allclose(ours[real], hidden.numpy()[real], atol=1e-4, rtol=0, err_msg=str(number))
    seen = visible(rows["input_mask"])
    for number, attention in enumerate(out.attentions):
        found = probabilities(config, layers.query_NBLHK[number], layers.key_NBLHK[number], seen)
        np.testing.assert_allclose(np.asarray(found).swapaxes(1, 2)[real], attention.numpy().swapaxes(1, 2)[real], atol=1e-4)


CONFIG = replace(case.encoder_config(3), hidden_dropout_prob=0.2)


@pytest.fixture(scope="module")
def params():
    return bert(CONFIG).init(jax.random.key(0))


@pytest.mark.parametrize("changes", [{"unroll_layers": True}, {"remat": "none"}, {"remat": "full"}], ids=str)
def test_the_layers_do_not_depend_on_how_they_are_compiled(params, changes):
    rng, data = jax.random.key(1), case.as_jax(case.batch())
    found, expected = (
        jax.jit(lambda p, config=config: encode_layers(Encoder(config), p, data, rng))(params["encoder"])
        for config in (replace(CONFIG, **changes), CONFIG)
    )
    for ours, wanted in zip(jax.tree.leaves(found), jax.tree.leaves(expected)):
        np.testing.assert_allclose(ours, wanted, atol=1e-5)


def test_who_does_not_ask_for_the_layers_gets_the_program_without_them(params, monkeypatch):
    data, objective = case.as_jax(case.batch()), bert(CONFIG)

    def programs() -> list[str]:
        train = jax.jit(jax.grad(lambda p: objective.sums(p, data, Context(jax.random.key(0)))["masked_lm_loss"]))
        forward = jax.jit(lambda p: encode(Encoder(CONFIG), p, data, None))
        return [train.lower(params).as_text(), forward.lower(params["encoder"]).as_text()]

    ours = programs()
    asked = jax.jit(lambda p: encode_layers(Encoder(CONFIG), p, data, None)[1]).lower(params["encoder"]).as_text()
    monkeypatch.setattr(nn.Module, "sow", lambda *arguments, **options: False)
    assert ours == programs()
    assert "3x4x20x4x8x" in asked and "3x4x20x4x8x" not in ours[1]  # the queries of all layers
