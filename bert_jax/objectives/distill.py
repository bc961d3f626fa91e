"""Distillation: a student encoder learns from a frozen teacher, by the losses of distill_losses.py in any combination; in
pretraining and on a task."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from bert_jax.errors import UserError
from bert_jax.models.encoder import Encoder, EncoderConfig, EncoderOutput
from bert_jax.models.heads import ClassHead
from bert_jax.models.layers import Dense
from bert_jax.objectives.apply import encode_layers, init_encoder, init_masked_lm, masked_lm_logits
from bert_jax.objectives.classify import dropped
from bert_jax.objectives.distill_losses import LOSSES, PROJECTED, Loss, Pair, View, seen_pairs, truth_sums
from bert_jax.objectives.objective import Objective, Term
from bert_jax.ranges import NOT_NEGATIVE, POSITIVE, require

RANGES = {"temperature": POSITIVE}


def distill(
    config: EncoderConfig,
    *,
    teacher: EncoderConfig,
    teacher_layers: Sequence[int],
    temperature: float,
    weights: Mapping[str, float],
) -> Objective:
    """The sum of the losses of LOSSES with these weights; metrics are called by their names and "_loss".

    A loss of weight 0 is not computed, but for that of masked LM, which is reported wherever another looks at logits.

    Params are {"encoder"}, with "masked_lm" where a loss looks at logits, and with "projections" where one compares vectors of
    two widths. The teacher's params, the part that `looked_at` picks, come as context.frozen. predict gives logits_BPV of the
    student alone, and nothing where it has no head for them.

    Args:
        teacher: the encoder of the teacher.
        teacher_layers: the teacher's layers, counted from 0, that the student starts as (`start`); none: it is drawn.
        temperature: of "soft_target".
        weights: name of LOSSES -> weight.

    Raises:
        UserError: there is no such loss, or student and teacher do not have the sizes that it asks for.
    """
    _check_start(config, teacher, teacher_layers)
    return _distilled(config, MASKED_LM, teacher, temperature, weights)


def distill_classes(
    config: EncoderConfig, num_classes: int, *, teacher: EncoderConfig, temperature: float, weights: Mapping[str, float]
) -> Objective:
    """The same on the examples of a task, where both give logits of classes: TinyBERT's distillation on the task (section 3.2),
    first of "embedding", "hidden" and "attention", and then of "prediction" alone.

    In place of "masked_lm" stands "label", the loss of classify; in place of the head of masked LM "classifier", and predict
    gives logits_BC.
    """
    return _distilled(config, class_head(num_classes), teacher, temperature, weights)


class Head(NamedTuple):
    """What gives the logits by which student and teacher are compared.

    Attributes:
        name: of its params.
        truth: the loss of the student alone, and the count of what there is to predict.
        labels, weights: what there is to predict, arrays of the batch.
        predicted: the name of the logits in what predict gives.
        init: (config, rng, what the encoder gives out) -> params.
        logits: (config, params of which it takes its own, what the encoder gives out, batch, rng) -> float32, the classes last.
    """

    name: str
    truth: str
    labels: str
    weights: str
    predicted: str
    init: Callable
    logits: Callable


MASKED_LM = Head(
    "masked_lm",
    "masked_lm",
    "masked_lm_ids",
    "masked_lm_weights",
    "logits_BPV",
    init_masked_lm,
    lambda config, params, out, batch, rng: masked_lm_logits(config, params, out, batch["masked_lm_positions"]),
)


def class_head(num_classes: int) -> Head:
    def init(config: EncoderConfig, rng, out: EncoderOutput) -> dict:
        return ClassHead(config, num_classes).init(rng, out.pooled_BD)["params"]

    def logits(config: EncoderConfig, params: dict, out: EncoderOutput, batch: dict, rng) -> jax.Array:
        given = dropped(config, out.pooled_BD, None if rng is None else jax.random.fold_in(rng, 1))
        return ClassHead(config, num_classes).apply({"params": params["classifier"]}, given)

    return Head("classifier", "label", "label_ids", "label_weights", "logits_BC", init, logits)


def _distilled(
    config: EncoderConfig, head: Head, teacher: EncoderConfig, temperature: float, weights: Mapping[str, float]
) -> Objective:
    losses = _losses(head)
    used = _used(weights, losses)
    _check(config, teacher, temperature, {name: losses[name] for name in used})
    has_head = _at_logits(used, losses)
    computed = ({head.truth: 0.0} if has_head else {}) | used
    count_of = {name: losses[name].count or head.truth for name in computed}
    accuracy = f"{head.truth}_accuracy"
    projected = [name for name in PROJECTED if name in used and config.hidden_size != teacher.hidden_size]
    projection = Dense(config, teacher.hidden_size)

    def init(rng):
        encoder_rng, head_rng, *rngs = jax.random.split(rng, 2 + len(PROJECTED))
        params, out = init_encoder(Encoder(config), encoder_rng)
        params = {"encoder": params}
        if has_head:
            params[head.name] = head.init(config, head_rng, out)
        if projected:
            drawn = {name: projection.init(rng, out.hidden_BLD)["params"] for name, rng in zip(PROJECTED, rngs)}
            params["projections"] = {name: drawn[name] for name in projected}
        return params

    def counts(batch):
        of = {
            head.truth: lambda: jnp.sum(batch[head.weights], dtype=jnp.float32),
            "tokens": lambda: jnp.sum(batch["input_mask"], dtype=jnp.float32),
            # row by row: float32 counts one by one to 16,777,216 only
            "pairs": lambda: jnp.sum(jnp.sum(seen_pairs(batch), axis=(1, 2, 3)).astype(jnp.float32)),
        }
        return {name: of[name]() for name in sorted({"tokens", *count_of.values()})}

    def view(encoder, params, batch, rng) -> View:
        out, layers = encode_layers(Encoder(encoder), params["encoder"], batch, rng)
        logits = head.logits(encoder, params, out, batch, rng) if has_head else None
        return View(encoder, out.hidden_BLD, layers, logits)

    def sums(params, batch, context):
        def project(name, x_BLD):
            return projection.apply({"params": params["projections"][name]}, x_BLD) if name in projected else x_BLD

        student, taught = view(config, params, batch, context.rng), view(teacher, context.frozen, batch, None)
        pair = Pair(student, taught, batch, temperature, project, *(batch.get(name) for name in (head.labels, head.weights)))
        result = {f"{name}_loss": losses[name].sum(pair) for name in computed}
        return result | ({accuracy: truth_sums(pair)[1]} if has_head else {})

    def predict(params, batch):
        return {head.predicted: view(config, params, batch, None).logits} if has_head else {}

    terms = {f"{name}_loss": Term(count_of[name], weight) for name, weight in computed.items()}
    return Objective(init, counts, sums, terms | ({accuracy: Term(head.truth)} if has_head else {}), predict)


def looked_at(params: dict, weights: Mapping[str, float], head: Head = MASKED_LM) -> dict:
    """The part of a teacher's params that losses with these weights look at; raises UserError where it has no such part."""
    losses = _losses(head)
    parts = ["encoder"] + [head.name] * _at_logits(_used(weights, losses), losses)
    if missing := [part for part in parts if part not in params]:
        raise UserError(f"the teacher has no {missing[0]}", got=", ".join(params), expected=", ".join(parts))
    return {part: params[part] for part in parts}


