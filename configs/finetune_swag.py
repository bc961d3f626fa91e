"""Fine-tuning on the choice of the right one of several texts, by the recipe of the BERT paper.

    python -m bert_jax finetune --config=configs/finetune_swag.py:swag --workdir=W --config.init_checkpoint=P

P is the workdir of a trained model: pretrained, brought in, or fine-tuned before. Its vocabulary and encoder are used. Argument:

    swag   how a situation goes on, four endings (the default): multiple_choice/swag/train.csv and val.csv
    codah  the same, sentences written to be hard, one fold of five: multiple_choice/codah/train.tsv and dev.tsv
    c3     Chinese questions on a text with two to four answers: multiple_choice/c3_zh_train.json and c3_zh_dev.json

Data: these files under the folder that BERT_JAX_DATA or data.folder names, compressed or not.
Hardware: any; a row holds as many texts as there are options, so a batch of 16 is 64 texts.
Expected from BERT as published: SWAG dev accuracy 81.6 (base) and 86.6 (large) (arXiv 1810.04805, table 4). A guess has 25.0 on
swag and codah. Not yet run here at that scale.
Source of the recipe: arXiv 1810.04805, section 4.4: batch 16, 3 epochs, rate 2e-5. Warm-up is that of google-research/bert; the
length of 128 is ours, for the paper names none. codah and c3 by the same recipe, c3 at length 512.
"""

import runpy
from pathlib import Path

from ml_collections import ConfigDict


def get_config(arg=None):
    task = arg or "swag"
    if task not in LENGTHS:
        raise ValueError(f"{arg!r} is none of {', '.join(LENGTHS)}")
    return published(task)


def published(task: str):
    config = _recipe(task)
    config.data.max_seq_length = LENGTHS[task]  # of each text
    config.objective = ConfigDict({"name": "choose"})
    config.optim.learning_rate = 2e-5
    config.train.train_batch_size = 16
    return config


def _recipe(task: str):
    return runpy.run_path(str(Path(__file__).with_name("finetune_glue.py")))["recipe"](task)


LENGTHS = {"swag": 128, "codah": 128, "c3": 512}
