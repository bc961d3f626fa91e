"""Pruning of a fine-tuned model in rounds: what matters least to its task is cut out, and what is left is tuned (the cores are
compress/prune.py and finetune.py)."""

from itertools import islice
from pathlib import Path

import jax
import numpy as np
from ml_collections import ConfigDict

from bert_jax import build, finetune, jobs
from bert_jax import config as configs
from bert_jax import workdir as workdirs
from bert_jax.compress import prune as core
from bert_jax.data import keyed
from bert_jax.data.finetune import FinetuneLoader
from bert_jax.errors import UserError
from bert_jax.inputs import vocabulary_path
from bert_jax.models.encoder import EncoderConfig
from bert_jax.ranges import PART, require, whole
from bert_jax.text import kinds
from bert_jax.trained import Trained, objective_of, open_trained, save_start
from bert_jax.transfer import transfer

RANGES = {"keep": PART, "rounds": whole(1), "examples": whole(1)}
ORDERS = ("importance", "random")
PLAIN = ConfigDict({"name": "classify", "class_weights": ()})  # a student that is its own teacher has nothing to learn from it


def prune(config, workdir: Path, *, quiet: bool = False, say=print) -> dict | None:
    """Prunes the model of config.init_checkpoint, from where the workdir stood, to the share config.prune.keep of its heads and
    neurons. The workdir is then that of the last fine-tuning; before it lie the rounds, in `rounds`.

    Returns:
        What result.json holds, as `finetune.finetune` does. None when a signal stopped it; the same call then continues.

    Raises:
        UserError: a setting is out of range; or the model was not fine-tuned on this task.
    """
    settings, workdir = dict(config.prune), Path(workdir)
    require("prune", settings, RANGES)
    if settings["by"] not in ORDERS:
        raise UserError("prune.by is unknown", got=settings["by"], expected=" or ".join(ORDERS))
    if not config.init_checkpoint:
        raise UserError(
            "init_checkpoint is empty", expected="--config.init_checkpoint=FOLDER, a workdir of finetune on this task"
        )
    rounds, source = workdir / "rounds", Path(config.init_checkpoint)
    with workdirs.opened(config, rounds):
        for number in range(1, settings["rounds"] + 1):
            smaller = rounds / f"{number}-cut"
            if not smaller.exists():
                _cut(config, source, smaller, number, say)
            _found_again(workdir if number == settings["rounds"] else rounds / f"{number}-tuned", smaller)
            source = workdir if number == settings["rounds"] else rounds / f"{number}-tuned"
            result = finetune.finetune(_tuning(config, smaller), source, quiet=quiet, say=say, with_head=True)
            if result is None:
                return None
    return result


def _tuning(config, start: Path) -> ConfigDict:
    """What each round is tuned by: the config as it is, from the model that was cut."""
    return ConfigDict(config.to_dict() | {"init_checkpoint": str(start)})


def _cut(config, source: Path, target: Path, number: int, say) -> None:
    """Makes the workdir `target`, with a checkpoint of step 0, of what a round keeps of `source`: as large a part is cut in each
    round."""
    trained = open_trained(source, say=say)
    _require_this_task(config, trained, source)
    encoder = trained.encoder
    whole = encoder if number == 1 else open_trained(Path(config.init_checkpoint), say=say).encoder
    heads, neurons = left_of(whole, config.prune.keep, config.prune.rounds, number)
    params, smaller = core.cut(trained.params, encoder, core.highest(_scores(config, trained, number), heads, neurons))
    of_model = {"num_attention_heads": heads, "head_size": smaller.head_width, "intermediate_size": neurons}
    model = trained.config.model.to_dict() | of_model
    facts = trained.facts | {"model": model}
    config_of_it = ConfigDict(trained.config.to_dict() | {"model": model})
    saved = workdirs.read_trained_config(source).to_dict()
    workdirs.write_config(config, target.parent, {})  # whatever could be wrong with it was looked at
    with workdirs.made_whole(target) as folder:
        kinds.copy(trained.config.text.kind, vocabulary_path(trained.config, source), folder)
        save_start(folder / "checkpoints", objective_of(config_of_it, trained.tokenizer.size, facts), params, facts)
        without_moments = ConfigDict({name: section for name, section in saved.items() if name != "optim"})
        workdirs.write_config(without_moments, folder, facts)
    say(
        f"round {number} of {config.prune.rounds}: each layer keeps {heads} of {encoder.num_attention_heads} heads and "
        f"{neurons:,} of {encoder.intermediate_size:,} neurons; all layers have {_size(params):,} of {_size(trained.params):,} "
        "parameters"
    )


