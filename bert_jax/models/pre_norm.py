"""The layers of ModernBERT (Warner et al. 2024, arXiv 2412.13663, section 2.1; transformers models/modernbert): LayerNorm before
attention and feed-forward, rotary positions, a gated feed-forward, and attention to all tokens in every third layer only."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from bert_jax.errors import UserError
from bert_jax.models.attention import SelfAttention, visible
from bert_jax.models.layers import ACTIVATIONS, REMAT, Dense, Dropout, LayerNorm
from bert_jax.models.rotary import Rotation, rotation

# Fields of EncoderConfig that only these layers read.
FIELDS = (
    "global_attn_every_n_layers",
    "local_attention",
    "global_rope_theta",
    "local_rope_theta",
    "attention_output_dropout_prob",
)


def check(config) -> None:
    """Raises UserError where a setting does not go with model.block."""
    if config.block == "pre_norm":
        window = config.local_attention
        width, multiple = ("head_size", 2) if config.head_size else ("hidden_size", 2 * config.num_attention_heads)
        wanted = {
            width: (config.head_width % 2 == 0, f"a multiple of {multiple}: positions turn pairs of numbers"),
            "num_hidden_layers": (config.num_hidden_layers >= 2, "at least 2"),
            "num_hidden_groups": (config.num_hidden_groups == 0, "0: each layer has weights of its own"),
            "position_offset": (config.position_offset == 0, "0: there is no table of positions"),
            "positions": (config.positions == "learned", "learned, as it is: rotary ones are in its place"),
            "local_attention": (window >= 2 and window % 2 == 0, "an even number, at least 2"),
        }
    else:
        unread = {name: getattr(type(config), name) for name in FIELDS}
        wanted = {name: (getattr(config, name) == usual, f"{usual}, or pre_norm") for name, usual in unread.items()}
    for name, (holds, expected) in wanted.items():
        if not holds:
            fault = f"model.{name} does not go with model.block={config.block}"
            raise UserError(fault, got=getattr(config, name), expected=expected)


class PreNormBlock(nn.Module):
    """One layer: attention, then a gated feed-forward (GeGLU: Shazeer 2020, arXiv 2002.05202, section 2), each computed from the
    LayerNorm of the sum so far ("pre-norm"), to which it is added after dropout.

    Attributes:
        window: of attention, see there.
        first: right behind the LayerNorm of the embeddings, and so without one before attention.
    """

    config: Any
    window: int = 0
    first: bool = False

    @nn.compact
    def __call__(self, x_BLD, visible_B1LL, turn: Rotation, train: bool):
        cfg = self.config
        normed_BLD = x_BLD if self.first else LayerNorm(cfg, name="attention_norm")(x_BLD)
        attended_BLD = SelfAttention(cfg, self.window, name="attention")(normed_BLD, visible_B1LL, turn, train=train)
        x_BLD += Dropout(cfg.attention_output_dropout_prob)(attended_BLD, train=train)
        normed_BLD = LayerNorm(cfg, name="intermediate_norm")(x_BLD)
        inner_BLF = ACTIVATIONS[cfg.hidden_act](Dense(cfg, cfg.intermediate_size, name="intermediate")(normed_BLD))
        gated_BLF = inner_BLF * Dense(cfg, cfg.intermediate_size, name="gate")(normed_BLD)
        outer_BLD = Dense(cfg, cfg.hidden_size, cfg.residual_spread, name="output")(gated_BLF)
        return x_BLD + Dropout(cfg.hidden_dropout_prob)(outer_BLD, train=train)


class Layer(NamedTuple):
    """A block, and what its queries see."""

    block: PreNormBlock
    visible_B1LL: jax.Array
    turn: Rotation

    def init(self, x_BLD, rng):
        return self.block.init(rng, x_BLD, self.visible_B1LL, self.turn, False)["params"]

    def apply(self, x_BLD, params, rng, in_loop: bool) -> jax.Array:
        """rng is that of dropout, None without."""

        def run(x_BLD, params, rng):
            rngs = {} if rng is None else {"dropout": rng}
            return self.block.apply({"params": params}, x_BLD, self.visible_B1LL, self.turn, rng is not None, rngs=rngs)

        if self.block.config.remat != "none":  # a loop already keeps XLA from merging the two computations
            run = jax.checkpoint(run, policy=REMAT[self.block.config.remat], prevent_cse=not in_loop)
        return run(x_BLD, params, rng)


def kinds(config, input_mask_BL, position_ids_BL=None, sequence_ids_BL=None) -> list[Layer]:
    """The first layer, then the group of those that follow it again and again."""
    cfg = config
    places_BL = jnp.arange(input_mask_BL.shape[1])[None] if position_ids_BL is None else position_ids_BL

    def layer(window: int, theta: float, **options) -> Layer:
        turn = rotation(places_BL, cfg.head_width, theta)
        seen_B1LL = visible(input_mask_BL, sequence_ids_BL, window, left_to_right=cfg.left_to_right)
        return Layer(PreNormBlock(cfg, window, **options, parent=None), seen_B1LL, turn)

    first = layer(0, cfg.global_rope_theta, first=True)
    near, far = layer(cfg.local_attention, cfg.local_rope_theta), layer(0, cfg.global_rope_theta)
    return [first, *[near] * (cfg.global_attn_every_n_layers - 1), far]


def layers(config, param: Callable, x_BLD, input_mask_BL, position_ids_BL, sequence_ids_BL, dropout_rng) -> jax.Array:
    """x_BLD after all layers: the first one, a loop over groups of local layers and one that sees all, what is left of a group.

    In params the groups do not show: "layers" are all layers but the first in one stack, as those of other encoders are, and
    "first_layer" is the one before them. nn.scan would have a stack for each place of a group.

    Args:
        param: (name, rng -> params) -> params, of the module that holds these layers.
        dropout_rng: None when not training.
    """
    cfg, count = config, config.num_hidden_layers - 1
    first, *group = kinds(config, input_mask_BL, position_ids_BL, sequence_ids_BL)

    def consecutive(x_BLD, stack, in_loop: bool):
        for number, kind in zip(range(len(jax.tree.leaves(stack)[0])), group):
            x_BLD = kind.apply(x_BLD, *_at(stack, number), in_loop)
        return x_BLD, None

    rngs = None if dropout_rng is None else jax.random.split(dropout_rng, 1 + count)
    params = param("layers", lambda rng: jax.lax.map(partial(group[-1].init, x_BLD), jax.random.split(rng, count)))
    stack = params, _at(rngs, slice(1, None))
    whole = count - count % len(group)
    groups = jax.tree.map(lambda leaf: leaf.reshape(-1, len(group), *leaf.shape[1:]), _at(stack, slice(whole)))

    x_BLD = first.apply(x_BLD, param("first_layer", partial(first.init, x_BLD)), _at(rngs, 0), in_loop=False)
    x_BLD, _ = jax.lax.scan(partial(consecutive, in_loop=not cfg.unroll_layers), x_BLD, groups, unroll=cfg.unroll_layers)
    return consecutive(x_BLD, _at(stack, slice(whole, None)), in_loop=False)[0]


def _at(tree, index):
    return jax.tree.map(lambda leaf: leaf[index], tree)
