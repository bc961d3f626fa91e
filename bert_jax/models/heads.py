"""What is put on top of an encoder: vectors to logits."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from bert_jax.models.layers import ACTIVATIONS, Dense, LayerNorm, contract, weight_init

SPAN_PLACE_WIDTH = 200  # of the vector for a place in a span (SpanBERT, section 3.2)


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
        x_BPD = _transformed(cfg, cfg.table_width, picked_BPD)
        bias_V = self.param("bias", nn.initializers.zeros, (word_table_VD.shape[0],), jnp.float32)
        logits_BPV = contract(cfg, "bpd,vd->bpv", x_BPD, word_table_VD, preferred_element_type=jnp.float32)
        return logits_BPV + bias_V[None, None, :]


def _transformed(cfg, width: int, x) -> jax.Array:
    """Called within a head: dense, activation, LayerNorm."""
    return LayerNorm(cfg, name="norm")(ACTIVATIONS[cfg.hidden_act](Dense(cfg, width, name="dense")(x)))


class ClassHead(nn.Module):
    """Logits float32[B, C], of packed rows [B, E, C], from the pooled vector: the next-sentence head, the classifier of paper
    section 4, and the score of a choice."""

    config: Any
    num_classes: int

    @nn.compact
    def __call__(self, pooled_BD) -> jax.Array:
        return Dense(self.config, self.num_classes, always_bias=True, name="dense")(pooled_BD).astype(jnp.float32)


class TokenHead(nn.Module):
    """Logits float32[B, L, C] for every piece: its classes, or how much an answer begins and ends there (google-research/bert
    run_squad.create_model). On the layers of ModernBERT dense, activation and LayerNorm come before (transformers
    ModernBertPredictionHead)."""

    config: Any
    num_classes: int

    @nn.compact
    def __call__(self, hidden_BLD) -> jax.Array:
        cfg = self.config
        x_BLD = _transformed(cfg, cfg.hidden_size, hidden_BLD) if cfg.block == "pre_norm" else hidden_BLD
        return Dense(cfg, self.num_classes, always_bias=True, name="logits")(x_BLD).astype(jnp.float32)


class PieceHead(nn.Module):
    """A logit for each piece, float32[B, L]: the discriminator's head of google-research/electra run_pretraining.py."""

    config: Any

    @nn.compact
    def __call__(self, hidden_BLD) -> jax.Array:
        cfg = self.config
        x_BLD = ACTIVATIONS[cfg.hidden_act](Dense(cfg, cfg.hidden_size, name="dense")(hidden_BLD))
        return Dense(cfg, 1, name="logit")(x_BLD)[..., 0].astype(jnp.float32)


class SpanBoundaryHead(nn.Module):
    """Logits over the vocabulary from the two pieces beside a hidden span and the place in it (SpanBERT, arXiv 1907.10529,
    section 3.2; facebookresearch/SpanBERT fairseq/models/pair_bert.py): two layers, each with gelu and LayerNorm."""

    config: Any
    max_span_pieces: int

    @nn.compact
    def __call__(self, left_BPD, right_BPD, place_BP, word_table_VD) -> jax.Array:
        """float32[B, P, V]; place_BP counts from 0 in the span."""
        cfg = self.config
        place = nn.Embed(self.max_span_pieces, SPAN_PLACE_WIDTH, embedding_init=weight_init(cfg), dtype=cfg.dtype, name="place")
        x_BPD = jnp.concatenate([left_BPD, right_BPD, place(place_BP)], axis=-1)
        for number in ("first", "second"):
            x_BPD = ACTIVATIONS[cfg.hidden_act](Dense(cfg, cfg.table_width, name=f"{number}_dense")(x_BPD))
            x_BPD = LayerNorm(cfg, name=f"{number}_norm")(x_BPD)
        bias_V = self.param("bias", nn.initializers.zeros, (word_table_VD.shape[0],), jnp.float32)
        logits_BPV = contract(cfg, "bpd,vd->bpv", x_BPD, word_table_VD, preferred_element_type=jnp.float32)
        return logits_BPV + bias_V[None, None, :]


class SentenceHead(nn.Module):
    """The dense layer with tanh that SimCSE learns on the vector of a sentence, float32[..., D] (arXiv 2104.08821, section 6.3;
    princeton-nlp/SimCSE simcse/models.MLPLayer)."""

    config: Any

    @nn.compact
    def __call__(self, vectors) -> jax.Array:
        return jnp.tanh(Dense(self.config, self.config.hidden_size, name="dense")(vectors).astype(jnp.float32))
