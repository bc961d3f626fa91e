"""SimCSE as published: sentence embeddings by telling a sentence from the others of its batch.

    python -m bert_jax train    --config=configs/simcse.py:unsup --workdir=W --config.init_checkpoint=P --config.data.input_file=F
    python -m bert_jax finetune --config=configs/simcse.py:sup   --workdir=W --config.init_checkpoint=P
    python -m bert_jax evaluate --workdir=W --sts=cls

P is the workdir of a pretraining run of the same sizes; its vocabulary is used. F for unsup: a million sentences of Wikipedia.
Argument: unsup (the default), unsup-large, from sentences alone; sup, sup-large, from SNLI and MNLI with hard negatives; tiny,
unsup from a run of configs/quickstart.py on its own text, within minutes on two cores.
Data for sup and --sts: glue/SNLI, glue/MNLI, glue/STS-B under the folder that BERT_JAX_DATA or, for sup, data.folder names.
Hardware: one GPU.
Expected: STS-B dev Spearman 82.5 (unsup) and 86.2 (sup), base; seven STS tests on average 76.25 and 81.57, large 78.41 and 82.21
(arXiv 2104.08821, tables 4 and 5, and README of princeton-nlp/SimCSE). Not yet run here at that scale.
Source of the recipe: table A.1, section 6.1; the released code, run_unsup_example.sh and run_sup_example.sh. Not done as there:
the last step counts, not the best of those measured on STS-B dev every 125 steps.
"""

import runpy
from pathlib import Path

from ml_collections import ConfigDict

UNSUPERVISED = {"unsup": (12, 768, 3e-5), "unsup-large": (24, 1024, 1e-5)}  # layers, width, rate
SUPERVISED = {"sup": 5e-5, "sup-large": 1e-5}


def get_config(arg=None):
    row = arg or "unsup"
    if row == "tiny":
        return tiny()
    if row in UNSUPERVISED:
        return unsupervised(_load("bert.py")["published"](*UNSUPERVISED[row][:2], 30522, True), UNSUPERVISED[row][2])
    if row in SUPERVISED:
        return supervised(SUPERVISED[row])
    raise ValueError(f"{arg!r} is none of tiny, {', '.join([*UNSUPERVISED, *SUPERVISED])}")


def _load(name: str) -> dict:
    return runpy.run_path(str(Path(__file__).with_name(name)))


def unsupervised(config, rate: float):
    config.data.max_seq_length = 32
    config.data.later_phases = ()
    config.data.rows = "sentences"
    config.data.short_seq_prob = 0.0
    config.data.dupe_factor = 1
    config.data.mask_token_prob = 0.0  # nothing is hidden: the two views of a sentence differ by dropout alone
    config.data.random_token_prob = 0.0
    config.data.max_predictions_per_seq = 1  # the least there is
    config.data.masks = "dynamic"

    config.model.pooler = False
    config.objective = _objective("training")

    config.optim.name = "adamw"
    config.optim.schedule = "linear"
    config.optim.learning_rate = rate
    config.optim.num_warmup_steps = 0
    config.optim.weight_decay = 0.0
    config.optim.eps = 1e-8
    config.train.train_batch_size = 64
    config.train.num_train_steps = 15_625  # a million sentences once
    config.train.eval_every_steps = 1000
    config.train.save_every_steps = 1000
    return config


def _objective(mlp: str):
    return ConfigDict(
        {
            "name": "simcse",
            "temperature": 0.05,
            "pooling": "cls",  # cls, mean, max
            "mlp": mlp,  # a dense layer with tanh on the pooled vector: training (in training alone), always, none
        }
    )


def supervised(rate: float):
    config = _load("sentence_bert.py")["nli"]()
    config.data.max_seq_length = 32
    config.objective = _objective("always")
    config.optim.learning_rate = rate
    config.optim.warmup_proportion = 0.0
    config.optim.weight_decay = 0.0
    config.train.train_batch_size = 512
    config.train.num_train_epochs = 3.0
    return config


def tiny():
    config = unsupervised(_load("quickstart.py")["get_config"](), 1e-4)
    config.model.hidden_dropout_prob = 0.1  # none, as in the quickstart, would make the two views one
    config.model.attention_probs_dropout_prob = 0.1
    config.train.num_train_steps = 2000
    config.train.eval_every_steps = 500
    config.train.save_every_steps = 500
    return config
