"""What tables have in common: two cores, a day of eight chips, the paper's recipe; and the tasks of their columns."""

from collections.abc import Mapping

from experiments.tables import NOTHING, Column, Config, Scale, Score

SICK = Column((Score("finetune_texts.py:sick"),), "SICK")
MNLI = Column((Score("finetune_glue.py:mnli"),))
MRPC = Column((Score("finetune_glue.py:mrpc"),))
QNLI = Column((Score("finetune_glue.py:qnli"),))
QNLI_SPLIT = Column((Score("finetune_texts.py:qnli_dev_split"),), "QNLI dev, split")
SQUAD1 = Column((Score("finetune_squad.py:squad1", "f1"),))
SQUAD1_SPLIT = Column((Score("finetune_squad.py:squad1_dev_split", "f1"),), "SQuAD dev, split")
SQUAD2 = Column((Score("finetune_squad.py:squad2", "f1"),))
SQUAD2_SPLIT = Column((Score("finetune_squad.py:squad2_dev_split", "f1"),), "SQuAD 1.1 dev, split, a third moved")
SST2 = Column((Score("finetune_glue.py:sst2"),))
COLA = Column((Score("finetune_glue.py:cola", "matthews"),))
STSB = Column((Score("finetune_glue.py:stsb", "spearman"),))
MRPC_F1 = Column((Score("finetune_glue.py:mrpc", "f1"),))
RTE = Column((Score("finetune_glue.py:rte"),))
QQP = Column((Score("finetune_glue.py:qqp"),))
QQP_F1 = Column((Score("finetune_glue.py:qqp", "f1"),))
MNLI_MISMATCHED = Column((Score("finetune_glue.py:mnli_mismatched"),))

TINY = {  # 2 x 128, minutes on two cores
    "text.vocab_size": 8000,
    "data.max_seq_length": 64,
    "data.later_phases": "()",
    "data.dupe_factor": 2,
    "data.num_eval_rows": 1000,
    "model.initializer_range": 0.05,  # 0.02 suits a width of 768
    "model.hidden_dropout_prob": 0.0,  # the text is read about twice: there is nothing to overfit
    "model.attention_probs_dropout_prob": 0.0,
    "model.matmul_dtype": "bfloat16",
    "optim.name": "adamw",  # at this rate bert_adam, whose first updates are large, stays at guessing by frequency
    "optim.b2": 0.98,
    "optim.learning_rate": 2e-3,
    "optim.num_warmup_steps": 100,
    "train.train_batch_size": 32,
    "train.num_train_steps": 4000,
    "train.eval_every_steps": 2000,
    "train.save_every_steps": 2000,
}
TINY_MASKS = {"data.max_predictions_per_seq": 10}
TINY_TASKS = {
    "data.max_seq_length": 64,
    "data.max_train_examples": 20000,
    "model.matmul_dtype": "bfloat16",
    "optim.learning_rate": 5e-4,  # the paper's 5e-5 is for encoders hundreds of times larger: here it would move little
}
WIKIPEDIA = "text/wiki_en/shard-0[0-3].txt.xz"
SHORTER = {"data.later_phases": "()", "train.num_train_steps": 100_000}


def mean(*columns: Column) -> Column:
    return Column(tuple(score for column in columns for score in column.scores))


def on_dev(columns: Mapping[str, Column]) -> dict[str, Column]:
    """Where the paper has the hidden test sets."""
    return {name: column._replace(stand_in=column.stand_in or "dev set") for name, column in columns.items()}


def desk(
    configs: Mapping[str, Config],
    pretraining: Mapping[str, object] = NOTHING,
    *,
    size: str = "2 x 128 encoders",
    steps: str = "4,000 steps of 32 rows",
    about: str = "",
    **changes,
) -> Scale:
    """
    Args:
        pretraining: what is changed in TINY.
        size, steps, about: how this differs from the others of its scale, in words.
        changes: of the scale.
    """
    scale = Scale(
        about=f"{size}, {steps} of 64 pieces on 20 MB of Wikipedia, a vocabulary of 8,000; tasks: at most 20,000 examples each, "
        f"3 epochs at the one rate 5e-4{about}",
        configs=configs,
        pretraining=TINY | pretraining,
        finetuning=TINY_TASKS,
        columns={"mnli_m": SICK, "sst2": SST2},
        text=WIKIPEDIA,
    )
    return scale._replace(**changes)


def lab(
    configs: Mapping[str, Config],
    columns: Mapping[str, Column],
    pretraining: Mapping[str, object] = NOTHING,
    *,
    size: str = "the paper's encoders",
    steps: str = "100,000 steps of 256 rows",
    about: str = "",
) -> Scale:
    return Scale(
        about=f"{size}, {steps} of 128 pieces on the text given; tasks by BERT's recipe at the one rate 5e-5{about}",
        configs=configs,
        pretraining=SHORTER | pretraining,
        finetuning=NOTHING,
        columns=columns,
    )


def paper(configs: Mapping[str, Config], columns: Mapping[str, Column], *, about: str = "", **changes) -> Scale:
    scale = Scale(
        about=f"the paper's recipe of pretraining on the text given; tasks at the one rate 5e-5 of BERT's four{about}",
        configs=configs,
        pretraining=NOTHING,
        finetuning=NOTHING,
        columns=columns,
        judges_values=True,
    )
    return scale._replace(**changes)
