"""RoBERTa as published: masked LM alone, on full sentences, with masks drawn anew in every epoch and pieces of bytes.

    python -m bert_jax train --config=configs/roberta.py:base --workdir=W --config.data.input_file='text/*.txt'

Argument: base (the default), large; or tiny, which learns on two cores within minutes, by a schedule of our own.
Vocabulary: the released vocab.json, with merges.txt beside it, by --config.text.vocab_file; else one is learned.
Hardware of the paper: 1,024 V100 for about one day for 100,000 steps of large (arXiv 1907.11692, section 5).
Expected: MNLI-m dev 90.2 with large after 500,000 steps on 160 GB of text (the same, table 4); held-out masked-LM perplexity 3.68
with base, 2,000 rows, a rate of 7e-4 and 125,000 steps (table 3). Not yet run here at that scale.
Source of the recipe: section 4 and table 9. The released code, fairseq, decays all parameters; here, as in BERT, neither biases
nor LayerNorm.
"""

import runpy
from pathlib import Path

SIZES = {  # layers, width, peak rate, warm-up steps
    "base": (12, 768, 6e-4, 24_000),
    "large": (24, 1024, 4e-4, 30_000),
}


def get_config(arg=None):
    size = arg or "base"
    if size == "tiny":
        return tiny()
    if size not in SIZES:
        raise ValueError(f"{arg!r} is none of tiny, {', '.join(SIZES)}")
    return published(*SIZES[size])


def published(layers: int, width: int, rate: float, warmup: int):
    bert = runpy.run_path(str(Path(__file__).with_name("bert.py")))
    config = bert["published"](layers, width, vocab_size=50265, do_lower_case=False)
    config.text.kind = "bytelevel"

    config.data.max_seq_length = 512
    config.data.max_predictions_per_seq = 77  # 15%
    config.data.later_phases = ()
    config.data.rows = "full_sentences"
    config.data.short_seq_prob = 0.0
    config.data.dupe_factor = 1
    config.data.masks = "dynamic"

    config.model.max_position_embeddings = 514
    config.model.position_offset = 2
    config.model.type_vocab_size = 1
    config.model.pooler = False
    config.model.layer_norm_eps = 1e-5
    config.objective.next_sentence = False

    config.optim.name = "adamw"
    config.optim.schedule = "linear"
    config.optim.learning_rate = rate
    config.optim.num_warmup_steps = warmup
    config.optim.b2 = 0.98
    config.optim.clip = 0.0
    config.train.train_batch_size = 8192
    config.train.num_train_steps = 500_000
    return config


def tiny():
    config = published(2, 128, 2e-3, 100)
    config.text.vocab_size = 8000
    config.data.max_seq_length = 64
    config.data.max_predictions_per_seq = 10
    config.data.num_eval_rows = 1000
    config.model.initializer_range = 0.05  # 0.02 suits a width of 768
    config.model.hidden_dropout_prob = 0.0
    config.model.attention_probs_dropout_prob = 0.0
    config.train.train_batch_size = 32
    config.train.num_train_steps = 4000
    config.train.eval_every_steps = 1000
    config.train.save_every_steps = 1000
    return config
