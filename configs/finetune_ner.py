"""Fine-tuning on names of people, places and the like: a tag for each word of a sentence.

    python -m bert_jax finetune --config=configs/finetune_ner.py:conll2003 --workdir=W --config.init_checkpoint=P

P is the workdir of a trained model: pretrained or brought in, in the language of the task, with a vocabulary that keeps the case
where there is one. Argument: a task, conll2003 (the default), conll2003_bioes (the same in another scheme of tags), msra,
resume_zh, wikineural_fr or europeana_fr; alone, or with one of these behind it, for instance conll2003-crf:

    mean       the mean of its pieces stands for a word, not the first of them
    context    rows are filled with what stands around a sentence in its document, up to 512 pieces
    crf        a linear chain over the words of a sentence, decoded by Viterbi's algorithm
    short, int8, sparse    as in configs/finetune_glue.py
    features   the encoder stays as it is; a BiLSTM of two layers reads what its layers give out (objective.layers)

Data: the files of each set under ner/ of the folder that BERT_JAX_DATA or data.folder names, as bert_jax/tasks/ner.py lists them.
Hardware: any; BERT-base on CoNLL-2003 is some 3e15 operations, minutes on one accelerator.
Expected: F1 over entities on CoNLL-2003 (arXiv 1810.04805, table 7), BERT-base: dev 96.4, test 92.4 with document context;
features, dev: concat_last_four 96.1, weighted_sum_last_four 95.9, second_to_last 95.6, weighted_sum_all 95.5, last 94.9,
embeddings 91.0. Not yet run here at that scale. Of msra and wikineural_fr only a part of the training set is read, and
europeana_fr is split here: no published figure compares.
Source of the recipes: arXiv 1810.04805, section 5.3 and appendix A.3: batch 32, 3 epochs, the best of the rates 5e-5, 4e-5, 3e-5
and 2e-5 on the dev set; crf: arXiv 1909.10649, with its division of the loss; features: rate, epochs and the absence of weight
decay, by which an encoder without gradient would shrink, are our choice, the paper gives none.
"""

import runpy
from pathlib import Path

from ml_collections import ConfigDict

TASKS = ("conll2003", "conll2003_bioes", "msra", "resume_zh", "wikineural_fr", "europeana_fr")
CHINESE = ("msra", "resume_zh")  # a piece for each character: their sentences are longer


def get_config(arg=None):
    task, _, row = (arg or "conll2003").partition("-")
    if task not in TASKS or row not in ROWS:
        raise ValueError(
            f"{arg!r} is none of {', '.join(TASKS)}, with or without one of {', '.join(filter(None, ROWS))} behind it"
        )
    config = published(task)
    ROWS[row](config)
    return config


def published(task: str):
    config = _recipe(task)
    config.data.max_seq_length = 256 if task in CHINESE else 128  # longer sentences go on in a further row
    config.data.document_context = False
    config.objective = ConfigDict({"name": "tag", "word_vector": "first"})  # or "mean"
    return config


def _recipe(task: str):
    return _of_glue("recipe")(task)


def _of_glue(name: str):
    return runpy.run_path(str(Path(__file__).with_name("finetune_glue.py")))[name]


def mean(config):
    config.objective.word_vector = "mean"


def context(config):
    config.data.document_context = True
    config.data.max_seq_length = 512


def crf(config):
    config.objective.name = "tag_crf"


def features(config):
    config.objective = ConfigDict({"name": "tag_features", "layers": "concat_last_four", "lstm_width": 768})
    config.optim.learning_rate = 1e-3
    config.optim.weight_decay = 0.0
    config.train.num_train_epochs = 10.0


ROWS = {"": lambda config: None, "mean": mean, "context": context, "crf": crf, "features": features}
ROWS |= {name: _of_glue("ROWS")[name] for name in ("short", "int8", "sparse")}
