"""BERT-large by LAMB in large batches, down to 76 minutes.

    python -m bert_jax train --config=configs/lamb.py:76min --workdir=W --config.data.input_file='text/*.txt'

Argument: 76min (the default): 65,536 rows of 128, then 32,768 rows of 512; or one batch size for both lengths: 512, 1k, 2k, 4k,
8k, 16k, 32k; each with -base for BERT-base instead.
Hardware of the paper: 1,024 TPU v3 chips, 76.2 minutes; 32k 101 minutes; 512 rows on 16 chips 82.8 hours (arXiv 1904.00962,
table 1).
Expected: SQuAD 1.1 dev F1 90.58 (76min), 91.48 (32k), 91.75 (512) after fine-tuning (the same, table 1). Not yet run here at that
scale.
Source of the recipe: tables 1 and 4 (rate by the square root of the batch, warm-up by the batch); 76min: batch and steps from
section 4.1, which warms up again for the second length; its rates and warm-ups are those of NVIDIA's DeepLearningExamples, the
paper gives none.
"""

import runpy
from pathlib import Path

BATCHES = {  # rows, steps, share of the steps that warm up
    "512": (512, 1_000_000, 1 / 320),
    "1k": (1024, 500_000, 1 / 160),
    "2k": (2048, 250_000, 1 / 80),
    "4k": (4096, 125_000, 1 / 40),
    "8k": (8192, 62_500, 1 / 20),
    "16k": (16_384, 31_250, 1 / 10),
    "32k": (32_768, 15_625, 1 / 5),
}
PHASE_STEPS, PHASE_ROWS = (7037, 1562), (65_536, 32_768)


def get_config(arg=None):
    name, _, size = (arg or "76min").partition("-")
    if name not in (*BATCHES, "76min") or size not in ("", "base"):
        raise ValueError(f"{arg!r} is none of 76min, {', '.join(BATCHES)}, with or without -base")
    bert = runpy.run_path(str(Path(__file__).with_name("bert.py")))
    config = bert["published"](*bert["SIZES"][size or "large"], *bert["KINDS"]["uncased"])
    config.optim.name = "lamb"
    config.optim.schedule = "linear"
    if name == "76min":
        in_76_minutes(config)
    else:
        rows, steps, warmup = BATCHES[name]
        config.optim.learning_rate = 5e-3 * (rows / 32_768) ** 0.5
        config.optim.num_warmup_steps = round(warmup * steps)
        config.train.train_batch_size = rows
        config.train.num_train_steps = steps
        config.data.later_phases = ((0.9, 512, 77, rows),)
    return config


def in_76_minutes(config):
    steps = sum(PHASE_STEPS)
    first = PHASE_STEPS[0] / steps
    config.data.later_phases = ((first, 512, 77, PHASE_ROWS[1]),)
    config.train.train_batch_size = PHASE_ROWS[0]
    config.train.num_train_steps = steps
    config.train.eval_every_steps = 500
    config.train.save_every_steps = 200
    config.optim.schedule = "linear_twice"
    config.optim.learning_rate = 6e-3
    config.optim.num_warmup_steps = round(0.2843 * PHASE_STEPS[0])
    config.optim.second_begins = first  # share of the steps before it, as of the second phase
    config.optim.second_learning_rate = 4e-3
    config.optim.second_num_warmup_steps = round(0.128 * PHASE_STEPS[1])
