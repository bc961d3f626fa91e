"""Pruning: the heads and neurons that matter least to a task are cut out of a model fine-tuned on it, in rounds, and what is left
is tuned after each: a smaller dense model, that every command opens like any other.

    python -m bert_jax finetune --config=configs/finetune_glue.py:sst2 --workdir=F --config.init_checkpoint=P
    python -m bert_jax prune --config=configs/prune.py:sst2 --workdir=W --config.init_checkpoint=F

Argument: a task of configs/finetune_glue.py (the default is sst2) or of configs/finetune_ner.py, whose recipe each round is tuned
by; of one with classes, "-taught" behind it makes the whole model the teacher of what is left:

    python -m bert_jax prune --config=configs/prune.py:sst2-taught --workdir=W --config.init_checkpoint=F \
        --config.objective.teacher=F

Data: that of the task, under the folder that BERT_JAX_DATA or data.folder names.
Hardware: any; each round takes as long as fine-tuning does, or less.
Expected: BERT-base loses little on MNLI with 40% of its heads less (arXiv 1905.10650, figure 1b). Not yet run here at that scale.
Source of the recipe: arXiv 1905.10650 (heads) and 1611.06440 (neurons, rounds); two rounds are our choice.
"""

import runpy
from pathlib import Path

from ml_collections import ConfigDict


def get_config(arg=None):
    task, _, row = (arg or "sst2").partition("-")
    if row not in ROWS:
        raise ValueError(f"{arg!r} ends in none of {', '.join(filter(None, ROWS))}")
    glue, ner = (runpy.run_path(str(Path(__file__).with_name(f"finetune_{name}.py"))) for name in ("glue", "ner"))
    if task not in (*glue["TASKS"], *ner["TASKS"]):
        raise ValueError(f"{task!r} is none of {', '.join((*glue['TASKS'], *ner['TASKS']))}")
    config = (ner if task in ner["TASKS"] else glue)["published"](task)
    ROWS[row](config, glue)
    config.prune = ConfigDict()
    config.prune.keep = 0.5  # of the heads and the neurons of each layer, and with them of its parameters
    config.prune.rounds = 2  # as large a part is cut in each
    config.prune.by = "importance"  # or "random", to compare with
    config.prune.examples = 1024  # of the training set, on which importance is measured
    return config


def taught(config, glue):
    config.objective = ConfigDict({"name": "distill"})
    config.objective.teacher = ""  # the model that is pruned, or another one fine-tuned on the task
    config.objective.temperature = 1.0
    config.objective.weights = ConfigDict(dict.fromkeys(glue["LOSSES"], 0.0) | {"label": 1.0, "prediction": 1.0})


ROWS = {"": lambda config, glue: None, "taught": taught}
