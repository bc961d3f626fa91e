"""By what a student is compared with its teacher: the losses of DistilBERT (Sanh et al. 2019, arXiv 1910.01108), TinyBERT (Jiao
et al. 2020, arXiv 1909.10351) and MiniLM (Wang et al. 2020, arXiv 2002.10957)."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from bert_jax.models.attention import scores, visible
from bert_jax.models.encoder import EncoderConfig
from bert_jax.objectives.apply import Layers
from bert_jax.objectives.losses import cross_entropy_sums, divergences, soft_cross_entropies


class View(NamedTuple):
    """What one of the two makes of a batch; logits where a loss looks at them."""

    config: EncoderConfig
    hidden_BLD: jax.Array
    layers: Layers
    logits: jax.Array | None


class Pair(NamedTuple):
    """What the losses compare.

    Attributes:
        project: (name of PROJECTED, the student's vectors) -> these in the teacher's width.
        labels, weights: what there is to predict; logits have the classes as one axis more.
    """

    student: View
    teacher: View
    batch: dict
    temperature: float
    project: Callable
    labels: jax.Array | None
    weights: jax.Array | None

    def both(self, of: Callable) -> tuple:
        return of(self.student), of(self.teacher)

    @property
    def every(self) -> int:
        """Layer m of the student, from 1, learns from layer g(m) = m * every of the teacher, "uniform" in TinyBERT, table 4."""
        return self.teacher.config.num_hidden_layers // self.student.config.num_hidden_layers


def truth_sums(pair: Pair):
    return cross_entropy_sums(pair.student.logits, pair.labels, pair.weights)


def _truth(pair: Pair):
    """The loss of the student alone."""
    return truth_sums(pair)[0]


def _soft_target(pair: Pair):
    """KL(teacher || student) at temperature T, times T^2, of what there is to predict (DistilBERT, section 2; its released
    distiller.py with --restrict_ce_to_mask: without it, as in the released command, at all places of the row)."""
    losses = divergences(*pair.both(lambda view: view.logits / pair.temperature))
    return pair.temperature**2 * jnp.sum(losses * pair.weights)


def _prediction(pair: Pair):
    """Cross-entropy of the student under the teacher at temperature 1 (TinyBERT, section 3.1) of what there is to predict."""
    return jnp.sum(soft_cross_entropies(*pair.both(lambda view: view.logits)) * pair.weights)


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
    seen_B1LL = seen_pairs(pair.batch)

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


def seen_pairs(batch: dict) -> jax.Array:
    """bool[B, 1, L, L]: the tokens that see each other."""
    return visible(batch["input_mask"], batch.get("sequence_ids")) & (batch["input_mask"] > 0)[:, None, :, None]


class Loss(NamedTuple):
    """
    Attributes:
        count: by which its sum is divided: "tokens", or "pairs" of tokens that see each other; none: what there is to predict.
        sum: Pair -> float32.
        equal: a size that student and teacher must have in common.
        layer_by_layer: whether the student's layers must divide those of the teacher.
    """

    count: str | None
    sum: Callable
    equal: str = ""
    layer_by_layer: bool = False


LOSSES = {
    "masked_lm": Loss(None, _truth),
    "soft_target": Loss(None, _soft_target),
    "cosine": Loss("tokens", _cosine, equal="hidden_size"),
    "embedding": Loss("tokens", _embedding),
    "hidden": Loss("tokens", _hidden, layer_by_layer=True),
    "attention": Loss("pairs", _attention, equal="num_attention_heads", layer_by_layer=True),
    "prediction": Loss(None, _prediction),
    "last_attention": Loss("tokens", _last_attention, equal="num_attention_heads"),
    "value_relation": Loss("tokens", _value_relation, equal="num_attention_heads"),
}
PROJECTED = ("embedding", "hidden")
