"""Classes for Chinese sentences and pairs of sentences."""

from bert_jax.metrics.classification import accuracy
from bert_jax.tasks.form import Task
from bert_jax.tasks.tables import Column
from bert_jax.tasks.texts import CLASSIFICATION, reader

THREE_WAY = ("contradiction", "entailment", "neutral")


def _task(files: dict[str, str], texts: tuple[Column, ...], label: Column, labels: tuple[str, ...], source: str) -> Task:
    read = reader(texts, label, labels=labels)
    return Task(CLASSIFICATION, files, read, {"accuracy": accuracy}, labels, source, texts=len(texts))


TASKS = {
    "chnsenticorp": _task(
        {split: f"zh/chnsenticorp/{split}.tsv" for split in ("train", "dev", "test")},
        ("text_a",),
        "label",
        ("0", "1"),
        "the split of 9,600, 1,200 and 1,200 reviews, datasets/chnsenticorp of github.com/dbiir/UER-py",
    ),
    "lcqmc": _task(
        {split: f"zh/lcqmc/{split}.txt" for split in ("train", "dev", "test")},
        (0, 1),
        2,
        ("0", "1"),
        "LCQMC (Liu et al. 2018), on request from icrc.hitsz.edu.cn",
    ),
    "afqmc": _task(
        {split: f"zh/afqmc/{split}.txt" for split in ("train", "dev")},
        (0, 1),
        2,
        ("0", "1"),
        "AFQMC of CLUE, from cluebenchmarks.com, as sentence, sentence, label between tabs",
    ),
    "ocnli": _task(
        {split: f"zh/ocnli/{split}.txt" for split in ("train", "dev")},
        (0, 1),
        2,
        THREE_WAY,
        "OCNLI (Hu et al. 2020), from github.com/CLUEbenchmark/OCNLI, as premise, hypothesis, label between tabs",
    ),
}
