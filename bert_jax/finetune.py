"""Fine-tuning: from a pretrained encoder and a task to a workdir of its own, by the loop that pretrained it."""

import os
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from ml_collections import ConfigDict

from bert_jax import build
from bert_jax import workdir as workdirs
from bert_jax.data import finetune as data
from bert_jax.data import keyed
from bert_jax.errors import UserError
from bert_jax.metrics.classification import accuracy
from bert_jax.objectives.classify import classify
from bert_jax.objectives.objective import Objective
from bert_jax.optim import schedules
from bert_jax.optim.optimizers import make_optimizer
from bert_jax.parallel.layout import make_layout
from bert_jax.predict.embed import embed, embed_by
from bert_jax.tasks import glue, sentences
from bert_jax.train.fit import FitConfig, fit
from bert_jax.train.watch import read_metrics
from bert_jax.trained import Trained, open_trained, restored
from bert_jax.transfer import transfer


class Job(NamedTuple):
    """What a task makes of a config and a pretrained model.

    Attributes:
        train, dev: the examples.
        score: trained params -> metrics of the task, and what they are to be compared with.
    """

    objective: Objective
    train: data.Encoded | data.EncodedTexts
    dev: data.Encoded | data.EncodedTexts
    score: Callable[[dict], dict[str, float]]


def finetune(config, workdir: Path, *, quiet: bool = False, say=print) -> dict | None:
    """Fine-tunes the encoder of config.init_checkpoint, from where the workdir stood, and scores it on the dev set.

    Returns:
        What result.json holds: the metrics of the task, and the loss. None when a signal stopped it; the same call then
        continues.

    Raises:
        UserError: absent or broken data, no pretrained model, or a workdir that holds another run.
    """
    workdir = Path(workdir)
    with workdirs.opened(config, workdir):
        return workdirs.finished(workdir) or _finetune(config, workdir, quiet, say)


def _finetune(config, workdir: Path, quiet: bool, say) -> dict | None:
    if config.task not in TASKS:
        raise UserError("the task is unknown", got=config.task, expected=" or ".join(TASKS))
    if not config.init_checkpoint:
        raise UserError("init_checkpoint is empty", expected="--config.init_checkpoint=FOLDER, the workdir of a pretraining run")
    trained = open_trained(Path(config.init_checkpoint), say=say)
    job = TASKS[config.task](config, trained)
    wanted = jax.eval_shape(job.objective.init, jax.random.key(0))
    found = transfer(trained.params, wanted, source=config.init_checkpoint, only=("encoder",))  # a head knows other classes
    num_examples = {"train": len(job.train.lengths), "dev": len(job.dev.lengths)}
    fit_config = _fit_config(config, num_examples["train"])
    size, steps = config.train.train_batch_size, fit_config.num_train_steps
    optimizer, schedule = build_optimizer(config, steps)
    workdirs.write_config(
        config, workdir, {"vocabulary": trained.tokenizer.content_hash, "pretrained": str(config.init_checkpoint)}
    )
    say(f"{config.task}: {num_examples['train']:,} training and {num_examples['dev']:,} dev examples, {steps:,} steps")
    say(found.describe())
    ended = fit(
        job.objective,
        optimizer,
        schedule,
        make_layout(config.parallel.mode, job.objective, optimizer, seed=config.seed, batch_size=size),
        data.FinetuneLoader(job.train, size, config.seed).iterate,
        lambda: data.evaluation_batches(job.dev, size),
        fit_config,
        workdir,
        seed=config.seed,
        facts=lambda step: {
            "vocabulary": trained.tokenizer.content_hash,
            "pretrained_steps": trained.step,
            "position": {"rows": step * size},
        },
        accept=lambda facts: workdirs.same_vocabulary(facts, trained.tokenizer),
        pretrained=found.params,
        quiet=quiet,
    )
    if not ended.complete:
        say(f"stopped and saved at step {ended.step:,}; the same command continues")
        return None
    held_out = [record for record in read_metrics(workdir) if record["kind"] == "held_out"][-1]
    metrics = job.score(ended.params) | {"loss": held_out["loss"]}
    workdirs.write_result(workdir, {"step": ended.step, "metrics": metrics, "num_examples": num_examples})
    return workdirs.finished(workdir)


def classification(config, trained: Trained) -> Job:
    """A task of GLUE: a class for a sentence or a pair, scored beside always guessing the commonest class of the training set."""
    objective, length = build_objective(config, trained), config.data.max_seq_length
    train, dev = (data.encode(examples, trained.tokenizer, length) for examples in read_examples(config))

    def score(params) -> dict[str, float]:
        predicted = predict_classes(objective, params, data.evaluation_batches(dev, config.train.train_batch_size))
        commonest = np.full_like(dev.label_ids, np.bincount(train.label_ids).argmax())
        metrics = {name: metric(dev.label_ids, predicted) for name, metric in glue.task(config.task).metrics.items()}
        return metrics | {"majority_accuracy": accuracy(dev.label_ids, commonest)}

    return Job(objective, train, dev, score)


