"""Tasks in place of others: sizes, labels, and a split that no question is on both sides of."""

import pytest

from bert_jax import config as configs
from bert_jax import jobs
from bert_jax.data.finetune import Example
from bert_jax.tasks import stand_ins
from tests import tiny
from tests.paths import DATA, needs_data


def test_all_pairs_of_a_question_are_in_one_split_whatever_the_order():
    examples = [Example((f"question {number % 40}?", f"sentence {number}"), "entailment") for number in range(120)]
    parts = {split: stand_ins.by_question(examples, split) for split in ("train", "dev")}
    questions = {split: {example.texts[0] for example in part} for split, part in parts.items()}
    assert len(parts["train"]) + len(parts["dev"]) == 120 and not questions["train"] & questions["dev"]
    assert questions["dev"] and set(stand_ins.by_question(examples[::-1], "dev")) == set(parts["dev"])


@needs_data
@pytest.mark.parametrize(("task", "train", "dev", "commonest"), [("sick", 4500, 4927, 2793), ("qnli_dev_split", 4322, 1141, 591)])
def test_sizes_and_the_commonest_label(task, train, dev, commonest):
    config = configs.load(f"{tiny.ROOT}/configs/finetune_texts.py:{task}")
    config.data.folder = str(DATA)
    examples = jobs.read_examples(config)
    assert (len(examples.train), len(examples.dev)) == (train, dev)
    labels = [example.label for example in examples.dev]
    assert max(labels.count(label) for label in set(labels)) == commonest
