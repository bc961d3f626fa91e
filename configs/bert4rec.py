"""BERT4Rec as published: histories of items instead of text, and the next item as the masked one at their end.

    python -m bert_jax train --config=configs/bert4rec.py:ml-1m --workdir=W --config.data.input_file=histories.txt

Argument: ml-1m (the default), ml-20m, beauty, steam; or tiny, which learns on two cores within minutes, by a schedule of our own.
Input: a line for each user, names of items in order, separated by blanks. The last two of each are left out of training; the last
is what the evaluation asks for (leave-one-out), among 100 others drawn by popularity and among all.
Hardware of the paper: one GeForce GTX 1080 Ti (arXiv 1904.06690, section 4.4).
Expected: HR@10 0.697 and NDCG@10 0.482 on ml-1m among 100 others (the same, table 2); 0.284 and 0.154 among all items (later
work). Not yet run here on these data.
Source of the recipe: sections 3 and 4.4; steps and warm-up of the command released for ml-1m. Rows here begin with [CLS] and end
with [SEP]; the cloze rows that hide only the last item are not made.
"""

import runpy
from pathlib import Path

SETS = {  # items at most in a row, share that is hidden
    "ml-1m": (200, 0.2),
    "ml-20m": (200, 0.2),
    "beauty": (50, 0.6),
    "steam": (50, 0.4),
}


def get_config(arg=None):
    name = arg or "ml-1m"
    if name == "tiny":
        return tiny()
    if name not in SETS:
        raise ValueError(f"{arg!r} is none of tiny, {', '.join(SETS)}")
    return published(*SETS[name])


def published(length: int, masked: float):
    bert = runpy.run_path(str(Path(__file__).with_name("bert.py")))
    config = bert["published"](2, 64, vocab_size=1_000_000, do_lower_case=False)  # as many items as there are
    config.text.kind = "items"

    config.data.input_format = "histories"
    config.data.max_seq_length = length + 2
    config.data.max_predictions_per_seq = round(length * masked)
    config.data.masked_lm_prob = masked
    config.data.mask_token_prob = 1.0
    config.data.random_token_prob = 0.0
    config.data.later_phases = ()
    config.data.rows = "doc_sentences"
    config.data.short_seq_prob = 0.0
    config.data.dupe_factor = 1
    config.data.masks = "dynamic"

    config.model.num_attention_heads = 2
    config.model.max_position_embeddings = length + 2
    config.model.type_vocab_size = 0
    config.model.pooler = False
    config.objective.next_sentence = False

    config.optim.name = "adamw"
    config.optim.schedule = "linear"
    config.optim.num_warmup_steps = 100
    config.optim.clip = 5.0
    config.train.train_batch_size = 256
    config.train.num_train_steps = 400_000
    return config


def tiny():
    config = published(30, 0.2)
    config.data.num_eval_rows = 1000
    config.data.held_out_fraction = 0.02
    config.model.initializer_range = 0.05  # 0.02 suits a width of 768
    config.optim.learning_rate = 2e-3
    config.train.train_batch_size = 64
    config.train.num_train_steps = 2000
    config.train.eval_every_steps = 500
    config.train.save_every_steps = 1000
    return config
