"""Sentence-BERT as published: sentence embeddings from labelled pairs that one encoder reads one by one.

    python -m bert_jax finetune --config=configs/sentence_bert.py:nli --workdir=W --config.init_checkpoint=P

P is the workdir of a trained model; its vocabulary and encoder are used. With P the run of nli, stsb is the chain of table 2.
Argument: nli (the default), the three classes of SNLI and MNLI from (u, v, |u - v|); stsb, the scores of STS-B by cosine; sick,
as nli from the small SICK.
Data: glue/SNLI, glue/MNLI, glue/STS-B and sts/sick2014, laid out as GLUE, under the folder that BERT_JAX_DATA or data.folder
names.
Hardware: one GPU.
Expected: STS-B dev Spearman 80.78 (nli) and 87.44 (stsb) from BERT-base (arXiv 1908.10084, table 6). Not yet run here at that
scale.
Source of the recipe: sections 3.1 and 4.2; the released examples for what they leave open: length 128, decay 0.01.
"""

from ml_collections import ConfigDict


def get_config(arg=None):
    row = arg or "nli"
    if row not in ROWS:
        raise ValueError(f"{row!r} is none of {', '.join(ROWS)}")
    return ROWS[row]()


def nli():
    config = ConfigDict()
    config.seed = 0
    config.init_checkpoint = ""  # the workdir of a trained model
    config.task = "sentence_encoder"

    config.data = ConfigDict()
    config.data.folder = ""  # holds glue/ and sts/; empty: the folder that the environment's BERT_JAX_DATA names
    config.data.sources = ("snli", "mnli")  # of snli, mnli, sick; for regression stsb
    config.data.max_seq_length = 128
    config.data.pad_to_multiple_of = (
        0  # rows of like length share a batch, padded to a multiple of this; 0: all to max_seq_length
    )
    config.data.max_train_examples = 0  # so many, drawn once by the seed; 0 takes all

    config.model = ConfigDict()  # the sizes are those of the pretrained encoder
    config.model.hidden_dropout_prob = 0.1
    config.model.attention_probs_dropout_prob = 0.1
    config.model.matmul_dtype = "auto"  # bfloat16 is faster where the machine has it

    config.objective = ConfigDict()
    config.objective.name = "classification"  # classification, regression, triplet (with margin), simcse
    config.objective.pooling = "mean"  # cls, mean, max

    config.optim = ConfigDict()
    config.optim.name = "adamw"
    config.optim.learning_rate = 2e-5
    config.optim.warmup_proportion = 0.1
    config.optim.weight_decay = 0.01
    config.optim.eps = 1e-8

    config.train = ConfigDict()
    config.train.train_batch_size = 16  # rows over all devices
    config.train.num_train_epochs = 1.0
    config.train.accumulate = 1  # micro-batches to an update
    config.train.reinit_layers = 0  # so many of the top layers are drawn anew
    config.train.best_by = ""  # the metric by which the best checkpoint becomes the result; empty: the last one does
    config.train.patience = 0  # so many evaluations without a better one end the training; 0: none do
    config.train.log_every_steps = 100
    config.train.eval_every_steps = 5000
    config.train.save_every_steps = 5000
    config.train.max_skipped_steps = 20  # so many in a row that are not finite end the run
    config.train.keep_checkpoints = 1

    config.parallel = ConfigDict()
    config.parallel.mode = "jit"  # jit, or pmap: one process per host, replicated data parallel
    return config


def stsb():
    config = nli()
    config.data.sources = ("stsb",)
    config.objective.name = "regression"
    config.train.num_train_epochs = 4.0
    config.train.eval_every_steps = 500
    config.train.save_every_steps = 500
    return config


def sick():
    config = nli()
    config.data.sources = ("sick",)
    return config


ROWS = {"nli": nli, "stsb": stsb, "sick": sick}
