"""A class for each piece, such as the first one of every word, as named entities are found (BERT paper, section 5.3)."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from bert_jax.errors import UserError
from bert_jax.models import crf
from bert_jax.models.encoder import Encoder, EncoderConfig
from bert_jax.models.heads import TokenHead
from bert_jax.models.pooling import mean_of_words
from bert_jax.objectives.apply import encode, init_encoder
from bert_jax.objectives.classify import dropped
from bert_jax.objectives.losses import cross_entropy_sums, totals
from bert_jax.objectives.objective import Objective, Term


def _first(hidden_BLD, batch) -> jax.Array:
    return hidden_BLD


def _mean(hidden_BLD, batch) -> jax.Array:
    return mean_of_words(hidden_BLD, batch["word_ids"]).astype(hidden_BLD.dtype)


# What stands at the first piece of a word for it: its own vector, as in the paper, or the mean over all pieces of the word.
WORD_VECTORS: dict[str, Callable] = {"first": _first, "mean": _mean}


def tag(config: EncoderConfig, num_classes: int, word_vector: str = "first") -> Objective:
    """Mean cross-entropy over the pieces of label_weights 1.

    Params are {"encoder", "token_classifier"}; predict gives logits_BLC.

    Args:
        word_vector: of WORD_VECTORS; "mean" reads word_ids.
    """
    return tagger(config, num_classes, _encoded(config, word_vector), SOFTMAX)


def tag_crf(config: EncoderConfig, num_classes: int, word_vector: str = "first") -> Objective:
    """BERT-CRF (Souza, Nogueira and Lotufo 2019, arXiv 1909.10649, section 3.2): the logits of `tag` are the emissions of a
    chain over the words of the row, the pieces of label_weights 1; others are passed over.

    The loss is the mean over the rows with words of the negative log-likelihood divided by the number of words, so that a long
    sentence weighs as much as a short one (neuralmind-ai/portuguese-bert ner_evaluation/model.py, BertCRF.forward).

    Params are {"encoder", "token_classifier", "crf": {"transitions", "start", "end"}}; predict gives logits_BLC, tags_BL, the
    best path, 0 elsewhere than at words, and probabilities_BLC, those of each tag over all paths.
    """
    return tagger(config, num_classes, _encoded(config, word_vector), CRF)


class Vectors(NamedTuple):
    """What a head is given.

    Attributes:
        init: (rng, out of two pieces) -> (params beside the encoder, vectors of the two pieces).
        of: (params, batch, rng) -> vectors_BLD; with a key, and then only, with dropout.
    """

    init: Callable[..., tuple[dict, jax.Array]]
    of: Callable[..., jax.Array]


class Decoder(NamedTuple):
    """What becomes of the logits.

    Attributes:
        init: (rng, number of classes) -> further params.
        counts: batch -> counts beside "labels" and "tokens".
        sums: (params, logits_BLC, batch) -> the sums of `terms`.
        predict: (params, logits_BLC, batch) -> what is predicted beside the logits.
    """

    init: Callable[..., dict]
    counts: Callable[[dict], dict]
    sums: Callable[..., dict]
    terms: dict[str, Term]
    predict: Callable[..., dict]


def _encoded(config: EncoderConfig, word_vector: str) -> Vectors:
    """The last layer of the encoder."""
    if word_vector not in WORD_VECTORS:
        raise UserError("objective.word_vector is unknown", got=word_vector, expected=" or ".join(WORD_VECTORS))

    def of(params, batch, rng):
        return WORD_VECTORS[word_vector](encode(Encoder(config), params["encoder"], batch, rng).hidden_BLD, batch)

    return Vectors(lambda rng, out: ({}, out.hidden_BLD), of)


def tagger(config: EncoderConfig, num_classes: int, vectors: Vectors, decoder: Decoder) -> Objective:
    """One new layer on the vectors, with dropout between them."""
    head = TokenHead(config, num_classes)

    def init(rng):
        encoder_rng, head_rng = jax.random.split(rng)
        encoder, out = init_encoder(Encoder(config), encoder_rng)
        more, given_BLD = vectors.init(jax.random.fold_in(head_rng, 1), out)
        learned = {"encoder": encoder, "token_classifier": head.init(head_rng, given_BLD)["params"]}
        return learned | more | decoder.init(jax.random.fold_in(head_rng, 2), num_classes)

    def logits(params, batch, rng):
        encoder_rng, head_rng = (None, None) if rng is None else jax.random.split(rng)
        given_BLD = dropped(config, vectors.of(params, batch, encoder_rng), head_rng)
        return head.apply({"params": params["token_classifier"]}, given_BLD)

    def counts(batch):
        return totals({"labels": batch["label_weights"], "tokens": batch["input_mask"]}) | decoder.counts(batch)

    def sums(params, batch, context):
        return decoder.sums(params, logits(params, batch, context.rng), batch)

    def predict(params, batch):
        logits_BLC = logits(params, batch, None)
        return {"logits_BLC": logits_BLC} | decoder.predict(params, logits_BLC, batch)

    return Objective(init, counts, sums, decoder.terms, predict)


def _softmax_sums(params, logits_BLC, batch) -> dict:
    loss, hits = cross_entropy_sums(logits_BLC, batch["label_ids"], batch["label_weights"])
    return {"loss": loss, "accuracy": hits}


SOFTMAX = Decoder(
    init=lambda rng, num_classes: {},
    counts=lambda batch: {},
    sums=_softmax_sums,
    terms={"loss": Term("labels", 1.0), "accuracy": Term("labels")},
    predict=lambda params, logits_BLC, batch: {},
)


def _init_crf(rng, num_classes: int) -> dict:
    """Uniform between -0.1 and 0.1, as in the library that BERT-CRF takes (kmkurn/pytorch-crf, CRF.reset_parameters)."""
    shapes = {"transitions": (num_classes, num_classes), "start": (num_classes,), "end": (num_classes,)}
    rngs = jax.random.split(rng, len(shapes))
    return {"crf": {name: jax.random.uniform(key, shapes[name], minval=-0.1, maxval=0.1) for name, key in zip(shapes, rngs)}}


def _chain(params, logits_BLC, batch) -> tuple:
    """The arguments of the functions of models/crf.py."""
    scores = params["crf"]
    return logits_BLC, batch["label_weights"] > 0, scores["transitions"], scores["start"], scores["end"]


def _crf_sums(params, logits_BLC, batch) -> dict:
    chain = _chain(params, logits_BLC, batch)
    words_BL = chain[1].astype(jnp.float32)
    surprise_B = crf.log_partition(*chain) - crf.path_score(batch["label_ids"], *chain)
    tags_BL, _ = crf.viterbi(*jax.lax.stop_gradient(chain))
    return {
        "loss": jnp.sum(surprise_B / jnp.maximum(words_BL.sum(axis=1), 1)),
        "accuracy": jnp.sum((tags_BL == batch["label_ids"]) * words_BL),
    }


def _crf_predictions(params, logits_BLC, batch) -> dict:
    chain = _chain(params, logits_BLC, batch)
    return {"tags_BL": crf.viterbi(*chain)[0], "probabilities_BLC": crf.marginals(*chain)}


CRF = Decoder(
    init=_init_crf,
    counts=lambda batch: totals({"sentences": jnp.max(batch["label_weights"], axis=1) > 0}),
    sums=_crf_sums,
    terms={"loss": Term("sentences", 1.0), "accuracy": Term("labels")},
    predict=_crf_predictions,
)
