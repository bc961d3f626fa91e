"""Fine-tuning: from a pretrained encoder and a task to a workdir of its own, by the loop that pretrained it."""

from functools import partial
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict
from ml_collections import ConfigDict

from bert_jax import build, jobs
from bert_jax import workdir as workdirs
from bert_jax.checkpoint import content_hash
from bert_jax.data import finetune as data
from bert_jax.errors import UserError
from bert_jax.inputs import vocabulary_path
from bert_jax.metrics.answers import chinese_f1
from bert_jax.models.encoder import EncoderConfig
from bert_jax.objectives.objective import Objective
from bert_jax.parallel.layout import make_layout
from bert_jax.predict.embed import embed
from bert_jax.ranges import require, whole
from bert_jax.report import page
from bert_jax.report.inside import look
from bert_jax.report.runs import PREDICTIONS
from bert_jax.tasks import sentences
from bert_jax.tasks.answering import ANSWERING_CHINESE
from bert_jax.text import kinds
from bert_jax.train.evaluate import evaluate
from bert_jax.train.fit import FitConfig, Judge, best_step, fit
from bert_jax.train.watch import read_metrics
from bert_jax.trained import Teacher, Trained, goes_on, objective_of, open_teacher, open_trained, teacher_params
from bert_jax.transfer import transfer

TAKEN_OVER = ("encoder", "projections")  # of the model that training starts from: a head knows other classes
RANGES = {"patience": whole(0), "reinit_layers": whole(0)}


def finetune(config, workdir: Path, *, quiet: bool = False, say=print, with_head: bool = False) -> dict | None:
    """Fine-tunes the encoder of config.init_checkpoint, from where the workdir stood, and scores it on the dev set.

    Beside the checkpoints it leaves result.json and, where the task has answers, predictions.jsonl with one for each dev example.

    Args:
        with_head: goes on with the head of that model too, which knows the same classes.

    Returns:
        What result.json holds: the metrics of the task, and the loss. None when a signal stopped it; the same call then
        continues.

    Raises:
        UserError: absent or broken data, no trained model, or a workdir that holds another run.
    """
    workdir = Path(workdir)
    with workdirs.opened(config, workdir):
        return workdirs.finished(workdir) or _finetune(config, workdir, quiet, say, () if with_head else TAKEN_OVER)


def _finetune(config, workdir: Path, quiet: bool, say, taken_over: tuple[str, ...]) -> dict | None:
    fit_settings = _fit_settings(config)
    examples = jobs.read_examples(config)
    for message in examples.skipped:
        say(f"left out: {message}")
    model = _model(config, examples.labels, say)
    start, objective, size = model.start, model.objective, config.train.train_batch_size
    job = jobs.make_job(config, examples, model.encoder, objective, start.tokenizer)
    fit_config = _fit_config(fit_settings, len(job.train.lengths), size)
    _require_end(config, fit_config.num_train_steps)
    optimizer, schedule = build.build_task_optimizer(config, fit_config.num_train_steps)
    wanted = jax.eval_shape(objective.init, jax.random.key(0))
    found = transfer(start.params, wanted, source=config.init_checkpoint, only=taken_over)
    facts = model.facts | {"labels": list(examples.labels), "start": content_hash(found.params)}

    def accept(saved: dict) -> None:
        workdirs.same_vocabulary(saved, start.tokenizer)
        workdirs.same_start(saved, facts["start"])
        workdirs.same_teacher(saved, model.teacher.facts)

    if not goes_on(workdir):
        kinds.copy(start.config.text.kind, vocabulary_path(start.config, Path(config.init_checkpoint)), workdir)
    workdirs.write_config(config, workdir, facts)
    counts = {"train": len(examples.train), "dev": len(examples.dev)}
    say(f"{config.task}: {counts['train']:,} training and {counts['dev']:,} dev examples, {fit_config.num_train_steps:,} steps")
    say(f"from {config.init_checkpoint}, step {start.step:,}: {found.describe()}")
    ended = fit(
        objective,
        optimizer,
        schedule,
        _layout(config, objective, optimizer),
        data.FinetuneLoader(job.train, size, config.seed, *_shape(config)).iterate,
        lambda: _dev_batches(config, job),
        fit_config,
        workdir,
        seed=config.seed,
        facts=lambda step: facts | {"position": {"rows": step * size}},
        accept=accept,
        pretrained=_with_new_top(found.params, objective, config),
        frozen=model.teacher.params,
        judge=Judge(lambda params: job.score(params).metrics, config.train.best_by, config.train.patience),
        quiet=quiet,
    )
    if not ended.complete:
        say(f"stopped and saved at step {ended.step:,}; the same command continues")
        return None
    step, params = _chosen(config, workdir, ended, say)
    scored = job.score(params)
    _write_predictions(config, examples, scored, workdir)
    losses = {record["step"]: record["loss"] for record in read_metrics(workdir) if record["kind"] == "held_out"}
    result = {
        "step": step,
        "metrics": scored.metrics | job.before(start.params["encoder"]) | ({"loss": losses[step]} if step in losses else {}),
        "num_examples": counts,
        "skipped": len(examples.skipped),
        "labels": list(examples.labels),
    }
    workdirs.write_result(workdir, result | ({"settled": scored.settled} if scored.settled else {}))
    say(f"report: {_write_page(workdir, config, model.encoder, start.tokenizer, params, job)}")
    return workdirs.finished(workdir)


