"""The encoder of BERT (Devlin et al. 2019, arXiv 1810.04805; released code google-research/bert modeling.py), of RoBERTa (Liu et
al. 2019, arXiv 1907.11692; facebookresearch/fairseq models/roberta), of ALBERT (Lan et al. 2020, arXiv 1909.11942;
google-research/albert modeling.py) and of ModernBERT (Warner et al. 2024, arXiv 2412.13663; AnswerDotAI/ModernBERT)."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from bert_jax.errors import UserError
from bert_jax.models import pre_norm
from bert_jax.models.attention import SelfAttention, visible
from bert_jax.models.features import NO_FEATURES, Feature, FeatureSum, check_features, check_given, from_batch
from bert_jax.models.layers import ACTIVATIONS, REMAT, Dense, Dropout, Embedding, LayerNorm
from bert_jax.models.lstm import BiLSTM
from bert_jax.models.pooling import mean
from bert_jax.models.rotary import sinusoids
from bert_jax.ranges import BELOW_ONE, NOT_NEGATIVE, POSITIVE, require, whole

BLOCKS = ("post_norm", "pre_norm")
CLASSIFIER_POOLINGS = ("cls", "mean")
POSITIONS = ("learned", "sinusoidal", "none")
# A config.json from elsewhere may ask for anything: within these bounds every shape can be written down, and its size be counted.
MOST_ROWS, WIDEST, DEEPEST = 2**30, 2**20, 2**12
RANGES = {
    "vocab_size": whole(1, MOST_ROWS),
    "hidden_size": whole(1, WIDEST),
    "num_hidden_layers": whole(0, DEEPEST),
    "num_attention_heads": whole(1, WIDEST),
    "head_size": whole(0, WIDEST),
    "intermediate_size": whole(1, WIDEST),
    "hidden_dropout_prob": BELOW_ONE,
    "attention_probs_dropout_prob": BELOW_ONE,
    "max_position_embeddings": whole(1, MOST_ROWS),
    "type_vocab_size": whole(0, MOST_ROWS),
    "embedding_size": whole(0, WIDEST),
    "num_hidden_groups": whole(0, DEEPEST),
    "position_offset": whole(0, MOST_ROWS),
    "num_lstm_layers": whole(0, DEEPEST),
    "global_attn_every_n_layers": whole(1, DEEPEST),
    "local_attention": whole(1, MOST_ROWS),
    "global_rope_theta": POSITIVE,
    "local_rope_theta": POSITIVE,
    "attention_output_dropout_prob": BELOW_ONE,
    "initializer_range": NOT_NEGATIVE,
    "layer_norm_eps": POSITIVE,
}


@dataclass(frozen=True)
class EncoderConfig:
    """Sizes and rates under the names of the released bert_config.json; weights are float32 always.

    Attributes:
        num_hidden_layers: 0 for static vectors: what comes out is what the embeddings are.
        head_size: width of a head of attention; 0: hidden_size / num_attention_heads, which it is no longer where heads were cut
            (compress/prune.py).
        embedding_size: width of the tables; where it is not hidden_size a product widens their sum (ALBERT, section 3.1). 0: as
            hidden_size.
        num_hidden_groups: so many groups of consecutive layers, each group with one set of weights (ALBERT: 1). 0: every layer
            has weights of its own.
        type_vocab_size: kinds of segments; with 1, as in RoBERTa, segment numbers make no difference, with 0, as in DistilBERT,
            there is no table for them.
        positions: "learned", a table; "sinusoidal", numbers of a formula (rotary.py) without one; "none".
        position_offset: the row of the position table at which a row of the batch begins; RoBERTa's is 2, because fairseq counts
            places from after the number of [PAD], and the table has that many rows more.
        embedding_norm: whether the sum of the embeddings goes through LayerNorm; static vectors from a file do not.
        left_to_right: a token sees itself and those before it alone (BERT, section 5.1, "LTR"). [CLS] then stands last in its
            example, where it sees all (Tokenizer.cls_last).
        num_lstm_layers: of a bidirectional LSTM on top of it all (lstm.py; BERT, table 5, "+ BiLSTM").
        block: "post_norm", the layers of BERT; or "pre_norm", those of ModernBERT (pre_norm.py), with rotary positions instead of
            a table. Only they read the next five.
        global_attn_every_n_layers: of so many layers the first sees all tokens, the others those near by.
        local_attention: how many tokens around its own place a query then sees, half of them on each side.
        global_rope_theta: base of the angles by which positions turn queries and keys (rotary.py) where all tokens are seen.
        local_rope_theta: the same where those near by are.
        attention_output_dropout_prob: of what attention adds to the sum; ModernBERT drops out 0.1 of that, and nothing else.
        use_bias: whether products and LayerNorm have one; the logits over the vocabulary and over classes always do.
        pooler: whether there is a vector of the whole row, which only heads for a row or a pair need: a dense layer and
            pooler_act on what classifier_pooling picks; with block "pre_norm" a LayerNorm too (transformers
            ModernBertPredictionHead).
        pooler_act: of that vector; "gelu" and "relu" in the classifiers of ELECTRA and DistilBERT as transformers has them.
        classifier_pooling: "cls", the vector of [CLS], or "mean", that of all real tokens.
        dtype: of activations.
        matmul_dtype: of the operands of matrix products: "auto", as the activations; or bfloat16 beside float32 activations,
            for CPUs that multiply in bfloat16 and add up in float32; what is kept for the backward pass is then bfloat16 too.
        quantize: "int8": products with weights see both operands rounded to 8 bits, in training too, so that a model learns to do
            with them (Jacob et al. 2018, arXiv 1712.05877, section 3); "": they are not rounded.
        unroll_layers: compile the layers one after another instead of as a loop over the same parameters: a faster step for a
            few layers, a compilation that grows with their number.
        remat: what the backward pass computes anew instead of keeping it from the forward pass, a name of REMAT. "elementwise",
            all that is neither a product nor random, and the scores of attention, saves memory and on CPUs time.
        features: of tokens, summed into the embeddings beside the pieces.
    """

    vocab_size: int
    hidden_size: int = 768
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    head_size: int = 0
    intermediate_size: int = 3072
    hidden_act: str = "gelu"
    hidden_dropout_prob: float = 0.1
    attention_probs_dropout_prob: float = 0.1
    max_position_embeddings: int = 512
    type_vocab_size: int = 2
    embedding_size: int = 0
    num_hidden_groups: int = 0
    positions: str = "learned"
    position_offset: int = 0
    embedding_norm: bool = True
    left_to_right: bool = False
    num_lstm_layers: int = 0
    block: str = "post_norm"
    global_attn_every_n_layers: int = 3
    local_attention: int = 128
    global_rope_theta: float = 160_000.0
    local_rope_theta: float = 10_000.0
    attention_output_dropout_prob: float = 0.0
    use_bias: bool = True
    pooler: bool = True
    pooler_act: str = "tanh"
    classifier_pooling: str = "cls"
    initializer_range: float = 0.02
    layer_norm_eps: float = 1e-12
    dtype: str = "float32"
    matmul_dtype: str = "auto"
    quantize: str = ""
    unroll_layers: bool = False
    remat: str = "elementwise"
    features: tuple[Feature, ...] = ()

    def __post_init__(self):
        require("model", vars(self), RANGES)
        if self.longest_row < 1:
            raise UserError(
                "model.position_offset leaves no positions for tokens",
                got=f"{self.position_offset} of model.max_position_embeddings={self.max_position_embeddings}",
                expected=f"at most {self.max_position_embeddings - 1}",
            )
        if self.num_lstm_layers and self.hidden_size % 2:
            raise UserError("model.hidden_size does not divide into the two directions of the LSTM", got=self.hidden_size)
        if self.num_hidden_layers and not self.head_size and self.hidden_size % self.num_attention_heads:
            raise UserError(
                "model.hidden_size does not divide into model.num_attention_heads",
                got=f"{self.hidden_size} and {self.num_attention_heads}",
                expected=f"a multiple of {self.num_attention_heads}",
            )
        if self.num_hidden_groups and self.num_hidden_layers % self.num_hidden_groups:
            raise UserError(
                "model.num_hidden_layers does not divide into model.num_hidden_groups",
                got=f"{self.num_hidden_layers} and {self.num_hidden_groups}",
                expected=f"a multiple of {self.num_hidden_groups}",
            )
        for name in ("hidden_act", "pooler_act"):
            if getattr(self, name) not in ACTIVATIONS:
                raise UserError(f"model.{name} is unknown", got=getattr(self, name), expected=" or ".join(ACTIVATIONS))
        if self.matmul_dtype not in ("auto", "float32", "bfloat16"):
            raise UserError("model.matmul_dtype is unknown", got=self.matmul_dtype, expected="auto or float32 or bfloat16")
        if self.quantize not in ("", "int8"):
            raise UserError("model.quantize is unknown", got=self.quantize, expected="int8, or nothing")
        if self.remat not in REMAT:
            raise UserError("model.remat is unknown", got=self.remat, expected=" or ".join(REMAT))
        for name, known in (("block", BLOCKS), ("positions", POSITIONS), ("classifier_pooling", CLASSIFIER_POOLINGS)):
            if getattr(self, name) not in known:
                raise UserError(f"model.{name} is unknown", got=getattr(self, name), expected=" or ".join(known))
        pre_norm.check(self)
        check_features(self.features)

    @property
    def table_width(self) -> int:
        return self.embedding_size or self.hidden_size

    @property
    def head_width(self) -> int:
        return self.head_size or self.hidden_size // self.num_attention_heads

    @property
    def attention_width(self) -> int:
        return self.num_attention_heads * self.head_width

    @property
    def longest_row(self) -> int:
        return self.max_position_embeddings - self.position_offset

    @property
    def residual_spread(self) -> float:
        """How wide, beside others, weights begin whose products are added up over all layers: where no norm is between the sums,
        1 / sqrt(2 N) (Shoeybi et al. 2019, arXiv 1909.08053, section 4.2; transformers models/modernbert _init_weights)."""
        return (2 * self.num_hidden_layers) ** -0.5 if self.block == "pre_norm" else 1.0


class EncoderOutput(NamedTuple):
    hidden_BLD: jax.Array
    cls_BD: jax.Array  # what stands at [CLS]; [B, E, D] where cls_positions are given
    pooled_BD: jax.Array | None  # made of it; None without config.pooler
    word_table_VD: jax.Array  # for the output layer that shares it


class Embeddings(nn.Module):
    """Sum of word, position, segment and feature vectors, as many as there are, then LayerNorm and dropout (paper, figure 2)."""

    config: EncoderConfig

    @nn.compact
    def __call__(self, input_ids_BL, segment_ids_BL, position_ids_BL=None, given: Mapping = NO_FEATURES, *, train: bool):
        cfg = self.config
        word = Embedding(cfg, cfg.vocab_size, name="word")
        sum_BLD = word(input_ids_BL)
        if cfg.positions == "sinusoidal":
            places_BL = jnp.arange(input_ids_BL.shape[1])[None] if position_ids_BL is None else position_ids_BL
            sum_BLD += sinusoids(places_BL + cfg.position_offset, cfg.table_width).astype(cfg.dtype)
        elif cfg.positions == "learned" and cfg.block == "post_norm":
            position = Embedding(cfg, cfg.max_position_embeddings, name="position")
            if position_ids_BL is None:
                sum_BLD += position.table()[None, cfg.position_offset :][:, : input_ids_BL.shape[1]].astype(cfg.dtype)
            else:
                sum_BLD += position(position_ids_BL + cfg.position_offset)
        if cfg.features:
            sum_BLD += FeatureSum(cfg, name="features")(input_ids_BL, given)
        if cfg.type_vocab_size:
            segment = Embedding(cfg, cfg.type_vocab_size, name="segment")
            sum_BLD += segment(jnp.minimum(segment_ids_BL, cfg.type_vocab_size - 1))
        x_BLD = LayerNorm(cfg, name="norm")(sum_BLD) if cfg.embedding_norm else sum_BLD
        x_BLD = Dropout(cfg.hidden_dropout_prob)(x_BLD, train=train)
        if cfg.table_width != cfg.hidden_size:
            x_BLD = Dense(cfg, cfg.hidden_size, name="projection")(x_BLD)
        return x_BLD, word.table()


class Block(nn.Module):
    """One layer: attention, then feed-forward, each followed by dropout, a residual sum and LayerNorm ("post-norm")."""

    config: EncoderConfig

    @nn.compact
    def __call__(self, x_BLD, visible_B1LL, train: bool):
        cfg = self.config
        dropout = partial(Dropout(cfg.hidden_dropout_prob), train=train)
        attended_BLD = SelfAttention(cfg, name="attention")(x_BLD, visible_B1LL, train=train)
        x_BLD = LayerNorm(cfg, name="attention_norm")(x_BLD + dropout(attended_BLD))
        inner_BLF = ACTIVATIONS[cfg.hidden_act](Dense(cfg, cfg.intermediate_size, name="intermediate")(x_BLD))
        outer_BLD = Dense(cfg, cfg.hidden_size, name="output")(inner_BLF)
        hidden_BLD = LayerNorm(cfg, name="output_norm")(x_BLD + dropout(outer_BLD))
        self.sow("intermediates", "hidden", hidden_BLD)
        return hidden_BLD, None


class Group(nn.Module):
    """Layers that share their weights."""

    config: EncoderConfig

    @nn.compact
    def __call__(self, x_BLD, visible_B1LL, train: bool):
        cfg = self.config
        shared = _repeated(_block(cfg), cfg.num_hidden_layers // cfg.num_hidden_groups, cfg.unroll_layers, shared=True)
        return shared(cfg, name="block")(x_BLD, visible_B1LL, train)


def _block(config: EncoderConfig) -> type[nn.Module]:
    if config.remat == "none":
        return Block
    # The loop already keeps XLA from merging the two computations.
    return nn.remat(Block, policy=REMAT[config.remat], prevent_cse=config.unroll_layers, static_argnums=(3,))


def _repeated(module: type[nn.Module], times: int, unroll: bool, *, shared: bool = False) -> type[nn.Module]:
    return nn.scan(
        module,
        variable_axes={"intermediates": 0} | ({} if shared else {"params": 0}),
        variable_broadcast="params" if shared else False,
        split_rngs={"params": not shared, "dropout": True},
        in_axes=(nn.broadcast, nn.broadcast),
        length=times,
        unroll=times if unroll else 1,
    )


class Encoder(nn.Module):
    """Ids to vectors.

    The layers are scanned: each parameter under "layers" carries a leading axis N, of layers or of groups of them, so that
    compile time does not grow with depth. What the layers make on the way is sown (flax.linen.Module.sow), for those who ask.
    """

    config: EncoderConfig

    @nn.compact
    def __call__(
        self,
        input_ids_BL,
        segment_ids_BL,
        input_mask_BL,
        position_ids_BL=None,
        sequence_ids_BL=None,
        cls_positions_BE=None,
        *,
        features: Mapping = NO_FEATURES,
        train: bool,
    ) -> EncoderOutput:
        """Arguments are int32 arrays of bert_jax/batch.py, the last three for packed rows; needs a "dropout" rng when train is
        true. features: name of each of config.features that does not follow from the piece -> its array."""
        cfg = self.config
        if input_ids_BL.shape[1] > cfg.longest_row:
            raise UserError(
                "a sequence is longer than the positions of the encoder",
                got=f"{input_ids_BL.shape[1]} tokens for {cfg.longest_row} positions",
                expected="data.max_seq_length <= model.max_position_embeddings - model.position_offset",
            )
        check_given(from_batch(cfg.features), features)
        x_BLD, word_table_VD = Embeddings(cfg, name="embeddings")(
            input_ids_BL, segment_ids_BL, position_ids_BL, features, train=train
        )
        self.sow("intermediates", "embedded", x_BLD)
        if cfg.block == "pre_norm":
            rng = self.make_rng("dropout") if train else None
            x_BLD = pre_norm.layers(cfg, self.param, x_BLD, input_mask_BL, position_ids_BL, sequence_ids_BL, rng)
            hidden_BLD = LayerNorm(cfg, name="final_norm")(x_BLD)
        elif cfg.num_hidden_layers:
            groups = cfg.num_hidden_groups
            layers = _repeated(Group if groups else _block(cfg), groups or cfg.num_hidden_layers, cfg.unroll_layers)
            seen_B1LL = visible(input_mask_BL, sequence_ids_BL, left_to_right=cfg.left_to_right)
            hidden_BLD, _ = layers(cfg, name="layers")(x_BLD, seen_B1LL, train)
        else:
            hidden_BLD = x_BLD
        if cfg.num_lstm_layers:
            hidden_BLD = BiLSTM(cfg, name="lstm")(hidden_BLD, input_mask_BL if sequence_ids_BL is None else sequence_ids_BL)
        cls_BD = _at_cls(cfg, hidden_BLD, input_mask_BL, cls_positions_BE)
        if not cfg.pooler:
            return EncoderOutput(hidden_BLD, cls_BD, None, word_table_VD)
        picked_BD = cls_BD if cfg.classifier_pooling == "cls" else _mean_of_row(hidden_BLD, input_mask_BL, cls_positions_BE)
        pooled_BD = ACTIVATIONS[cfg.pooler_act](Dense(cfg, cfg.hidden_size, name="pooler")(picked_BD))
        if cfg.block == "pre_norm":
            pooled_BD = LayerNorm(cfg, name="pooler_norm")(pooled_BD)
        return EncoderOutput(hidden_BLD, cls_BD, pooled_BD, word_table_VD)


def _mean_of_row(hidden_BLD, input_mask_BL, cls_positions_BE) -> jax.Array:
    if cls_positions_BE is not None:
        raise UserError("packed rows have no mean", expected="model.classifier_pooling=cls, or data.max_examples_per_row=1")
    return mean(hidden_BLD, input_mask_BL)


def _at_cls(config: EncoderConfig, hidden_BLD, input_mask_BL, cls_positions_BE) -> jax.Array:
    if cls_positions_BE is not None:
        return jnp.take_along_axis(hidden_BLD, cls_positions_BE[:, :, None], axis=1)
    if not config.left_to_right:
        return hidden_BLD[:, 0]
    last_B = jnp.maximum(jnp.sum(input_mask_BL, axis=1) - 1, 0)  # a row that only fills the batch has no token
    return jnp.take_along_axis(hidden_BLD, last_B[:, None, None], axis=1)[:, 0]
