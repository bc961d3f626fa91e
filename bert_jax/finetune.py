"""Fine-tuning: from a pretrained encoder and a task to a workdir of its own, by the loop that pretrained it."""

import os
from collections.abc import Iterable
from pathlib import Path

import jax
import numpy as np
from ml_collections import ConfigDict

from bert_jax import run
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
from bert_jax.tasks import glue
from bert_jax.train.fit import FitConfig, fit
from bert_jax.train.watch import read_metrics


def finetune(config, workdir: Path, *, quiet: bool = False, say=print) -> dict | None:
    """Fine-tunes the encoder of config.init_checkpoint, from where the workdir stood, and scores it on the dev set.

    Returns:
        What result.json holds: the metrics of the task, the loss, and the accuracy of always guessing the commonest class of
        the training examples. None when a signal stopped it; the same call then continues.

    Raises:
        UserError: absent or broken data, no pretrained model, or a workdir that holds another run.
    """
    workdir = Path(workdir)
    with workdirs.opened(config, workdir):
        return workdirs.finished(workdir) or _finetune(config, workdir, quiet, say)


def _finetune(config, workdir: Path, quiet: bool, say) -> dict | None:
    train_examples, dev_examples = read_examples(config)
    if not config.init_checkpoint:
        raise UserError("init_checkpoint is empty", expected="--config.init_checkpoint=FOLDER, the workdir of a pretraining run")
    trained = run.open_trained(Path(config.init_checkpoint), say=say)
    train_rows, dev_rows = (
        data.encode(examples, trained.tokenizer, config.data.max_seq_length) for examples in (train_examples, dev_examples)
    )
    objective = build_objective(config, trained)
    fit_config = _fit_config(config, len(train_examples))
    size, steps = config.train.train_batch_size, fit_config.num_train_steps
    schedule = schedules.bert(config.optim.learning_rate, int(config.optim.warmup_proportion * steps), steps)
    optimizer = make_optimizer(schedule, weight_decay=config.optim.weight_decay)
    workdirs.write_config(
        config, workdir, {"vocabulary": trained.tokenizer.content_hash, "pretrained": str(config.init_checkpoint)}
    )
    say(f"{config.task}: {len(train_examples):,} training and {len(dev_examples):,} dev examples, {steps:,} steps")
    say(f"pretrained: encoder; drawn from the seed: {', '.join(drawn_anew(objective, trained.params))}")
    ended = fit(
        objective,
        optimizer,
        schedule,
        make_layout(config.parallel.mode, objective, optimizer, seed=config.seed, batch_size=size),
        data.FinetuneLoader(train_rows, size, config.seed).iterate,
        lambda: data.evaluation_batches(dev_rows, size),
        fit_config,
        workdir,
        seed=config.seed,
        facts=lambda step: {
            "vocabulary": trained.tokenizer.content_hash,
            "pretrained_steps": trained.step,
            "position": {"rows": step * size},
        },
        accept=lambda facts: workdirs.same_vocabulary(facts, trained.tokenizer),
        pretrained={"encoder": trained.params["encoder"]},
        quiet=quiet,
    )
    if not ended.complete:
        say(f"stopped and saved at step {ended.step:,}; the same command continues")
        return None
    predicted = predict_classes(objective, ended.params, data.evaluation_batches(dev_rows, size))
    metrics = {name: metric(dev_rows.label_ids, predicted) for name, metric in glue.task(config.task).metrics.items()}
    metrics["loss"] = [record for record in read_metrics(workdir) if record["kind"] == "held_out"][-1]["loss"]
    commonest = np.bincount(train_rows.label_ids).argmax()
    metrics["majority_accuracy"] = accuracy(dev_rows.label_ids, np.full_like(dev_rows.label_ids, commonest))
    examples = {"train": len(train_examples), "dev": len(dev_examples)}
    workdirs.write_result(workdir, {"step": ended.step, "metrics": metrics, "num_examples": examples})
    return workdirs.finished(workdir)


def read_examples(config) -> tuple[list[data.Example], list[data.Example]]:
    """(training, dev) examples of the task; of the training ones only config.data.max_train_examples, drawn by the seed."""
    task, folder = glue.task(config.task), _data_folder(config) / "glue"
    train, dev = glue.read(task, folder, "train"), glue.read(task, folder, "dev")
    wanted = config.data.max_train_examples
    if 0 < wanted < len(train):
        drawn = keyed.permute(np.arange(wanted), len(train), keyed.key_of(config.seed, "training examples"))
        train = [train[index] for index in drawn]
    return train, dev


def _data_folder(config) -> Path:
    folder = config.data.folder or os.environ.get("BERT_JAX_DATA", "")
    if not folder:
        raise UserError(
            "nothing says where the data of the tasks lies",
            expected="a folder that holds glue/MRPC/train.tsv and so on",
            fix="name it in the environment variable BERT_JAX_DATA or by --config.data.folder",
        )
    return Path(folder)


def build_objective(config, trained: run.Trained) -> Objective:
    """The pretrained encoder's sizes with the dropout of fine-tuning, and a new layer for the classes of the task."""
    options = {**trained.config.model, **config.model, "pooler": True}
    return classify(run.encoder_config(options, trained.tokenizer.size), len(glue.task(config.task).labels))


def drawn_anew(objective: Objective, pretrained: dict) -> list[str]:
    """The parts of the new model that its pretrained encoder does not bring along."""
    wanted = jax.eval_shape(objective.init, jax.random.key(0))
    of_encoder = [f"encoder/{part}" for part in wanted["encoder"] if part not in pretrained["encoder"]]
    return sorted([*of_encoder, *(part for part in wanted if part != "encoder")])


def open_finetuned(workdir: Path, *, say=print) -> run.Trained:
    """The newest checkpoint of a fine-tuning run, with the config of its pretrained model in so far as it still holds.

    Raises:
        UserError: there is none, or the pretrained model that its config names has gone.
    """
    saved = ConfigDict(workdirs.read_config(workdir))
    pretrained = run.open_trained(Path(saved.init_checkpoint), say=say)
    labels = glue.task(saved.task).labels
    now = {
        "model": {**pretrained.config.model, **saved.model, "pooler": True},
        "objective": {"name": "classify", "num_classes": len(labels)},
        "labels": labels,
        "train": saved.train,
    }
    config = ConfigDict(pretrained.config.to_dict() | now)
    optimizer = make_optimizer(lambda step: 0.0, weight_decay=saved.optim.weight_decay)
    return run.restored(workdir, build_objective(saved, pretrained), optimizer, pretrained.tokenizer, config, say=say)


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