class _Model(NamedTuple):
    """What is trained, and from what; facts are kept in its checkpoints."""

    start: Trained
    teacher: Teacher
    encoder: EncoderConfig
    objective: Objective
    facts: dict


def _model(config, labels: tuple[str, ...], say) -> _Model:
    if not config.init_checkpoint:
        raise UserError("init_checkpoint is empty", expected="--config.init_checkpoint=FOLDER, the workdir of a trained model")
    start = open_trained(Path(config.init_checkpoint), say=say)
    teacher = open_teacher(config, start.tokenizer, labels, say=say)
    model = start.config.model.to_dict() | dict(config.model) | {"pooler": jobs.has_pooler(config.task)}
    if layers := tuple(config.train.take_layers) if "take_layers" in config.train.keys() else ():
        start = start._replace(params=_with_layers(start, layers))
        model |= {"num_hidden_layers": len(layers)}
    encoder = build.encoder_config(model, start.tokenizer.size)
    if unknown := [feature.name for feature in encoder.features if not feature.file or feature not in start.encoder.features]:
        raise UserError(
            "texts of tasks come without features of their tokens, but for what the model to start from knows of pieces",
            got=", ".join(f"model.features.{name}" for name in unknown),
            expected="a model without",
        )
    build.require_room(config.data.max_seq_length, encoder)
    table = jobs.objectives(config.task, labels)
    objective = build.named_objective(table, config.objective, encoder, teacher.facts.get("teacher_model"))
    text = {key: start.config.text[key] for key in ("kind", "do_lower_case")}
    facts = {"vocabulary": start.tokenizer.content_hash, "text": text, "model": model, **teacher.facts}
    return _Model(start, teacher, encoder, objective, facts)


def _with_layers(start: Trained, layers: tuple[int, ...]) -> dict:
    """Its params with these layers alone, in this order (Sajjad et al. 2023, arXiv 2004.03844).

    Raises:
        UserError: it has no such layers, or they share weights.
    """
    depth, encoder = start.encoder.num_hidden_layers, start.params["encoder"]
    if start.encoder.block != "post_norm" or start.encoder.num_hidden_groups:
        raise UserError(
            "train.take_layers needs layers that are all alike and have weights of their own", got=layers, expected="()"
        )
    if any(type(layer) is not int or layer not in range(depth) for layer in layers):
        raise UserError("train.take_layers is out of range", got=layers, expected=f"numbers from 0 to {depth - 1}")
    taken = jax.tree.map(lambda leaf: np.asarray(leaf)[np.array(layers)], encoder["layers"])
    return start.params | {"encoder": encoder | {"layers": taken}}


def _with_new_top(params: dict, objective: Objective, config) -> dict:
    """The params to start from, but for the pooler and the top config.train.reinit_layers layers, which are drawn anew (Zhang et
    al. 2021, arXiv 2006.05987, section 4)."""
    count = config.train.reinit_layers
    if not count:
        return params
    fresh = flatten_dict(jax.jit(objective.init)(jax.random.fold_in(jax.random.key(config.seed), 1)))
    kept = {}
    for path, leaf in flatten_dict(params).items():
        if path[:2] == ("encoder", "layers"):
            if leaf.shape[0] < count:
                raise UserError("train.reinit_layers is out of range", got=count, expected=f"at most {leaf.shape[0]}")
            leaf = np.concatenate([np.asarray(leaf)[:-count], np.asarray(fresh[path])[-count:]])
        if path[:2] != ("encoder", "pooler"):
            kept[path] = leaf
    return unflatten_dict(kept)


def _fit_settings(config) -> dict:
    """The section train, of which this file and the layout read a part.

    Raises:
        UserError: settings that are out of range or do not go together.
    """
    settings = dict(config.train)
    settings.pop("take_layers", None)
    own = {name: settings.pop(name) for name in ("accumulate", "best_by", "patience", "reinit_layers")}
    require("train", {name: own[name] for name in ("patience", "reinit_layers")}, RANGES)
    if own["patience"] and not own["best_by"]:
        raise UserError("train.patience needs a metric", got="train.best_by is empty", expected="for instance accuracy")
    return settings


def _require_end(config, num_train_steps: int) -> None:
    """Raises UserError where a schedule of pruning would not come to its end."""
    end = dict(config.optim).get("magnitude", {"end_step": 0})["end_step"]
    if end > num_train_steps:
        raise UserError(
            "optim.magnitude.end_step comes after the last step", got=f"{end:,}", expected=f"at most {num_train_steps:,}"
        )


