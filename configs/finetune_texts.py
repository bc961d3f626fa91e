"""Fine-tuning on classes of texts beyond GLUE: Chinese reviews and pairs of sentences, IMDB, and stand-ins for MNLI and QNLI.

    python -m bert_jax finetune --config=configs/finetune_texts.py:chnsenticorp --workdir=W --config.init_checkpoint=P

P is the workdir of a trained model, in the language of the task. Argument: chnsenticorp (the default), lcqmc, afqmc, ocnli, imdb;
imdb-head_tail and imdb-chunks read more of a review than its first 512 pieces; sick, entailment of sentences in place of MNLI,
scored on its test set; qnli_dev_split, learned from four fifths of QNLI's dev set and asked about the rest. The first word of one
of these with a row of TinyBERT behind it, sick-tinybert-layers for instance, is for students, as in configs/finetune_glue.py.
Data: the files that bert_jax/tasks/chinese.py, reviews.py and stand_ins.py list, under the folder that BERT_JAX_DATA or
data.folder names.
Hardware: any.
Expected from BERT-base, Chinese, on dev, best and mean of ten runs: ChnSentiCorp 94.7 and 94.3, LCQMC 89.4 and 88.4 (README of
ymcui/Chinese-BERT-wwm); IMDB test error 5.63 from the first 510 pieces, 5.42 from head and tail (arXiv 1905.05583, table 2). Not
yet run here at that scale.
Source of the recipes: ChnSentiCorp and LCQMC: rate 2e-5 as that README has it, length, batch and epochs ours; IMDB: arXiv
1905.05583, section 5.2: batch 24, rate 2e-5, 4 epochs. AFQMC and OCNLI: those of LCQMC; SICK and QNLI: that of
GLUE.
"""

import runpy
from pathlib import Path

from ml_collections import ConfigDict

ROWS = {  # length, batch, rate, epochs, what is read of a long text
    "chnsenticorp": (256, 64, 2e-5, 3.0, "head"),
    "lcqmc": (128, 64, 2e-5, 3.0, "head"),
    "afqmc": (128, 64, 2e-5, 3.0, "head"),
    "ocnli": (128, 64, 2e-5, 3.0, "head"),
    "sick": (128, 32, 5e-5, 3.0, "head"),
    "qnli_dev_split": (128, 32, 5e-5, 3.0, "head"),
    "imdb": (512, 24, 2e-5, 4.0, "head"),
    "imdb-head_tail": (512, 24, 2e-5, 4.0, "head_tail"),
    "imdb-chunks": (512, 24, 2e-5, 4.0, "chunks"),
}


def get_config(arg=None):
    row = arg or "chnsenticorp"
    glue = runpy.run_path(str(Path(__file__).with_name("finetune_glue.py")))
    task, _, step = row.partition("-")
    row, step = (row, "") if row in ROWS else (task, step)
    if row not in ROWS or step not in glue["ROWS"]:
        raise ValueError(f"{arg!r} is none of {', '.join(ROWS)}, with or without a row of TinyBERT behind the task")
    config = glue["recipe"](task)
    length, size, rate, epochs, long_texts = ROWS[row]
    config.data.max_seq_length = length
    config.data.long_texts = long_texts
    config.objective = ConfigDict({"name": "classify", "class_weights": ()})
    config.optim.learning_rate = rate
    config.train.train_batch_size = size
    config.train.num_train_epochs = epochs
    glue["ROWS"][step](config)
    return config