def sentence_encoder(config, trained: Trained) -> Job:
    """An encoder of sentences, scored on the dev set of STS-B beside the pretrained encoder under the same pooling."""
    encoder = build.encoder_config({**trained.config.model, **config.model, "pooler": False}, trained.tokenizer.size)
    objective = build.named_objective(
        {name: how.objective for name, how in sentences.LEARNING.items()}, config.objective, encoder
    )
    folder, read = data_folder(config), sentences.LEARNING[config.objective.name].examples
    train, dev = (read(config.data.sources, folder, split) for split in ("train", "dev"))
    length = config.data.max_seq_length
    train, dev = (data.encode_texts(examples, trained.tokenizer, length) for examples in (_some_of(train, config), dev))
    vectors = jax.jit(lambda params, batch: objective.predict(params, batch)["embedding_BD"])

    def score(params) -> dict[str, float]:
        now = partial(embed_by, vectors, params, trained.tokenizer, longest_row=encoder.longest_row)
        before = partial(embed, encoder, trained.params["encoder"], trained.tokenizer, pooling=config.objective.pooling)
        return {
            "stsb_spearman": sentences.sts_spearman(now, folder),
            "pretrained_stsb_spearman": sentences.sts_spearman(before, folder),
        }

    return Job(objective, train, dev, score)


TASKS = {**dict.fromkeys(glue.TASKS, classification), "sentence_encoder": sentence_encoder}  # config.task -> its Job


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


def build_objective(config, trained: Trained) -> Objective:
    """The pretrained encoder's sizes with the dropout of fine-tuning, and a new layer for the classes of the task."""
    options = {**trained.config.model, **config.model, "pooler": True}
    return classify(build.encoder_config(options, trained.tokenizer.size), len(glue.task(config.task).labels))


def build_optimizer(config, steps: int):
    """(optimiser, schedule); what the section optim holds beside the schedule's settings are arguments of make_optimizer."""
    options = dict(config.optim)
    rate, warmup = options.pop("learning_rate"), options.pop("warmup_proportion")
    schedule = schedules.bert(rate, int(warmup * steps), steps)
    return make_optimizer(schedule, **options), schedule


def open_finetuned(workdir: Path, *, say=print) -> Trained:
    """The newest checkpoint of a fine-tuning run, with the config of its pretrained model in so far as it still holds.

    Raises:
        UserError: there is none, or the pretrained model that its config names has gone.
    """
    saved = ConfigDict(workdirs.read_config(workdir))
    pretrained = open_trained(Path(saved.init_checkpoint), say=say)
    labels = glue.task(saved.task).labels
    now = {
        "model": {**pretrained.config.model, **saved.model, "pooler": True},
        "objective": {"name": "classify", "num_classes": len(labels)},
        "labels": labels,
        "train": saved.train,
    }
    config = ConfigDict(pretrained.config.to_dict() | now)
    objective, (optimizer, _) = build_objective(saved, pretrained), build_optimizer(saved, 1)
    return restored(workdir, lambda facts: objective, optimizer, pretrained.tokenizer, config, say=say)


def _fit_config(config, num_examples: int) -> FitConfig:
    """num_train_epochs as steps, rounded down (google-research/bert run_classifier.main)."""
    settings = dict(config.train)
    epochs, size = settings.pop("num_train_epochs"), settings.pop("train_batch_size")
    return FitConfig(num_train_steps=int(num_examples / size * epochs), **settings)


def predict_classes(objective: Objective, params, batches: Iterable[data.Batch]) -> np.ndarray:
    """int[N], the class of the highest logit for each real row of the batches; on one device, or as the params are placed."""
    logits_of = jax.jit(objective.predict)
    return np.concatenate(
        [np.asarray(logits_of(params, batch)["logits_BC"])[batch["label_weights"] > 0].argmax(axis=-1) for batch in batches]
    )


def sts_of_trained(workdir: Path, pooling: str) -> float:
    """sentences.sts_spearman of the encoder of a pretraining run, with the data that BERT_JAX_DATA names."""
    trained = open_trained(workdir)
    encoder = build.encoder_config(dict(trained.config.model), trained.tokenizer.size)
    vectors = partial(embed, encoder, trained.params["encoder"], trained.tokenizer, pooling=pooling)
    return sentences.sts_spearman(vectors, data_folder())
