"""TinyBERT paper: the students beside their teacher and beside one that learned alone (table 1, without STS-B, whose labels are
numbers, and so without the average), what each stage contributes (table 2), and what each loss (table 3).

In table 3 a loss is left out of both stages, of which the paper says nothing, and for that of the prediction the labels stand in.
Nothing is learned from augmented data, so that the paper's row without them is not here.
"""

from collections.abc import Mapping

from experiments.scales import (
    COLA,
    MNLI,
    MNLI_MISMATCHED,
    MRPC,
    MRPC_F1,
    QNLI,
    QQP_F1,
    RTE,
    SICK,
    SST2,
    TINY_TASKS,
    WIKIPEDIA,
    mean,
    on_dev,
)
from experiments.tables import Claim, Column, Config, Encoder, Row, Scale, Table

TEACHER, ALONE, FOUR, SIX = "BERT-base (teacher)", "BERT-tiny", "TinyBERT4", "TinyBERT6"


def _weights(**weights: float) -> dict[str, float]:
    return {f"objective.weights.{name}": weight for name, weight in weights.items()}


def _tiny(row: str, width: int, changes: dict | None = None) -> Config:
    """A student of half the layers of its teacher of 4 x 256, with as many heads."""
    return Config(f"distill.py:{row}", {"model.hidden_size": width, "model.intermediate_size": 4 * width} | (changes or {}))


BY_LAYERS = _weights(soft_target=0.0, masked_lm=0.0, cosine=0.0, embedding=1.0, hidden=1.0, attention=1.0)
DRAWN = {"objective.teacher_layers": "()"}
TINY = {
    TEACHER: Config("distill.py:tiny-teacher"),
    ALONE: _tiny("tiny-alone", 128),
    FOUR: _tiny("tiny", 128, BY_LAYERS | DRAWN),
    SIX: _tiny("tiny", 256, BY_LAYERS | DRAWN),
}
SIZE_OF_FOUR = {"model.num_hidden_layers": 4, "model.hidden_size": 312, "model.intermediate_size": 1200}
PUBLISHED = {
    TEACHER: Config("bert.py:base"),
    ALONE: Config("bert.py:base", SIZE_OF_FOUR),
    FOUR: Config("distill.py:tinybert"),
    SIX: Config("distill.py:tinybert-6x768"),
}
DESK_ABOUT = (
    "a teacher of 4 x 256, 2,000 steps, and students of 2 x 128 for 4 x 312 and 2 x 256 for 6 x 768, 1,000 steps, of 32 rows of "
    "64 pieces on 20 MB of Wikipedia, 8,000 word pieces; tasks: at most 5,000 examples each, every stage 3 epochs at the one "
    "rate 5e-4; without augmented data"
)
PAPER_ABOUT = (
    "the paper's recipe on the text given, without its augmented data; tasks: the teacher at the one rate 5e-5, students 20 "
    "epochs at 5e-5, then 3 at 2e-5 of the paper's three, for all tasks alike"
)


def _desk(columns: Mapping[str, Column]) -> Scale:
    pretraining = {"data.max_seq_length": 64, "data.max_predictions_per_seq": 10, "model.matmul_dtype": "bfloat16"}
    finetuning = TINY_TASKS | {"data.max_train_examples": 5000, "train.num_train_epochs": 3.0}
    return Scale(DESK_ABOUT, TINY, pretraining, finetuning, columns, text=WIKIPEDIA)


def _paper(columns: Mapping[str, Column], about: str = "") -> Scale:
    return Scale(PAPER_ABOUT + about, PUBLISHED, {}, {}, columns)


def _step(row: str) -> str:
    return f"{row}, layers"


def _layers(encoder: str, **weights: float) -> Row:
    """The first stage on a task."""
    return Row(encoder, _weights(**weights), "-tinybert-layers", TEACHER)


def _prediction(row: str, encoder: str, **weights: float) -> Row:
    """The second, after the first of this row."""
    return Row(encoder, _weights(**weights), "-tinybert-prediction", TEACHER, _step(row))


