"""Distillation: a student encoder learns from a frozen teacher, by the losses of DistilBERT (Sanh et al. 2019, arXiv 1910.01108),
TinyBERT (Jiao et al. 2020, arXiv 1909.10351) and MiniLM (Wang et al. 2020, arXiv 2002.10957), in any combination."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from bert_jax.errors import UserError
from bert_jax.models.attention import scores, visible
from bert_jax.models.encoder import Encoder, EncoderConfig
from bert_jax.models.heads import MaskedLMHead
from bert_jax.models.layers import Dense
from bert_jax.objectives.apply import Layers, encode_layers, init_encoder, init_masked_lm
from bert_jax.objectives.losses import cross_entropy_sums, divergences, soft_cross_entropies
from bert_jax.objectives.objective import Objective, Term


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
    used = _used(weights)
    _check(config, teacher, teacher_layers, temperature, used)
    has_head = _at_logits(used)
    computed = ({"masked_lm": 0.0} if has_head else {}) | used
    projected = [name for name in PROJECTED if name in used and config.hidden_size != teacher.hidden_size]
    projection = Dense(config, teacher.hidden_size)

    def init(rng):
        encoder_rng, lm_rng, *rngs = jax.random.split(rng, 2 + len(PROJECTED))
        params, out = init_encoder(Encoder(config), encoder_rng)
        params = {"encoder": params}
        if has_head:
            params["masked_lm"] = init_masked_lm(MaskedLMHead(config), lm_rng, out)
        if projected:
            drawn = {name: projection.init(rng, out.hidden_BLD)["params"] for name, rng in zip(PROJECTED, rngs)}
            params["projections"] = {name: drawn[name] for name in projected}
        return params

    def counts(batch):
        of = {
            "masked_lm": lambda: jnp.sum(batch["masked_lm_weights"], dtype=jnp.float32),
            "tokens": lambda: jnp.sum(batch["input_mask"], dtype=jnp.float32),
            # row by row: float32 counts one by one to 16,777,216 only
            "pairs": lambda: jnp.sum(jnp.sum(_pairs(batch), axis=(1, 2, 3)).astype(jnp.float32)),
        }
        return {name: of[name]() for name in sorted({"tokens", *(LOSSES[loss].count for loss in computed)})}

    def sums(params, batch, context):
        def project(name, x_BLD):
            return projection.apply({"params": params["projections"][name]}, x_BLD) if name in projected else x_BLD

        student = _view(config, params, batch, context.rng, has_head)
        pair = Pair(student, _view(teacher, context.frozen, batch, None, has_head), batch, temperature, project)
        result = {f"{name}_loss": LOSSES[name].sum(pair) for name in computed}
        return result | ({"masked_lm_accuracy": _masked_lm_sums(pair)[1]} if has_head else {})

    def predict(params, batch):
        return {"logits_BPV": _view(config, params, batch, None, has_head).logits_BPV} if has_head else {}

    terms = {f"{name}_loss": Term(LOSSES[name].count, weight) for name, weight in computed.items()}
    return Objective(init, counts, sums, terms | ({"masked_lm_accuracy": Term("masked_lm")} if has_head else {}), predict)


def looked_at(params: dict, weights: Mapping[str, float]) -> dict:
    """The part of a teacher's params that losses with these weights look at; raises UserError where it has no such part."""
    parts = ["encoder"] + ["masked_lm"] * _at_logits(_used(weights))
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


class View(NamedTuple):
    """What one of the two makes of a batch; logits where a loss looks at them."""

    config: EncoderConfig
    hidden_BLD: jax.Array
    layers: Layers
    logits_BPV: jax.Array | None


def _view(config: EncoderConfig, params: dict, batch: dict, rng, has_head: bool) -> View:
    out, layers = encode_layers(Encoder(config), params["encoder"], batch, rng)
    logits_BPV = None
    if has_head:
        head = {"params": params["masked_lm"]}
        logits_BPV = MaskedLMHead(config).apply(head, out.hidden_BLD, batch["masked_lm_positions"], out.word_table_VD)
    return View(config, out.hidden_BLD, layers, logits_BPV)


class Pair(NamedTuple):
    """What the losses compare.

    Attributes:
        project: (name of PROJECTED, the student's vectors) -> these in the teacher's width.
    """

    student: View
    teacher: View
    batch: dict
    temperature: float
    project: Callable

    def both(self, of: Callable) -> tuple:
        return of(self.student), of(self.teacher)

    @property
    def every(self) -> int:
        """Layer m of the student, from 1, learns from layer g(m) = m * every of the teacher, "uniform" in TinyBERT, table 4."""
        return self.teacher.config.num_hidden_layers // self.student.config.num_hidden_layers


