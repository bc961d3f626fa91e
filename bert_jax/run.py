"""The wiring: from a config to text, data, model, objective, optimiser and layout, and then to fit."""

import inspect
import json
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import NamedTuple

import jax
from ml_collections import ConfigDict

from bert_jax import workdir as workdirs
from bert_jax.checkpoint import Checkpoints, content_hash
from bert_jax.data import loader, prepare, sources, store, words
from bert_jax.data.masking import MaskRule
from bert_jax.data.report import Progress, Report
from bert_jax.errors import UserError
from bert_jax.models.encoder import EncoderConfig
from bert_jax.objectives import distill, electra, pretrain, spanbert
from bert_jax.optim.optimizers import make_optimizer
from bert_jax.optim.schedules import make_schedule
from bert_jax.parallel import hosts
from bert_jax.parallel.layout import Layout, make_layout
from bert_jax.parallel.step import init_state
from bert_jax.text import kinds
from bert_jax.text.tokenizer import Tokenizer
from bert_jax.train.evaluate import evaluate
from bert_jax.train.fit import FitConfig, fit
from bert_jax.train.report import plot
from bert_jax.train.watch import read_metrics

OBJECTIVES = {  # objective.name -> encoder and the other settings of the section as its arguments
    "bert": pretrain.bert,
    "electra": electra.electra,
    "spanbert": spanbert.spanbert,
    "distill": distill.distill,
}


def train(config, workdir: Path, *, quiet: bool = False, say: Callable[[str], None] = print) -> bool:
    """The whole job: vocabulary and store where they are missing, training from where it stood, report. True when finished."""
    workdir = Path(workdir)
    hosts.join()
    hosts.require_same("the config", json.dumps(config.to_dict(), sort_keys=True))
    with ExitStack() as held:
        hosts.only_first(lambda: held.enter_context(workdirs.opened(config, workdir)))
        keep_compiled(workdir)
        return _train(config, workdir, quiet, say if jax.process_index() == 0 else lambda line: None)


def _train(config, workdir: Path, quiet: bool, say: Callable[[str], None]) -> bool:
    rows, plans = loader_config(config), workdir / "plans"
    fit_config = FitConfig(**{field.name: config.train[field.name] for field in fields(FitConfig)})
    tokenizer, text = hosts.in_turn(lambda: open_data(config, workdir, say=say))
    hosts.require_same("the vocabulary or the token store", tokenizer.content_hash + text.content_hash)
    if rows.mask.mask_unit != "token":
        words.require_words(text)
    teacher = hosts.in_turn(lambda: open_teacher(config, tokenizer, say=say))
    hosts.require_same("the teacher", teacher.facts.get("teacher", ""))
    objective = build_objective(config, tokenizer.size, teacher.facts.get("teacher_model"))
    optimizer, schedule = build_optimizer(config)
    layout = build_layout(config, objective, optimizer, rows)
    batches = loader.Loader(text.train, tokenizer, rows, plans)

    def eval_batches():
        return loader.evaluation_batches(text.held_out, tokenizer, rows, plans, config.data.num_eval_rows)

    def accept(saved: dict) -> None:
        workdirs.same_vocabulary(saved, tokenizer)
        workdirs.same_store(saved, text.content_hash)
        workdirs.same_teacher(saved, teacher.facts)
        workdirs.same_position(saved, batches.position(saved["step"])._asdict())
        workdirs.not_beyond(saved, fit_config.num_train_steps)

    inputs = {"vocabulary": tokenizer.content_hash, "store": text.content_hash, **teacher.facts}
    hosts.only_first(lambda: workdirs.write_config(config, workdir, inputs | {"source": text.manifest["source"]}))
    say(
        f"{text.train.num_tokens:,} pieces to train on, {text.held_out.num_tokens:,} held out; {batches.num_rows:,} rows an epoch"
    )
    ended = fit(
        objective,
        optimizer,
        schedule,
        layout,
        partial(batches.iterate, process_index=jax.process_index(), process_count=jax.process_count()),
        lambda: map(hosts.own_rows, eval_batches()),
        fit_config,
        workdir,
        seed=config.seed,
        facts=lambda step: inputs | {"position": batches.position(step)._asdict()},
        accept=accept,
        name_batch=lambda step: f"documents {', '.join(map(str, batches.documents(step)))} of the training text",
        pretrained=taken_over(config, objective, teacher),
        frozen=teacher.params,
        quiet=quiet,
    )
    if not ended.complete:
        say(f"stopped and saved at step {ended.step:,}; the same command continues")
        return False
    hosts.only_first(lambda: write_report(workdir, ended.step, lambda: baselines(text, rows, eval_batches)))
    return True