TEST = {"mnli_m": MNLI, "mnli_mm": MNLI_MISMATCHED, "qqp": QQP_F1, "qnli": QNLI, "sst2": SST2, "cola": COLA}
TEST |= {"mrpc": MRPC_F1, "rte": RTE}
TABLE1 = Table(
    name="tinybert/table1",
    encoders={
        TEACHER: Encoder(TEACHER),
        ALONE: Encoder(ALONE),
        FOUR: Encoder(FOUR, teacher=TEACHER),
        SIX: Encoder(SIX, teacher=TEACHER),
    },
    steps={_step(FOUR): _layers(FOUR), _step(SIX): _layers(SIX)},
    rows={
        TEACHER: Row(TEACHER),
        ALONE: Row(ALONE),
        FOUR: _prediction(FOUR, FOUR),
        SIX: _prediction(SIX, SIX),
    },
    claims=(Claim(FOUR, ALONE), Claim(TEACHER, FOUR), Claim(SIX, FOUR), Claim(TEACHER, SIX)),
    scales={
        "desk": _desk({"mnli_m": SICK, "sst2": SST2}),
        "paper": _paper(on_dev(TEST), "; dev sets, not the hidden test sets; MRPC and QQP by F1, which the paper does not name"),
    },
)

DEV = {"mnli_m": MNLI, "mnli_mm": MNLI_MISMATCHED, "mrpc": MRPC, "cola": COLA}
DEV |= {"average": mean(*DEV.values())}
DEV_ABOUT = "; MRPC by accuracy, which the paper does not name"
DESK_AVERAGE = {"average": mean(SICK, SST2)._replace(stand_in="SICK and SST-2")}
NO_GENERAL, NO_TASK = "w/o general distillation", "w/o task distillation"
TABLE2 = Table(
    name="tinybert/table2",
    encoders={
        TEACHER: Encoder(TEACHER),
        FOUR: Encoder(FOUR, teacher=TEACHER),
        NO_GENERAL: Encoder(FOUR, {"train.num_train_steps": 1}, TEACHER),  # whose rate is 0: as it is drawn
    },
    steps={TEACHER: Row(TEACHER), _step(FOUR): _layers(FOUR), _step(NO_GENERAL): _layers(NO_GENERAL)},
    rows={
        FOUR: _prediction(FOUR, FOUR),
        NO_GENERAL: _prediction(NO_GENERAL, NO_GENERAL),
        NO_TASK: Row(FOUR),
    },
    claims=(Claim(FOUR, NO_GENERAL), Claim(FOUR, NO_TASK)),
    scales={"desk": _desk(DESK_AVERAGE), "paper": _paper(DEV, DEV_ABOUT)},
)

WITHOUT = {  # row -> the losses that it lacks
    FOUR: (),
    "w/o embedding": ("embedding",),
    "w/o transformer": ("hidden", "attention"),
    "w/o attention": ("attention",),
    "w/o hidden": ("hidden",),
}
NO_PREDICTION = "w/o prediction"
TABLE3 = Table(
    name="tinybert/table3",
    encoders={TEACHER: Encoder(TEACHER)}
    | {row: Encoder(FOUR, _weights(**dict.fromkeys(without, 0.0)), TEACHER) for row, without in WITHOUT.items()},
    steps={TEACHER: Row(TEACHER)} | {_step(row): _layers(row, **dict.fromkeys(without, 0.0)) for row, without in WITHOUT.items()},
    rows={row: _prediction(row, row) for row in WITHOUT} | {NO_PREDICTION: _prediction(FOUR, FOUR, prediction=0.0, label=1.0)},
    claims=tuple(Claim(FOUR, row) for row in (*WITHOUT, NO_PREDICTION) if row != FOUR),
    scales={"desk": _desk(DESK_AVERAGE), "paper": _paper(DEV, DEV_ABOUT)},
)

TABLES = (TABLE1, TABLE2, TABLE3)
