"""Sentence-BERT and SimCSE papers, with BERT-base on the dev set of STS-B.

Sentence-BERT: encoders of sentences beside what they began with and beside one that reads both sentences at once (table 2), and
pooling (table 6). SimCSE: dropout, which alone tells the two views of a sentence apart (table 3), sentences alone against triples
with hard negatives (table 4), and the layer on top where it learns without labels (table 6).
"""

from collections.abc import Mapping

from experiments import scales
from experiments.scales import STSB, TINY_MASKS, TINY_TASKS
from experiments.tables import NOTHING, STS_SCORE, Claim, Column, Config, Encoder, Row, Scale, Score, Table

BASE, SIMCSE = "BERT", "SimCSE"
DEV = "STS-B dev"
SICK_FOR_NLI = f"{DEV}, and SICK for NLI"


def _learned(config: str) -> tuple[Score]:
    return (Score(config, STS_SCORE, 1.0),)


def _as_it_stands(pooling: str) -> tuple[Score]:
    return _learned(f"sts:{pooling}")


SBERT_PAPER = {BASE: Config("bert.py:base")}
SBERT_DESK = {BASE: Config("bert.py:tiny", TINY_MASKS)}
OWN_RECIPE = "; encoders of sentences by the recipe of Sentence-BERT, rate 2e-5"
THREE_EPOCHS = {"finetuning": TINY_TASKS | {"train.num_train_epochs": 3.0}}
UNTRAINED, NLI_ALONE, CROSS, STSB_ALONE, BOTH = (
    "Avg. BERT embeddings",
    "SBERT-NLI-base",
    "BERT-STSb-base (cross-encoder)",
    "SBERT-STSb-base",
    "SBERT-NLI-STSb-base",
)


def _table2(nli: str, stand_in: str) -> dict[str, Column]:
    of_rows = {UNTRAINED: _as_it_stands("mean"), NLI_ALONE: _learned(nli), CROSS: STSB.scores}
    return {"spearman": Column(_learned("sentence_bert.py:stsb"), stand_in, of_rows)}


SBERT_TABLE2 = Table(
    name="sentence_bert/table2",
    encoders={BASE: Encoder(BASE)},
    rows={row: Row(BASE) for row in (UNTRAINED, NLI_ALONE, CROSS, STSB_ALONE)} | {BOTH: Row(BASE, after=NLI_ALONE)},
    claims=(Claim(NLI_ALONE, UNTRAINED), Claim(STSB_ALONE, NLI_ALONE), Claim(STSB_ALONE, CROSS), Claim(BOTH, STSB_ALONE)),
    scales={
        "desk": scales.desk(SBERT_DESK, columns=_table2("sentence_bert.py:sick", SICK_FOR_NLI), **THREE_EPOCHS),
        "lab": scales.lab(SBERT_PAPER, _table2("sentence_bert.py:sick", SICK_FOR_NLI), about=OWN_RECIPE),
        "paper": scales.paper(SBERT_PAPER, _table2("sentence_bert.py:nli", DEV), about=OWN_RECIPE, judges_values=False),
    },
)


def _table6(nli: str, stand_in: str = "") -> dict[str, Column]:
    return {"nli": Column(_learned(f"sentence_bert.py:{nli}"), stand_in), "stsb": Column(_learned("sentence_bert.py:stsb"))}


SBERT_TABLE6 = Table(
    name="sentence_bert/table6",
    encoders={BASE: Encoder(BASE)},
    rows={pooling.upper(): Row(BASE, {"objective.pooling": pooling}) for pooling in ("mean", "max", "cls")},
    claims=(Claim("MEAN", "MAX"), Claim("MEAN", "CLS")),
    scales={
        "desk": scales.desk(SBERT_DESK, columns=_table6("sick", "SICK for NLI"), **THREE_EPOCHS),
        "lab": scales.lab(SBERT_PAPER, _table6("sick", "SICK for NLI"), about=OWN_RECIPE),
        "paper": scales.paper(SBERT_PAPER, _table6("nli"), about=OWN_RECIPE),
    },
)

