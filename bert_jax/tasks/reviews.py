"""Reviews of films, most of them longer than a row: IMDB (Maas et al. 2011)."""

from bert_jax.metrics.classification import accuracy
from bert_jax.tasks.form import Task
from bert_jax.tasks.texts import CLASSIFICATION, reader

LABELS = ("0", "1")
TASKS = {
    "imdb": Task(
        CLASSIFICATION,
        {"train": "imdb/train.tsv", "dev": "imdb/test.tsv"},  # it has no dev set; papers report on its test set
        reader(("text",), "label", labels=LABELS),
        {"accuracy": accuracy},
        LABELS,
        "the Large Movie Review Dataset, from ai.stanford.edu/~amaas/data/sentiment, as a table of id, label, rating, text",
        texts=1,
    ),
}
