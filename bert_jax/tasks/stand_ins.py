"""Tasks for where the official files of another one cannot be had: SICK for MNLI, the dev set of QNLI for QNLI."""

from collections.abc import Sequence

from bert_jax.data import keyed
from bert_jax.data.finetune import Example
from bert_jax.metrics.classification import accuracy
from bert_jax.tasks import glue
from bert_jax.tasks.form import Task
from bert_jax.tasks.texts import CLASSIFICATION, reader

SICK = ("CONTRADICTION", "ENTAILMENT", "NEUTRAL")
SICK_TEXTS = ("sentence_A", "sentence_B")
HELD_OUT = 5  # one question of so many of QNLI's dev set is asked, from the others is learned


def by_question(examples: Sequence[Example], split: str) -> list[Example]:
    """All pairs of one question are in the same split, whatever the order of the file."""
    return [example for example in examples if _is_held_out(example.texts[0]) == (split == "dev")]


def _is_held_out(question: str) -> bool:
    return int(keyed.key_of("held-out questions", question)) % HELD_OUT == 0


TASKS = {
    # Scored on the 4,927 pairs of the test set: on the 500 of the trial set only large differences show.
    "sick": Task(
        CLASSIFICATION,
        {"train": "sts/sick2014/SICK_train.txt", "dev": "sts/sick2014/SICK_test_annotated.txt"},
        reader(SICK_TEXTS, "entailment_judgment", labels=SICK),
        {"accuracy": accuracy},
        SICK,
        "SICK of SemEval 2014, task 1 (Marelli et al. 2014): SICK_train.txt and SICK_test_annotated.txt",
        texts=2,
    ),
    "qnli_dev_split": Task(
        CLASSIFICATION,
        dict.fromkeys(("train", "dev"), "glue/QNLI/dev.tsv"),
        reader(("question", "sentence"), "label", labels=glue.ENTAILED),
        {"accuracy": accuracy},
        glue.ENTAILED,
        glue.SOURCE,
        part=by_question,
        texts=2,
    ),
}