SIMCSE_PAPER = SBERT_PAPER | {SIMCSE: Config("simcse.py:unsup")}
COMPARED = {  # at desk scale, after the same masked LM for all
    "data.dupe_factor": 1,
    "data.max_seq_length": 32,
    "model.num_hidden_layers": 2,
    "model.hidden_size": 128,
    "model.num_attention_heads": 2,
    "model.intermediate_size": 512,
    "model.hidden_dropout_prob": 0.1,
    "model.attention_probs_dropout_prob": 0.1,
    "objective.pooling": "mean",  # the [CLS] of so short a training holds little yet
    "optim.learning_rate": 1e-4,  # the paper's 3e-5 is for a width of 768
    "train.train_batch_size": 64,
    "train.num_train_steps": 400,
    "train.eval_every_steps": 400,
}
MASKED = {"train.num_train_steps": 2000, "objective.next_sentence": False}
SIMCSE_DESK = {BASE: Config("bert.py:tiny", TINY_MASKS | MASKED), SIMCSE: Config("simcse.py:unsup", COMPARED)}
SIMCSE_ABOUT = (
    "2 x 128 encoders, 2,000 steps of masked LM on 32 rows of 64 pieces of 20 MB of Wikipedia, a vocabulary of 8,000; then "
    "SimCSE, 400 steps of 64 sentences of 32 pieces at the rate 1e-4; the mean instead of [CLS]"
)
PAPER_ABOUT = "the papers' recipes of BERT and SimCSE on the text given; the last step counts, not the best on this very set"


def _simcse_desk(columns: Mapping[str, Column], finetuning: Mapping[str, object] = NOTHING) -> Scale:
    return scales.desk(SIMCSE_DESK, columns=columns, finetuning=finetuning)._replace(about=SIMCSE_ABOUT)


def _simcse_paper(columns: Mapping[str, Column]) -> Scale:
    return scales.paper(SIMCSE_PAPER, columns, judges_values=False)._replace(about=PAPER_ABOUT)


def _dropout(share: float) -> Encoder:
    return Encoder(SIMCSE, {"model.hidden_dropout_prob": share, "model.attention_probs_dropout_prob": share}, after=BASE)


SHARES = {f"dropout {share}": share for share in (0.0, 0.01, 0.05, 0.1, 0.15, 0.2, 0.5)}
PUBLISHED_SHARE = "dropout 0.1"
SIMCSE_TABLE3 = Table(
    name="simcse/table3",
    encoders={BASE: Encoder(BASE)} | {row: _dropout(share) for row, share in SHARES.items()},
    rows={row: Row(row) for row in SHARES},
    claims=tuple(Claim(PUBLISHED_SHARE, row) for row in SHARES if row != PUBLISHED_SHARE),
    scales={
        "desk": _simcse_desk({"stsb": Column(_as_it_stands("mean"))}),
        "paper": _simcse_paper({"stsb": Column(_as_it_stands("cls"))}),
    },
)

UNSUPERVISED, SUPERVISED = "Unsup. SimCSE", "NLI entailment + hard negatives"
FROM_SICK = {  # which holds 148 triples: 20 epochs are 92 steps
    "data.sources": "('sick',)",
    "objective.pooling": "mean",
    "optim.learning_rate": 1e-4,
    "train.train_batch_size": 32,
    "train.num_train_epochs": 20.0,
}


def _table4(pooling: str, stand_in: str = "") -> dict[str, Column]:
    return {"stsb": Column(_learned("simcse.py:sup"), stand_in, {UNSUPERVISED: _as_it_stands(pooling)})}


SIMCSE_TABLE4 = Table(
    name="simcse/table4",
    encoders={BASE: Encoder(BASE), SIMCSE: Encoder(SIMCSE, after=BASE)},
    rows={UNSUPERVISED: Row(SIMCSE), SUPERVISED: Row(BASE)},
    claims=(Claim(SUPERVISED, UNSUPERVISED),),
    scales={
        "desk": _simcse_desk(_table4("mean", "148 triples of SICK for NLI, 20 epochs at the rate 1e-4"), FROM_SICK),
        "paper": _simcse_paper(_table4("cls")),
    },
)

MLPS = {"[CLS] w/ MLP": "always", "[CLS] w/ MLP (train)": "training", "[CLS] w/o MLP": "none"}
SIMCSE_TABLE6 = Table(
    name="simcse/table6",
    encoders={BASE: Encoder(BASE)} | {row: Encoder(SIMCSE, {"objective.mlp": mlp}, after=BASE) for row, mlp in MLPS.items()},
    rows={row: Row(row) for row in MLPS},
    claims=(Claim("[CLS] w/ MLP (train)", "[CLS] w/ MLP"), Claim("[CLS] w/ MLP (train)", "[CLS] w/o MLP")),
    scales={
        "desk": _simcse_desk({"unsup": Column(_as_it_stands("mean"))}),
        "paper": _simcse_paper({"unsup": Column(_as_it_stands("cls"))}),
    },
)

TABLES = (SBERT_TABLE2, SBERT_TABLE6, SIMCSE_TABLE3, SIMCSE_TABLE4, SIMCSE_TABLE6)
