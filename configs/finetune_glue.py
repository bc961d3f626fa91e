"""Fine-tuning on a GLUE task, by the recipe of the BERT paper; and small students of what was fine-tuned, by that of TinyBERT.

    python -m bert_jax finetune --config=configs/finetune_glue.py:mrpc --workdir=W --config.init_checkpoint=P
    python -m launch sweep submit --config=configs/finetune_glue.py:mrpc --workdir=S --seeds=0,1,2,3,4 --config.init_checkpoint=P

P is the workdir of a trained model: pretrained, brought in, or fine-tuned before, on MNLI for instance, from which RTE, STS-B and
MRPC gain (Phang et al. 2018, arXiv 1811.01088). Its vocabulary and encoder are used, the head is new. The second command is the
grid of the paper with seeds. Argument: cola, sst2, mrpc (the default), stsb, qqp, mnli, mnli_mismatched, qnli, rte, wnli; all but
stsb also with one of these behind them, for instance sst2-short:

    short      from some of the layers of P alone (train.take_layers; Sajjad et al. 2023, arXiv 2004.03844)
    int8       products with weights as 8 bits would have them (model.quantize; needs pip install -e '.[int8]')
    sparse     the smallest weights become 0 (optim.magnitude; Zhu and Gupta 2017, arXiv 1710.01878)
    student    short, and from a teacher, by TinyBERT's losses all at once: a student in one command, where P may be its teacher

or with a row of TinyBERT behind them, one after the other:

    python -m bert_jax finetune --config=configs/finetune_glue.py:mrpc-tinybert-layers --workdir=L \
        --config.objective.teacher=W --config.init_checkpoint=G
    python -m bert_jax finetune --config=configs/finetune_glue.py:mrpc-tinybert-prediction --workdir=S \
        --config.objective.teacher=W --config.init_checkpoint=L

    tinybert-layers       the student learns the embeddings, hidden states and attention scores of its teacher,
    tinybert-prediction   and then its probabilities of the classes
    tiny-layers, tiny-prediction    the same with rates for the small models of configs/distill.py, minutes on two cores

G is a run of configs/distill.py:tinybert, W the fine-tuned teacher.
Data: the official files, glue/MRPC/train.tsv and so on, under the folder that BERT_JAX_DATA or data.folder names.
Hardware: any; with the small models of the quickstart two cores and a few minutes.
Expected from BERT-base as published: dev accuracy 86.7 (MRPC) and 92.7 (SST-2) (arXiv 1810.04805, table 5); from TinyBERT of
4 x 312 85.8 (MRPC), and 82.4 without its augmented data, as here (arXiv 1909.10351, table 2). Not yet run here at that scale.
Source of the recipes: arXiv 1810.04805, section 4.1: batch 32, 3 epochs, the best of the rates 5e-5, 4e-5, 3e-5 and 2e-5 on the
dev set; warm-up and length: google-research/bert run_classifier.py and its README. TinyBERT: section 4.2: layers 20 epochs at
5e-5, prediction 3 at the best of 1e-5, 2e-5 and 3e-5; length 64 for one sentence, 128 for pairs. There each example comes with 20
others in which words are exchanged for similar ones (section 3.2), which are not made here: its epochs are so much longer.
"""

from ml_collections import ConfigDict

TASKS = ("cola", "sst2", "mrpc", "stsb", "qqp", "mnli", "mnli_mismatched", "qnli", "rte", "wnli")
SCORES = ("stsb",)  # tasks whose label is a number
LOSSES = (  # what objective.weights gives a weight to
    "label",  # of the student alone
    "soft_target",  # the teacher's probabilities at objective.temperature
    "cosine",  # last hidden states
    "embedding",  # TinyBERT
    "hidden",  # TinyBERT: what each layer gives out
    "attention",  # TinyBERT: scores of each layer
    "prediction",  # TinyBERT: the teacher's probabilities
    "last_attention",  # MiniLM
    "value_relation",  # MiniLM
)


def get_config(arg=None):
    task, _, row = (arg or "mrpc").partition("-")
    if task not in TASKS or row not in ROWS or (row and task in SCORES):
        raise ValueError(
            f"{arg!r} is none of {', '.join(TASKS)}, with or without one of {', '.join(filter(None, ROWS))} behind it"
        )
    config = published(task)
    ROWS[row](config)
    return config


def published(task: str):
    config = recipe(task)
    config.data.long_texts = "head"  # what is read of a sentence too long: head, head_tail, chunks (all of it, in several rows)
    config.objective = ConfigDict({"name": "regress"})
    if task not in SCORES:
        config.objective = ConfigDict({"name": "classify", "class_weights": ()})  # a number for each class
    return config


