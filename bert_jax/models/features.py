"""What is known of a token beside its piece, summed into its embedding: integers by a table, vectors by a product.

In a config a section of model.features says what there is, under its name; it may name a table that others share:

    config.model.features = ConfigDict({"word_place": {"kind": "ids", "size": 5, "hidden": False}})
    config.model.features = ConfigDict({"pinyin": {"kind": "ids", "size": 1500, "file": "pinyin.tsv"}})

What follows from the piece comes from a file that the section names (interop/piece_tables.py). The encoder takes it along as a
table that is not learned, and looks up the pieces that it is shown: of [MASK] it knows nothing, of a random piece what belongs to
that one, so that it never betrays what a mask hides. Whatever is made from such a model needs the file no more.

Pretraining makes features that follow from the text itself (data/features.py). Any other is given to the encoder from Python, as
the array feature_NAME of a batch, or directly:

    EncoderConfig(vocab_size, features=LAYOUT)
    Encoder(config).apply({"params": params}, input_ids, segment_ids, input_mask, features=layout(boxes), train=False)
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from types import MappingProxyType
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from bert_jax.errors import UserError
from bert_jax.models.layers import Dense, Embedding

KINDS = ("ids", "vector")
NO_FEATURES: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True)
class Feature:
    """
    Attributes:
        kind: "ids", int32[B, L], rows of a table; or "vector", float32[B, L, size], that a product without bias brings to the
            width of the embeddings.
        size: rows of the table, or the width of the vectors.
        table: features of the same one share it; empty: one of its own.
        hidden: whether it betrays the piece, as its pinyin or glyph would: it is 0 then where a mask hides the piece.
        file: what says it of each piece; empty where it does not follow from the piece.
    """

    name: str
    kind: str
    size: int
    table: str = ""
    hidden: bool = False
    file: str = ""

    @property
    def params(self) -> str:
        """The name that its parameters have."""
        return self.table or self.name

    @property
    def of_piece(self) -> str:
        """The name under which the encoder has what the file says."""
        return f"{self.name}_of_piece"


# Of a box on a page, edges in thousandths of it: two tables for the edges (LayoutLM, Xu et al. 2020, arXiv 1912.13318, section
# 2.2), and for the extents one each, as in the released code, layoutlm/modeling/layoutlm.py, whose tables have 1,024 rows.
LAYOUT = (
    Feature("x0", "ids", 1024, "x"),
    Feature("y0", "ids", 1024, "y"),
    Feature("x1", "ids", 1024, "x"),
    Feature("y1", "ids", 1024, "y"),
    Feature("height", "ids", 1024),
    Feature("width", "ids", 1024),
)
LONGEST_EDGE = 1000


def layout(boxes_BL4) -> dict[str, np.ndarray]:
    """The features of LAYOUT, int32[B, L] each, from boxes int[B, L, 4] of left, top, right and bottom edge.

    Raises:
        UserError: an edge is not in 0 .. 1000, or a box ends before it begins.
    """
    x0, y0, x1, y1 = np.moveaxis(np.asarray(boxes_BL4, np.int32), -1, 0)
    wrong = (np.minimum(x0, y0) < 0) | (np.maximum(x1, y1) > LONGEST_EDGE) | (x1 < x0) | (y1 < y0)
    if wrong.any():
        place = tuple(int(axis[0]) for axis in np.nonzero(wrong))
        got = f"{np.asarray(boxes_BL4)[place].tolist()} of token {place}"
        expected = f"left, top, right, bottom from 0 to {LONGEST_EDGE}, in thousandths of the page"
        raise UserError("a box does not lie on its page", got=got, expected=expected)
    return {"x0": x0, "y0": y0, "x1": x1, "y1": y1, "height": y1 - y0, "width": x1 - x0}


def check_features(features: Sequence[Feature]) -> None:
    """Raises UserError where a feature is not one, or two do not go together."""
    of_params: dict[str, tuple] = {}
    for feature in features:
        section = f"model.features.{feature.name}"
        if feature.kind not in KINDS:
            raise UserError(f"{section}.kind is unknown", got=feature.kind, expected=" or ".join(KINDS))
        if feature.size < 1:
            raise UserError(f"{section}.size is out of range", got=feature.size, expected="at least 1")
        if feature.file and feature.hidden:
            raise UserError(
                f"{section}.hidden is not for what follows from the piece shown: that never betrays the one hidden",
                got=f"hidden=True and file={feature.file}",
                expected="one of them",
            )
        made_as = of_params.setdefault(feature.params, (feature.kind, feature.size))
        if made_as != (feature.kind, feature.size):
            raise UserError(f"{section} is unlike others of its table", got=(feature.kind, feature.size), expected=str(made_as))


def from_batch(features: Sequence[Feature]) -> tuple[Feature, ...]:
    """Those that do not follow from the piece."""
    return tuple(feature for feature in features if not feature.file)


def check_given(features: Sequence[Feature], given: Mapping[str, Any]) -> None:
    """Raises UserError unless these are the features that are given."""
    if given.keys() != {feature.name for feature in features}:
        raise UserError(
            "the batch does not hold the features of the encoder",
            got=", ".join(f"feature_{name}" for name in sorted(given)) or "none",
            expected=", ".join(f"feature_{feature.name}" for feature in features) or "none",
            fix="what a command does not make from the text, give from Python (bert_jax/models/features.py)",
        )


class OfPiece(nn.Module):
    """What a file says of the pieces shown: int32[B, L] or float32[B, L, size].

    Its table is among the parameters, so that checkpoints have it and whatever starts from them takes it over. It has no gradient
    and no decay (optim/paths.py), hence stays as it is: zeros, unless a file is read. Integers are float32 in it, since
    optimisers know nothing else.
    """

    feature: Feature
    vocab_size: int

    @nn.compact
    def __call__(self, input_ids_BL):
        is_ids = self.feature.kind == "ids"
        shape = (self.vocab_size,) if is_ids else (self.vocab_size, self.feature.size)
        shown = jax.lax.stop_gradient(self.param("given", nn.initializers.zeros, shape, jnp.float32))[input_ids_BL]
        return shown.astype(jnp.int32) if is_ids else shown


class FeatureSum(nn.Module):
    """The sum of the vectors of all features, [B, L, table_width]."""

    config: Any

    @nn.compact
    def __call__(self, input_ids_BL, given: Mapping[str, Any]):
        cfg = self.config
        looked_up = {
            feature.name: OfPiece(feature, cfg.vocab_size, name=feature.of_piece)(input_ids_BL)
            for feature in cfg.features
            if feature.file
        }
        values = {**given, **looked_up}
        product = partial(Dense, replace(cfg, use_bias=False), cfg.table_width)
        modules = {}
        for name, feature in {feature.params: feature for feature in cfg.features}.items():
            modules[name] = Embedding(cfg, feature.size, name=name) if feature.kind == "ids" else product(name=name)
        return sum(modules[feature.params](values[feature.name]) for feature in cfg.features)
