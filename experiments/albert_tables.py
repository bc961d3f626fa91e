"""ALBERT paper: the width of the tables of pieces, with one set of weights for all layers and with one for each (table 3; rows of
table 4 that share all or nothing are among these), and what is told of two segments (table 5)."""

from typing import NamedTuple

from experiments import scales
from experiments.scales import MNLI, SICK, SQUAD1, SQUAD1_SPLIT, SQUAD2, SQUAD2_SPLIT, SST2, TINY_MASKS
from experiments.tables import Claim, Config, Encoder, Row, Table

PAPER_COLUMNS = {"squad1_f1": SQUAD1, "squad2_f1": SQUAD2, "mnli": MNLI, "sst2": SST2}
LAB_COLUMNS = {"squad1_f1": SQUAD1_SPLIT, "squad2_f1": SQUAD2_SPLIT, "mnli": SICK, "sst2": SST2}
DESK_COLUMNS = {"mnli": SICK, "sst2": SST2}
LAB_STEPS = "30,000 steps of 1,024 rows"
LAB = {  # LAMB at a quarter of the paper's rows, its rate by the square root (arXiv 1904.00962, section 4.3)
    "data.max_seq_length": 128,
    "data.max_predictions_per_seq": 20,
    "optim.learning_rate": 8.8e-4,
    "train.train_batch_size": 1024,
    "train.num_train_steps": 30_000,
}
DROPOUT = {"model.hidden_dropout_prob": 0.1, "model.attention_probs_dropout_prob": 0.1}  # in all ablations of base
SHORT = {"train.num_train_steps": 2000, "train.eval_every_steps": 1000}
DESK_WORDS = {"size": "4 x 128 encoders", "steps": "2,000 steps of 32 rows"}


class Width(NamedTuple):
    """Of the tables of pieces, as published and at desk scale, and the number of sets of weights; 0: one for each layer."""

    published: int
    desk: int
    groups: int


WIDTHS = {
    f"{sharing} E={published}": Width(published, desk, groups)
    for sharing, groups in (("not-shared", 0), ("all-shared", 1))
    for published, desk in ((64, 8), (128, 16), (256, 32), (768, 128))
}


def _wide(config: str, width: int, groups: int, changes: dict) -> Config:
    return Config(config, {"model.embedding_size": width, "model.num_hidden_groups": groups} | changes)


BASE_WIDTHS = {name: _wide("albert.py:base", of.published, of.groups, DROPOUT) for name, of in WIDTHS.items()}
TABLE3 = Table(
    name="albert/table3",
    encoders={name: Encoder(name) for name in WIDTHS},
    rows={name: Row(name) for name in WIDTHS},
    claims=(
        Claim("not-shared E=768", "not-shared E=64"),
        Claim("all-shared E=128", "all-shared E=64"),
        Claim("all-shared E=128", "all-shared E=768"),
        Claim("not-shared E=128", "all-shared E=128"),
        Claim("not-shared E=768", "all-shared E=768"),
    ),
    scales={
        "desk": scales.desk(
            {name: _wide("albert.py:tiny", of.desk, of.groups, TINY_MASKS) for name, of in WIDTHS.items()},
            SHORT,
            about="; widths of 8, 16, 32 and 128 stand for 64, 128, 256 and 768",
            columns=DESK_COLUMNS,
            **DESK_WORDS,
        ),
        "lab": scales.lab(BASE_WIDTHS, LAB_COLUMNS, LAB, steps=LAB_STEPS),
        "paper": scales.paper(BASE_WIDTHS, PAPER_COLUMNS),
    },
)

ALBERT = "albert"
BASE = {ALBERT: Config("albert.py:base", DROPOUT)}
TABLE5 = Table(
    name="albert/table5",
    encoders={
        "None": Encoder(ALBERT, {"objective.next_sentence": False, "data.rows": "segments"}),
        "NSP": Encoder(ALBERT, {"data.rows": "pairs"}),
        "SOP": Encoder(ALBERT, {"data.rows": "sop"}),
    },
    rows={name: Row(name) for name in ("None", "NSP", "SOP")},
    claims=(Claim("SOP", "NSP"), Claim("SOP", "None"), Claim("NSP", "None")),
    scales={
        "desk": scales.desk({ALBERT: Config("albert.py:tiny", TINY_MASKS)}, SHORT, columns=DESK_COLUMNS, **DESK_WORDS),
        "lab": scales.lab(BASE, LAB_COLUMNS, LAB, steps=LAB_STEPS),
        "paper": scales.paper(BASE, PAPER_COLUMNS),
    },
)

TABLES = (TABLE3, TABLE5)
