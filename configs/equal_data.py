"""Objectives, masks and encoders crossed, equal in all else: text, rows, their order, steps and optimiser.

    python -m bert_jax train --config=configs/equal_data.py:base-masked_lm-pieces-bert --workdir=W \
        --config.data.input_file='text/*.txt'

Argument: SIZE-OBJECTIVE-MASKS-ENCODER, by default the one above.
    SIZE       tiny (2 x 128), base (12 x 768)
    OBJECTIVE  masked_lm; next_sentence, masked LM with it; replaced, ELECTRA's
    MASKS      pieces, words
    ENCODER    bert; albert, one set of weights for all layers and a narrow table of pieces; modern, ModernBERT's layers
Hardware: any; base as configs/bert.py.
Expected: of no paper. `python -m experiments reproduce equal_data/matrix --scale=desk` fills the table. Not yet run here.
Source of the recipe: that of configs/bert.py at length 128, with masks drawn anew in every epoch; what sets an objective or an
encoder apart is as in configs/electra.py, albert.py and modern.py. ELECTRA has the masks of the others, not its own, and a
generator of half the width.
"""

import runpy
from pathlib import Path

from ml_collections import ConfigDict

SIZES = {"tiny": (2, 128), "base": (12, 768)}  # layers, width
OBJECTIVES = {
    "masked_lm": {"name": "bert", "next_sentence": False},
    "next_sentence": {"name": "bert", "next_sentence": True},
    "replaced": {"name": "electra", "generator_size": 1 / 2, "encoder_weight": 50.0, "learns": "replaced"},
}
MASKS = {"pieces": "token", "words": "whole_word"}


def get_config(arg=None):
    names = (arg or "base-masked_lm-pieces-bert").split("-")
    if len(names) != len(TABLES) or any(name not in table for name, table in zip(names, TABLES)):
        known = "; ".join(", ".join(table) for table in TABLES)
        raise ValueError(f"{arg!r} is not one of each, with - between: {known}")
    size, objective, masks, encoder = names
    layers, width = SIZES[size]
    config = runpy.run_path(str(Path(__file__).with_name("bert.py")))["published"](layers, width, 30522, True)
    config.data.later_phases = ()
    config.data.masks = "dynamic"
    config.data.mask_unit = MASKS[masks]
    config.objective = ConfigDict(OBJECTIVES[objective])
    ENCODERS[encoder](config.model, width)
    return config


def albert(model, width: int):
    model.embedding_size = max(64, width // 6)
    model.num_hidden_groups = 1


def modern(model, width: int):
    model.block = "pre_norm"
    model.global_attn_every_n_layers = 3
    model.local_attention = 32
    model.global_rope_theta = 10_000.0
    model.local_rope_theta = 10_000.0
    model.intermediate_size = width * 3 // 2  # two of them in the gated feed-forward
    model.use_bias = False
    model.type_vocab_size = 0
    model.layer_norm_eps = 1e-5


ENCODERS = {"bert": lambda model, width: None, "albert": albert, "modern": modern}
TABLES = (SIZES, OBJECTIVES, MASKS, ENCODERS)
