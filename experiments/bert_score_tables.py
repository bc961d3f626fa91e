"""BERT paper and README: what the released models reach on GLUE (table 1), SQuAD (2, 3) and SWAG (4), with whole words hidden as
one, and at small sizes. Figure 5 is not here: nobody published its numbers."""

from experiments import scales
from experiments.scales import (
    COLA,
    MNLI,
    MNLI_MISMATCHED,
    MRPC,
    MRPC_F1,
    QNLI,
    QQP,
    QQP_F1,
    RTE,
    SICK,
    SQUAD1,
    SST2,
    STSB,
    TINY_MASKS,
    mean,
    on_dev,
)
from experiments.tables import Claim, Column, Config, Encoder, Row, Score, Table

BASE, LARGE = "BERT-base", "BERT-large"
PUBLISHED = {BASE: Config("bert.py:base"), LARGE: Config("bert.py:large")}
DESK = {BASE: Config("bert.py:tiny", TINY_MASKS), LARGE: Config("bert.py:mini", TINY_MASKS)}
DESK_WORDS = {"size": "2 x 128 encoders for base, 4 x 256 for large", "steps": "2,000 steps of 32 rows, rate 1e-3,"}
SHORT = {"train.num_train_steps": 2000, "optim.learning_rate": 1e-3}
BOTH = {"encoders": {BASE: Encoder(BASE), LARGE: Encoder(LARGE)}, "rows": {BASE: Row(BASE), LARGE: Row(LARGE)}}
LARGER_IS_BETTER = (Claim(LARGE, BASE),)
FEW = {"sst2": SST2, "cola": COLA, "sts_b": STSB, "mrpc_f1": MRPC_F1, "rte": RTE}
GLUE = {"mnli_m": MNLI, "mnli_mm": MNLI_MISMATCHED, "qqp_f1": QQP_F1, "qnli": QNLI} | FEW

TABLE1 = Table(
    name="bert/table1",
    **BOTH,
    claims=LARGER_IS_BETTER,
    scales={
        "desk": scales.desk(
            DESK, SHORT, columns=on_dev({"sst2": SST2, "cola": COLA, "sts_b": STSB, "mrpc_f1": MRPC_F1}), **DESK_WORDS
        ),
        "lab": scales.lab(PUBLISHED, on_dev(FEW)),
        "paper": scales.paper(
            PUBLISHED,
            on_dev(GLUE | {"average": mean(*GLUE.values())}),
            about="; dev sets, not the hidden test sets",
            judges_values=False,
        ),
    },
)


def _squad(config: str, stand_in: str = "") -> dict[str, Column]:
    name = f"finetune_squad.py:{config}"
    return {"dev_em": Column((Score(name, "exact"),), stand_in), "dev_f1": Column((Score(name, "f1"),), stand_in)}


TABLE2 = Table(
    name="bert/table2",
    **BOTH,
    claims=LARGER_IS_BETTER,
    scales={
        "lab": scales.lab(PUBLISHED, _squad("squad1_dev_split", "SQuAD dev, split")),
        "paper": scales.paper(PUBLISHED, _squad("squad1")),
    },
)
TABLE3 = Table(
    name="bert/table3",
    encoders={LARGE: Encoder(LARGE)},
    rows={LARGE: Row(LARGE)},
    claims=(),
    scales={
        "lab": scales.lab(PUBLISHED, _squad("squad2_dev_split", "SQuAD 1.1 dev, split, a third moved")),
        "paper": scales.paper(PUBLISHED, _squad("squad2")),
    },
)
CODAH = Column((Score("finetune_swag.py:codah"),), "CODAH, one fold")
TABLE4 = Table(
    name="bert/table4",
    **BOTH,
    claims=LARGER_IS_BETTER,
    scales={
        "lab": scales.lab(PUBLISHED, {"dev": CODAH}),
        "paper": scales.paper(PUBLISHED, {"dev": Column((Score("finetune_swag.py:swag"),))}),
    },
)

UNCASED, WHOLE_WORDS = "uncased", "uncased, whole words"
WHOLE_WORD = Table(
    name="bert/whole_word",
    encoders={UNCASED: Encoder(UNCASED), WHOLE_WORDS: Encoder(WHOLE_WORDS)},
    rows={UNCASED: Row(UNCASED), WHOLE_WORDS: Row(WHOLE_WORDS)},
    claims=(Claim(WHOLE_WORDS, UNCASED),),
    scales={
        "desk": scales.desk(
            {
                UNCASED: Config("bert.py:tiny", TINY_MASKS),
                WHOLE_WORDS: Config("bert.py:tiny-uncased-wwm", TINY_MASKS),
            },
            columns={"mnli": SICK, "squad1_f1": Column(SST2.scores, "SST-2")},
        ),
        "paper": scales.paper(
            {UNCASED: Config("bert.py:large"), WHOLE_WORDS: Config("bert.py:large-uncased-wwm")},
            {"squad1_f1": SQUAD1, "squad1_em": Column((Score("finetune_squad.py:squad1", "exact"),)), "mnli": MNLI},
        ),
    },
)

SMALL = {"BERT-Tiny": "tiny", "BERT-Mini": "mini", "BERT-Small": "small", "BERT-Medium": "medium"}
SMALL_TASKS = {
    "cola": COLA,
    "sst2": SST2,
    "mrpc_f1": MRPC_F1,
    "mrpc_acc": MRPC,
    "stsb_spearman": STSB,
    "qqp_f1": QQP_F1,
    "qqp_acc": QQP,
    "mnli_m": MNLI,
    "mnli_mm": MNLI_MISMATCHED,
    "qnli_v2": QNLI,
    "rte": RTE,
}
SMALL_ABOUT = (
    "; pretrained and fine-tuned, where the released ones were also distilled on the tasks (arXiv 1908.08962); dev sets, not the "
    "hidden test sets"
)
SMALL_MODELS = Table(
    name="bert/small_models",
    encoders={row: Encoder(row) for row in SMALL},
    rows={row: Row(row) for row in SMALL},
    claims=(Claim("BERT-Mini", "BERT-Tiny"), Claim("BERT-Small", "BERT-Mini"), Claim("BERT-Medium", "BERT-Small")),
    scales={
        "lab": scales.lab(
            {row: Config(f"bert.py:{size}") for row, size in SMALL.items()},
            on_dev({"mnli_m": SICK, "cola": COLA, "sst2": SST2, "mrpc_f1": MRPC_F1, "stsb_spearman": STSB, "rte": RTE}),
        ),
        "paper": scales.paper(
            {row: Config(f"bert.py:{size}") for row, size in SMALL.items()},
            on_dev(SMALL_TASKS),
            about=SMALL_ABOUT,
            judges_values=False,
        ),
    },
)

TABLES = (TABLE1, TABLE2, TABLE3, TABLE4, WHOLE_WORD, SMALL_MODELS)
