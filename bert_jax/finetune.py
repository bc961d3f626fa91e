"""Fine-tuning: from a pretrained encoder and a task to a workdir of its own, by the loop that pretrained it."""

from functools import partial
from pathlib import Path

import jax
from ml_collections import ConfigDict

from bert_jax import build, jobs
from bert_jax import workdir as workdirs
from bert_jax.checkpoint import content_hash
from bert_jax.data import finetune as data
from bert_jax.errors import UserError
from bert_jax.inputs import vocabulary_path
from bert_jax.parallel.layout import make_layout
from bert_jax.predict.embed import embed
from bert_jax.tasks import sentences
from bert_jax.text import kinds
from bert_jax.train.evaluate import evaluate
from bert_jax.train.fit import FitConfig, fit
from bert_jax.train.watch import read_metrics
from bert_jax.trained import goes_on, objective_of, open_teacher, open_trained, teacher_params
from bert_jax.transfer import transfer

TAKEN_OVER = ("encoder", "projections")  # of the model that training starts from: a head knows other classes


def finetune(config, workdir: Path, *, quiet: bool = False, say=print) -> dict | None:
    """Fine-tunes the encoder of config.init_checkpoint, from where the workdir stood, and scores it on the dev set.

    Returns:
        What result.json holds: the metrics of the task, and the loss. None when a signal stopped it; the same call then
        continues.

    Raises:
        UserError: absent or broken data, no trained model, or a workdir that holds another run.
    """
    workdir = Path(workdir)
    with workdirs.opened(config, workdir):
        return workdirs.finished(workdir) or _finetune(config, workdir, quiet, say)


def _finetune(config, workdir: Path, quiet: bool, say) -> dict | None:
    task = jobs.named(config.task)
    if not config.init_checkpoint:
        raise UserError("init_checkpoint is empty", expected="--config.init_checkpoint=FOLDER, the workdir of a trained model")
    start = open_trained(Path(config.init_checkpoint), say=say)
    tokenizer, teacher = start.tokenizer, open_teacher(config, start.tokenizer, say=say)
    model = start.config.model.to_dict() | dict(config.model) | {"pooler": task.pooler}
    encoder = build.encoder_config(model, tokenizer.size)
    if unknown := [feature.name for feature in encoder.features if not feature.file or feature not in start.encoder.features]:
        raise UserError(
            "texts of tasks come without features of their tokens, but for what the model to start from knows of pieces",
            got=", ".join(f"model.features.{name}" for name in unknown),
            expected="a model without",
        )
    objective = build.named_objective(task.objectives, config.objective, encoder, teacher.facts.get("teacher_model"))
    job = task.job(config, encoder, objective, tokenizer)
    wanted = jax.eval_shape(objective.init, jax.random.key(0))
    found = transfer(start.params, wanted, source=config.init_checkpoint, only=TAKEN_OVER)
    num_examples = {"train": len(job.train.lengths), "dev": len(job.dev.lengths)}
    fit_config = _fit_config(config, num_examples["train"])
    size, steps = config.train.train_batch_size, fit_config.num_train_steps
    optimizer, schedule = build.build_task_optimizer(config, steps)
    facts = {
        "vocabulary": tokenizer.content_hash,
        "text": {key: start.config.text[key] for key in ("kind", "do_lower_case")},
        "model": model,
        "start": content_hash(found.params),
        **teacher.facts,
    }

    def accept(saved: dict) -> None:
        workdirs.same_vocabulary(saved, tokenizer)
        workdirs.same_start(saved, facts["start"])
        workdirs.same_teacher(saved, teacher.facts)

    if not goes_on(workdir):
        kinds.copy(start.config.text.kind, vocabulary_path(start.config, Path(config.init_checkpoint)), workdir)
    workdirs.write_config(config, workdir, facts)
    say(f"{config.task}: {num_examples['train']:,} training and {num_examples['dev']:,} dev examples, {steps:,} steps")
    say(f"from {config.init_checkpoint}, step {start.step:,}: {found.describe()}")
    ended = fit(
        objective,
        optimizer,
        schedule,
        make_layout(config.parallel.mode, objective, optimizer, seed=config.seed, batch_size=size),
        data.FinetuneLoader(job.train, size, config.seed).iterate,
        lambda: data.evaluation_batches(job.dev, size),
        fit_config,
        workdir,
        seed=config.seed,
        facts=lambda step: facts | {"position": {"rows": step * size}},
        accept=accept,
        pretrained=found.params,
        frozen=teacher.params,
        quiet=quiet,
    )
    if not ended.complete:
        say(f"stopped and saved at step {ended.step:,}; the same command continues")
        return None
    held_out = [record for record in read_metrics(workdir) if record["kind"] == "held_out"][-1]
    metrics = job.score(ended.params) | job.before(start.params["encoder"]) | {"loss": held_out["loss"]}
    workdirs.write_result(workdir, {"step": ended.step, "metrics": metrics, "num_examples": num_examples})
    return workdirs.finished(workdir)


def _fit_config(config, num_examples: int) -> FitConfig:
    """num_train_epochs as steps, rounded down (google-research/bert run_classifier.main)."""
    settings = dict(config.train)
    epochs, size = settings.pop("num_train_epochs"), settings.pop("train_batch_size")
    return FitConfig(num_train_steps=int(num_examples / size * epochs), **settings)


def evaluate_finetuned(workdir: Path) -> dict[str, float]:
    """The metrics of the task and the loss, on its dev set, as they were found at the end of the run.

    Raises:
        UserError: there is no fine-tuned model, its data is absent, or the teacher that its loss needs.
    """
    trained = open_trained(workdir)
    config = trained.config
    job = jobs.named(config.task).job(config, trained.encoder, trained.objective, trained.tokenizer)
    size = config.train.train_batch_size
    layout = make_layout(config.parallel.mode, trained.objective, None, seed=config.seed, batch_size=size)
    params, frozen = layout.place_state(trained.params), layout.place_state(teacher_params(trained))
    loss = evaluate(trained.objective, layout, params, data.evaluation_batches(job.dev, size), frozen)["loss"]
    return job.score(layout.single(params)) | {"loss": loss}


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
