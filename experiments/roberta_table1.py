"""RoBERTa paper, table 1: masks that are drawn once for each of ten copies of the text, against masks drawn anew every time."""

from experiments.bert_table5 import SICK, SST2, TINY, TINY_TASKS
from experiments.tables import Claim, Column, Config, Encoder, Row, Scale, Score, Table

BERT = "bert"

TABLE = Table(
    name="roberta/table1",
    encoders={
        "static": Encoder(BERT, {"data.masks": "static"}),
        "dynamic": Encoder(BERT, {"data.masks": "dynamic"}),
    },
    rows={"static": Row("static"), "dynamic": Row("dynamic")},
    claims=(Claim("dynamic", "static"),),
    scales={
        "desk": Scale(
            about="2 x 128 encoders, 6,000 steps of 32 rows of 64 pieces on 1 MB of Wikipedia, read some 40 times as in the "
            "paper, each of ten sets of masks some 4 times; 8,000 word pieces; tasks: at most 20,000 examples each, 3 epochs at "
            "the one rate 5e-4",
            configs={BERT: Config("bert.py:tiny", {"data.max_predictions_per_seq": 10})},
            pretraining=TINY | {"data.dupe_factor": 10, "data.held_out_fraction": 0.05, "train.num_train_steps": 6000},
            finetuning=TINY_TASKS,
            columns={"mnli_m": SICK, "sst2": SST2},
            text="text/wiki_en/sample_1mb.txt",
        ),
        "lab": Scale(
            about="the paper's encoder, 100,000 steps of 256 rows of 128 pieces on the text given, which has to be small for "
            "masks to come again; tasks by BERT's recipe at the one rate 5e-5",
            configs={BERT: Config("bert.py:base")},
            pretraining={"data.later_phases": "()", "train.num_train_steps": 100_000},
            finetuning={},
            columns={
                "squad2_f1": Column((Score("finetune_squad.py:squad2_dev_split", "f1"),), "SQuAD 1.1 dev, split, a third moved"),
                "mnli_m": SICK,
                "sst2": SST2,
            },
        ),
        "paper": Scale(
            about="BERT's recipe of pretraining on the text given; tasks at the one rate 5e-5",
            configs={BERT: Config("bert.py:base")},
            pretraining={},
            finetuning={},
            columns={
                "squad2_f1": Column((Score("finetune_squad.py:squad2", "f1"),)),
                "mnli_m": Column((Score("finetune_glue.py:mnli"),)),
                "sst2": SST2,
            },
            seeds=(1, 2, 3, 4, 5),
            judges_values=True,
        ),
    },
)
