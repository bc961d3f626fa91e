"""BERT4Rec on MovieLens 1M, the last item of each history among all items, as later work lists it (the figures of the paper's
table 2, among 100 others, could not be checked), beside popularity. At desk scale histories are made by a known rule."""

from experiments import histories
from experiments.tables import Claim, Column, Config, Encoder, Row, Scale, Score, Table

MODEL, POPULARITY = "BERT4Rec", "popularity"
AT_MOST = {"text.vocab_size": 4000}  # MovieLens 1M has 3,706 items; the config has room for a million, which costs are counted by
METRICS = {"hr10": "full_hr@10", "ndcg10": "full_ndcg@10"}


def _columns(stand_in: str = "") -> dict[str, Column]:
    """All of it is measured at the end of pretraining."""
    return {
        name: Column((Score("", metric),), stand_in, {POPULARITY: (Score("", f"popularity_{metric}"),)})
        for name, metric in METRICS.items()
    }


FULL_CORPUS = Table(
    name="bert4rec/full_corpus",
    encoders={MODEL: Encoder(MODEL)},
    rows={MODEL: Row(MODEL), POPULARITY: Row(MODEL)},
    claims=(Claim(MODEL, POPULARITY),),
    scales={
        "desk": Scale(
            about="2 layers of 64, 2,000 steps of 64 histories of 12 to 30 of 500 items, made by a rule: 7 of 10 items are one "
            "of five that follow the one before",
            configs={MODEL: Config("bert4rec.py:tiny")},
            pretraining=AT_MOST,
            finetuning={},
            columns=_columns("8,000 histories made by a rule"),
            text=histories.write,
        ),
        "paper": Scale(
            about="the recipe for ml-1m, on the histories given",
            configs={MODEL: Config("bert4rec.py:ml-1m")},
            pretraining=AT_MOST,
            finetuning={},
            columns=_columns(),
            judges_values=True,
        ),
    },
)

TABLES = (FULL_CORPUS,)