def write_report(workdir: Path, step: int, baselines: Callable[[], dict[str, float]]) -> None:
    """Plots and result.json of a run that ended at this step, unless they are there."""
    if workdirs.finished(workdir, step):
        return
    held_out = [record for record in read_metrics(workdir) if record["kind"] == "held_out"][-1]
    metrics = {name: value for name, value in held_out.items() if name not in ("kind", "step")} | baselines()
    plots = [str(path.relative_to(workdir)) for path in plot(workdir, metrics["unigram_loss"])]
    workdirs.write_result(workdir, {"step": step, "metrics": metrics, "plots": plots})


def baselines(text: store.Store, rows: loader.LoaderConfig, eval_batches: Callable[[], Iterator[dict]]) -> dict[str, float]:
    """What the held-out metrics are to be compared with."""
    found = {"unigram_loss": loader.unigram_baseline(text.unigram_counts, eval_batches())}
    if rows.in_pairs:
        found["next_sentence_majority"] = loader.majority_baseline(eval_batches())
    return found


def open_data(config, workdir: Path, *, say: Callable[[str], None] = print) -> tuple[Tokenizer, store.Store]:
    """Makes vocabulary and store where the config names none, and opens them."""
    if not config.text.vocab_file:
        learn_vocabulary(config, workdir, say=say)
    if not config.data.store:
        prepare_store(config, workdir, say=say)
    tokenizer = open_vocabulary(config, workdir)
    return tokenizer, open_store(config, workdir, tokenizer)


def learn_vocabulary(config, workdir: Path, *, say: Callable[[str], None] = print) -> Path:
    """Learns the vocabulary from the text and writes it, unless the file is there.

    Raises:
        UserError: it is there, learned in this workdir, for another size.
    """
    path = vocabulary_path(config, workdir)
    if not path.exists():
        workdirs.make_folder(path.parent)
        doing = f"learning {config.text.vocab_size:,} pieces"
        say(f"{doing} ...")
        data, report = config.data, Report(config.data.on_bad_input)
        documents = sources.documents(data.input_file, data.input_format, report, Progress(doing, say))
        sentences = (sentence for document in documents for sentence in document)
        size, lower = config.text.vocab_size, config.text.do_lower_case
        learned = kinds.learn_vocabulary(config.text.kind, sentences, path, vocab_size=size, do_lower_case=lower)
        say(f"vocabulary of {learned.pieces:,} pieces from {report.describe()}")
    elif not config.text.vocab_file and (learned := kinds.read_report(path)) and learned.pieces_asked != config.text.vocab_size:
        raise UserError(
            f"the vocabulary {path} was learned with another text.vocab_size",
            got=config.text.vocab_size,
            expected=learned.pieces_asked,
            fix="ask for that size, or take another --workdir",
        )
    return path


def prepare_store(config, workdir: Path, *, say: Callable[[str], None] = print) -> Path:
    """Tokenises the text into the store, unless it is there."""
    folder = store_path(config, workdir)
    data, num_workers = config.data, worker_count(config)
    if not folder.exists():
        tokenizer = open_vocabulary(config, workdir)
        workdirs.make_folder(folder.parent)
        say(f"tokenising with {num_workers} processes ...")
        report = prepare.prepare(
            lambda report: sources.read_units(data.input_file, data.input_format, report),
            tokenizer,
            folder,
            held_out_fraction=data.held_out_fraction,
            source=source_name(config),
            segmenter=data.segmenter,
            on_bad_input=data.on_bad_input,
            num_workers=num_workers,
            progress=Progress("tokenising", say),
        )
        say(f"tokenised {report.describe()}")
    return folder


def worker_count(config) -> int:
    """data.num_workers, or all the cores that this process may use."""
    if config.data.num_workers < 0:
        raise UserError("data.num_workers is out of range", got=config.data.num_workers, expected="0 (all cores) or more")
    return config.data.num_workers or len(os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(os.cpu_count()))


def vocabulary_path(config, workdir: Path) -> Path:
    return Path(config.text.vocab_file or Path(workdir) / kinds.kind_of(config.text.kind).file_name)


def store_path(config, workdir: Path) -> Path:
    return Path(config.data.store or Path(workdir) / "store")


def source_name(config) -> str:
    return f"{config.data.input_file or sources.PACKAGES} ({config.data.input_format})"


def open_vocabulary(config, workdir: Path) -> Tokenizer:
    return kinds.load(config.text.kind, vocabulary_path(config, workdir), config.text.do_lower_case)


