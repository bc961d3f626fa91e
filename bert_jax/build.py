"""What a config names, made: model, objective, optimiser, layout and rows."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import fields

import jax

from bert_jax import config as configs
from bert_jax.data import loader
from bert_jax.data.features import Wanted
from bert_jax.data.masking import MaskRule
from bert_jax.errors import UserError
from bert_jax.models.encoder import EncoderConfig
from bert_jax.models.features import Feature, from_batch
from bert_jax.objectives import (
    answer,
    causal_lm,
    choose,
    classify,
    contrastive,
    distill,
    electra,
    encoder_alone,
    pretrain,
    spanbert,
    tag,
)
from bert_jax.objectives.objective import weighted
from bert_jax.optim.optimizers import make_optimizer
from bert_jax.optim.schedules import make_schedule
from bert_jax.parallel.layout import Layout, make_layout
from bert_jax.ranges import NONE_TO_ALL, require

OBJECTIVES = {  # objective.name -> encoder and the other settings of the section as its arguments
    "bert": pretrain.bert,
    "causal_lm": causal_lm.causal_lm,
    "electra": electra.electra,
    "simcse": contrastive.simcse,
    "spanbert": spanbert.spanbert,
    "distill": distill.distill,
    "classify": classify.classify,
    "tag": lambda encoder, num_classes: tag.tag(encoder, num_classes),  # as imported models have it
    "answer": answer.answer,
    "choose": choose.choose,
    "encoder": encoder_alone.encoder_alone,
}


def encoder_config(options: dict, vocab_size: int) -> EncoderConfig:
    """From the model section of a config, whose section features may be absent; dtype "auto" is float32 on CPUs and bfloat16 on
    accelerators."""
    by_machine = "float32" if jax.default_backend() == "cpu" else "bfloat16"
    dtype = by_machine if options["dtype"] == "auto" else options["dtype"]
    sections = dict(options.get("features", {}))
    configs.require_known("model", options, _names(EncoderConfig))
    features = tuple(_feature(name, dict(sections[name])) for name in sorted(sections))
    return EncoderConfig(**{**options, "vocab_size": vocab_size, "dtype": dtype, "features": features})


def _feature(name: str, settings: dict) -> Feature:
    section = f"model.features.{name}"
    configs.require_known(section, settings, [key for key in _names(Feature) if key != "name"])
    if lacking := [key for key in ("kind", "size") if key not in settings]:
        raise UserError(f"{section} lacks {lacking[0]}", got=", ".join(settings), expected="kind and size")
    return Feature(name, **settings)


def _names(settings: type) -> list[str]:
    return [field.name for field in fields(settings)]


def build_objective(config, vocab_size: int, teacher_model: dict | None = None):
    """
    Args:
        teacher_model: the section model of the teacher's config, where config.objective.teacher names one.
    """
    return named_objective(OBJECTIVES, config.objective, encoder_config(dict(config.model), vocab_size), teacher_model)


def named_objective(table: Mapping[str, Callable], section, encoder: EncoderConfig, teacher_model: dict | None = None):
    """
    Args:
        table: objective.name -> encoder and the other settings of the section as its arguments.
        section: the section objective of a config; loss_weights in it, where given, multiply the weights of its losses.
        teacher_model: as for build_objective.

    Raises:
        UserError: the section names none of the table, or has other settings than it.
    """
    settings = dict(section)
    name, factors = settings.pop("name"), settings.pop("loss_weights", ())
    if "teacher" in settings:
        settings["teacher"] = encoder_config(teacher_model, encoder.vocab_size)
    if name not in table:
        raise UserError("objective.name is unknown", got=name, expected=" or ".join(table))
    _, *arguments = inspect.signature(table[name]).parameters.values()
    known, needed = ({one.name for one in arguments if one.default is one.empty or optional} for optional in (True, False))
    if not needed <= set(settings) <= known:
        raise UserError(
            f"the section objective does not fit objective.name={name}",
            got=", ".join(sorted(settings)) or "nothing more",
            expected=", ".join(one.name for one in arguments) or "nothing more",
            fix="start from a config file with this objective, and change its settings",
        )
    return weighted(table[name](encoder, **settings), factors)


def build_optimizer(config):
    """(optimiser, schedule). What the section optim holds beyond the arguments of make_optimizer is the schedule's."""
    options = dict(**config.optim)
    of_update = ("name", "weight_decay", "b1", "b2", "eps", "clip", "layer_decay", "magnitude")
    update = {key: options.pop(key) for key in of_update if key in options}
    schedule = make_schedule(options.pop("schedule", "bert"), num_train_steps=config.train.num_train_steps, **options)
    return make_optimizer(schedule, **update), schedule


def build_task_optimizer(config, steps: int):
    """The same for fine-tuning, whose warm-up is a share of its steps and whose rate falls as BERT's."""
    options = dict(config.optim)
    rate, warmup = options.pop("learning_rate"), options.pop("warmup_proportion")
    require("optim", {"warmup_proportion": warmup}, {"warmup_proportion": NONE_TO_ALL})
    schedule = make_schedule("bert", rate, int(warmup * steps), steps)
    return make_optimizer(schedule, **options), schedule


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


def loader_config(config) -> loader.LoaderConfig:
    """Raises UserError when a setting is out of range, or does not go with the model or the objective."""
    data = config.data
    if data.num_eval_rows < 1:
        raise UserError("data.num_eval_rows is out of range", got=data.num_eval_rows, expected="at least 1")
    phases = _phases(config)
    longest = max(phase.max_seq_length for phase in phases)
    encoder = encoder_config(dict(config.model), vocab_size=1)
    require_room(longest, encoder)
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
        features=tuple(
            Wanted(feature.name, feature.size if feature.kind == "ids" else 0, feature.hidden)
            for feature in from_batch(encoder.features)
        ),
    )
    if dict(config.objective).get("next_sentence", False) and not rows.in_pairs:
        raise UserError(
            "objective.next_sentence needs rows in pairs",
            got=f"data.rows={data.rows}",
            expected="data.rows=pairs or sop",
            fix="give objective.next_sentence=False, or rows in pairs",
        )
    if config.objective.name == "causal_lm" and (data.mask_token_prob or data.random_token_prob):
        raise UserError(
            "objective.name=causal_lm predicts each piece from those before it, which must not be hidden",
            got=f"data.mask_token_prob={data.mask_token_prob}, data.random_token_prob={data.random_token_prob}",
            expected="0.0 for both",
        )
    return rows


def require_room(max_seq_length: int, encoder: EncoderConfig) -> None:
    if max_seq_length > encoder.longest_row:
        raise UserError(
            "data.max_seq_length is longer than the positions of the encoder",
            got=f"{max_seq_length}, with model.max_position_embeddings={encoder.max_position_embeddings}",
            expected=f"at most {encoder.longest_row}, in data.later_phases too",
        )


def _phases(config) -> tuple[loader.Phase, ...]:
    data = config.data
    phases = [loader.Phase(0, data.max_seq_length, data.max_predictions_per_seq, config.train.train_batch_size)]
    for later in data.later_phases:
        try:
            begins, length, predictions, batch_size = later
            first_step = round(begins * config.train.num_train_steps)
        except (TypeError, ValueError, OverflowError):
            raise UserError(
                "data.later_phases is not a sequence of phases",
                got=later,
                expected="four numbers each: share of the steps before it, length, predictions, rows of a batch",
                fix="give for instance --config.data.later_phases='((0.9, 512, 77, 256),)'",
            ) from None
        phases.append(loader.Phase(first_step, length, predictions, batch_size))
    return tuple(phases)
