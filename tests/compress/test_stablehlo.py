"""Models written as StableHLO: read back by jax alone, they give what the objective gives, for any number and length of rows."""

import json
import subprocess
import sys

import jax
import numpy as np
import pytest

from bert_jax.compress import stablehlo
from bert_jax.errors import UserError
from bert_jax.models.encoder import EncoderConfig
from bert_jax.models.features import Feature
from bert_jax.objectives import answer, causal_lm, choose, classify, contrastive, electra, encoder_alone, pretrain, spanbert, tag

pytest.importorskip("flatbuffers", reason="no flatbuffers: pip install -e '.[export]'")
SIZES = {
    "vocab_size": 50,
    "hidden_size": 16,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "max_position_embeddings": 40,
}
ENCODERS = {
    "bert": {},
    "albert": {"embedding_size": 8, "num_hidden_groups": 1},
    "roberta": {"position_offset": 2, "max_position_embeddings": 42, "type_vocab_size": 1},
    "modern": {"block": "pre_norm", "type_vocab_size": 0, "local_attention": 8, "use_bias": False},
    "left to right": {"left_to_right": True},
    "sinusoidal": {"positions": "sinusoidal", "type_vocab_size": 0},
    "bfloat16": {"dtype": "bfloat16"},
    "unrolled": {"unroll_layers": True},
}
OBJECTIVES = {
    "bert": lambda config: pretrain.bert(config, next_sentence=True),
    "causal_lm": causal_lm.causal_lm,
    "electra": lambda config: electra.electra(config, generator_size=0.5, encoder_weight=50.0, learns="replaced"),
    "spanbert": lambda config: spanbert.spanbert(config, max_span_pieces=10),
    "simcse": lambda config: contrastive.simcse(config, temperature=0.05, pooling="cls", mlp="training"),
    "classify": lambda config: classify.classify(config, 3),
    "tag": lambda config: tag.tag(config, 4),
    "answer": answer.answer,
    "choose": choose.choose,
    "encoder": lambda config: encoder_alone.encoder_alone(config, replaced=False),
}


def batch_of(rows: int, length: int, texts: int = 0) -> dict:
    rng = np.random.default_rng(rows * 100 + length)
    shape = (rows, texts, length) if texts else (rows, length)
    mask = np.arange(length) < rng.integers(2, length + 1, shape[:-1])[..., None]
    return {
        "input_ids": np.where(mask, rng.integers(5, 50, shape), 0).astype(np.int32),
        "input_mask": mask.astype(np.int32),
        "segment_ids": (mask & (np.arange(length) > length // 2)).astype(np.int32),
        "masked_lm_positions": rng.integers(1, length, (rows, 3)).astype(np.int32),
        "word_ids": np.where(mask, np.arange(length), 0).astype(np.int32) if not texts else None,
    }


def check(objective, encoder, folder, texts: int = 0, tolerance: float = 1e-6) -> dict:
    params = objective.init(jax.random.key(0))
    stablehlo.write(folder, objective, params, encoder, of_choices=bool(texts))
    function, facts = stablehlo.read(folder), json.loads((folder / stablehlo.FACTS).read_text())
    for rows, length in ((1, 5), (3, 40)):
        batch = {name: array for name, array in batch_of(rows, length, texts).items() if name in facts["inputs"]}
        ours, again = jax.jit(objective.predict)(params, batch), function(batch)
        assert sorted(again) == sorted(ours) == facts["outputs"]
        for name, array in ours.items():
            np.testing.assert_allclose(np.asarray(again[name], np.float32), np.asarray(array, np.float32), atol=tolerance)
    return facts


@pytest.mark.parametrize("name", ENCODERS)
def test_every_kind_of_encoder_gives_the_same_after_the_way_to_disk(name, tmp_path):
    encoder = EncoderConfig(**SIZES | ENCODERS[name])
    check(classify.classify(encoder, 3), encoder, tmp_path, tolerance=2e-2 if name == "bfloat16" else 1e-6)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_every_objective_gives_the_same_after_the_way_to_disk(name, tmp_path):
    encoder = EncoderConfig(**SIZES, left_to_right=name == "causal_lm")
    facts = check(OBJECTIVES[name](encoder), encoder, tmp_path, texts=2 if name == "choose" else 0)
    assert facts["longest_row"] == 40 and facts["platforms"] == ["cpu", "cuda", "tpu"]
    assert facts["inputs"]["input_ids"] == [["rows", "texts", "length"] if name == "choose" else ["rows", "length"], "int32"]
    assert ("masked_lm_positions" in facts["inputs"]) == (name in ("bert", "causal_lm", "electra", "spanbert"))


def test_parameters_that_training_alone_needs_are_left_out(tmp_path):
    encoder = EncoderConfig(**SIZES)
    check(spanbert.spanbert(encoder, max_span_pieces=10), encoder, tmp_path)
    with np.load(tmp_path / stablehlo.PARAMS) as kept:
        assert not [name for name in kept if name.startswith("span_boundary")]
        assert "encoder/embeddings/word/embedding" in kept


def test_a_feature_of_tokens_is_an_input(tmp_path):
    encoder = EncoderConfig(**SIZES, features=(Feature("pinyin", "vector", size=6),))
    objective = classify.classify(encoder, 2)
    stablehlo.write(tmp_path, objective, objective.init(jax.random.key(0)), encoder)
    assert json.loads((tmp_path / stablehlo.FACTS).read_text())["inputs"]["feature_pinyin"] == [
        ["rows", "length", "6"],
        "float32",
    ]


def test_an_lstm_is_refused_in_words(tmp_path):
    encoder = EncoderConfig(**SIZES, num_lstm_layers=1)
    objective = classify.classify(encoder, 2)
    with pytest.raises(UserError, match="without a BiLSTM"):
        stablehlo.write(tmp_path, objective, objective.init(jax.random.key(0)), encoder)
    assert not list(tmp_path.iterdir())


def test_a_program_without_this_code_reads_it(tmp_path):
    encoder = EncoderConfig(**SIZES)
    objective = classify.classify(encoder, 3)
    params = objective.init(jax.random.key(0))
    stablehlo.write(tmp_path, objective, params, encoder)
    batch = {name: array for name, array in batch_of(2, 9).items() if name in ("input_ids", "input_mask", "segment_ids")}
    np.savez(tmp_path / "batch.npz", **batch)
    code = """
import numpy as np
from jax import export
function = export.deserialize(bytearray(open("model.stablehlo", "rb").read()))
outputs = function.call(dict(np.load("params.npz")), dict(np.load("batch.npz")))
np.save("logits.npy", outputs["logits_BC"])
import sys
assert "bert_jax" not in sys.modules and "flax" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)
    np.testing.assert_allclose(np.load(tmp_path / "logits.npy"), objective.predict(params, batch)["logits_BC"], atol=1e-6)
