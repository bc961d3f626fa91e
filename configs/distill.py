"""Small encoders that learn from a trained one: DistilBERT, TinyBERT (its general distillation) and MiniLM as published.

    python -m bert_jax train --config=configs/bert.py:base --workdir=T --config.data.input_file='text/*.txt'
    python -m bert_jax train --config=configs/distill.py:distilbert --workdir=W --config.data.input_file='text/*.txt' \
        --config.objective.teacher=T --config.text.vocab_file=T/vocab.txt

Argument: distilbert (the default), tinybert, tinybert-6x768, minilm, minilm-6x384, minilm-6x768: students of BERT-base.
    tiny          2 x 256 in the manner of DistilBERT, on two cores within minutes, by a schedule of our own; its teacher is
    tiny-teacher  4 x 256, and beside it stands
    tiny-alone    the same student without a teacher.
The student needs the vocabulary of its teacher, and --config.data.store=T/store saves making the same store again.
Hardware of the papers: DistilBERT 8 V100 for about 90 hours (arXiv 1910.01108, section 3), MiniLM 8 V100 (2002.10957, section 4).
Expected after fine-tuning: GLUE dev score 77.0, where BERT-base has 79.5 (DistilBERT, table 1); GLUE test average 77.0 after
TinyBERT's second distillation, on the task (configs/finetune_glue.py), and without it 68.5 for its 75.6 on four dev sets
(1909.10351, tables 1 and 2); MNLI-m dev 84.0 with minilm-6x768 (2002.10957, table 2). Not yet run here at that scale.
Sources of the recipes: sections 2 and 3 of DistilBERT, train.py and README.md of its released code, which masks rare pieces more
often, and compares with the teacher at all places of a row, where we do so at the masked ones; section 4.2 of TinyBERT, which is
BERT's recipe; section 4.1 of MiniLM.
"""

import runpy
from pathlib import Path

from ml_collections import ConfigDict

LOSSES = (  # what objective.weights gives a weight to
    "masked_lm",  # of the student alone
    "soft_target",  # DistilBERT: the teacher's probabilities at objective.temperature
    "cosine",  # DistilBERT: last hidden states
    "embedding",  # TinyBERT
    "hidden",  # TinyBERT: what each layer gives out
    "attention",  # TinyBERT: scores of each layer
    "prediction",  # TinyBERT: the teacher's probabilities
    "last_attention",  # MiniLM: what the last layer attends to
    "value_relation",  # MiniLM: the products of its values
)


def get_config(arg=None):
    row = arg or "distilbert"
    if row not in ROWS:
        raise ValueError(f"{arg!r} is none of {', '.join(ROWS)}")
    return ROWS[row]()


def student(layers: int, width: int, intermediate: int, **weights: float):
    """A student of 12 heads on BERT's data, without next sentence; losses that are not named have weight 0."""
    bert = runpy.run_path(str(Path(__file__).with_name("bert.py")))
    config = bert["published"](layers, width, vocab_size=30522, do_lower_case=True)
    config.data.later_phases = ()
    config.model.num_attention_heads = 12
    config.model.intermediate_size = intermediate
    config.model.pooler = False
    config.objective = ConfigDict()
    config.objective.name = "distill"
    config.objective.teacher = ""  # the workdir of a trained run
    config.objective.teacher_layers = ()  # the student starts as these layers of it, counted from 0, and with its embeddings
    config.objective.temperature = 1.0
    config.objective.weights = ConfigDict(dict.fromkeys(LOSSES, 0.0) | weights)
    return config


def distilbert():
    config = student(6, 768, 3072, soft_target=5.0, masked_lm=2.0, cosine=1.0)
    config.objective.temperature = 2.0
    config.objective.teacher_layers = (0, 2, 4, 7, 9, 11)
    config.model.type_vocab_size = 0
    config.model.pooler_act = "relu"  # when fine-tuned, as DistilBertForSequenceClassification

    config.data.max_seq_length = 512
    config.data.max_predictions_per_seq = 77
    config.data.rows = "full_sentences"
    config.data.short_seq_prob = 0.0
    config.data.dupe_factor = 1
    config.data.masks = "dynamic"

    config.optim.name = "adamw"
    config.optim.schedule = "linear"
    config.optim.learning_rate = 5e-4
    config.optim.num_warmup_steps = 235
    config.optim.weight_decay = 0.0
    config.optim.b2 = 0.98
    config.optim.clip = 5.0
    config.train.train_batch_size = 4096
    config.train.num_train_steps = 4700  # 3 epochs, of which a million steps of BERT, 256 rows each, are about 40
    config.train.eval_every_steps = 500
    config.train.save_every_steps = 100
    return config


def tinybert(layers: int = 4, width: int = 312, intermediate: int = 1200):
    config = student(layers, width, intermediate, embedding=1.0, hidden=1.0, attention=1.0)
    config.train.num_train_steps = 230_000  # 3 epochs of 2.5 billion words
    return config


def minilm(layers: int = 12, width: int = 384, batch: int = 256, rate: float = 3e-4):
    config = student(layers, width, 4 * width, last_attention=1.0, value_relation=1.0)
    config.data.max_seq_length = 512
    config.data.max_predictions_per_seq = 77
    config.optim.name = "adamw"
    config.optim.schedule = "linear"
    config.optim.learning_rate = rate
    config.optim.num_warmup_steps = 4000
    config.train.train_batch_size = batch
    config.train.num_train_steps = 400_000
    return config


def tiny():
    config = student(2, 256, 1024, soft_target=5.0, masked_lm=2.0, cosine=1.0)
    config.objective.temperature = 2.0
    config.objective.teacher_layers = (0, 3)
    config.model.num_attention_heads = 4
    config.model.initializer_range = 0.05  # 0.02 suits a width of 768
    config.model.hidden_dropout_prob = 0.0
    config.model.attention_probs_dropout_prob = 0.0
    config.text.vocab_size = 8000
    config.data.max_seq_length = 32
    config.data.max_predictions_per_seq = 5
    config.data.rows = "full_sentences"
    config.data.short_seq_prob = 0.0
    config.data.dupe_factor = 1
    config.data.masks = "dynamic"
    config.data.num_eval_rows = 1000
    config.optim.name = "adamw"
    config.optim.schedule = "linear"
    config.optim.learning_rate = 5e-4
    config.optim.num_warmup_steps = 200
    config.train.train_batch_size = 32
    config.train.num_train_steps = 1000
    config.train.eval_every_steps = 500
    config.train.save_every_steps = 500
    return config


def tiny_alone():
    config = tiny()
    config.objective = ConfigDict({"name": "bert", "next_sentence": False})
    return config


def tiny_teacher():
    config = tiny_alone()
    config.model.num_hidden_layers = 4
    config.train.num_train_steps = 2000
    return config


ROWS = {
    "distilbert": distilbert,
    "tinybert": tinybert,
    "tinybert-6x768": lambda: tinybert(6, 768, 3072),
    "minilm": minilm,
    "minilm-6x384": lambda: minilm(6, 384),
    "minilm-6x768": lambda: minilm(6, 768, batch=1024, rate=5e-4),
    "tiny": tiny,
    "tiny-alone": tiny_alone,
    "tiny-teacher": tiny_teacher,
}
