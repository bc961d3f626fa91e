"""What config.task names: the objectives that a pretrained encoder can have for it, its examples, and its score."""

import inspect
import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

from bert_jax.data import finetune as data
from bert_jax.data import keyed
from bert_jax.errors import UserError
from bert_jax.models.encoder import EncoderConfig
from bert_jax.objectives.objective import Objective
from bert_jax.predict.embed import embed, embed_by
from bert_jax.predict.outputs import BATCH_SIZE, Shapes, outputs_of
from bert_jax.tasks import benchmarks, own, sentences, tables
from bert_jax.tasks.form import Answer, Form, Task
from bert_jax.text.tokenizer import Tokenizer

SENTENCE_ENCODER = "sentence_encoder"


class Scored(NamedTuple):
    """The metrics of a model on its dev set; where its form has them, the answers, and what was settled by them."""

    metrics: dict[str, float]
    answers: Sequence[Answer] = ()
    settled: dict = {}


class Job(NamedTuple):
    """The rows of a task, and what is measured with them.

    Attributes:
        train, dev: the rows.
        score: trained params -> Scored, on the dev set.
        before: params of the encoder that training started from -> what the metrics are to be compared with.
    """

    train: data.Rows
    dev: data.Rows
    score: Callable[[dict], Scored]
    before: Callable[[dict], dict[str, float]] = lambda params: {}


class Examples(NamedTuple):
    """What the files of a task hold.

    Attributes:
        labels: of the classes, where there are classes.
        skipped: messages of the bad rows that were left out.
    """

    train: list
    dev: list
    labels: tuple[str, ...] = ()
    skipped: Sequence[str] = ()


def task_of(config) -> Task:
    """The benchmark of that name, or the user's own files of a form of that name.

    Raises:
        UserError: there is neither.
    """
    if config.task in own.FORMS:
        return own.task(config.task, config.data)
    if config.task not in benchmarks.TASKS:
        raise UserError(
            "the task is unknown",
            got=config.task,
            expected=f"{', '.join(benchmarks.TASKS)}; or for files of your own {', '.join(own.FORMS)}; or {SENTENCE_ENCODER}",
        )
    return benchmarks.TASKS[config.task]


def form_of(task: str) -> Form:
    return own.FORMS[task].form if task in own.FORMS else benchmarks.TASKS[task].form


def read_examples(config) -> Examples:
    """The training and dev examples of the task; of the training ones only config.data.max_train_examples, drawn by the seed."""
    if config.task == SENTENCE_ENCODER:
        folder, read = data_folder(config), sentences.LEARNING[config.objective.name].examples
        train, dev = (read(config.data.sources, folder, split) for split in ("train", "dev"))
        return Examples(_some_of(train, config), dev)
    task = task_of(config)
    skipped = [] if config.data.skip_bad_rows else None
    train = split_of(task, config, "train", skipped)
    labels = task.labels or task.form.labels(train)
    if "dev" in task.files:
        dev = split_of(task, config, "dev", skipped)
    else:
        train, dev = own.held_out(train, config.data.dev_fraction, config.seed)
    own.require_known_labels(dev, labels)
    return Examples(_some_of(train, config), dev, labels, skipped or ())


def split_of(task: Task, config, split: str, skipped: list[str] | None) -> list:
    """The examples of a split, which for the test set may have no labels."""
    if split not in task.files:
        raise UserError(f"the task has no {split} set", got=config.task, expected=" or ".join(task.files))
    path = Path(task.files[split])
    path = path if config.task in own.FORMS else data_folder(config) / path
    read = task.read_unlabelled if split == "test" and task.read_unlabelled else task.read
    try:
        return task.part(read(path, skipped), split)
    except tables.Absent as error:
        raise UserError(*error.args, fix=f"get it: {task.source}") from None


def objectives(task: str, labels: tuple[str, ...]) -> Mapping[str, Callable[..., Objective]]:
    """objective.name -> encoder and the other settings of the section as its arguments."""
    if task == SENTENCE_ENCODER:
        return {name: how.objective for name, how in sentences.LEARNING.items()}
    return form_of(task).objectives(labels)


def has_pooler(task: str) -> bool:
    """Whether its objectives read the pooled vector of [CLS]."""
    return task != SENTENCE_ENCODER and form_of(task).pooler


