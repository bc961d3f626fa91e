"""ELECTRA as published: a small generator fills the masks, the encoder finds what was replaced.

    python -m bert_jax train --config=configs/electra.py:small --workdir=W --config.data.input_file='text/*.txt'

Argument: SIZE or SIZE-TASK.
    SIZE   small (the default), base, large; or tiny, which learns on two cores within minutes, by a schedule of our own
    TASK   replaced (the default); the paper's ablations replaced_at_masks ("ELECTRA 15%"), replace_mlm, all_tokens_mlm; and bert,
           masked LM alone by the same recipe
Vocabulary: BERT's uncased one, by --config.text.vocab_file; else one of that kind is learned.
Hardware of the paper: small 4 days on one V100, base 4 days on 16 TPU v3 (arXiv 2003.10555, section 3.3 and table 1).
Expected: GLUE dev average 79.9 (small), 85.1 (base), 89.0 (large, 400,000 steps) after fine-tuning (the same, tables 1 and 2);
the ablations of base 82.4, 82.4 and 84.3, and bert 82.2, against 85.0 (table 5). Not yet run here at that scale.
Source of the recipe: table 6 of the paper, google-research/electra configure_pretraining.py. Masks as in the code: 85% [MASK],
the rest as it is. A row is one stretch of a document here; the code makes two segments of it. The weight 1 of the ablations that
restore pieces is ours.
"""

import runpy
from pathlib import Path

from ml_collections import ConfigDict

SIZES = {  # layers, width, heads, width of the tables, generator, masked share, length, rate, rows, steps
    "small": (12, 256, 4, 128, 1 / 4, 0.15, 128, 5e-4, 128, 1_000_000),
    "base": (12, 768, 12, 768, 1 / 3, 0.15, 512, 2e-4, 256, 766_000),
    "large": (24, 1024, 16, 1024, 1 / 4, 0.25, 512, 2e-4, 2048, 400_000),
}
ENCODER_WEIGHTS = {"replaced": 50.0, "replaced_at_masks": 50.0, "replace_mlm": 1.0, "all_tokens_mlm": 1.0}


def get_config(arg=None):
    size, _, task = (arg or "small").partition("-")
    task = task or "replaced"
    if size not in (*SIZES, "tiny") or task not in (*ENCODER_WEIGHTS, "bert"):
        tasks = ", ".join((*ENCODER_WEIGHTS, "bert"))
        raise ValueError(f"{arg!r} is no SIZE-TASK of sizes {', '.join(SIZES)}, tiny and tasks {tasks}")
    config = tiny() if size == "tiny" else published(*SIZES[size])
    if task == "bert":
        config.objective = ConfigDict({"name": "bert", "next_sentence": False})
        return config
    config.objective.learns = task
    config.objective.encoder_weight = ENCODER_WEIGHTS[task]
    return config


def published(layers, width, heads, table_width, generator, masked, length, rate, rows, steps):
    bert = runpy.run_path(str(Path(__file__).with_name("bert.py")))
    config = bert["published"](layers, width, vocab_size=30522, do_lower_case=True)

    config.data.max_seq_length = length
    config.data.max_predictions_per_seq = int((masked + 0.005) * length)
    config.data.later_phases = ()
    config.data.rows = "doc_sentences"
    config.data.masked_lm_prob = masked
    config.data.mask_token_prob = 0.85
    config.data.random_token_prob = 0.0
    config.data.short_seq_prob = 0.0
    config.data.dupe_factor = 1
    config.data.masks = "dynamic"

    config.model.num_attention_heads = heads
    config.model.embedding_size = table_width
    config.model.pooler = False
    config.model.pooler_act = "gelu"  # when fine-tuned, as ElectraForSequenceClassification
    config.objective = ConfigDict()
    config.objective.name = "electra"
    config.objective.generator_size = generator
    config.objective.encoder_weight = 50.0
    config.objective.learns = "replaced"

    config.optim.learning_rate = rate
    config.train.train_batch_size = rows
    config.train.num_train_steps = steps
    return config


def tiny():
    config = published(2, 128, 4, 64, 1 / 2, 0.15, 64, 1e-3, 32, 4000)
    config.text.vocab_size = 8000
    config.data.num_eval_rows = 1000
    config.model.initializer_range = 0.05  # 0.02 suits a width of 768
    config.model.hidden_dropout_prob = 0.0
    config.model.attention_probs_dropout_prob = 0.0
    config.optim.name = "adamw"
    config.optim.b2 = 0.98
    config.optim.num_warmup_steps = 100
    config.train.eval_every_steps = 1000
    config.train.save_every_steps = 1000
    return config