def start(like: dict, teacher: dict, layers: Sequence[int]) -> dict:
    """The params that a student takes over from its teacher: embeddings, layers, and the masked-LM head where both have one.

    DistilBERT starts from every other layer (section 3): 0, 2, 4, 7, 9 and 11 of 12 in scripts/extract_distilbert.py of the
    released code, which leaves out the segments, that its student does not have.

    Args:
        like: params of the student, or their shapes.
        teacher: what `looked_at` gave.
        layers: a layer of the teacher for each of the student, from 0; none: nothing is taken over.

    Raises:
        UserError: a shape differs.
    """
    if not layers:
        return {}
    embeddings = {name: part for name, part in teacher["encoder"]["embeddings"].items() if name in like["encoder"]["embeddings"]}
    stack = jax.tree.map(lambda leaf: leaf[np.array(layers)], teacher["encoder"]["layers"])
    head = {name: teacher[name] for name in ("masked_lm",) if name in teacher and name in like}
    taken = {"encoder": {"embeddings": embeddings, "layers": stack}, **head}
    given, wanted = _shapes(taken), _shapes({name: {part: like[name][part] for part in taken[name]} for name in taken})
    if wrong := [name for name in wanted if given.get(name) != wanted[name]]:
        raise UserError(
            "the student cannot start as layers of the teacher: their sizes differ",
            got=f"{wrong[0]} {given.get(wrong[0], 'absent')} of the teacher, {wanted[wrong[0]]} of the student",
            fix="give the student the sizes of the teacher, or set --config.objective.teacher_layers='()'",
        )
    return taken


