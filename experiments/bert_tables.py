"""BERT paper: what each pre-training task contributes (table 5), size (6), features of a frozen encoder (7), what stands where a
piece is hidden (8)."""

from typing import NamedTuple

from experiments import scales
from experiments.scales import MNLI, MRPC, QNLI, QNLI_SPLIT, SICK, SQUAD1, SQUAD1_SPLIT, SST2, TINY, TINY_MASKS, TINY_TASKS
from experiments.tables import Claim, Column, Config, Encoder, Row, Scale, Score, Table

MASKED, LEFT_TO_RIGHT = "masked", "left to right"
TINY_BERT, BASE_BERT = {MASKED: Config("bert.py:tiny", TINY_MASKS)}, {MASKED: Config("bert.py:base")}
TINY_BOTH = TINY_BERT | {LEFT_TO_RIGHT: Config("bert.py:tiny-ltr")}
BASE_BOTH = BASE_BERT | {LEFT_TO_RIGHT: Config("bert.py:ltr")}

TABLE5 = Table(
    name="bert/table5",
    encoders={
        "BERT-base": Encoder(MASKED),
        "No NSP": Encoder(MASKED, {"objective.next_sentence": False}),
        "LTR & No NSP": Encoder(LEFT_TO_RIGHT),
    },
    rows={
        "BERT-base": Row("BERT-base"),
        "No NSP": Row("No NSP"),
        "LTR & No NSP": Row("LTR & No NSP"),
        "LTR & No NSP + BiLSTM": Row("LTR & No NSP", {"model.num_lstm_layers": 1}),
    },
    claims=(Claim("BERT-base", "No NSP"), Claim("No NSP", "LTR & No NSP"), Claim("LTR & No NSP", "LTR & No NSP + BiLSTM")),
    scales={
        "smoke": Scale(
            about="2 x 64 encoders, 300 steps of 32 rows of 64 pieces on docstrings; tasks: at most 6,400 examples, 1 epoch; "
            "one seed cannot tell rows apart: this shows that the way from text to table works",
            configs=TINY_BOTH,
            pretraining=TINY
            | {
                "text.vocab_size": 4000,
                "data.num_eval_rows": 320,
                "model.hidden_size": 64,
                "model.num_attention_heads": 2,
                "model.intermediate_size": 256,
                "optim.learning_rate": 5e-4,
                "train.num_train_steps": 300,
            },
            finetuning=TINY_TASKS | {"data.max_train_examples": 6400, "optim.learning_rate": 1e-3, "train.num_train_epochs": 1.0},
            columns={"mrpc_acc": MRPC, "sst2": SST2},
            seeds=(1,),
            text="",
        ),
        "desk": scales.desk(TINY_BOTH),
        "lab": scales.lab(
            BASE_BOTH, {"mnli_m": SICK, "qnli": QNLI_SPLIT, "mrpc_acc": MRPC, "sst2": SST2, "squad1_f1": SQUAD1_SPLIT}
        ),
        "paper": scales.paper(BASE_BOTH, {"mnli_m": MNLI, "qnli": QNLI, "mrpc_acc": MRPC, "sst2": SST2, "squad1_f1": SQUAD1}),
    },
)


class Size(NamedTuple):
    layers: int
    width: int
    heads: int


SIZES = {  # published; at desk scale
    "L3-H768-A12": (Size(3, 768, 12), Size(1, 96, 6)),
    "L6-H768-A3": (Size(6, 768, 3), Size(2, 96, 1)),
    "L6-H768-A12": (Size(6, 768, 12), Size(2, 96, 6)),
    "L12-H768-A12": (Size(12, 768, 12), Size(4, 96, 6)),
    "L12-H1024-A16": (Size(12, 1024, 16), Size(4, 128, 8)),
    "L24-H1024-A16": (Size(24, 1024, 16), Size(8, 128, 8)),
}


def _sized(config: str, size: Size, changes: dict) -> Config:
    shape = {
        "model.num_hidden_layers": size.layers,
        "model.hidden_size": size.width,
        "model.num_attention_heads": size.heads,
        "model.intermediate_size": 4 * size.width,
    }
    return Config(config, shape | changes)


