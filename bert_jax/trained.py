"""A trained directory, opened; and what a new run takes over from others: a start, a teacher."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
import optax
from flax.traverse_util import flatten_dict, unflatten_dict
from ml_collections import ConfigDict

from bert_jax import jobs
from bert_jax import workdir as workdirs
from bert_jax.build import build_objective, build_optimizer, build_task_optimizer, encoder_config, named_objective
from bert_jax.checkpoint import Checkpoints, content_hash
from bert_jax.errors import UserError
from bert_jax.extend import extend
from bert_jax.inputs import open_vocabulary, vocabulary_path
from bert_jax.models.encoder import EncoderConfig
from bert_jax.objectives import distill
from bert_jax.objectives.objective import Objective
from bert_jax.parallel.step import init_state
from bert_jax.text import kinds
from bert_jax.text.extension import cuts_of_new_pieces
from bert_jax.text.tokenizer import Tokenizer
from bert_jax.transfer import transfer


class Trained(NamedTuple):
    """A trained directory, opened: everything that predict and the report need."""

    step: int
    params: object
    facts: dict  # kept in the checkpoint: hashes of vocabulary, store, teacher and start, position in the data
    objective: object
    tokenizer: Tokenizer
    config: ConfigDict

    @property
    def encoder(self) -> EncoderConfig:
        return encoder_config(dict(self.config.model), self.tokenizer.size)


def open_trained(workdir: Path, *, before: int | None = None, say: Callable[[str], None] = print) -> Trained:
    """The newest checkpoint of a run, of a finished fine-tuning the one that its result is of; the newest from before update
    number `before`, or the oldest, where that is given.

    Raises:
        UserError: the workdir holds no trained model, or not the vocabulary it was trained with.
    """
    workdir = Path(workdir)
    saved = workdirs.read_trained_config(workdir)
    if "task" in saved and before is None and (result := workdirs.finished(workdir)):
        before = result["step"] + 1
    checkpoints = Checkpoints(workdir / "checkpoints", keep=saved.train.keep_checkpoints, read_only=True)
    at_most = None if before is None else max([min(checkpoints.steps(), default=0), before - 1])

    def described(facts: dict) -> tuple[ConfigDict, Tokenizer, Objective]:
        config = _whole_config(saved, workdir, facts)
        tokenizer = open_vocabulary(config, workdir)
        workdirs.same_vocabulary(facts, tokenizer)
        return config, tokenizer, objective_of(config, tokenizer.size, facts)

    def shapes(facts: dict):
        config, _, objective = described(facts)
        return jax.eval_shape(lambda: init_state(objective, _optimizer(config), 0))

    found = checkpoints.restore(shapes, say=say, at_most=at_most)
    checkpoints.close()
    if not found:
        raise UserError("the run has no checkpoint yet", got=workdir, fix="let it train to its first train.save_every_steps")
    step, state, facts = found
    config, tokenizer, objective = described(facts)
    return Trained(step, state.params, facts, objective, tokenizer, config)


def save_start(folder: Path, objective: Objective, params: dict, facts: dict) -> None:
    """A checkpoint of step 0, without the state of any optimiser, which open_trained opens beside a config without `optim`."""
    like = jax.eval_shape(lambda: init_state(objective, optax.identity(), 0))
    state = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), like._replace(params={}))
    checkpoints = Checkpoints(folder, keep=1)
    checkpoints.save(0, state._replace(params=params), facts)
    checkpoints.wait()
    checkpoints.close()


def _whole_config(saved: ConfigDict, workdir: Path, facts: dict) -> ConfigDict:
    """With what the encoder of a fine-tuned model brought along, the sections text and model, which its checkpoints keep."""
    if "task" not in saved:
        return saved
    text = facts["text"] | {"vocab_file": str(workdir / kinds.kind_of(facts["text"]["kind"]).file_name)}
    return ConfigDict(saved.to_dict() | {"text": text, "model": facts["model"], "labels": tuple(facts["labels"])})


def objective_of(config: ConfigDict, vocab_size: int, facts: dict) -> Objective:
    """What a trained model learned by, from the config and the facts of Trained."""
    if "task" not in config:
        return build_objective(config, vocab_size, facts.get("teacher_model"))
    encoder = encoder_config(dict(config.model), vocab_size)
    table = jobs.objectives(config.task, tuple(facts["labels"]))
    return named_objective(table, config.objective, encoder, facts.get("teacher_model"))


def _optimizer(config: ConfigDict):
    if "optim" not in config:  # a model from elsewhere has no moments
        return optax.identity()
    return build_task_optimizer(config, 1)[0] if "task" in config else build_optimizer(config)[0]


def initial_params(config, workdir: Path, objective, tokenizer: Tokenizer, say: Callable[[str], None]) -> list[dict]:
    """What a run that begins takes over from config.init_checkpoint, the workdir of another; [] for one that goes on, or starts
    from nothing.

    Raises:
        UserError: that one has a vocabulary that this one does not begin with, or tensors of other shapes.
    """
    if goes_on(workdir) or not config.init_checkpoint:
        return []
    start = Path(config.init_checkpoint)
    trained = open_trained(start, say=say)
    cuts = cuts_of_new_pieces(tokenizer, trained.tokenizer)
    if cuts is None:
        raise UserError(
            "init_checkpoint was trained with another vocabulary",
            got=f"{vocabulary_path(config, workdir)}, vocabulary {tokenizer.content_hash[:12]}",
            expected=f"{vocabulary_path(trained.config, start)}, vocabulary {trained.tokenizer.content_hash[:12]}",
            fix="leave text.vocab_file empty, or name a file of text.kind=wordpiece whose first pieces are those; give text.kind "
            "and text.do_lower_case as there",
        )
    now = encoder_config(dict(config.model), tokenizer.size)
    grown = extend(
        trained.params,
        cuts,
        unk_id=trained.tokenizer.unk_id,
        max_position_embeddings=now.max_position_embeddings,
        position_offset=now.position_offset,
    )
    wanted = jax.eval_shape(objective.init, jax.random.key(0))
    found = transfer(_without_given(grown.params), _without_given(wanted), source=start)
    say("; ".join([f"from {start}, step {trained.step:,}: {found.describe()}", *grown.said, *_otherwise(trained.encoder, now)]))
    return [found.params]


def _without_given(params: dict) -> dict:
    """What files say of pieces is read anew: there may be more pieces now, or another file."""
    return unflatten_dict({path: leaf for path, leaf in flatten_dict(params).items() if path[-1] != "given"})


# Of an encoder, what training may do in another way without its outputs becoming others.
OF_TRAINING = (
    "vocab_size max_position_embeddings initializer_range pooler dtype matmul_dtype unroll_layers remat hidden_dropout_prob "
    "attention_probs_dropout_prob attention_output_dropout_prob"
).split()


def _otherwise(then: EncoderConfig, now: EncoderConfig) -> list[str]:
    """What this encoder computes in another way than that with the same parameters, for people."""
    heads_are_cut = then.head_size or now.head_size
    then, now = (  # 0 is as good as what it stands for
        replace(encoder, embedding_size=encoder.table_width, head_size=encoder.head_width if heads_are_cut else 0)
        for encoder in (then, now)
    )
    changed = [
        f"{name} {getattr(then, name)} -> {getattr(now, name)}"
        for name in asdict(now)
        if name not in OF_TRAINING and getattr(then, name) != getattr(now, name)
    ]
    return [f"computed otherwise than there: {', '.join(changed)}"] if changed else []


def goes_on(workdir: Path) -> bool:
    """Whether a run in this folder would go on from a checkpoint."""
    checkpoints = Checkpoints(workdir / "checkpoints", keep=1, read_only=True)
    steps = checkpoints.steps()
    checkpoints.close()
    return bool(steps)


class Teacher(NamedTuple):
    """What a student learns from.

    Attributes:
        params: those that the student's losses look at; None where there is no teacher.
        facts: kept in the student's checkpoints: the hash of the params, and the section model of the teacher's config, so
            that the student can be opened without the teacher.
    """

    params: dict | None
    facts: dict


def open_teacher(config, tokenizer: Tokenizer, labels: Sequence[str] = (), *, say: Callable[[str], None] = print) -> Teacher:
    """
    Args:
        labels: the classes of the task, where there is one.

    Raises:
        UserError: config.objective.teacher is not the workdir of a trained model with this vocabulary, or the student is to start
            both as its layers and from init_checkpoint.
    """
    folder = _teacher_folder(config)
    if folder is None:
        return Teacher(None, {})
    trained = open_trained(folder, say=say)
    if trained.tokenizer.content_hash != tokenizer.content_hash:
        raise UserError(
            "the teacher has another vocabulary",
            got=f"vocabulary {tokenizer.content_hash[:12]}",
            expected=f"vocabulary {trained.tokenizer.content_hash[:12]}, that of {folder}",
            fix=f"in a new workdir give text.kind of the teacher and text.vocab_file={vocabulary_path(trained.config, folder)}",
        )
    head = distill.MASKED_LM
    if "task" in config.keys():
        _require_same_task(config.task, labels, trained)
        head = distill.class_head(len(labels))
    params = distill.looked_at(trained.params, config.objective.weights, head)
    return Teacher(params, {"teacher": content_hash(params), "teacher_model": trained.config.model.to_dict()})


def _teacher_folder(config) -> Path | None:
    if "teacher" not in config.objective.keys():
        return None
    folder = config.objective.teacher
    if config.init_checkpoint and "teacher_layers" in config.objective.keys() and config.objective.teacher_layers:
        raise UserError(
            "the student cannot start from two models",
            got=f"init_checkpoint={config.init_checkpoint}, objective.teacher_layers={tuple(config.objective.teacher_layers)}",
            expected="one of them",
            fix="leave init_checkpoint empty, or set --config.objective.teacher_layers='()'",
        )
    if not folder:
        raise UserError(
            "objective.teacher is empty", expected="--config.objective.teacher=FOLDER, the workdir of a trained model"
        )
    return Path(folder)


def _require_same_task(task: str, labels: Sequence[str], trained: Trained) -> None:
    """A model from elsewhere does not say what its classes are of: there must be as many."""
    theirs, known = trained.config.get("task", task), trained.config.get("labels", ())
    if theirs != task or len(known) != len(labels):
        raise UserError(
            "the teacher does not know the classes of this task",
            got=f"a model of the classes {', '.join(known) or '(none)'}" + f", fine-tuned on {theirs}" * (theirs != task),
            expected=f"one fine-tuned on {task}, of the classes {', '.join(labels)}",
        )


def teacher_params(trained: Trained) -> dict | None:
    """The params of its teacher, that its losses look at; raises UserError when the teacher is gone or another one."""
    teacher = open_teacher(trained.config, trained.tokenizer, trained.config.get("labels", ()))
    workdirs.same_teacher(trained.facts, teacher.facts)
    return teacher.params


def check_objective(config) -> None:
    """Raises UserError for an objective that no vocabulary would make right, before hours go into making one.

    What depends on a teacher is left for later where only a checkpoint, of a fine-tuned one, says how large it is.
    """
    folder = _teacher_folder(config)
    model = None if folder is None else workdirs.read_trained_config(folder).to_dict().get("model")
    if folder is None or model:
        build_objective(config, 1, model)


def taken_over(config, objective, teacher: Teacher) -> dict:
    """The params that a student starts with as its teacher has them."""
    if teacher.params is None:
        return {}
    return distill.start(jax.eval_shape(objective.init, jax.random.key(0)), teacher.params, config.objective.teacher_layers)
