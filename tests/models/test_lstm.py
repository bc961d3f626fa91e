"""The BiLSTM against torch's on packed sequences, with the same weights."""

from dataclasses import replace

import jax
import numpy as np
import pytest

from bert_jax.errors import UserError
from bert_jax.models.encoder import Encoder, EncoderConfig
from bert_jax.models.lstm import BiLSTM

CONFIG = EncoderConfig(vocab_size=20, hidden_size=8, num_attention_heads=2, num_hidden_layers=0, num_lstm_layers=2)
LENGTHS = np.array([7, 3, 1, 5])
MASK = (np.arange(7) < LENGTHS[:, None]).astype(np.int32)
VECTORS = np.random.default_rng(0).normal(size=(4, 7, 8)).astype(np.float32)
run = jax.jit(lambda params, x, example: BiLSTM(CONFIG).apply({"params": params}, x, example))


def draw() -> dict:
    shapes = jax.eval_shape(BiLSTM(CONFIG).init, jax.random.key(0), VECTORS, MASK)["params"]
    rng = np.random.default_rng(1)
    return jax.tree.map(lambda leaf: rng.normal(scale=0.6, size=leaf.shape).astype(np.float32), shapes)


def peer(params):
    import torch

    lstm = torch.nn.LSTM(8, 4, num_layers=2, bidirectional=True, batch_first=True)
    with torch.no_grad():
        for name, part in params.items():
            direction, number = name.split("_")
            of = f"_l{number}" + ("_reverse" if direction == "backward" else "")
            getattr(lstm, f"weight_ih{of}").copy_(torch.tensor(part["input"]["kernel"].T.copy()))
            getattr(lstm, f"weight_hh{of}").copy_(torch.tensor(part["recurrent_kernel"].T.copy()))
            getattr(lstm, f"bias_ih{of}").copy_(torch.tensor(part["input"]["bias"]))
            getattr(lstm, f"bias_hh{of}").zero_()
    return lstm


def test_it_computes_what_torch_does_on_packed_sequences_and_so_do_its_gradients():
    torch = pytest.importorskip("torch", reason="the parity extra is not installed")
    params = draw()
    lstm, x = peer(params), torch.tensor(VECTORS, requires_grad=True)
    packed = torch.nn.utils.rnn.pack_padded_sequence(x, torch.tensor(LENGTHS), batch_first=True, enforce_sorted=False)
    expected, _ = torch.nn.utils.rnn.pad_packed_sequence(lstm(packed)[0], batch_first=True)  # zeros at padding
    found = np.asarray(run(params, VECTORS, MASK)) * MASK[:, :, None]
    np.testing.assert_allclose(found, expected.detach().numpy(), atol=1e-5, rtol=0)

    weights = np.random.default_rng(2).normal(size=found.shape).astype(np.float32)
    (expected * torch.tensor(weights)).sum().backward()
    by_input, by_params = jax.jit(jax.grad(lambda x, p: (run(p, x, MASK) * weights * MASK[:, :, None]).sum(), argnums=(0, 1)))(
        VECTORS, params
    )
    np.testing.assert_allclose(by_input, x.grad.numpy(), atol=1e-5, rtol=1e-4)
    theirs = lstm.weight_hh_l0_reverse.grad.numpy().T
    np.testing.assert_allclose(by_params["backward_0"]["recurrent_kernel"], theirs, atol=1e-5, rtol=1e-4)


def test_examples_packed_in_a_row_are_read_by_themselves():
    params = draw()
    row, numbers = VECTORS[:1], np.array([[1, 1, 1, 2, 2, 2, 0]], np.int32)
    together = np.asarray(run(params, row, numbers))
    for number, places in ((1, slice(0, 3)), (2, slice(3, 6))):
        alone = np.zeros_like(row)
        alone[:, :3] = row[:, places]
        expected = np.asarray(run(params, alone, (np.arange(7)[None] < 3).astype(np.int32)))[:, :3]
        np.testing.assert_allclose(together[:, places], expected, atol=1e-6, err_msg=str(number))


def test_on_top_of_an_encoder_it_makes_its_output_and_the_vector_of_the_row():
    ids = np.array([[2, 5, 7, 3, 0, 0]], np.int32)
    arguments = ids, np.zeros_like(ids), (ids > 0).astype(np.int32)
    params = jax.jit(lambda rng: Encoder(CONFIG).init(rng, *arguments, train=False))(jax.random.key(0))["params"]
    assert set(params["lstm"]) == {"forward_0", "backward_0", "forward_1", "backward_1"}

    def out(config):
        return jax.jit(lambda: Encoder(config).apply({"params": params}, *arguments, train=False))()

    below, above = out(replace(CONFIG, num_lstm_layers=0)).hidden_BLD, out(CONFIG)
    expected = jax.jit(lambda: BiLSTM(CONFIG).apply({"params": params["lstm"]}, below, arguments[2]))()
    np.testing.assert_allclose(above.hidden_BLD, expected, atol=1e-6)
    np.testing.assert_array_equal(above.cls_BD, above.hidden_BLD[:, 0])


def test_a_width_without_two_halves_is_refused():
    with pytest.raises(UserError, match="two directions"):
        EncoderConfig(vocab_size=20, hidden_size=9, num_attention_heads=3, num_lstm_layers=1)
