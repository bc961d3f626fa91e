"""A trained directory, opened; and what a new run takes over from others: a start, a teacher."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import jax
import optax
from ml_collections import ConfigDict

from bert_jax import workdir as workdirs
from bert_jax.build import build_objective, build_optimizer, encoder_config
from bert_jax.checkpoint import Checkpoints, content_hash
from bert_jax.errors import UserError
from bert_jax.extend import extend
from bert_jax.inputs import open_vocabulary, vocabulary_path
from bert_jax.objectives import distill
from bert_jax.objectives.objective import Objective
from bert_jax.parallel.step import init_state
from bert_jax.text.extension import cuts_of_new_pieces
from bert_jax.text.tokenizer import Tokenizer
from bert_jax.transfer import transfer


class Trained(NamedTuple):
    """A trained directory, opened: everything that predict and the report need."""

    step: int
    params: object
    facts: dict  # kept in the checkpoint: hashes of vocabulary and store, position in the data
    objective: object
    tokenizer: Tokenizer
    config: ConfigDict


def open_trained(workdir: Path, *, before: int | None = None, say: Callable[[str], None] = print) -> Trained:
    """The newest checkpoint of a run; the newest from before update number `before`, or the oldest, where that is given.

    Raises:
        UserError: the workdir holds no trained model, or not the vocabulary it was trained with.
    """
    workdir = Path(workdir)
    config = workdirs.read_pretraining_config(workdir)
    tokenizer = open_vocabulary(config, workdir)
    optimizer = build_optimizer(config)[0] if "optim" in config else optax.identity()  # a model from elsewhere has no moments

    def objective(facts: dict):
        return build_objective(config, tokenizer.size, facts.get("teacher_model"))

    return restored(workdir, objective, optimizer, tokenizer, config, before=before, say=say)


def restored(
    workdir: Path,
    objective: Callable[[dict], Objective],
    optimizer,
    tokenizer: Tokenizer,
    config,
    *,
    before: int | None = None,
    say: Callable[[str], None],
) -> Trained:
    """The newest checkpoint, as open_trained says; `objective` makes it of what the checkpoint says beside its arrays."""
    checkpoints = Checkpoints(workdir / "checkpoints", keep=config.train.keep_checkpoints, read_only=True)
    at_most = None if before is None else max([min(checkpoints.steps(), default=0), before - 1])
    found = checkpoints.restore(
        lambda facts: jax.eval_shape(lambda: init_state(objective(facts), optimizer, 0)),
        say=say,
        accept=lambda facts: workdirs.same_vocabulary(facts, tokenizer),
        at_most=at_most,
    )
    checkpoints.close()
    if not found:
        raise UserError("the run has no checkpoint yet", got=workdir, fix="let it train to its first train.save_every_steps")
    step, state, facts = found
    return Trained(step, state.params, facts, objective(facts), tokenizer, config)


def initial_params(config, workdir: Path, objective, tokenizer: Tokenizer, say: Callable[[str], None]) -> list[dict]:
    """What a run that begins takes over from config.init_checkpoint, the workdir of another; [] for one that goes on, or starts
    from nothing.

    Raises:
        UserError: that one has a vocabulary that this one does not begin with, or tensors of other shapes.
    """
    checkpoints = Checkpoints(workdir / "checkpoints", keep=1, read_only=True)
    goes_on = bool(checkpoints.steps())
    checkpoints.close()
    if goes_on or not config.init_checkpoint:
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
    found = transfer(grown.params, jax.eval_shape(objective.init, jax.random.key(0)), source=start)
    say("; ".join([f"from {start}, step {trained.step:,}: {found.describe()}", *grown.said]))
    return [found.params]


class Teacher(NamedTuple):
    """What a student learns from.

    Attributes:
        params: those that the student's losses look at; None where there is no teacher.
        facts: kept in the student's checkpoints: the hash of the params, and the section model of the teacher's config, so
            that the student can be opened without the teacher.
    """

    params: dict | None
    facts: dict


def open_teacher(config, tokenizer: Tokenizer, *, say: Callable[[str], None] = print) -> Teacher:
    """Raises UserError where config.objective.teacher is not the workdir of a pretraining run with this vocabulary."""
    if "teacher" not in config.objective.keys():
        return Teacher(None, {})
    folder = config.objective.teacher
    if not folder:
        raise UserError(
            "objective.teacher is empty", expected="--config.objective.teacher=FOLDER, the workdir of a pretraining run"
        )
    trained = open_trained(Path(folder), say=say)
    if trained.tokenizer.content_hash != tokenizer.content_hash:
        raise UserError(
            "the teacher has another vocabulary",
            got=f"vocabulary {tokenizer.content_hash[:12]}",
            expected=f"vocabulary {trained.tokenizer.content_hash[:12]}, that of {folder}",
            fix=f"in a new workdir give text.kind of the teacher and text.vocab_file={vocabulary_path(trained.config, folder)}",
        )
    params = distill.looked_at(trained.params, config.objective.weights)
    return Teacher(params, {"teacher": content_hash(params), "teacher_model": trained.config.model.to_dict()})


def teacher_params(trained: Trained) -> dict | None:
    """The params of its teacher, that its losses look at; raises UserError when the teacher is gone or another one."""
    teacher = open_teacher(trained.config, trained.tokenizer)
    workdirs.same_teacher(trained.facts, teacher.facts)
    return teacher.params


def taken_over(config, objective, teacher: Teacher) -> dict:
    """The params that a student starts with as its teacher has them."""
    if teacher.params is None:
        return {}
    return distill.start(jax.eval_shape(objective.init, jax.random.key(0)), teacher.params, config.objective.teacher_layers)