def left_of(whole: EncoderConfig, keep: float, rounds: int, number: int) -> tuple[int, int]:
    """(heads, neurons) of a layer after so many of the rounds, each of which cuts as large a part of the whole; at least 1."""
    left = 1 - (1 - keep) * number / rounds
    return tuple(max(1, round(count * left)) for count in (whole.num_attention_heads, whole.intermediate_size))


def _found_again(tuned: Path, start: Path) -> None:
    """A round that was begun before the folder of the rounds was moved, or named otherwise, starts from the same model."""
    saved = workdirs.read_config(tuned)
    if saved and Path(saved["init_checkpoint"]).parts[-2:] == start.parts[-2:]:
        configs.write_json(tuned / "config.json", saved | {"init_checkpoint": str(start)})


def _scores(config, trained: Trained, number: int) -> dict[str, core.Parts]:
    """How much each part of the layers matters to the task, or numbers that know nothing of it."""
    if config.prune.by == "random":
        return _drawn(core.ones(trained.params["encoder"], trained.encoder), config.seed, number)
    examples = jobs.read_examples(config)
    _require_same_labels(examples.labels, trained)
    section = PLAIN if config.objective.name == "distill" else config.objective
    objective = build.named_objective(jobs.objectives(config.task, examples.labels), section, trained.encoder)
    found = transfer(trained.params, jax.eval_shape(objective.init, jax.random.key(0)), source=config.init_checkpoint)
    if found.new:
        raise UserError("the model to prune has not learned the task yet", got=f"no {', '.join(found.new)}")
    job = jobs.make_job(config, examples, trained.encoder, objective, trained.tokenizer)
    size = config.train.train_batch_size
    loader = FinetuneLoader(job.train, size, config.seed, config.data.max_seq_length, config.data.pad_to_multiple_of)
    batches = islice(loader.iterate(), -(-min(config.prune.examples, len(job.train.lengths)) // size))
    return core.importance(objective, found.params, trained.encoder, batches)


def _drawn(like: dict[str, core.Parts], seed: int, number: int) -> dict[str, core.Parts]:
    leaves, tree = jax.tree.flatten(like)
    keys = [keyed.key_of(seed, "pruned", number, place) for place in range(len(leaves))]
    return tree.unflatten(keyed.uniform(key, np.arange(leaf.size)).reshape(leaf.shape) for key, leaf in zip(keys, leaves))


def _require_this_task(config, trained: Trained, source: Path) -> None:
    if trained.config.get("task") != config.task:
        raise UserError(
            "the model to prune was not fine-tuned on this task",
            got=f"{source}, fine-tuned on {trained.config.get('task', 'nothing')}",
            expected=f"a workdir of finetune with task={config.task}",
        )


def _require_same_labels(labels: tuple[str, ...], trained: Trained) -> None:
    known = tuple(trained.config.get("labels", ()))
    if known != tuple(labels):
        raise UserError("the model to prune knows other classes", got=", ".join(known), expected=", ".join(labels))


def _size(params: dict) -> int:
    layers = [params["encoder"][name] for name in ("layers", "first_layer") if name in params["encoder"]]
    return sum(leaf.size for leaf in jax.tree.leaves(layers))
