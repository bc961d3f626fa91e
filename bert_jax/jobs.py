"""What config.task names: the objectives that a pretrained encoder can have for it, its data, and its score."""

import os
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

from bert_jax.data import finetune as data
from bert_jax.data import keyed
from bert_jax.errors import UserError
from bert_jax.metrics.classification import accuracy
from bert_jax.models.encoder import EncoderConfig
from bert_jax.objectives.classify import classify
from bert_jax.objectives.distill import distill_classes
from bert_jax.objectives.objective import Objective
from bert_jax.predict.embed import embed, embed_by
from bert_jax.tasks import glue, sentences
from bert_jax.text.tokenizer import Tokenizer


class Job(NamedTuple):
    """The data of a task, and what is measured with it.

    Attributes:
        train, dev: the examples.
        score: trained params -> metrics of the task, on the dev set.
        before: params of the encoder that training started from -> what the metrics are to be compared with.
    """

    train: data.Encoded | data.EncodedTexts
    dev: data.Encoded | data.EncodedTexts
    score: Callable[[dict], dict[str, float]]
    before: Callable[[dict], dict[str, float]] = lambda params: {}


class Task(NamedTuple):
    """What can be learned on top of a pretrained encoder, and from what.

    Attributes:
        objectives: objective.name -> encoder and the other settings of the section as its arguments.
        pooler: whether they read the pooled vector of [CLS].
        job: (config, encoder, objective, tokenizer) -> Job; reads the data.
        labels: names of the classes, where there are classes.
    """

    objectives: Mapping[str, Callable]
    pooler: bool
    job: Callable[..., Job]
    labels: tuple[str, ...] = ()


def classification(config, encoder: EncoderConfig, objective: Objective, tokenizer: Tokenizer) -> Job:
    """A task of GLUE: a class for a sentence or a pair, scored beside always guessing the commonest class of the training set.

    A student that learned from its teacher's layers alone gives no classes, and has no score.
    """
    length = config.data.max_seq_length
    train, dev = (data.encode(examples, tokenizer, length) for examples in read_examples(config))

    def score(params) -> dict[str, float]:
        if "classifier" not in params:
            return {}
        predicted = predict_classes(objective, params, data.evaluation_batches(dev, config.train.train_batch_size))
        commonest = np.full_like(dev.label_ids, np.bincount(train.label_ids).argmax())
        metrics = {name: metric(dev.label_ids, predicted) for name, metric in glue.task(config.task).metrics.items()}
        return metrics | {"majority_accuracy": accuracy(dev.label_ids, commonest)}

    return Job(train, dev, score)


def sentence_encoder(config, encoder: EncoderConfig, objective: Objective, tokenizer: Tokenizer) -> Job:
    """An encoder of sentences, scored on the dev set of STS-B beside the pretrained encoder under the same pooling."""
    folder, read = data_folder(config), sentences.LEARNING[config.objective.name].examples
    train, dev = (read(config.data.sources, folder, split) for split in ("train", "dev"))
    length = config.data.max_seq_length
    train, dev = (data.encode_texts(examples, tokenizer, length) for examples in (_some_of(train, config), dev))

    def score(params) -> dict[str, float]:
        vectors = sentence_vectors(objective, params, encoder, tokenizer)
        return {"stsb_spearman": sentences.sts_spearman(vectors, folder)}

    def before(params) -> dict[str, float]:
        vectors = partial(embed, encoder, params, tokenizer, pooling=config.objective.pooling)
        return {"pretrained_stsb_spearman": sentences.sts_spearman(vectors, folder)}

    return Job(train, dev, score, before)


def _of_classes(labels: tuple[str, ...]) -> Task:
    return Task(
        objectives={
            "classify": lambda encoder: classify(encoder, len(labels)),
            "distill": lambda encoder, teacher, temperature, weights: distill_classes(
                encoder, len(labels), teacher=teacher, temperature=temperature, weights=weights
            ),
        },
        pooler=True,
        job=classification,
        labels=labels,
    )


TASKS = {name: _of_classes(task.labels) for name, task in glue.TASKS.items()} | {
    "sentence_encoder": Task({name: how.objective for name, how in sentences.LEARNING.items()}, False, sentence_encoder)
}


def named(task: str) -> Task:
    """Raises UserError for a name that is not in the table."""
    if task not in TASKS:
        raise UserError("the task is unknown", got=task, expected=" or ".join(TASKS))
    return TASKS[task]


def read_examples(config) -> tuple[list[data.Example], list[data.Example]]:
    """(training, dev) examples of the task; of the training ones only config.data.max_train_examples, drawn by the seed."""
    task, folder = glue.task(config.task), data_folder(config) / "glue"
    return _some_of(glue.read(task, folder, "train"), config), glue.read(task, folder, "dev")


def _some_of(train: list[data.Example], config) -> list[data.Example]:
    wanted = config.data.max_train_examples
    if 0 < wanted < len(train):
        drawn = keyed.permute(np.arange(wanted), len(train), keyed.key_of(config.seed, "training examples"))
        train = [train[index] for index in drawn]
    return train


def data_folder(config=None) -> Path:
    folder = (config and config.data.folder) or os.environ.get("BERT_JAX_DATA", "")
    if not folder:
        raise UserError(
            "nothing says where the data of the tasks lies",
            expected="a folder that holds glue/MRPC/train.tsv and so on",
            fix="name it in the environment variable BERT_JAX_DATA or by --config.data.folder",
        )
    return Path(folder)


def predict_classes(objective: Objective, params, batches: Iterable[data.Batch]) -> np.ndarray:
    """int[N], the class of the highest logit for each real row of the batches; on one device, or as the params are placed."""
    logits_of = jax.jit(objective.predict)
    return np.concatenate(
        [np.asarray(logits_of(params, batch)["logits_BC"])[batch["label_weights"] > 0].argmax(axis=-1) for batch in batches]
    )


def sentence_vectors(objective: Objective, params, encoder: EncoderConfig, tokenizer: Tokenizer) -> Callable:
    """texts -> float32[N, D], the vectors that an objective with embedding_BD predicts for them."""
    vectors = jax.jit(lambda params, batch: objective.predict(params, batch)["embedding_BD"])
    return partial(embed_by, vectors, params, tokenizer, longest_row=encoder.longest_row)
