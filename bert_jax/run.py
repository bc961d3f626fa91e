"""The job: from a config to vocabulary, store, training and report."""

import json
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import fields
from functools import cache
from inspect import signature
from pathlib import Path
from types import MappingProxyType

import jax
from flax.traverse_util import flatten_dict, unflatten_dict

from bert_jax import inputs
from bert_jax import workdir as workdirs
from bert_jax.build import build_layout, build_objective, build_optimizer, encoder_config, loader_config
from bert_jax.checkpoint import content_hash
from bert_jax.data import loader, store, words
from bert_jax.data.audit import Audit
from bert_jax.errors import UserError
from bert_jax.interop import piece_tables
from bert_jax.optim.optimizers import make_optimizer
from bert_jax.parallel import hosts
from bert_jax.tasks import next_item
from bert_jax.text.tokenizer import Tokenizer
from bert_jax.train import bands, track
from bert_jax.train.evaluate import evaluate
from bert_jax.train.fit import FitConfig, fit
from bert_jax.train.report import plot
from bert_jax.train.watch import read_metrics
from bert_jax.trained import check_objective, initial_params, open_teacher, open_trained, taken_over, teacher_params

NOTHING: Mapping[str, object] = MappingProxyType({})
LOSSES_OF_PIECES = (
    "masked_lm_loss",
    "causal_lm_loss",
)  # cross entropies over the vocabulary


def train(config, workdir: Path, *, quiet: bool = False, say: Callable[[str], None] = print) -> bool:
    """The whole job: vocabulary and store where they are missing, training from where it stood, report. True when finished."""
    workdir = Path(workdir)
    hosts.join()
    hosts.require_same("the config", json.dumps(config.to_dict(), sort_keys=True))
    with ExitStack() as held:
        hosts.only_first(lambda: held.enter_context(workdirs.opened(config, workdir)))
        workdirs.keep_compiled(workdir)
        return _train(config, workdir, quiet, say if jax.process_index() == 0 else lambda line: None)


def _train(config, workdir: Path, quiet: bool, say: Callable[[str], None]) -> bool:
    rows, plans = loader_config(config), workdir / "plans"
    fit_config = FitConfig(**{field.name: config.train[field.name] for field in fields(FitConfig)})
    check_objective(config)
    optimizer, schedule = build_optimizer(config)
    tokenizer, text = hosts.in_turn(lambda: inputs.open_data(config, workdir, say=say))
    hosts.require_same("the vocabulary or the token store", tokenizer.content_hash + text.content_hash)
    if rows.needs_words:
        words.require_words(text)
    features = encoder_config(dict(config.model), tokenizer.size).features
    of_pieces = hosts.in_turn(lambda: piece_tables.read(features, tokenizer))
    teacher = hosts.in_turn(lambda: open_teacher(config, tokenizer, say=say))
    hosts.require_same("the teacher", teacher.facts.get("teacher", ""))
    if config.data.input_format == next_item.FORMAT:  # what cannot be evaluated at the end is said at the start
        next(next_item.read_histories(config.data.input_file, config.data.on_bad_input), None)
    objective = build_objective(config, tokenizer.size, teacher.facts.get("teacher_model"))
    layout = build_layout(config, objective, optimizer, rows)
    batches = loader.Loader(text.train, tokenizer, rows, plans)
    pretrained: list[dict] = []
    hosts.only_first(lambda: pretrained.extend(initial_params(config, workdir, objective, tokenizer, say)))

    def eval_batches():
        return loader.evaluation_batches(text.held_out, tokenizer, rows, plans, config.data.num_eval_rows)

    def accept(saved: dict) -> None:
        workdirs.same_vocabulary(saved, tokenizer)
        workdirs.same_store(saved, text.content_hash)
        workdirs.same_teacher(saved, teacher.facts)
        workdirs.same_features(saved, made_of)
        workdirs.same_position(saved, batches.position(saved["step"])._asdict())
        workdirs.not_beyond(saved, fit_config.num_train_steps)

    made_of = {"vocabulary": tokenizer.content_hash, "store": text.content_hash, **teacher.facts}
    made_of |= {"features": content_hash(of_pieces)} if of_pieces else {}
    hosts.only_first(lambda: workdirs.write_config(config, workdir, made_of | {"source": text.manifest["source"]}))
    taken = taken_over(config, objective, teacher) | (pretrained[0] if pretrained else {})
    say(
        f"{text.train.num_tokens:,} pieces to train on, {text.held_out.num_tokens:,} held out; {batches.num_rows:,} rows an epoch"
    )
    place, audit = {"process_index": jax.process_index(), "process_count": jax.process_count()}, Audit(batches)
    guessing = cache(lambda: baselines(objective, text, rows, eval_batches))
    expected = cache(lambda: expectations(config, objective, tokenizer.size, guessing()))
    ended = fit(
        objective,
        optimizer,
        schedule,
        layout,
        lambda start: audit.watched(batches.iterate(start, **place), start, **place),
        lambda: map(hosts.own_rows, eval_batches()),
        fit_config,
        workdir,
        seed=config.seed,
        facts=lambda step: made_of | {"position": batches.position(step)._asdict()},
        accept=accept,
        name_batch=lambda step: f"documents {', '.join(map(str, batches.documents(step)))} of the training text",
        pretrained=unflatten_dict(flatten_dict(taken) | flatten_dict(of_pieces)),
        frozen=teacher.params,
        on_track=lambda records: track.verdict(records, expected(), audit.findings()),
        quiet=quiet,
    )
    if not ended.complete:
        say(f"stopped and saved at step {ended.step:,}; the same command continues")
        return False

    def beside() -> dict[str, float]:
        of_items = next_item_metrics(config, objective, ended.params, tokenizer, text)
        return guessing() | of_items

    hosts.only_first(lambda: write_report(workdir, ended.step, beside))
    return True


