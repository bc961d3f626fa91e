"""Objectives x masks x encoders on equal data: the same text, rows, order and steps. Of no paper; ours alone."""

from itertools import product

from experiments import scales
from experiments.scales import COLA, MRPC, RTE, SICK, SST2, TINY_TASKS
from experiments.tables import Claim, Config, Encoder, Row, Table

OBJECTIVES = {"masked LM": "masked_lm", "masked LM and next sentence": "next_sentence", "replaced pieces": "replaced"}
MASKS = {"pieces": "pieces", "words": "words"}
ENCODERS = {"BERT": "bert", "ALBERT": "albert", "ModernBERT": "modern"}
FACTORS = (OBJECTIVES, MASKS, ENCODERS)
ROWS = {", ".join(names): "-".join(table[name] for name, table in zip(names, FACTORS)) for names in product(*FACTORS)}
FIRST = next(iter(ROWS))
ONE_OTHER = [row for row in ROWS if sum(ours != theirs for ours, theirs in zip(row.split(", "), FIRST.split(", "))) == 1]
TASKS = {"sick": SICK._replace(stand_in=""), "sst2": SST2}


def _configs(size: str) -> dict[str, Config]:
    return {row: Config(f"equal_data.py:{size}-{argument}") for row, argument in ROWS.items()}


MATRIX = Table(
    name="equal_data/matrix",
    encoders={row: Encoder(row) for row in ROWS},
    rows={row: Row(row) for row in ROWS},
    claims=tuple(Claim(row, FIRST) for row in ONE_OTHER),
    scales={
        "desk": scales.desk(
            _configs("tiny"),
            {"data.max_predictions_per_seq": 10, "train.num_train_steps": 1000, "train.eval_every_steps": 500},
            columns=TASKS,
            finetuning=TINY_TASKS | {"data.max_train_examples": 5000},
        )._replace(
            about="2 x 128 encoders, 1,000 steps of the same 32 rows of 64 pieces on 20 MB of Wikipedia, a vocabulary of 8,000, "
            "one recipe for all; tasks: at most 5,000 examples each, 3 epochs at the one rate 5e-4"
        ),
        "lab": scales.lab(
            _configs("base"),
            TASKS | {"cola": COLA, "mrpc": MRPC, "rte": RTE},
            size="encoders of 12 x 768",
            about="; one recipe for all",
        ),
    },
    ours_alone="objectives, masks and encoders on equal data",
)

TABLES = (MATRIX,)
