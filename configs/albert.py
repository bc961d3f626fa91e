"""ALBERT as published: one set of weights for all layers, narrow tables, masked n-grams and the order of two segments.

    python -m bert_jax train --config=configs/albert.py:base --workdir=W --config.data.input_file='text/*.txt'

Argument: base (the default), large, xlarge, xxlarge; or tiny, which trains on two cores within minutes, by a schedule of our own.
Vocabulary: the released 30k-clean.model by --config.text.vocab_file; else one of that kind (SentencePiece, unigram) is learned.
Hardware of the paper: 64 to 512 Cloud TPU v3 (arXiv 1909.11942, section 4.1).
Expected: not yet run here at that scale.
Source of the recipe: sections 3 and 4.1, google-research/albert. Where they differ: 15% of the pieces are masked, 77 of 512, as
in the paper (the released command has 20); no dropout, as in its final models (its ablations of base have 0.1); LAMB corrects its
moments for their start, as in the paper of LAMB (the released one does not).
"""

import runpy
from pathlib import Path

SIZES = {  # layers, width, heads
    "base": (12, 768, 12),
    "large": (24, 1024, 16),
    "xlarge": (24, 2048, 16),
    "xxlarge": (12, 4096, 64),
}


def get_config(arg=None):
    size = arg or "base"
    if size == "tiny":
        return tiny()
    if size not in SIZES:
        raise ValueError(f"{arg!r} is none of tiny, {', '.join(SIZES)}")
    return published(*SIZES[size])


def published(layers: int, width: int, heads: int):
    bert = runpy.run_path(str(Path(__file__).with_name("bert.py")))
    config = bert["published"](layers, width, vocab_size=30_000, do_lower_case=True)
    config.text.kind = "unigram"

    config.data.max_seq_length = 512
    config.data.max_predictions_per_seq = 77
    config.data.later_phases = ()
    config.data.rows = "sop"
    config.data.mask_unit = "ngram"
    config.data.dupe_factor = 40

    config.model.num_attention_heads = heads
    config.model.embedding_size = 128
    config.model.num_hidden_groups = 1
    config.model.hidden_act = "gelu_new"
    config.model.hidden_dropout_prob = 0.0
    config.model.attention_probs_dropout_prob = 0.0

    config.optim.name = "lamb"
    config.optim.learning_rate = 0.00176
    config.optim.num_warmup_steps = 3125
    config.train.train_batch_size = 4096
    config.train.num_train_steps = 125_000
    return config


def tiny():
    config = published(4, 128, 2)
    config.text.vocab_size = 8000
    config.data.max_seq_length = 64
    config.data.max_predictions_per_seq = 10
    config.data.dupe_factor = 2
    config.data.num_eval_rows = 1000
    config.model.embedding_size = 64
    config.model.initializer_range = 0.05  # 0.02 suits a width of 768
    config.optim.name = "adamw"
    config.optim.learning_rate = 2e-3
    config.optim.b2 = 0.98
    config.optim.num_warmup_steps = 100
    config.train.train_batch_size = 32
    config.train.num_train_steps = 4000
    config.train.eval_every_steps = 1000
    config.train.save_every_steps = 1000
    return config
