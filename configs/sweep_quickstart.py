"""A 2 x 2 sweep of the quickstart, made small: learning rate by share of masked tokens.

    python -m launch sweep submit --config=configs/sweep_quickstart.py --workdir=runs/sweep --seeds=0,1

Two cores: about a minute for each of the 8 runs, after a minute or two for the vocabulary and the token store that they share.
Ends with a table of the held-out metrics. It shows how a sweep works, not which cell is better: 200 steps learn little more than
how frequent each word is: every masked-LM loss was seen within 0.1 of its unigram baseline. Longer runs, for every cell:
--config.train.num_train_steps=4000. Each cell is measured at its own share of masks: compare rates within a share.
"""

import runpy
from pathlib import Path


def get_config(arg=None):
    config = runpy.run_path(str(Path(__file__).with_name("quickstart.py")))["get_config"](arg)
    config.data.max_predictions_per_seq = 10  # room for 30% of 32 pieces, the same in all cells
    config.data.num_eval_rows = 200
    config.model.hidden_size = 64
    config.model.intermediate_size = 256
    config.optim.num_warmup_steps = 20
    config.train.train_batch_size = 16
    config.train.num_train_steps = 200
    config.train.log_every_steps = 20
    config.train.eval_every_steps = 200
    config.train.save_every_steps = 100
    return config


def sweep(add):
    for rate in (5e-4, 2e-3):
        for share in (0.15, 0.30):
            add(f"lr{rate:g}-mask{share:g}", **{"optim.learning_rate": rate, "data.masked_lm_prob": share})
