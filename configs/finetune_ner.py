"""Fine-tuning on names of people, places and the like: a tag for each word of a sentence.

    python -m bert_jax finetune --config=configs/finetune_ner.py:conll2003 --workdir=W --config.init_checkpoint=P

P is the workdir of a trained model: pretrained or brought in, in the language of the task, with a vocabulary that keeps the case
where there is one. Argument: a task, conll2003 (the default), conll2003_bioes (the same in another scheme of tags), msra,
resume_zh, wikineural_fr or europeana_fr; alone, or with one of these behind it, for instance conll2003-crf:

    mean       the mean of its pieces stands for a word, not the first of them
    context    rows are filled with what stands around a sentence in its document, up to 512 pieces
    crf        a linear chain over the words of a sentence, decoded by Viterbi's algorithm
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
    config = ConfigDict()
    config.seed = 0
    config.init_checkpoint = ""  # the workdir of a trained model
    config.task = task

    config.data = ConfigDict()
    config.data.folder = ""  # holds ner/; empty: the folder that the environment's BERT_JAX_DATA names
    config.data.max_seq_length = 256 if task in CHINESE else 128  # longer sentences go on in a further row
    config.data.max_train_examples = 0  # so many, drawn once by the seed; 0 takes all
    config.data.document_context = False

    config.model = ConfigDict()  # the sizes are those of the pretrained encoder
    config.model.hidden_dropout_prob = 0.1
    config.model.attention_probs_dropout_prob = 0.1
    config.model.num_lstm_layers = 0  # of a bidirectional LSTM on top of the encoder that is fine-tuned

    config.objective = ConfigDict()
    config.objective.name = "tag"
    config.objective.word_vector = "first"  # or "mean"

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
