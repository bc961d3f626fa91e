"""RoBERTa paper: masks drawn once for each of ten copies of the text against masks drawn anew every time (table 1), what a row is
made of (table 2), few large batches against many small ones (table 3), more text and more steps (table 4)."""

from experiments import scales
from experiments.scales import MNLI, SICK, SQUAD1, SQUAD1_SPLIT, SQUAD2, SQUAD2_SPLIT, SST2, TINY_MASKS
from experiments.tables import Claim, Config, Encoder, Row, Table

BERT = "bert"
TINY_BERT, BASE_BERT = {BERT: Config("bert.py:tiny", TINY_MASKS)}, {BERT: Config("bert.py:base")}
MEDIAN_OF_FIVE = {"seeds": (1, 2, 3, 4, 5)}
FULL_LENGTH = {  # section 3.1: no short rows, and none of 128 pieces before those of 512
    "data.later_phases": "()",
    "data.max_seq_length": 512,
    "data.max_predictions_per_seq": 77,
    "data.short_seq_prob": 0.0,
}

TABLE1 = Table(
    name="roberta/table1",
    encoders={
        "static": Encoder(BERT, {"data.masks": "static"}),
        "dynamic": Encoder(BERT, {"data.masks": "dynamic"}),
    },
    rows={"static": Row("static"), "dynamic": Row("dynamic")},
    claims=(Claim("dynamic", "static"),),
    scales={
        "desk": scales.desk(
            TINY_BERT,
            {"data.dupe_factor": 10, "data.held_out_fraction": 0.05, "train.num_train_steps": 6000},
            text="text/wiki_en/sample_1mb.txt",
        )._replace(
            about="2 x 128 encoders, 6,000 steps of 32 rows of 64 pieces on 1 MB of Wikipedia, read some 40 times as in the "
            "paper, each of ten sets of masks some 4 times; 8,000 word pieces; tasks: at most 20,000 examples each, 3 epochs at "
            "the one rate 5e-4",
        ),
        "lab": scales.lab(
            BASE_BERT,
            {"squad2_f1": SQUAD2_SPLIT, "mnli_m": SICK, "sst2": SST2},
            about="; the text has to be small, for masks to come again",
        ),
        "paper": scales.paper(
            BASE_BERT, {"squad2_f1": SQUAD2, "mnli_m": MNLI, "sst2": SST2}, pretraining=FULL_LENGTH, **MEDIAN_OF_FIVE
        ),
    },
)

SINGLE = {"objective.next_sentence": False, "data.dupe_factor": 1}
NO_SHORT = {"data.masks": "dynamic", "data.short_seq_prob": 0.0}
SAME_BATCH = "; batches of as many rows for all, where the paper gives DOC-SENTENCES as many pieces"
TABLE2 = Table(
    name="roberta/table2",  # without SENTENCE-PAIR: data.rows has no pairs of single sentences
    encoders={
        "SEGMENT-PAIR": Encoder(BERT),
        "FULL-SENTENCES": Encoder(BERT, SINGLE | {"data.rows": "full_sentences"}),
        "DOC-SENTENCES": Encoder(BERT, SINGLE | {"data.rows": "doc_sentences"}),
    },
    rows={name: Row(name) for name in ("SEGMENT-PAIR", "FULL-SENTENCES", "DOC-SENTENCES")},
    claims=(Claim("FULL-SENTENCES", "SEGMENT-PAIR"), Claim("DOC-SENTENCES", "FULL-SENTENCES")),
    scales={
        "desk": scales.desk(TINY_BERT, NO_SHORT, about=SAME_BATCH),
        "lab": scales.lab(
            BASE_BERT,
            {"squad1_f1": SQUAD1_SPLIT, "squad2_f1": SQUAD2_SPLIT, "mnli_m": SICK, "sst2": SST2},
            NO_SHORT,
            about=SAME_BATCH,
        ),
        "paper": scales.paper(
            BASE_BERT,
            {"squad1_f1": SQUAD1, "squad2_f1": SQUAD2, "mnli_m": MNLI, "sst2": SST2},
            pretraining=NO_SHORT | FULL_LENGTH,
            about=SAME_BATCH,
            **MEDIAN_OF_FIVE,
        ),
    },
)