def recipe(task: str):
    """What fine-tuning on any task has in common; the other configs finetune_*.py begin with it."""
    config = ConfigDict()
    config.seed = 0
    config.init_checkpoint = ""  # the workdir of a trained model
    config.task = task

    config.data = ConfigDict()
    config.data.folder = ""  # holds glue/ and so on; empty: the folder that the environment's BERT_JAX_DATA names
    config.data.max_seq_length = 128
    config.data.pad_to_multiple_of = 32  # rows of like length share a batch, padded to a multiple; 0: all to max_seq_length
    config.data.max_train_examples = 0  # so many, drawn once by the seed; 0 takes all
    config.data.skip_bad_rows = False  # leave them out and say so, instead of stopping at the first

    config.model = ConfigDict()  # the sizes are those of the pretrained encoder
    config.model.hidden_dropout_prob = 0.1
    config.model.attention_probs_dropout_prob = 0.1
    config.model.matmul_dtype = "auto"  # bfloat16 is faster where the machine has it
    config.model.num_lstm_layers = 0  # of a bidirectional LSTM on top of the encoder, drawn anew (table 5, "+ BiLSTM")

    config.optim = ConfigDict()
    config.optim.name = "bert_adam"  # bert_adam, adamw, lamb
    config.optim.learning_rate = 5e-5
    config.optim.warmup_proportion = 0.1
    config.optim.weight_decay = 0.01
    config.optim.layer_decay = 1.0  # the rate falls by this factor from each layer to the one below
    config.optim.frozen_layers = -1  # the embeddings and so many of the lowest layers are not trained; -1: all is

    config.train = ConfigDict()
    config.train.train_batch_size = 32  # rows over all devices
    config.train.num_train_epochs = 3.0
    config.train.accumulate = 1  # micro-batches to an update
    config.train.reinit_layers = 0  # so many of the top layers, and the pooler, are drawn anew
    config.train.best_by = ""  # the metric by which the best checkpoint becomes the result; empty: the last one does
    config.train.patience = 0  # so many evaluations without a better one end the training; 0: none do
    config.train.log_every_steps = 50
    config.train.eval_every_steps = 0  # 0: after each epoch
    config.train.save_every_steps = 0
    config.train.max_skipped_steps = 20  # so many in a row that are not finite end the run
    config.train.keep_checkpoints = 1

    config.parallel = ConfigDict()
    config.parallel.mode = "jit"  # jit, or pmap: one process per host, replicated data parallel
    return config


def sweep(add):
    """The grid of the paper, section A.3; the best cell is chosen on the dev set."""
    for size in (16, 32):
        for rate in (5e-5, 4e-5, 3e-5, 2e-5):
            add(f"batch{size}-lr{rate:g}", **{"train.train_batch_size": size, "optim.learning_rate": rate})


def distilled(config, epochs: float, rate: float, **weights: float):
    config.objective = ConfigDict({"name": "distill"})
    config.objective.teacher = ""  # the workdir of a model fine-tuned on the task
    config.objective.temperature = 1.0
    config.objective.weights = ConfigDict(dict.fromkeys(LOSSES, 0.0) | weights)
    config.data.max_seq_length = 64 if config.task == "sst2" else 128
    config.optim.learning_rate = rate
    config.train.num_train_epochs = epochs


def layers(config, epochs: float = 20.0, rate: float = 5e-5):
    distilled(config, epochs, rate, embedding=1.0, hidden=1.0, attention=1.0)


def prediction(config, rate: float = 2e-5):
    distilled(config, 3.0, rate, prediction=1.0)


def student(config):
    """Our choice of weights; starting as every other layer is DistilBERT's (arXiv 1910.01108, section 3)."""
    distilled(config, 3.0, 5e-5, hidden=1.0, attention=1.0, prediction=1.0, label=1.0)
    short(config)


def short(config):
    config.train.take_layers = (1, 3, 5)  # of the encoder to start from, counted from 0


def int8(config):
    config.model.quantize = "int8"


def sparse(config):
    config.optim.magnitude = ConfigDict()  # the smallest weights of each layer become 0, more and more of them
    config.optim.magnitude.sparsity = 0.5  # so large a part in the end
    config.optim.magnitude.begin_step = 0
    config.optim.magnitude.end_step = 1000
    config.optim.magnitude.every_steps = 50


ROWS = {
    "": lambda config: None,
    "tinybert-layers": layers,
    "tinybert-prediction": prediction,
    "tiny-layers": lambda config: layers(config, epochs=5.0, rate=5e-4),
    "tiny-prediction": lambda config: prediction(config, rate=5e-4),
    "student": student,
    "short": short,
    "int8": int8,
    "sparse": sparse,
}