def open_store(config, workdir: Path, tokenizer) -> store.Store:
    """Raises UserError when the store is absent, damaged, or made with another vocabulary or from other text."""
    folder = store_path(config, workdir)
    opened = store.open_store(folder, tokenizer)
    source, segmenter = opened.manifest["source"]["description"], opened.manifest["segmenter"]
    held_out = opened.manifest["held_out_fraction"]
    if held_out != config.data.held_out_fraction:
        raise UserError(
            f"the token store {folder} holds out another share of the documents",
            got=f"data.held_out_fraction={config.data.held_out_fraction}",
            expected=held_out,
            fix="give the same data.held_out_fraction, or another data.store or --workdir",
        )
    if segmenter != config.data.segmenter:
        raise UserError(
            f"the token store {folder} was made with another segmenter",
            got=f"data.segmenter={config.data.segmenter!r}",
            expected=repr(segmenter),
            fix="give the same data.segmenter, or another data.store or --workdir",
        )
    if source != source_name(config):
        raise UserError(
            f"the token store {folder} was made from other text",
            got=source_name(config),
            expected=source,
            fix="give the same data.input_file and data.input_format, or another data.store or --workdir",
        )
    return opened


def open_batches(config, workdir: Path) -> tuple[loader.Loader, Tokenizer]:
    """The training batches and the tokenizer, with vocabulary and store made where they are missing."""
    tokenizer, text = open_data(config, workdir)
    return loader.Loader(text.train, tokenizer, loader_config(config), Path(workdir) / "plans"), tokenizer


def loader_config(config) -> loader.LoaderConfig:
    """Raises UserError when a setting is out of range, or does not go with the model or the objective."""
    data = config.data
    if data.num_eval_rows < 1:
        raise UserError("data.num_eval_rows is out of range", got=data.num_eval_rows, expected="at least 1")
    phases = _phases(config)
    longest = max(phase.max_seq_length for phase in phases)
    positions = encoder_config(dict(config.model), vocab_size=1).longest_row
    if longest > positions:
        raise UserError(
            "data.max_seq_length is longer than the positions of the encoder",
            got=f"{longest}, with model.max_position_embeddings={config.model.max_position_embeddings}",
            expected=f"at most {positions}, in data.later_phases too",
        )
    rows = loader.LoaderConfig(
        phases=phases,
        short_seq_prob=data.short_seq_prob,
        dupe_factor=data.dupe_factor,
        seed=config.seed,
        rows=data.rows,
        max_examples_per_row=data.max_examples_per_row,
        masks=data.masks,
        mask=MaskRule(**{field.name: data[field.name] for field in fields(MaskRule)}),
        num_loader_threads=data.num_loader_threads,
    )
    if dict(config.objective).get("next_sentence") and not rows.in_pairs:
        raise UserError(
            "objective.next_sentence needs rows in pairs",
            got=f"data.rows={data.rows}",
            expected="data.rows=pairs or sop",
            fix="give objective.next_sentence=False, or rows in pairs",
        )
    return rows


def _phases(config) -> tuple[loader.Phase, ...]:
    data = config.data
    phases = [loader.Phase(0, data.max_seq_length, data.max_predictions_per_seq, config.train.train_batch_size)]
    for later in data.later_phases:
        try:
            begins, length, predictions, batch_size = later
        except (TypeError, ValueError):
            raise UserError(
                "data.later_phases is not a sequence of phases",
                got=later,
                expected="four numbers each: share of the steps before it, length, predictions, rows of a batch",
                fix="give for instance --config.data.later_phases='((0.9, 512, 77, 256),)'",
            ) from None
        phases.append(loader.Phase(round(begins * config.train.num_train_steps), length, predictions, batch_size))
    return tuple(phases)


def encoder_config(options: dict, vocab_size: int) -> EncoderConfig:
    """From the model section of a config; dtype "auto" is float32 on CPUs and bfloat16 on accelerators."""
    by_machine = "float32" if jax.default_backend() == "cpu" else "bfloat16"
    dtype = by_machine if options["dtype"] == "auto" else options["dtype"]
    return EncoderConfig(**{**options, "vocab_size": vocab_size, "dtype": dtype})