PUBLISHED_SIZES = {name: _sized("bert.py:base", size, {}) for name, (size, _) in SIZES.items()}
TABLE6 = Table(
    name="bert/table6",
    encoders={name: Encoder(name) for name in SIZES},
    rows={name: Row(name) for name in SIZES},
    claims=(
        Claim("L6-H768-A12", "L3-H768-A12"),
        Claim("L6-H768-A12", "L6-H768-A3"),
        Claim("L12-H768-A12", "L6-H768-A12"),
        Claim("L12-H1024-A16", "L12-H768-A12"),
        Claim("L24-H1024-A16", "L12-H1024-A16"),
    ),
    scales={
        "desk": scales.desk(
            {name: _sized("bert.py:tiny", size, TINY_MASKS) for name, (_, size) in SIZES.items()},
            {"train.num_train_steps": 2000, "optim.learning_rate": 1e-3},
            size="encoders of 1, 2, 4 and 8 layers for 3, 6, 12 and 24, 96 and 128 wide for 768 and 1024, of 6, 1 and 8 heads "
            "for 12, 3 and 16",
            steps="2,000 steps of 32 rows, rate 1e-3,",
        ),
        "lab": scales.lab(PUBLISHED_SIZES, {"mnli_m": SICK, "mrpc": MRPC, "sst2": SST2}),
        "paper": scales.paper(PUBLISHED_SIZES, {"mnli_m": MNLI, "mrpc": MRPC, "sst2": SST2}, seeds=(1, 2, 3, 4, 5)),
    },
)

FEATURES = {  # row -> objective.layers
    "BERT-base features: embeddings": "embeddings",
    "BERT-base features: second-to-last hidden": "second_to_last",
    "BERT-base features: last hidden": "last",
    "BERT-base features: weighted sum last four": "weighted_sum_last_four",
    "BERT-base features: concat last four": "concat_last_four",
    "BERT-base features: weighted sum all 12": "weighted_sum_all",
}
CASED = {MASKED: Config("bert.py:base-cased")}
NER_ABOUT = (
    "; features are read by an LSTM at the rate 1e-3, 10 epochs; sentences of NER stand alone, where the paper gives them the "
    "text of the document around them"
)
NER = Column((Score("finetune_ner.py:conll2003", "f1"),))
NER_FEATURES = Column((Score("finetune_ner.py:conll2003-features", "f1"),))
TABLE7 = Table(
    name="bert/table7",
    encoders={"BERT-base": Encoder(MASKED)},
    rows={"BERT-base fine-tune": Row("BERT-base")}
    | {row: Row("BERT-base", {"objective.layers": layers}, of_tasks="-features") for row, layers in FEATURES.items()},
    claims=tuple(Claim("BERT-base features: concat last four", row) for row in FEATURES if "concat" not in row)
    + (Claim("BERT-base fine-tune", "BERT-base features: concat last four"),),
    scales={
        "lab": scales.lab(CASED, {"dev_f1": NER}, about=NER_ABOUT),
        "paper": scales.paper(CASED, {"dev_f1": NER}, about=NER_ABOUT, seeds=(1, 2, 3, 4, 5)),
    },
)

STRATEGIES = ("80/10/10", "100/0/0", "80/0/20", "80/20/0", "0/20/80", "0/0/100")  # percent of [MASK], the same, a random piece


def _strategy(name: str) -> dict[str, float]:
    masks, _, random = (int(percent) / 100 for percent in name.split("/"))
    return {"data.mask_token_prob": masks, "data.random_token_prob": random}


TABLE8 = Table(
    name="bert/table8",
    encoders={name: Encoder(MASKED, _strategy(name)) for name in STRATEGIES},
    rows={name: Row(name) for name in STRATEGIES},
    claims=(Claim("80/10/10", "100/0/0"), Claim("80/10/10", "0/0/100")),
    scales={
        "desk": scales.desk(
            TINY_BERT,
            columns={"mnli_finetune": SICK, "ner_finetune": NER},
            about="; uncased, so that NER is harder than in the paper",
        ),
        "lab": scales.lab(
            CASED, {"mnli_finetune": SICK, "ner_finetune": NER, "ner_feature_based": NER_FEATURES}, about=NER_ABOUT
        ),
        "paper": scales.paper(
            CASED,
            {"mnli_finetune": MNLI, "ner_finetune": NER, "ner_feature_based": NER_FEATURES},
            about=f"{NER_ABOUT}; cased for all tasks",
        ),
    },
)

TABLES = (TABLE5, TABLE6, TABLE7, TABLE8)
