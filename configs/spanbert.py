"""SpanBERT as published: spans of whole words are hidden, and each piece of a span is also told from the two pieces beside it.

    python -m bert_jax train --config=configs/spanbert.py:large --workdir=W --config.data.input_file='text/*.txt'

Argument: large (the default), base; or tiny, which learns on two cores within minutes, by a schedule of our own.
Vocabulary: BERT's cased one, by --config.text.vocab_file; else one of that kind is learned.
Hardware of the paper: 15 days on 32 V100 for large (arXiv 1907.10529, section 4.2).
Expected: SQuAD 1.1 test 94.6 F1 and 2.0 88.7 F1 with large (the same, table 1). Not yet run here at that scale.
Source of the recipe: sections 3 and 4.2. Where the paper and the command of facebookresearch/SpanBERT differ, the paper: weight
decay 0.1 (0.01 there). As in that command, the first 15 pieces of a span are told from its boundaries.
"""

import runpy
from pathlib import Path

from ml_collections import ConfigDict

SIZES = {"base": (12, 768), "large": (24, 1024)}  # layers, width


def get_config(arg=None):
    size = arg or "large"
    if size == "tiny":
        return tiny()
    if size not in SIZES:
        raise ValueError(f"{arg!r} is none of tiny, {', '.join(SIZES)}")
    return published(*SIZES[size])


def published(layers: int, width: int):
    bert = runpy.run_path(str(Path(__file__).with_name("bert.py")))
    config = bert["published"](layers, width, vocab_size=28996, do_lower_case=False)

    config.data.max_seq_length = 512
    config.data.max_predictions_per_seq = 77
    config.data.later_phases = ()
    config.data.rows = "segments"
    config.data.short_seq_prob = 0.0
    config.data.dupe_factor = 1
    config.data.mask_unit = "span"
    config.data.masks = "dynamic"

    config.model.pooler = False
    config.objective = ConfigDict()
    config.objective.name = "spanbert"
    config.objective.max_span_pieces = 15
    config.objective.loss_weights = ()  # (name of a loss, factor) each: (("span_boundary_loss", 0.5),)

    config.optim.name = "adamw"
    config.optim.schedule = "linear"
    config.optim.weight_decay = 0.1
    config.optim.eps = 1e-8
    config.train.num_train_steps = 2_400_000
    return config


def tiny():
    config = published(2, 128)
    config.text.vocab_size = 8000
    config.data.max_seq_length = 64
    config.data.max_predictions_per_seq = 10
    config.data.num_eval_rows = 1000
    config.model.initializer_range = 0.05  # 0.02 suits a width of 768
    config.model.hidden_dropout_prob = 0.0
    config.model.attention_probs_dropout_prob = 0.0
    config.optim.learning_rate = 2e-3
    config.optim.b2 = 0.98
    config.optim.num_warmup_steps = 100
    config.optim.weight_decay = 0.01
    config.train.train_batch_size = 32
    config.train.num_train_steps = 4000
    config.train.eval_every_steps = 1000
    config.train.save_every_steps = 1000
    return config
