"""SpanBERT paper: what is hidden as one (table 6, without named entities and noun phrases, which need a parser), one text or two
in a row, and the boundary of a span (table 7)."""

from experiments import scales
from experiments.scales import MNLI, QNLI, QNLI_SPLIT, SICK, SQUAD2, SQUAD2_SPLIT, SST2, TINY_MASKS
from experiments.tables import Claim, Column, Config, Encoder, Row, Table

PAPER_COLUMNS = {"squad2_f1": SQUAD2, "mnli_m": MNLI, "qnli": QNLI}
LAB_COLUMNS = {"squad2_f1": SQUAD2_SPLIT, "mnli_m": SICK, "qnli": QNLI_SPLIT}
DESK_COLUMNS = {"mnli_m": SICK, "qnli": Column(SST2.scores, "SST-2")}
PAIRS, SINGLE = "two texts", "one text"
RECIPE = {  # section 4.2, for rows of two texts as for rows of one
    "data.masks": "dynamic",
    "data.short_seq_prob": 0.0,
    "optim.name": "adamw",
    "optim.schedule": "linear",
    "optim.weight_decay": 0.1,
    "optim.eps": 1e-8,
}
ONE_LENGTH = {"data.later_phases": "()", "data.max_seq_length": 512, "data.max_predictions_per_seq": 77}
STEPS = {"train.num_train_steps": 1_200_000}
SCHEDULE = "; the rate ends at 1.2M steps, where the paper's tables are of a run of 2.4M"
LAB_SIZE = "encoders of the base size instead of large"
ALIKE = {"optim.schedule": "linear", "optim.eps": 1e-8, "data.masks": "dynamic", "data.short_seq_prob": 0.0}
TINY = {PAIRS: Config("bert.py:tiny-cased", TINY_MASKS), SINGLE: Config("spanbert.py:tiny", TINY_MASKS)}
BASE = {PAIRS: Config("bert.py:base-cased", RECIPE), SINGLE: Config("spanbert.py:base")}
LARGE = {PAIRS: Config("bert.py:large-cased", RECIPE | ONE_LENGTH), SINGLE: Config("spanbert.py:large")}
LAB = {"data.max_seq_length": 128, "data.max_predictions_per_seq": 20}

TABLE6 = Table(
    name="spanbert/table6",
    encoders={
        "Subword Tokens": Encoder(PAIRS, {"data.mask_unit": "token"}),
        "Whole Words": Encoder(PAIRS, {"data.mask_unit": "whole_word"}),
        "Geometric Spans": Encoder(PAIRS, {"data.mask_unit": "span"}),
    },
    rows={name: Row(name) for name in ("Subword Tokens", "Whole Words", "Geometric Spans")},
    claims=(Claim("Geometric Spans", "Subword Tokens"), Claim("Geometric Spans", "Whole Words")),
    scales={
        "desk": scales.desk(TINY, ALIKE, about="; cased", columns=DESK_COLUMNS),
        "lab": scales.lab(BASE, LAB_COLUMNS, LAB, size=LAB_SIZE),
        "paper": scales.paper(LARGE, PAPER_COLUMNS, pretraining=STEPS, about=SCHEDULE),
    },
)

TWO, ONE, BOUNDARY = "Span Masking (2seq) + NSP", "Span Masking (1seq)", "Span Masking (1seq) + SBO"
TABLE7 = Table(
    name="spanbert/table7",
    encoders={
        TWO: Encoder(PAIRS, {"data.mask_unit": "span"}),
        ONE: Encoder(SINGLE, {"objective.loss_weights": "(('span_boundary_loss', 0.0),)"}),
        BOUNDARY: Encoder(SINGLE),
    },
    rows={name: Row(name) for name in (TWO, ONE, BOUNDARY)},
    claims=(Claim(ONE, TWO), Claim(BOUNDARY, ONE)),
    scales={
        "desk": scales.desk(TINY, ALIKE, about="; cased", columns=DESK_COLUMNS),
        "lab": scales.lab(BASE, LAB_COLUMNS, LAB, size=LAB_SIZE),
        "paper": scales.paper(LARGE, PAPER_COLUMNS, pretraining=STEPS, about=SCHEDULE),
    },
)

TABLES = (TABLE6, TABLE7)
