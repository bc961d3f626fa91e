"""The ablations of ELECTRA, from the outputs of its own parts by the paper's words; parity is tested in tests/parity."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bert_jax.batch import Context
from bert_jax.errors import UserError
from bert_jax.models.encoder import Encoder, EncoderConfig
from bert_jax.models.features import Feature, OfPiece
from bert_jax.models.heads import MaskedLMHead, PieceHead
from bert_jax.objectives.apply import encode
from bert_jax.objectives.electra import TASKS, at_masks, electra, generator_config, sample
from tests.parity import case

CONFIG = EncoderConfig(num_hidden_layers=2, **case.SIZES | {"pooler": False, "initializer_range": 0.3})
KEY = jax.random.key(3)


def batch():
    return case.as_jax(case.batch() | {"example_id": np.arange(4, dtype=np.int32)})


def objective(learns: str, **settings):
    return electra(CONFIG, **{"generator_size": 0.5, "encoder_weight": 1.0} | settings, learns=learns)


def means(learned, params, data) -> dict:
    return jax.jit(lambda: learned.means(learned.sums(params, data, Context(row_rng=KEY)), learned.counts(data)))()


def log_softmax(logits):
    logits = np.asarray(logits, np.float64)
    return logits - np.log(np.exp(logits).sum(-1, keepdims=True))


def refilled(learned, params, data) -> tuple[np.ndarray, np.ndarray]:
    """(ids with the generator's pieces, original ids)."""
    pieces = sample(learned.predict(params, data)["logits_BPV"], KEY, data["example_id"])
    return np.asarray(at_masks(data, pieces)), np.asarray(at_masks(data, data["masked_lm_ids"]))


def test_only_used_slots_are_filled():
    data = batch()
    ids = np.asarray(at_masks(data, jnp.full((4, 5), 66)))
    changed = ids != np.asarray(data["input_ids"])
    assert changed.sum() == np.asarray(data["masked_lm_weights"]).sum() and set(ids[changed]) == {66}


def test_replace_mlm_is_the_masked_lm_loss_of_a_row_without_masks():
    learned, data = objective("replace_mlm"), batch()
    params = jax.jit(learned.init)(jax.random.key(0))
    ids, _ = refilled(learned, params, data)
    out = encode(Encoder(CONFIG), params["encoder"], data | {"input_ids": ids}, None)
    logits = MaskedLMHead(CONFIG).apply(
        {"params": params["masked_lm"]}, out.hidden_BLD, data["masked_lm_positions"], out.word_table_VD
    )
    picked = np.take_along_axis(log_softmax(logits), np.asarray(data["masked_lm_ids"])[..., None], axis=-1)[..., 0]
    used = np.asarray(data["masked_lm_weights"]) > 0
    assert float(means(learned, params, data)["restored_loss"]) == pytest.approx(-picked[used].mean(), abs=1e-5)


def test_all_tokens_mlm_copies_with_the_probability_of_its_gate():
    """Section 3.4: D(x) of the probability on the piece that stands there, the rest by the softmax."""
    learned, data = objective("all_tokens_mlm"), batch()
    params = jax.jit(learned.init)(jax.random.key(0))
    params["replaced"]["logit"]["bias"] += 0.7
    ids, original = refilled(learned, params, data)
    out = encode(Encoder(CONFIG), params["encoder"], data | {"input_ids": ids}, None)
    gate = 1 / (1 + np.exp(-np.asarray(PieceHead(CONFIG).apply({"params": params["replaced"]}, out.hidden_BLD), np.float64)))
    everywhere = np.tile(np.arange(20), (4, 1))
    logits = MaskedLMHead(CONFIG).apply({"params": params["masked_lm"]}, out.hidden_BLD, everywhere, out.word_table_VD)
    softmax = np.take_along_axis(np.exp(log_softmax(logits)), original[..., None], axis=-1)[..., 0]
    prob = gate * (ids == original) + (1 - gate) * softmax
    real = np.asarray(data["input_mask"]) > 0
    assert (ids != original)[real].any()
    assert float(means(learned, params, data)["restored_loss"]) == pytest.approx(-np.log(prob)[real].mean(), abs=1e-5)


def test_no_gradient_reaches_the_generator_but_by_its_own_loss():
    learned, data = objective("replaced"), batch()
    params = jax.jit(learned.init)(jax.random.key(0))
    gradient = jax.jit(jax.grad(lambda p: learned.sums(p, data, Context(row_rng=KEY))["replaced_loss"]))(params)
    assert all(not np.any(leaf) for leaf in jax.tree.leaves(gradient["generator"]))
    assert np.any(gradient["encoder"]["embeddings"]["word"]["embedding"])


def test_the_tables_are_one_and_the_projection_is_the_generators_own():
    params = jax.eval_shape(objective("replaced").init, jax.random.key(0))
    assert set(params["generator"]["encoder"]["embeddings"]) == {"projection"}
    same = jax.eval_shape(objective("replaced", generator_size=1.0).init, jax.random.key(0))
    assert "embeddings" not in same["generator"]["encoder"]


def test_the_generators_sizes_are_those_of_the_released_code():
    base = EncoderConfig(vocab_size=10, pooler=False)
    small = generator_config(base, 0.3333)
    assert (small.hidden_size, small.num_attention_heads, small.intermediate_size, small.table_width) == (256, 4, 1024, 768)


def test_features_are_the_generators_too_unless_they_would_show_the_masks():
    def with_feature(hidden: bool):
        config = replace(CONFIG, features=(Feature("word_place", "ids", 5, hidden=hidden),))
        return electra(config, generator_size=0.5, encoder_weight=1.0, learns="replaced")

    learned, data = with_feature(False), batch()
    data["feature_word_place"] = data["input_ids"] % 5
    params = jax.eval_shape(learned.init, jax.random.key(0))
    assert set(params["generator"]["encoder"]["embeddings"]) == {"projection"}
    assert set(jax.eval_shape(lambda p: learned.sums(p, data, Context(row_rng=KEY)), params)) == set(learned.terms)
    with pytest.raises(UserError, match=r"(?s)would show where the masks were.*model\.features\.word_place\.hidden=True"):
        with_feature(True)


def test_the_encoder_is_told_of_the_pieces_that_the_generator_put_in(monkeypatch):
    """So that what follows from the piece does not show it where the masks were."""
    learned = electra(
        replace(CONFIG, features=(Feature("pinyin", "ids", 5, file="f"),)),
        generator_size=0.5,
        encoder_weight=1.0,
        learns="replaced",
    )
    params, data, seen = jax.jit(learned.init)(KEY), batch(), []
    assert set(params["generator"]["encoder"]["embeddings"]) == {"projection"}
    look_up = OfPiece.__call__
    monkeypatch.setattr(OfPiece, "__call__", lambda self, ids_BL: (seen.append(ids_BL), look_up(self, ids_BL))[1])
    masked, filled = jax.jit(lambda params: (learned.sums(params, data, Context(row_rng=KEY)), seen)[1])(params)
    np.testing.assert_array_equal(masked, data["input_ids"])
    assert (filled != masked).any()


@pytest.mark.parametrize("learns", TASKS)
def test_every_metric_has_its_term(learns):
    learned, data = objective(learns), batch()
    params = jax.eval_shape(learned.init, jax.random.key(0))
    assert set(jax.eval_shape(lambda p: learned.sums(p, data, Context(row_rng=KEY)), params)) == set(learned.terms)


def test_what_is_not_there_is_named():
    with pytest.raises(UserError, match="replaced or replaced_at_masks or replace_mlm or all_tokens_mlm"):
        objective("copying")
    with pytest.raises(UserError, match="generator_size"):
        objective("replaced", generator_size=1.5)