def make_job(config, examples: Examples, encoder: EncoderConfig, objective: Objective, tokenizer: Tokenizer) -> Job:
    make = sentence_encoder if config.task == SENTENCE_ENCODER else of_form
    return make(config, examples, encoder, objective, tokenizer)


def of_form(config, examples: Examples, encoder: EncoderConfig, objective: Objective, tokenizer: Tokenizer) -> Job:
    task, (train, dev, labels, _) = task_of(config), examples
    form = task.form
    encode = partial(form.encode, labels=labels, tokenizer=tokenizer, **settings_of(form.encode, config.data))
    train_rows, dev_rows = encode(train), encode(dev)
    baseline = form.baseline(train, dev, labels)
    predict, size, length = jax.jit(objective.predict), config.train.train_batch_size, config.data.max_seq_length
    settings = settings_of(form.answers, config.predict if "predict" in config.keys() else {})

    def score(params) -> Scored:
        batches = data.evaluation_batches(dev_rows, size, length, config.data.pad_to_multiple_of)
        found = outputs_of(predict, params, batches)
        settled = form.settled(dev, labels, dev_rows, found, **settings)
        answers = form.answers(dev, labels, dev_rows, found, **settings | settled)
        if not answers:
            return Scored({})
        sides = form.compared(dev, answers, labels)
        metrics = {name: metric(*sides) for name, metric in task.metrics.items()}
        return Scored(metrics | baseline, answers, settled)

    return Job(train_rows, dev_rows, score)


def settings_of(function: Callable, section) -> dict:
    """Its keyword-only arguments, from a section of the config."""
    names = [name for name, known in inspect.signature(function).parameters.items() if known.kind == known.KEYWORD_ONLY]
    if missing := sorted(set(names) - set(section.keys())):
        raise UserError(f"the config lacks the setting {missing[0]}", expected=", ".join(names))
    return {name: section[name] for name in names}


def sentence_encoder(config, examples: Examples, encoder: EncoderConfig, objective: Objective, tokenizer: Tokenizer) -> Job:
    """An encoder of sentences, scored on the dev set of STS-B beside the pretrained encoder under the same pooling."""
    folder, length = data_folder(config), config.data.max_seq_length
    classes = sentences.LEARNING[config.objective.name].classes
    train, dev = (data.encode_texts(split, tokenizer, length, classes) for split in (examples.train, examples.dev))

    def score(params) -> Scored:
        vectors = sentence_vectors(objective, params, encoder, tokenizer)
        return Scored({"stsb_spearman": sentences.sts_spearman(vectors, folder)})

    def before(params) -> dict[str, float]:
        vectors = partial(embed, encoder, params, tokenizer, pooling=config.objective.pooling)
        return {"pretrained_stsb_spearman": sentences.sts_spearman(vectors, folder)}

    return Job(train, dev, score, before)


def _some_of(train: list, config) -> list:
    wanted = config.data.max_train_examples
    if 0 < wanted < len(train):
        drawn = keyed.permute(np.arange(wanted), len(train), keyed.key_of(config.seed, "training examples"))
        train = [train[index] for index in drawn]
    return train


def folder_of(config) -> Path:
    """Where the files of the task lie."""
    if config.task in own.FORMS:
        return Path(config.data.dev_file or config.data.train_file).parent
    return data_folder(config)


def data_folder(config=None) -> Path:
    folder = (config and config.data.folder) or os.environ.get("BERT_JAX_DATA", "")
    if not folder:
        raise UserError(
            "nothing says where the data of the tasks lies",
            expected="a folder that holds glue/MRPC/train.tsv and so on",
            fix="name it in the environment variable BERT_JAX_DATA or by --config.data.folder",
        )
    return Path(folder)


def sentence_vectors(objective: Objective, params, encoder: EncoderConfig, tokenizer: Tokenizer) -> Callable:
    """texts -> float32[N, D], the vectors that an objective with embedding_BD predicts for them."""
    vectors = jax.jit(lambda params, batch: objective.predict(params, batch)["embedding_BD"])
    return partial(embed_by, vectors, params, tokenizer, shapes=Shapes(encoder.longest_row, BATCH_SIZE))