def _shapes(params: dict) -> dict[str, tuple]:
    leaves = jax.tree_util.tree_leaves_with_path(params)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): tuple(leaf.shape) for path, leaf in leaves}


def _losses(head: Head) -> dict[str, Loss]:
    """LOSSES, with the loss of the student alone by the name that it has with this head."""
    return {head.truth if name == MASKED_LM.truth else name: loss for name, loss in LOSSES.items()}


def _at_logits(used: Mapping[str, float], losses: Mapping[str, Loss]) -> bool:
    return any(losses[name].count is None for name in used)


def _used(weights: Mapping[str, float], losses: Mapping[str, Loss]) -> dict[str, float]:
    """The weights that are not 0."""
    weights = dict(weights)
    if set(weights) != set(losses) or any(weight not in NOT_NEGATIVE for weight in weights.values()) or not any(weights.values()):
        raise UserError(
            "objective.weights do not say how the losses are weighted",
            got=", ".join(f"{name}={weight}" for name, weight in weights.items()),
            expected=f"a number for each of {', '.join(losses)}: none below 0, one above",
        )
    return {name: weight for name, weight in weights.items() if weight}


def _check(student: EncoderConfig, teacher: EncoderConfig, temperature: float, used: Mapping[str, Loss]) -> None:
    """Raises UserError where the losses do not go with the sizes of the two encoders."""
    require("objective", {"temperature": temperature}, RANGES)
    if {student.block, teacher.block} != {"post_norm"}:
        blocks = f"model.block={student.block} of the student, {teacher.block} of the teacher"
        raise UserError("distillation compares layers of BERT's kind only", got=blocks, expected="post_norm in both")
    if student.left_to_right or teacher.left_to_right:
        raise UserError("distillation compares encoders that see the whole row", got="model.left_to_right=True", expected="False")
    depth, depth_above = student.num_hidden_layers, teacher.num_hidden_layers
    if not (depth and depth_above):
        raise UserError("distillation compares layers", got=f"{depth} of the student, {depth_above} of the teacher")
    for name, loss in used.items():
        fix = f"change the student, or set --config.objective.weights.{name}=0"
        if loss.equal and getattr(student, loss.equal) != getattr(teacher, loss.equal):
            both = f"{getattr(student, loss.equal)} of the student, {getattr(teacher, loss.equal)} of the teacher"
            raise UserError(f"the loss {name} needs the same model.{loss.equal} in both", got=both, fix=fix)
        if loss.layer_by_layer and depth_above % depth:
            both = f"{depth} layers of the student, {depth_above} of the teacher"
            raise UserError(f"the loss {name} needs layers that divide those of the teacher", got=both, fix=fix)


def _check_start(student: EncoderConfig, teacher: EncoderConfig, layers: Sequence[int]) -> None:
    """Raises UserError where the student cannot start as these layers of the teacher."""
    depth, depth_above = student.num_hidden_layers, teacher.num_hidden_layers
    if layers and (len(layers) != depth or not all(0 <= layer < depth_above for layer in layers)):
        raise UserError(
            "objective.teacher_layers does not name a layer of the teacher for each of the student",
            got=tuple(layers),
            expected=f"{depth} numbers from 0 to {depth_above - 1}, or none",
        )
    if layers and (student.num_hidden_groups or teacher.num_hidden_groups):
        raise UserError("layers that share weights cannot be taken over", fix="set --config.objective.teacher_layers='()'")
