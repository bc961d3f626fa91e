"""Fine-tuning on questions whose answers stand in a paragraph, by the recipe of the BERT paper.

    python -m bert_jax finetune --config=configs/finetune_squad.py:squad1 --workdir=W --config.init_checkpoint=P

P is the workdir of a trained model: pretrained, brought in, or fine-tuned before. Its vocabulary and encoder are used. Argument:

    squad1            SQuAD 1.1 (the default): squad/train-v1.1.json and dev-v1.1.json
    squad2            SQuAD 2.0: squad/train-v2.0.json and dev-v2.0.json. A question may have no answer; above which odds none
                      is given is chosen on the dev set, by F1
    squad1_dev_split  SQuAD 1.1 without its training file: learned from 38 articles of the dev set, asked about its other 10
    squad2_dev_split  the same by the rules of 2.0: a third of the questions come with a paragraph that has no answer
    cmrc2018          CMRC 2018, Chinese: squad/cmrc2018_train.json and cmrc2018_dev.json
    cmrc2018_trial    the same without its training file: learned from the dev set, asked about the trial set
    xquad_en, xquad_zh  learned from SQuAD 1.1, in English, and asked in English or Chinese; P knows both

Data: these files under the folder that BERT_JAX_DATA or data.folder names, compressed or not.
Hardware: any; where a batch does not fit, train.accumulate. With the released model at most an hour on a Cloud TPU, or a few on a
GPU (arXiv 1810.04805, section 3.2).
Expected from BERT as published, F1 and exact match on dev: SQuAD 1.1 88.5 and 80.8 (base), 90.9 and 84.1 (large); SQuAD 2.0 81.9
and 78.7 (large) (arXiv 1810.04805, tables 2 and 3). CMRC 2018 84.0 and 64.4, mean of ten runs (README of ymcui/Chinese-BERT-wwm).
On the 10 articles of squad1_dev_split the first sentence of the paragraph has F1 8.7, a random span 4.2. The rows of split dev
sets have no published figure. Not yet run here at that scale.
Source of the recipes: arXiv 1810.04805, sections 4.2 and 4.3: rate 5e-5 with batch 32 and 3 epochs (1.1), 48 and 2 (2.0);
lengths, strides and warm-up: google-research/bert run_squad.py and its README, which has 88.4 and 81.2 from base with batch 12,
2 epochs and 3e-5. CMRC 2018: rate 3e-5 (README of ymcui/Chinese-BERT-wwm); batch and epochs are those of SQuAD, not of a source.
"""

import runpy
from pathlib import Path

from ml_collections import ConfigDict


def get_config(arg=None):
    task = arg or "squad1"
    if task not in ROWS:
        raise ValueError(f"{arg!r} is none of {', '.join(ROWS)}")
    config = published(task)
    ROWS[task](config)
    return config


def published(task: str):
    """SQuAD 1.1."""
    config = _recipe(task)
    config.data.max_seq_length = 384
    config.data.pad_to_multiple_of = 64  # six lengths, each compiled once
    config.data.doc_stride = 128  # pieces from the begin of one window over a paragraph to that of the next
    config.data.max_query_length = 64  # pieces of a question that are kept
    config.objective = ConfigDict({"name": "answer"})
    config.predict = ConfigDict()
    config.predict.n_best_size = 20  # answers that are listed
    config.predict.max_answer_length = 30  # pieces
    return config


def _recipe(task: str):
    return runpy.run_path(str(Path(__file__).with_name("finetune_glue.py")))["recipe"](task)


def or_none(config):
    config.predict.null_threshold = 0.0  # no answer where its odds are higher; what the dev set says takes its place


def squad2(config):
    or_none(config)
    config.train.train_batch_size = 48
    config.train.num_train_epochs = 2.0


def chinese(config):
    config.optim.learning_rate = 3e-5
    config.predict.max_answer_length = 64  # a piece is a character: 5% of the dev questions have longer answers than 30 alone


ROWS = {
    "squad1": lambda config: None,
    "squad2": squad2,
    "squad1_dev_split": lambda config: None,
    "squad2_dev_split": or_none,
    "cmrc2018": chinese,
    "cmrc2018_trial": chinese,
    "xquad_en": lambda config: None,
    "xquad_zh": lambda config: None,
}