def _fit_config(settings: dict, num_rows: int, size: int) -> FitConfig:
    """num_train_epochs as steps, rounded down (google-research/bert run_classifier.main); every 0 steps is after each epoch."""
    settings = dict(settings)
    epochs = settings.pop("num_train_epochs")
    del settings["train_batch_size"]
    steps = int(num_rows / size * epochs)
    if steps < 1:
        raise UserError(
            "there are too few examples for a step",
            got=f"{num_rows} rows, train.train_batch_size={size}, train.num_train_epochs={epochs}",
            expected="a smaller train.train_batch_size",
        )
    each = {name: settings[name] or -(-num_rows // size) for name in ("eval_every_steps", "save_every_steps")}
    return FitConfig(num_train_steps=steps, **settings | each)


def _layout(config, objective, optimizer):
    size, accumulate = config.train.train_batch_size, config.train.accumulate
    return make_layout(
        config.parallel.mode, objective, optimizer, seed=config.seed, batch_size=size, accumulate=accumulate if optimizer else 1
    )


def _shape(config) -> tuple[int, int]:
    return config.data.max_seq_length, config.data.pad_to_multiple_of


def _dev_batches(config, job: jobs.Job):
    return (batch for _, batch in data.evaluation_batches(job.dev, config.train.train_batch_size, *_shape(config)))


def _chosen(config, workdir: Path, ended, say) -> tuple[int, dict]:
    """(step, params) of the best evaluation by train.best_by whose checkpoint can be read; of the end where that is empty."""
    if not config.train.best_by:
        return ended.step, ended.params
    step = best_step(workdir, config.train.best_by)
    say(f"the best {config.train.best_by} was found at step {step:,}")
    if step == ended.step:
        return step, ended.params
    found = open_trained(workdir, before=step + 1, say=say)  # an older one where that is damaged
    return found.step, found.params


def _write_predictions(config, examples: jobs.Examples, scored: jobs.Scored, workdir: Path) -> None:
    """Names of examples lose the folder of the data, which differs between machines."""
    if scored.answers:
        shown, above = jobs.form_of(config.task).shown, f"{jobs.folder_of(config)}/"
        predictions = [
            {"id": one.id.removeprefix(above), **shown(one), **answer}
            for one, answer in zip(examples.dev, scored.answers, strict=True)
        ]
        workdirs.write_lines(workdir / PREDICTIONS, predictions)


def _write_page(workdir: Path, config, encoder: EncoderConfig, tokenizer, params, job: jobs.Job) -> Path:
    """report/index.html; what the encoder makes on the way is shown where a row is one text or pair of it."""
    one_text = job.dev.lengths.ndim == 1 and not encoder.num_lstm_layers and not encoder.features
    inside = look(encoder, params["encoder"], job.dev, tokenizer) if one_text else None
    if config.task == jobs.SENTENCE_ENCODER:
        return page.write(workdir, inside=inside)
    task = jobs.task_of(config)
    answer_f1 = chinese_f1 if task.form is ANSWERING_CHINESE else None
    return page.write(workdir, inside=inside, metric=next(iter(task.metrics)), answer_f1=answer_f1)


def evaluate_finetuned(workdir: Path) -> dict[str, float]:
    """The metrics of the task and the loss, on its dev set, as they were found at the end of the run.

    Raises:
        UserError: there is no fine-tuned model, its data is absent, or the teacher that its loss needs.
    """
    trained = open_trained(workdir)
    config = trained.config
    job = jobs.make_job(config, jobs.read_examples(config), trained.encoder, trained.objective, trained.tokenizer)
    layout = _layout(config, trained.objective, None)
    params, frozen = layout.place_state(trained.params), layout.place_state(teacher_params(trained))
    loss = evaluate(trained.objective, layout, params, _dev_batches(config, job), frozen)["loss"]
    return job.score(layout.single(params)).metrics | {"loss": loss}


def sts_of_trained(workdir: Path, pooling: str) -> float:
    """sentences.sts_spearman of a trained model, with the data that its config or BERT_JAX_DATA names.

    Where the model learned vectors of sentences, they are those that its objective predicts, under this pooling instead of its
    own; else what this pooling makes of the encoder's output.
    """
    trained = open_trained(workdir)
    config, encoder, tokenizer = ConfigDict(trained.config.to_dict()), trained.encoder, trained.tokenizer
    if "pooling" in config.objective:
        config.objective.pooling = pooling
        objective = objective_of(config, tokenizer.size, trained.facts)
        vectors = jobs.sentence_vectors(objective, trained.params, encoder, tokenizer)
    else:
        vectors = partial(embed, encoder, trained.params["encoder"], tokenizer, pooling=pooling)
    return sentences.sts_spearman(vectors, jobs.data_folder(config if "task" in config else None))