def write_report(workdir: Path, step: int, baselines: Callable[[], dict[str, float]]) -> None:
    """Plots and result.json of a run that ended at this step, unless they are there."""
    if workdirs.finished(workdir, step):
        return
    records = read_metrics(workdir)
    held_out = [record for record in records if record["kind"] == "held_out"][-1]
    metrics = {name: value for name, value in held_out.items() if name not in ("kind", "step")} | baselines()
    plots = [str(path.relative_to(workdir)) for path in plot(workdir, metrics.get("unigram_loss"))]
    verdicts = [record for record in records if record["kind"] == "verdict"]  # of a run from before there were any, none
    told = {"verdict": verdicts[-1]} if verdicts else {}
    workdirs.write_result(workdir, {"step": step, "metrics": metrics, "plots": plots, **told})


def baselines(
    objective, text: store.Store, rows: loader.LoaderConfig, eval_batches: Callable[[], Iterator[dict]]
) -> dict[str, float]:
    """What the held-out metrics are to be compared with."""
    found = {}
    if objective.terms.keys() & {*LOSSES_OF_PIECES}:
        found["unigram_loss"] = loader.unigram_baseline(text.unigram_counts, eval_batches())
    if rows.in_pairs:
        found["next_sentence_majority"] = loader.majority_baseline(eval_batches())
    return found


def expectations(config, objective, vocab_size: int, guessing: dict[str, float]) -> track.Expected:
    """
    Args:
        guessing: what `baselines` gives.
    """
    return track.Expected(
        loss=next((name for name in LOSSES_OF_PIECES if name in objective.terms), ""),
        unigram_loss=guessing.get("unigram_loss", math.inf),
        random_loss=math.log(vocab_size),
        num_warmup_steps=config.optim.num_warmup_steps,
        num_train_steps=config.train.num_train_steps,
        weight_decay=dict(config.optim).get("weight_decay", signature(make_optimizer).parameters["weight_decay"].default),
        untrained=frozenset() if "next_sentence_loss" in objective.terms else frozenset({"encoder/pooler"}),
        band=bands.BANDS.get(bands.key_of(config.to_dict()), {}),
    )


def next_item_metrics(config, objective, params, tokenizer: Tokenizer, text: store.Store) -> dict[str, float]:
    """Where the input is histories of items: how well the last of each is told from those before it."""
    if config.data.input_format != next_item.FORMAT:
        return {}
    histories = next_item.read_histories(config.data.input_file, config.data.on_bad_input)
    length = config.data.max_seq_length
    counts = text.unigram_counts
    return next_item.evaluate(objective, params, tokenizer, histories, counts, max_seq_length=length, seed=config.seed)


def has_held_out(config) -> bool:
    """A model from elsewhere has no text."""
    return "held_out_fraction" in config.data


def evaluate_trained(workdir: Path, data: Mapping[str, object] = NOTHING) -> dict[str, float]:
    """Held-out metrics of the newest checkpoint of a run, on the devices present, and the unigram baseline.

    Args:
        data: keys of the section data and their values in place of the run's own, so that runs that hide other things can be
            compared where the same is hidden.
    """
    trained = open_trained(workdir)
    trained.config.data.update(data)
    if not has_held_out(trained.config):
        raise UserError(
            "there is no held-out text to evaluate with", got=f"a model from elsewhere in {workdir}", expected="a pretraining run"
        )
    config, text = trained.config, inputs.open_store(trained.config, workdir, trained.tokenizer)
    workdirs.same_store(trained.facts, text.content_hash)
    rows, plans = loader_config(config), Path(workdir) / "plans"
    layout = build_layout(config, trained.objective, None, rows)

    def eval_batches():
        return loader.evaluation_batches(text.held_out, trained.tokenizer, rows, plans, config.data.num_eval_rows)

    params, frozen = layout.place_state(trained.params), layout.place_state(teacher_params(trained))
    metrics = evaluate(trained.objective, layout, params, map(hosts.own_rows, eval_batches()), frozen)
    of_items = next_item_metrics(config, trained.objective, trained.params, trained.tokenizer, text)
    return metrics | baselines(trained.objective, text, rows, eval_batches) | of_items
