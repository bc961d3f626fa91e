"""ModernBERT as published, at a length of 1,024: rotary positions, local attention in two layers of three, a gated feed-forward,
no biases; masked LM alone, with 30% masked, on packed rows.

    python -m bert_jax train --config=configs/modern.py:base --workdir=W --config.data.input_file='text/*.txt'

Argument: base (the default), large; or tiny, which learns on two cores within minutes, by a schedule of our own.
Vocabulary: pieces of bytes, learned from the text, or a vocab.json with merges.txt beside it by --config.text.vocab_file. The
released one, of 50,368 pieces, lies as W/vocab.json in the workdir that `convert --from=ModernBERT-base --workdir=W` makes.
Hardware of the paper: 8 H100, 194 hours for base and 425 for large (arXiv 2412.13663, table 3).
Expected: GLUE dev 88.4 with base and 90.4 with large (table 1), after the extension too. Not yet run here at that scale.
Source of the recipe: sections 2 and 3, table 3; AnswerDotAI/ModernBERT yamls/modernbert. From there are sizes, masking, dropout,
rows, tokens, rates, warm-up, betas, epsilon and weight decay. Otherwise than there:
- AdamW, with gradients clipped to a norm of 1, in place of StableAdamW, which limits updates.
- No rows more from step to step in the beginning (768 to 4,608 over 50 billion tokens; large 448 to 4,928 over 10).
- No extension to a length of 8,192 (another 300 billion tokens, with model.global_rope_theta=160000). The rate falls in the last
  50 billion tokens as it does there.
- Large begins with random weights and keeps its rate (there with those of base, tiled, and at 5e-5 after 900 billion tokens).
"""

import runpy
from pathlib import Path

TOKENS = 1_719_000_000_000
SIZES = {  # layers, width, feed-forward, rows, peak rate, tokens of the warm-up
    "base": (22, 768, 1152, 4608, 8e-4, 3_000_000_000),
    "large": (28, 1024, 2624, 4928, 5e-4, 2_000_000_000),
}


def get_config(arg=None):
    size = arg or "base"
    if size == "tiny":
        return tiny()
    if size not in SIZES:
        raise ValueError(f"{arg!r} is none of tiny, {', '.join(SIZES)}")
    return published(*SIZES[size])


def published(layers: int, width: int, inner: int, rows: int, rate: float, warmup: int):
    bert = runpy.run_path(str(Path(__file__).with_name("bert.py")))
    config = bert["published"](layers, width, vocab_size=50368, do_lower_case=False)
    config.text.kind = "bytelevel"

    config.data.max_seq_length = 1024
    config.data.max_predictions_per_seq = 308  # 30%
    config.data.masked_lm_prob = 0.3
    config.data.later_phases = ()
    config.data.rows = "segments"
    config.data.short_seq_prob = 0.0
    config.data.max_examples_per_row = 16
    config.data.dupe_factor = 1
    config.data.masks = "dynamic"

    config.model.block = "pre_norm"
    config.model.global_attn_every_n_layers = 3
    config.model.local_attention = 128
    config.model.global_rope_theta = 10_000.0  # 160,000 with the extension
    config.model.local_rope_theta = 10_000.0
    config.model.intermediate_size = inner
    config.model.use_bias = False
    config.model.type_vocab_size = 0
    config.model.max_position_embeddings = 8192
    config.model.pooler = False
    config.model.pooler_act = "gelu"  # when fine-tuned, as ModernBertForSequenceClassification
    config.model.layer_norm_eps = 1e-5
    config.model.hidden_dropout_prob = 0.0
    config.model.attention_probs_dropout_prob = 0.0
    config.model.attention_output_dropout_prob = 0.1
    config.objective.next_sentence = False

    config.optim.name = "adamw"
    config.optim.schedule = "warmup_stable_decay"
    config.optim.decay_fraction = 50_000_000_000 / TOKENS
    config.optim.learning_rate = rate
    config.optim.num_warmup_steps = warmup // (rows * 1024)
    config.optim.weight_decay = 1e-5 / rate  # 1e-5 in the paper, whose optimiser multiplies it by rate / peak, ours by the rate
    config.optim.b2 = 0.98
    config.train.train_batch_size = rows
    config.train.num_train_steps = TOKENS // (rows * 1024)
    return config


def tiny():
    config = published(4, 128, 192, rows=16, rate=1e-3, warmup=0)
    config.text.vocab_size = 8000
    config.data.max_seq_length = 128
    config.data.max_predictions_per_seq = 39
    config.data.num_eval_rows = 500
    config.model.local_attention = 32
    config.model.initializer_range = 0.05  # 0.02 suits a width of 768
    config.model.attention_output_dropout_prob = 0.0
    config.optim.decay_fraction = 0.1
    config.optim.num_warmup_steps = 100
    config.train.num_train_steps = 4000
    config.train.eval_every_steps = 1000
    config.train.save_every_steps = 1000
    return config