def build_objective(config, vocab_size: int, teacher_model: dict | None = None):
    """Raises UserError when config.objective names no objective of the table, or has other settings than it.

    Args:
        teacher_model: the section model of the teacher's config, where config.objective.teacher names one.
    """
    settings = dict(config.objective)
    name = settings.pop("name")
    if name not in OBJECTIVES:
        raise UserError("objective.name is unknown", got=name, expected=" or ".join(OBJECTIVES))
    _, *known = inspect.signature(OBJECTIVES[name]).parameters
    if set(settings) != set(known):
        raise UserError(
            f"the section objective does not fit objective.name={name}",
            got=", ".join(sorted(settings)) or "nothing more",
            expected=", ".join(known) or "nothing more",
            fix="start from a config file with this objective, and change its settings",
        )
    if "teacher" in settings:
        settings["teacher"] = encoder_config(teacher_model, vocab_size)
    return OBJECTIVES[name](encoder_config(dict(config.model), vocab_size), **settings)


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


def taken_over(config, objective, teacher: Teacher) -> dict:
    """The params that a student starts with as its teacher has them."""
    if teacher.params is None:
        return {}
    return distill.start(jax.eval_shape(objective.init, jax.random.key(0)), teacher.params, config.objective.teacher_layers)


def build_optimizer(config):
    """(optimiser, schedule). What the section optim holds beyond the arguments of make_optimizer is the schedule's."""
    options = dict(**config.optim)
    update = {
        key: options.pop(key) for key in ("name", "weight_decay", "b1", "b2", "eps", "clip", "layer_decay") if key in options
    }
    schedule = make_schedule(options.pop("schedule", "bert"), num_train_steps=config.train.num_train_steps, **options)
    return make_optimizer(schedule, **update), schedule


def build_layout(config, objective, optimizer, rows: loader.LoaderConfig) -> Layout:
    return make_layout(
        config.parallel.mode,
        objective,
        optimizer,
        seed=config.seed,
        batch_size=rows.phases[0].batch_size,
        later_batch_sizes=[phase.batch_size for phase in rows.phases[1:]],
        fsdp=config.parallel.fsdp,
        tensor=config.parallel.tensor,
        accumulate=config.train.accumulate,
    )


def keep_compiled(workdir: Path) -> None:
    """Keeps compiled programs in the workdir, for a quick continuation, unless JAX_COMPILATION_CACHE_DIR names a folder."""
    if not jax.config.jax_compilation_cache_dir:
        jax.config.update("jax_compilation_cache_dir", str(Path(workdir).absolute() / "compiled"))


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
    saved = workdirs.read_config(workdir)
    if saved is None or "objective" not in saved:
        found = "a fine-tuned model" if saved else "no config.json"
        raise UserError(
            "there is no pretrained model here", got=f"{found} in {workdir}", expected="the --workdir of a pretraining run"
        )
    config = ConfigDict(saved)
    tokenizer = open_vocabulary(config, workdir)

    def objective(facts: dict):
        return build_objective(config, tokenizer.size, facts.get("teacher_model"))

    checkpoints = Checkpoints(workdir / "checkpoints", keep=config.train.keep_checkpoints, read_only=True)
    at_most = None if before is None else max([min(checkpoints.steps(), default=0), before - 1])
    restored = checkpoints.restore(
        lambda facts: jax.eval_shape(lambda: init_state(objective(facts), build_optimizer(config)[0], 0)),
        say=say,
        accept=lambda facts: workdirs.same_vocabulary(facts, tokenizer),
        at_most=at_most,
    )
    checkpoints.close()
    if not restored:
        raise UserError("the run has no checkpoint yet", got=workdir, fix="let it train to its first train.save_every_steps")
    step, state, facts = restored
    return Trained(step, state.params, facts, objective(facts), tokenizer, config)


def teacher_params(trained: Trained) -> dict | None:
    """The params of its teacher, that its losses look at; raises UserError when the teacher is gone or another one."""
    teacher = open_teacher(trained.config, trained.tokenizer)
    workdirs.same_teacher(trained.facts, teacher.facts)
    return teacher.params


def evaluate_trained(workdir: Path) -> dict[str, float]:
    """Held-out metrics of the newest checkpoint of a run, on the devices present, and the unigram baseline."""
    trained = open_trained(workdir)
    config, text = trained.config, open_store(trained.config, workdir, trained.tokenizer)
    workdirs.same_store(trained.facts, text.content_hash)
    rows, plans = loader_config(config), Path(workdir) / "plans"
    layout = build_layout(config, trained.objective, None, rows)

    def eval_batches():
        return loader.evaluation_batches(text.held_out, trained.tokenizer, rows, plans, config.data.num_eval_rows)

    params, frozen = layout.place_state(trained.params), layout.place_state(teacher_params(trained))
    metrics = evaluate(trained.objective, layout, params, map(hosts.own_rows, eval_batches()), frozen)
    return metrics | baselines(text, rows, eval_batches)
