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

from ml_collections import ConfigDict


def get_config(arg=None):
    task = arg or "swag"
    if task not in LENGTHS:
        raise ValueError(f"{arg!r} is none of {', '.join(LENGTHS)}")
    return published(task)


def published(task: str):
    config = ConfigDict()
    config.seed = 0
    config.init_checkpoint = ""  # the workdir of a trained model
    config.task = task

    config.data = ConfigDict()
    config.data.folder = ""  # holds multiple_choice/; empty: the folder that the environment's BERT_JAX_DATA names
    config.data.max_seq_length = LENGTHS[task]  # of each text
    config.data.pad_to_multiple_of = (
        0  # rows of like length share a batch, padded to a multiple of this; 0: all to max_seq_length
    )
    config.data.max_train_examples = 0  # so many, drawn once by the seed; 0 takes all
    config.data.skip_bad_rows = False  # leave them out and say so, instead of stopping at the first

    config.model = ConfigDict()  # the sizes are those of the pretrained encoder
    config.model.hidden_dropout_prob = 0.1
    config.model.attention_probs_dropout_prob = 0.1
    config.model.num_lstm_layers = 0  # of a bidirectional LSTM on top of the encoder, drawn anew (table 5, "+ BiLSTM")

    config.objective = ConfigDict()
    config.objective.name = "choose"

    config.optim = ConfigDict()
    config.optim.learning_rate = 2e-5
    config.optim.warmup_proportion = 0.1
    config.optim.weight_decay = 0.01
    config.optim.layer_decay = 1.0  # the rate falls by this factor from each layer to the one below
    config.optim.frozen_layers = -1  # the embeddings and so many of the lowest layers are not trained; -1: all is

    config.train = ConfigDict()
    config.train.train_batch_size = 16  # rows over all devices
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


LENGTHS = {"swag": 128, "codah": 128, "c3": 512}
