"""A bidirectional LSTM on top of an encoder (Hochreiter and Schmidhuber 1997, Neural Computation 9(8), with the forget gates of
Gers et al. 2000, Neural Computation 12(10)): BERT, table 5, "+ BiLSTM", and section 5.3."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from bert_jax.models.layers import Dense, contract, weight_init


class BiLSTM(nn.Module):
    """config.num_lstm_layers layers, each of two directions of half the width side by side, as torch.nn.LSTM(bidirectional=True)
    computes them on packed sequences; a gate has one bias, the sum of the two in torch."""

    config: Any

    @nn.compact
    def __call__(self, x_BLD, example_BL):
        """float[B, L, D].

        Args:
            example_BL: number of the example that each token belongs to, 0 for padding: every example is read by itself, backward
                from its last token on.
        """
        for number in range(self.config.num_lstm_layers):
            forward = LSTM(self.config, backward=False, name=f"forward_{number}")
            backward = LSTM(self.config, backward=True, name=f"backward_{number}")
            x_BLD = jnp.concatenate([forward(x_BLD, example_BL), backward(x_BLD, example_BL)], axis=-1)
        return x_BLD


class LSTM(nn.Module):
    """One direction, float[B, L, D / 2]; the state of a cell is float32."""

    config: Any
    backward: bool

    @nn.compact
    def __call__(self, x_BLD, example_BL):
        cfg, width = self.config, self.config.hidden_size // 2
        inner_BLF = Dense(cfg, 4 * width, name="input")(x_BLD)
        kernel_DF = self.param("recurrent_kernel", weight_init(cfg), (width, 4 * width), jnp.float32)
        same_BL = example_BL[:, 1:] == example_BL[:, :-1]
        goes_on_BL = jnp.pad(same_BL, ((0, 0), (0, 1) if self.backward else (1, 0)))

        def step(state, token):
            inner_BF, goes_on_B1 = token
            hidden_BD, cell_BD = (jnp.where(goes_on_B1, part, 0) for part in state)
            gates_BF = (inner_BF + contract(cfg, "bd,df->bf", hidden_BD, kernel_DF)).astype(jnp.float32)
            take, keep, new, give = jnp.split(gates_BF, 4, axis=-1)  # in the order of torch
            cell_BD = nn.sigmoid(keep) * cell_BD + nn.sigmoid(take) * jnp.tanh(new)
            hidden_BD = (nn.sigmoid(give) * jnp.tanh(cell_BD)).astype(cfg.dtype)
            return (hidden_BD, cell_BD), hidden_BD

        nothing = tuple(jnp.zeros((len(x_BLD), width), dtype) for dtype in (cfg.dtype, jnp.float32))
        tokens = jnp.moveaxis(inner_BLF, 1, 0), goes_on_BL.T[:, :, None]
        return jnp.moveaxis(jax.lax.scan(step, nothing, tokens, reverse=self.backward)[1], 0, 1)
