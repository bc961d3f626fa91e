"""Fine-tuning on a GLUE task, by the recipe of the BERT paper.

    python -m bert_jax finetune --config=configs/finetune_glue.py:mrpc --workdir=W --config.init_checkpoint=P

P is the workdir of a pretraining run; its vocabulary and encoder are used. Argument: mrpc (the default), sst2.
Data: the official files, glue/MRPC/train.tsv and so on, under the folder that BERT_JAX_DATA or data.folder names.
Hardware: any; with the small models of the quickstart two cores and a few minutes.
Expected from BERT-base as published: dev accuracy 86.7 (MRPC) and 92.7 (SST-2) (arXiv 1810.04805, table 5). Not yet run here at
that scale.
Source of the recipe: ibid., section 4.1: batch 32, 3 epochs, the best of the rates 5e-5, 4e-5, 3e-5 and 2e-5 on the dev set;
warm-up and length: google-research/bert run_classifier.py and its README.
"""

from ml_collections import ConfigDict

TASKS = ("mrpc", "sst2")


def get_config(arg=None):
    task = arg or "mrpc"
    if task not in TASKS:
        raise ValueError(f"{task!r} is none of {', '.join(TASKS)}")
    config = ConfigDict()
    config.seed = 0
    config.init_checkpoint = ""  # the workdir of a pretraining run
    config.task = task

    config.data = ConfigDict()
    config.data.folder = ""  # holds glue/; empty: the folder that the environment's BERT_JAX_DATA names
    config.data.max_seq_length = 128
    config.data.max_train_examples = 0  # so many, drawn once by the seed; 0 takes all

    config.model = ConfigDict()  # the sizes are those of the pretrained encoder
    config.model.hidden_dropout_prob = 0.1
    config.model.attention_probs_dropout_prob = 0.1
    config.model.num_lstm_layers = 0  # of a bidirectional LSTM on top of the encoder, drawn anew (table 5, "+ BiLSTM")

    config.optim = ConfigDict()
    config.optim.learning_rate = 5e-5
    config.optim.warmup_proportion = 0.1
    config.optim.weight_decay = 0.01

    config.train = ConfigDict()
    config.train.train_batch_size = 32  # rows over all devices
    config.train.num_train_epochs = 3.0
    config.train.log_every_steps = 50
    config.train.eval_every_steps = 500
    config.train.save_every_steps = 500
    config.train.max_skipped_steps = 20  # so many in a row that are not finite end the run
    config.train.keep_checkpoints = 1

    config.parallel = ConfigDict()
    config.parallel.mode = "jit"  # jit, or pmap: one process per host, replicated data parallel
    return config
