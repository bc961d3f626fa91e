"""Pairs and triples of sentences, from which sentence encoders learn, and STS-B, by which they are judged."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from bert_jax.data.finetune import Example
from bert_jax.errors import UserError
from bert_jax.metrics.correlation import spearman
from bert_jax.objectives import contrastive, sentence_bert
from bert_jax.tasks import tables

CLASSES = CONTRADICTION, ENTAILMENT, NEUTRAL = ("contradiction", "entailment", "neutral")
NOT_AGREED = "-"  # where the annotators of SNLI came to no majority
HIGHEST_SCORE = 5.0


class Source(NamedTuple):
    """Labelled pairs of sentences in a tab-separated file with a header line.

    Attributes:
        train, dev: the files, under the folder of all data.
        sentences, label: columns.
    """

    train: str
    dev: str
    sentences: tuple[str, str]
    label: str


COLUMNS = ("sentence1", "sentence2")
STSB = Source("glue/STS-B/train.tsv", "glue/STS-B/dev.tsv", COLUMNS, "score")  # Cer et al. 2017, arXiv 1708.00055
NLI = {
    "snli": Source("glue/SNLI/train.tsv", "glue/SNLI/dev.tsv", COLUMNS, "gold_label"),
    "mnli": Source("glue/MNLI/train.tsv", "glue/MNLI/dev_matched.tsv", COLUMNS, "gold_label"),
    "sick": Source(
        "sts/sick2014/SICK_train.txt", "sts/sick2014/SICK_trial.txt", ("sentence_A", "sentence_B"), "entailment_judgment"
    ),
}


class Learning(NamedTuple):
    """What a sentence encoder may learn from labelled pairs.

    Attributes:
        examples: (names of sources, folder, split) -> examples.
        objective: encoder config and settings of the section objective -> Objective.
        classes: the labels, where they are classes.
    """

    examples: Callable[[Sequence[str], Path, str], list[Example]]
    objective: Callable
    classes: tuple[str, ...] = ()


def labelled_pairs(names: Sequence[str], folder: Path, split: str) -> list[Example]:
    """Premise, hypothesis, class."""
    pairs = _inference_pairs(names, folder, split)
    return _some([Example((first, second), label) for first, second, label in pairs], names)


def scored_pairs(names: Sequence[str], folder: Path, split: str) -> list[Example]:
    """Pairs with their similarity from 0 to 1."""
    _check(names, ["stsb"])
    examples = []
    for place, (first, second, score) in _rows(STSB, folder, split):
        try:
            value = float(score) / HIGHEST_SCORE
        except ValueError:
            value = -1.0
        if not 0 <= value <= 1:
            raise UserError("a score is out of range", got=f"{place}: {score!r}", expected=f"a number from 0 to {HIGHEST_SCORE}")
        examples.append(Example((first, second), value))
    return _some(examples, names)


def triples(names: Sequence[str], folder: Path, split: str) -> list[Example]:
    """Premise, a sentence that it entails, one that contradicts it: of every premise with both, an example for each of the first,
    with its contradictions in turn (SimCSE, arXiv 2104.08821, section 4). They have no label."""
    by_premise = defaultdict(lambda: defaultdict(list))
    for first, second, label in _inference_pairs(names, folder, split):
        by_premise[first][label].append(second)
    examples = [
        Example((premise, entailed, said[CONTRADICTION][number % len(said[CONTRADICTION])]), None)
        for premise, said in by_premise.items()
        if said[CONTRADICTION]
        for number, entailed in enumerate(said[ENTAILMENT])
    ]
    return _some(examples, names)


def _classification(config, *, pooling: str):
    return sentence_bert.classification(config, pooling=pooling, num_classes=len(CLASSES))


LEARNING = {  # objective.name -> what it learns from, and how
    "simcse": Learning(triples, contrastive.simcse),
    "classification": Learning(labelled_pairs, _classification, CLASSES),
    "regression": Learning(scored_pairs, sentence_bert.regression),
    "triplet": Learning(triples, sentence_bert.triplet),
}


def sts_spearman(embed: Callable[[list[str]], np.ndarray], folder: Path) -> float:
    """100 times Spearman's correlation of the cosine of two sentences' vectors and their score, on the dev set of STS-B.

    Args:
        embed: texts -> a vector for each, float[N, D].
        folder: holds glue/STS-B/dev.tsv.
    """
    examples = scored_pairs(["stsb"], folder, "dev")
    first, second = (np.asarray(embed([example.texts[side] for example in examples]), np.float64) for side in (0, 1))
    lengths = np.linalg.norm(first, axis=1) * np.linalg.norm(second, axis=1)
    cosines = np.sum(first * second, axis=1) / np.maximum(lengths, np.finfo(np.float64).tiny)
    return 100 * spearman(cosines, np.array([example.label for example in examples]))


def _inference_pairs(names: Sequence[str], folder: Path, split: str) -> Iterator[tuple[str, str, str]]:
    _check(names, list(NLI))
    for name in names:
        for place, (first, second, label) in _rows(NLI[name], folder, split):
            if label.lower() in CLASSES:
                yield first, second, label.lower()
            elif label != NOT_AGREED:
                raise UserError("a label is unknown", got=f"{place}: {label!r}", expected=" or ".join(CLASSES))


def _rows(source: Source, folder: Path, split: str):
    return tables.read(Path(folder) / getattr(source, split), (*source.sentences, source.label))


def _check(names: Sequence[str], known: list[str]) -> None:
    if not names or set(names) - set(known):
        raise UserError("data.sources does not go with this objective", got=names, expected=f"some of {', '.join(known)}")


def _some(examples: list[Example], names: Sequence[str]) -> list[Example]:
    if not examples:
        raise UserError("the data holds no example for this objective", got=f"data.sources={names}")
    return examples
