"""GLUE in the layout of its official files: a folder per task, tab-separated (Wang et al. 2019, arXiv 1804.07461)."""

from collections.abc import Callable, Mapping, Sequence

from bert_jax.metrics.classification import accuracy, f1, matthews
from bert_jax.metrics.correlation import pearson, spearman
from bert_jax.tasks.form import Task
from bert_jax.tasks.tables import Column
from bert_jax.tasks.texts import CLASSIFICATION, REGRESSION, reader

SOURCE = "the official files of GLUE, from gluebenchmark.com"
ENTAILED = ("entailment", "not_entailment")
THREE_WAY = ("contradiction", "entailment", "neutral")
YES_NO = ("0", "1")


def _classes(
    folder: str,
    texts: Sequence[Column],
    label: Column,
    labels: tuple[str, ...],
    metrics: Mapping[str, Callable],
    *,
    dev: str = "dev",
    test: str = "test",
    test_texts: Sequence[Column] = (),
) -> Task:
    """
    Args:
        test_texts: the columns of the test file, where they differ.
    """
    files = {"train": f"glue/{folder}/train.tsv", "dev": f"glue/{folder}/{dev}.tsv", "test": f"glue/{folder}/{test}.tsv"}
    unlabelled = reader(test_texts or texts, None)
    read = reader(texts, label, labels=labels)
    return Task(CLASSIFICATION, files, read, metrics, labels, SOURCE, unlabelled, texts=len(texts))


TASKS = {
    "cola": _classes("CoLA", (3,), 1, YES_NO, {"matthews": matthews, "accuracy": accuracy}, test_texts=("sentence",)),
    "sst2": _classes("SST-2", ("sentence",), "label", YES_NO, {"accuracy": accuracy}),
    "mrpc": _classes("MRPC", ("#1 String", "#2 String"), "Quality", YES_NO, {"accuracy": accuracy, "f1": f1}),
    "stsb": Task(
        REGRESSION,
        {split: f"glue/STS-B/{split}.tsv" for split in ("train", "dev", "test")},
        reader(("sentence1", "sentence2"), "score", scores=True),
        {"spearman": spearman, "pearson": pearson},
        source=SOURCE,
        read_unlabelled=reader(("sentence1", "sentence2"), None),
        texts=2,
    ),
    "qqp": _classes("QQP", ("question1", "question2"), "is_duplicate", YES_NO, {"accuracy": accuracy, "f1": f1}),
    "mnli": _classes(
        "MNLI",
        ("sentence1", "sentence2"),
        "gold_label",
        THREE_WAY,
        {"accuracy": accuracy},
        dev="dev_matched",
        test="test_matched",
    ),
    "mnli_mismatched": _classes(
        "MNLI",
        ("sentence1", "sentence2"),
        "gold_label",
        THREE_WAY,
        {"accuracy": accuracy},
        dev="dev_mismatched",
        test="test_mismatched",
    ),
    "qnli": _classes("QNLI", ("question", "sentence"), "label", ENTAILED, {"accuracy": accuracy}),
    "rte": _classes("RTE", ("sentence1", "sentence2"), "label", ENTAILED, {"accuracy": accuracy}),
    "wnli": _classes("WNLI", ("sentence1", "sentence2"), "label", YES_NO, {"accuracy": accuracy}),
}