def _masked_lm_sums(pair: Pair):
    return cross_entropy_sums(pair.student.logits_BPV, pair.batch["masked_lm_ids"], pair.batch["masked_lm_weights"])


def _masked_lm(pair: Pair):
    """The loss of the student alone."""
    return _masked_lm_sums(pair)[0]


def _soft_target(pair: Pair):
    """KL(teacher || student) at temperature T, times T^2, at the masked places (DistilBERT, section 2; its released distiller.py
    with --restrict_ce_to_mask: without it, as in the released command, at all places of the row)."""
    losses_BP = divergences(*pair.both(lambda view: view.logits_BPV / pair.temperature))
    return pair.temperature**2 * jnp.sum(losses_BP * pair.batch["masked_lm_weights"])


def _prediction(pair: Pair):
    """Cross-entropy of the student under the teacher at temperature 1 (TinyBERT, section 3.1), at the masked places."""
    losses_BP = soft_cross_entropies(*pair.both(lambda view: view.logits_BPV))
    return jnp.sum(losses_BP * pair.batch["masked_lm_weights"])


def _cosine(pair: Pair):
    """1 - cosine of the last hidden states of each real token (DistilBERT, section 2)."""
    student_BLD, teacher_BLD = pair.both(lambda view: view.hidden_BLD.astype(jnp.float32))
    squares_BL = jnp.sum(student_BLD**2, axis=-1) * jnp.sum(teacher_BLD**2, axis=-1)
    cosines_BL = jnp.sum(student_BLD * teacher_BLD, axis=-1) * jax.lax.rsqrt(jnp.maximum(squares_BL, 1e-24))
    return jnp.sum((1 - cosines_BL) * pair.batch["input_mask"])


def _embedding(pair: Pair):
    """Mean squared difference of the embeddings of each token (TinyBERT, section 3.1)."""
    return _squared_errors(pair, "embedding", *pair.both(lambda view: view.layers.hidden_NBLD[0]))


def _hidden(pair: Pair):
    """The same of what each layer gives out, summed over the student's layers, each with weight 1 (TinyBERT, section 3.1)."""
    student_NBLD, teacher_NBLD = pair.both(lambda view: view.layers.hidden_NBLD)
    of_layer = lambda ours_BLD, theirs_BLD: _squared_errors(pair, "hidden", ours_BLD, theirs_BLD)  # noqa: E731
    return _over_layers(of_layer, student_NBLD[1:], teacher_NBLD[pair.every :: pair.every])


def _squared_errors(pair: Pair, name: str, student_BLD, teacher_BLD):
    difference_BLD = pair.project(name, student_BLD).astype(jnp.float32) - teacher_BLD.astype(jnp.float32)
    return jnp.sum(jnp.mean(difference_BLD**2, axis=-1) * pair.batch["input_mask"])


def _attention(pair: Pair):
    """Mean squared difference of the scores before softmax, over heads and pairs of tokens that see each other, summed over the
    student's layers (TinyBERT, section 3.1; the released general_distill.py counts padding in, as zeros)."""
    seen_B1LL = _pairs(pair.batch)

    def of_layer(ours, theirs):
        difference_BHLL = scores(pair.student.config, *ours, seen_B1LL) - scores(pair.teacher.config, *theirs, seen_B1LL)
        return jnp.sum(jnp.mean(jnp.sum(difference_BHLL**2, axis=-1), axis=1))

    ours, theirs = pair.both(lambda view: (view.layers.query_NBLHK, view.layers.key_NBLHK))
    return _over_layers(of_layer, ours, jax.tree.map(lambda leaf: leaf[pair.every - 1 :: pair.every], theirs))


def _over_layers(of_layer: Callable, student, teacher):
    """The sum of of_layer over the first axes, one index after another and computed anew in the backward pass: the scores of all
    layers at once would be most of the memory."""

    def add(total, layers):
        return total + of_layer(*layers), None

    return jax.lax.scan(jax.checkpoint(add), jnp.zeros((), jnp.float32), (student, teacher))[0]


def _last_attention(pair: Pair):
    """KL(teacher || student) of what each token attends to in the last layer, mean over heads (MiniLM, section 3.1)."""
    return _relation_divergence(pair, lambda layers: (layers.query_NBLHK[-1], layers.key_NBLHK[-1]))


def _value_relation(pair: Pair):
    """The same of softmax(v v / sqrt(K)) of the last layer's values v, K being the width of a head (MiniLM, section 3.2)."""
    return _relation_divergence(pair, lambda layers: (layers.value_NBLHK[-1], layers.value_NBLHK[-1]))


