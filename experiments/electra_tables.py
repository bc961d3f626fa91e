"""ELECTRA paper, table 5: which part of the gain comes from learning at all places, which from replacing instead of masking."""

from experiments.scales import SICK, SST2, TINY_TASKS, WIKIPEDIA
from experiments.tables import Claim, Column, Config, Encoder, Row, Scale, Score, Table

TASKS = {  # row -> TASK of configs/electra.py
    "ELECTRA": "replaced",
    "All-Tokens MLM": "all_tokens_mlm",
    "Replace MLM": "replace_mlm",
    "ELECTRA 15%": "replaced_at_masks",
    "BERT": "bert",
}
OWN_METRICS = {"cola": "matthews", "stsb": "spearman"}  # the others have accuracy


def tasks(*names: str) -> tuple[Score, ...]:
    return tuple(Score(f"finetune_glue.py:{name}", OWN_METRICS.get(name, "accuracy")) for name in names)


def configs(size: str) -> dict[str, Config]:
    return {row: Config(f"electra.py:{size}-{task}") for row, task in TASKS.items()}


EFFICIENCY = Table(
    name="electra/efficiency",
    encoders={row: Encoder(row) for row in TASKS},
    rows={row: Row(row) for row in TASKS},
    claims=tuple(Claim("ELECTRA", row) for row in TASKS if row != "ELECTRA") + (Claim("Replace MLM", "BERT"),),
    scales={
        "desk": Scale(
            about="2 x 128 encoders, generators of half the width, 4,000 steps of 32 rows of 64 pieces on 20 MB of Wikipedia, "
            "8,000 word pieces; the mean of two tasks instead of eight: at most 20,000 examples each, 3 epochs at the rate 5e-4",
            configs=configs("tiny"),
            pretraining={"model.matmul_dtype": "bfloat16"},
            finetuning=TINY_TASKS,
            columns={"glue": Column((*SICK.scores, *SST2.scores), "SICK and SST-2")},
            text=WIKIPEDIA,
        ),
        "lab": Scale(
            about="the small size of the paper instead of base, 100,000 steps of 128 rows of 128 pieces on the text given; tasks "
            "by BERT's recipe at the one rate 1e-4",
            configs=configs("small"),
            pretraining={"train.num_train_steps": 100_000},
            finetuning={"optim.learning_rate": 1e-4},
            columns={"glue": Column(tasks("cola", "sst2", "mrpc", "stsb", "rte"), "without QQP, MNLI and QNLI")},
        ),
        "paper": Scale(
            about="the paper's recipe of pretraining on the text given; tasks at its rate 1e-4 and decay 0.8 by layer, 3 epochs",
            configs=configs("base"),
            pretraining={},
            finetuning={"optim.learning_rate": 1e-4, "optim.layer_decay": 0.8},
            columns={"glue": Column(tasks("cola", "sst2", "mrpc", "stsb", "qqp", "mnli", "qnli", "rte"))},
            judges_values=True,
        ),
    },
)

TABLES = (EFFICIENCY,)