BATCHES = {  # row -> rows of a batch, steps, rate: of the paper; at desk scale, by our choice
    "256": ((256, 1_000_000, 1e-4), (32, 4000, 2e-3)),
    "2K": ((2048, 125_000, 7e-4), (128, 1000, 3e-3)),
    "8K": ((8192, 31_000, 1e-3), (512, 250, 4e-3)),
}


def _batched(config: str, rows: int, steps: int, rate: float, changes: dict) -> Config:
    schedule = {
        "train.train_batch_size": rows,
        "train.num_train_steps": steps,
        "train.eval_every_steps": steps,
        "optim.learning_rate": rate,
        "optim.num_warmup_steps": steps // 20,
    }
    return Config(config, schedule | changes)


FULL = SINGLE | NO_SHORT | {"data.rows": "full_sentences"}
TABLE3 = Table(
    name="roberta/table3",
    encoders={name: Encoder(name) for name in BATCHES},
    rows={name: Row(name) for name in BATCHES},
    claims=(Claim("2K", "256"), Claim("2K", "8K")),
    scales={
        "desk": scales.desk(
            {name: _batched("bert.py:tiny", *ours, FULL | TINY_MASKS) for name, (_, ours) in BATCHES.items()},
            steps="4,000 steps of 32 rows for 256, 1,000 of 128 for 2K, 250 of 512 for 8K, at the rates 2e-3, 3e-3 and 4e-3,",
        ),
        "paper": scales.paper(
            {
                name: _batched("bert.py:base", *theirs, FULL | FULL_LENGTH | ({} if name == "256" else {"optim.b2": 0.98}))
                for name, (theirs, _) in BATCHES.items()
            },
            {"mnli_m": MNLI, "sst2": SST2},
            about="; warm-up, of which the paper says nothing here, 5% of the steps",
            **MEDIAN_OF_FIVE,
        ),
    },
)

LESS_TEXT, MORE_TEXT = "RoBERTa with Books + Wiki", "+ additional data"
LONGER = {  # row -> steps of the paper, at desk scale
    MORE_TEXT: (100_000, 2000),
    "+ pretrain longer": (300_000, 6000),
    "+ pretrain even longer": (500_000, 10_000),
}

A_TENTH = "; Books + Wiki, 16 GB of 160, are any tenth of the documents of the text"


def _long(config: str, steps: int, changes: dict) -> Config:
    return Config(config, changes | {"train.num_train_steps": steps})


TABLE4 = Table(
    name="roberta/table4",
    encoders={LESS_TEXT: Encoder(MORE_TEXT, {"data.held_out_fraction": 0.9})} | {name: Encoder(name) for name in LONGER},
    rows={name: Row(name) for name in (LESS_TEXT, *LONGER)},
    claims=(
        Claim(MORE_TEXT, LESS_TEXT),
        Claim("+ pretrain longer", MORE_TEXT),
        Claim("+ pretrain even longer", "+ pretrain longer"),
    ),
    scales={
        "desk": scales.desk(
            {name: _long("bert.py:tiny", steps, FULL | TINY_MASKS) for name, (_, steps) in LONGER.items()},
            steps="2,000, 6,000 and 10,000 steps for 100K, 300K and 500K, of 32 rows",
            about=A_TENTH,
        ),
        "paper": scales.paper(
            {name: _long("roberta.py:large", steps, {}) for name, (steps, _) in LONGER.items()},
            {"squad1_f1": SQUAD1, "squad2_f1": SQUAD2, "mnli_m": MNLI, "sst2": SST2},
            about=A_TENTH,
            **MEDIAN_OF_FIVE,
        ),
    },
)

TABLES = (TABLE1, TABLE2, TABLE3, TABLE4)