def _relation_divergence(pair: Pair, related: Callable):
    seen_B1LL = visible(pair.batch["input_mask"], pair.batch.get("sequence_ids"))
    losses_BHL = divergences(*pair.both(lambda view: scores(view.config, *related(view.layers), seen_B1LL)))
    return jnp.sum(jnp.mean(losses_BHL, axis=1) * pair.batch["input_mask"])


def _pairs(batch: dict) -> jax.Array:
    """bool[B, 1, L, L]: the tokens that see each other."""
    return visible(batch["input_mask"], batch.get("sequence_ids")) & (batch["input_mask"] > 0)[:, None, :, None]


class Loss(NamedTuple):
    """
    Attributes:
        count: by which its sum is divided: the places of "masked_lm", "tokens", or "pairs" of tokens that see each other.
        sum: Pair -> float32.
        equal: a size that student and teacher must have in common.
        layer_by_layer: whether the student's layers must divide those of the teacher.
    """

    count: str
    sum: Callable
    equal: str = ""
    layer_by_layer: bool = False


LOSSES = {
    "masked_lm": Loss("masked_lm", _masked_lm),
    "soft_target": Loss("masked_lm", _soft_target),
    "cosine": Loss("tokens", _cosine, equal="hidden_size"),
    "embedding": Loss("tokens", _embedding),
    "hidden": Loss("tokens", _hidden, layer_by_layer=True),
    "attention": Loss("pairs", _attention, equal="num_attention_heads", layer_by_layer=True),
    "prediction": Loss("masked_lm", _prediction),
    "last_attention": Loss("tokens", _last_attention, equal="num_attention_heads"),
    "value_relation": Loss("tokens", _value_relation, equal="num_attention_heads"),
}
PROJECTED = ("embedding", "hidden")


def _at_logits(used: Mapping[str, float]) -> bool:
    return any(LOSSES[name].count == "masked_lm" for name in used)


def _used(weights: Mapping[str, float]) -> dict[str, float]:
    """The weights that are not 0."""
    weights = dict(weights)
    if set(weights) != set(LOSSES) or min(weights.values()) < 0 or not any(weights.values()):
        raise UserError(
            "objective.weights do not say how the losses are weighted",
            got=", ".join(f"{name}={weight}" for name, weight in weights.items()),
            expected=f"a number for each of {', '.join(LOSSES)}: none below 0, one above",
        )
    return {name: weight for name, weight in weights.items() if weight}


def _check(student: EncoderConfig, teacher: EncoderConfig, layers: Sequence[int], temperature: float, used: dict) -> None:
    """Raises UserError where the settings do not go with the sizes of the two encoders."""
    if temperature <= 0:
        raise UserError("objective.temperature is out of range", got=temperature, expected="above 0")
    if {student.block, teacher.block} != {"post_norm"}:
        blocks = f"model.block={student.block} of the student, {teacher.block} of the teacher"
        raise UserError("distillation compares layers of BERT's kind only", got=blocks, expected="post_norm in both")
    if student.left_to_right or teacher.left_to_right:
        raise UserError("distillation compares encoders that see the whole row", got="model.left_to_right=True", expected="False")
    depth, depth_above = student.num_hidden_layers, teacher.num_hidden_layers
    if not (depth and depth_above):
        raise UserError("distillation compares layers", got=f"{depth} of the student, {depth_above} of the teacher")
    if layers and (len(layers) != depth or not all(0 <= layer < depth_above for layer in layers)):
        raise UserError(
            "objective.teacher_layers does not name a layer of the teacher for each of the student",
            got=tuple(layers),
            expected=f"{depth} numbers from 0 to {depth_above - 1}, or none",
        )
    if layers and (student.num_hidden_groups or teacher.num_hidden_groups):
        raise UserError("layers that share weights cannot be taken over", fix="set --config.objective.teacher_layers='()'")
    for name in used:
        size, fix = LOSSES[name].equal, f"change the student, or set --config.objective.weights.{name}=0"
        if size and getattr(student, size) != getattr(teacher, size):
            both = f"{getattr(student, size)} of the student, {getattr(teacher, size)} of the teacher"
            raise UserError(f"the loss {name} needs the same model.{size} in both", got=both, fix=fix)
        if LOSSES[name].layer_by_layer and depth_above % depth:
            both = f"{depth} layers of the student, {depth_above} of the teacher"
            raise UserError(f"the loss {name} needs layers that divide those of the teacher", got=both, fix=fix)
