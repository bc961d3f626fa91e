"""What is put on top of an encoder: vectors to logits."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from bert_jax.models.layers import ACTIVATIONS, Dense, LayerNorm, contract


class MaskedLMHead(nn.Module):
    """Logits over the vocabulary at the predicted positions only, through the word table of the embeddings.

    google-research/bert run_pretraining.get_masked_lm_output: gather, dense, activation, LayerNorm, product with the table, bias.
    """

    config: Any

    @nn.compact
    def __call__(self, hidden_BLD, positions_BP, word_table_VD) -> jax.Array:
        """float32[B, P, V]."""
        cfg = self.config
        picked_BPD = jnp.take_along_axis(hidden_BLD, positions_BP[:, :, None], axis=1)
        x_BPD = LayerNorm(cfg, name="norm")(ACTIVATIONS[cfg.hidden_act](Dense(cfg, cfg.table_width, name="dense")(picked_BPD)))
        bias_V = self.param("bias", nn.initializers.zeros, (word_table_VD.shape[0],), jnp.float32)
        logits_BPV = contract(cfg, "bpd,vd->bpv", x_BPD, word_table_VD, preferred_element_type=jnp.float32)
        return logits_BPV + bias_V[None, None, :]


class ClassHead(nn.Module):
    """Logits float32[B, C], of packed rows [B, E, C], from the pooled vector: the next-sentence head, and the classifier of
    paper section 4."""

    config: Any
    num_classes: int

    @nn.compact
    def __call__(self, pooled_BD) -> jax.Array:
        return Dense(self.config, self.num_classes, name="dense")(pooled_BD).astype(jnp.float32)


class PieceHead(nn.Module):
    """A logit for each piece, float32[B, L]: the discriminator's head of google-research/electra run_pretraining.py."""

    config: Any

    @nn.compact
    def __call__(self, hidden_BLD) -> jax.Array:
        cfg = self.config
        x_BLD = ACTIVATIONS[cfg.hidden_act](Dense(cfg, cfg.hidden_size, name="dense")(hidden_BLD))
        return Dense(cfg, 1, name="logit")(x_BLD)[..., 0].astype(jnp.float32)
