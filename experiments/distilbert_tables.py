"""DistilBERT paper: the student beside its teacher (table 1), and what each of its losses contributes (table 4)."""

from experiments.scales import COLA, MNLI, MRPC_F1, QNLI, QQP, RTE, SICK, SST2, STSB, TINY_TASKS, WIKIPEDIA, mean
from experiments.tables import Claim, Column, Config, Encoder, Row, Scale, Score, Table

TEACHER, STUDENT = "BERT-base", "DistilBERT"
ALL = "all losses"
LOSSES = {  # row -> what is changed in the student
    ALL: {},
    "without soft targets": {"objective.weights.soft_target": 0.0},
    "without cosine": {"objective.weights.cosine": 0.0},
    "without masked LM": {"objective.weights.masked_lm": 0.0},
    "random start": {"objective.teacher_layers": "()"},
}
TINY = {TEACHER: Config("distill.py:tiny-teacher"), STUDENT: Config("distill.py:tiny")}
PUBLISHED = {TEACHER: Config("bert.py:base"), STUDENT: Config("distill.py:distilbert")}
WNLI = Column((Score("finetune_glue.py:wnli"),))
GLUE = {
    "cola": COLA,
    "mnli": MNLI,
    "mrpc": MRPC_F1,
    "qnli": QNLI,
    "qqp": QQP,
    "rte": RTE,
    "sst2": SST2,
    "sts_b": STSB,
    "wnli": WNLI,
}
DESK_ABOUT = (
    "a teacher of 4 x 256, 2,000 steps, and students of 2 x 256, 1,000 steps, of 32 rows of 64 pieces on 20 MB of Wikipedia, "
    "8,000 word pieces; tasks: at most 20,000 examples each, 3 epochs at the one rate 5e-4"
)
PAPER_ABOUT = (
    "the paper's recipe on the text given; tasks at the one rate 5e-5 of BERT's four; MRPC by F1 and QQP by accuracy, which the "
    "paper does not name"
)


def _desk(columns: dict[str, Column]) -> Scale:
    pretraining = {"data.max_seq_length": 64, "data.max_predictions_per_seq": 10, "model.matmul_dtype": "bfloat16"}
    return Scale(DESK_ABOUT, TINY, pretraining, TINY_TASKS, columns, text=WIKIPEDIA)


TABLE1 = Table(
    name="distilbert/table1",
    encoders={TEACHER: Encoder(TEACHER), STUDENT: Encoder(STUDENT, teacher=TEACHER)},
    rows={TEACHER: Row(TEACHER), STUDENT: Row(STUDENT)},
    claims=(Claim(TEACHER, STUDENT),),
    scales={
        "desk": _desk({"mnli": SICK, "sst2": SST2, "mrpc": MRPC_F1, "sts_b": STSB}),
        "paper": Scale(
            PAPER_ABOUT, PUBLISHED, {}, {}, {"score": mean(*GLUE.values())} | GLUE, seeds=(1, 2, 3, 4, 5), judges_values=True
        ),
    },
)
TABLE4 = Table(
    name="distilbert/table4",
    encoders={TEACHER: Encoder(TEACHER)} | {row: Encoder(STUDENT, changes, TEACHER) for row, changes in LOSSES.items()},
    rows={row: Row(row) for row in LOSSES},
    claims=tuple(Claim(ALL, row) for row in LOSSES if row != ALL),
    scales={
        "desk": _desk({"score": Column((*SICK.scores, *SST2.scores), "SICK and SST-2")}),
        "paper": Scale(PAPER_ABOUT, PUBLISHED, {}, {}, {"score": mean(*GLUE.values())}),  # as changes, which values are not
    },
)

TABLES = (TABLE1, TABLE4)
