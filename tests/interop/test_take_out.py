"""What of a training run goes out, and what is left out because only training has a use for it."""

import json

import jax
import numpy as np
import pytest

from bert_jax import config as configs
from bert_jax import convert
from bert_jax import workdir as workdirs
from bert_jax.__main__ import main
from bert_jax.build import build_objective, encoder_config
from bert_jax.errors import UserError
from bert_jax.interop import huggingface
from bert_jax.text import wordpiece
from bert_jax.trained import open_trained, save_start
from tests import tiny
from tests.interop import small
from tests.parity.test_classify import OBJECTIVES

SIZES = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "max_position_embeddings": 24,
}
RUNS = {  # config -> (the class that goes out, what is left out)
    "electra.py:tiny": ("ElectraForPreTraining", "generator"),
    "spanbert.py:tiny": ("BertForMaskedLM", "span_boundary"),
    "simcse.py:unsup": ("BertModel", "mlp"),
    "distill.py:tinybert": ("BertModel", "projections"),
}


def load(name: str, *settings: str, **model):
    sizes = [f"model.{key}={value}" for key, value in (SIZES | model).items()]
    return configs.load(str(tiny.ROOT / "configs" / name), [*sizes, *settings])


def make_run(name: str, workdir, *settings: str, **model):
    """The workdir of a run of this config that was saved with random weights."""
    workdir.mkdir()
    config, teacher = load(name, *settings, **model), load("bert.py:tiny", hidden_size=20).model.to_dict()
    wordpiece.save_vocab(small.PIECES, workdir / "vocab.txt")
    tokenizer = wordpiece.load(workdir / "vocab.txt", do_lower_case=config.text.do_lower_case)
    objective = build_objective(config, tokenizer.size, teacher)
    shapes, draw = jax.eval_shape(objective.init, jax.random.key(0)), np.random.default_rng(0)
    params = jax.tree.map(lambda leaf: draw.normal(scale=0.3, size=leaf.shape).astype(np.float32), shapes)
    facts = {"vocabulary": tokenizer.content_hash, "teacher_model": teacher}
    save_start(workdir / "checkpoints", objective, params, facts)
    with config.unlocked():
        del config.optim
    workdirs.write_config(config, workdir, facts)


@pytest.mark.parametrize("name", RUNS)
def test_what_only_training_uses_is_left_out_and_named(name, tmp_path, capsys):
    kind, left_out = RUNS[name]
    make_run(name, tmp_path / "W")
    assert main(["convert", f"--workdir={tmp_path / 'W'}", f"--to={tmp_path / 'out'}", "--num_strings=10"]) == 0
    assert f"{kind}, without {left_out}, of use in training alone" in capsys.readouterr().out
    assert f"| left out, of use in training alone | {left_out} |" in (tmp_path / "out" / "README.md").read_text()
    assert json.loads((tmp_path / "out" / "config.json").read_text())["architectures"] == [kind]


def test_both_parts_of_electra_give_the_logits_of_the_run(tmp_path):
    torch = pytest.importorskip("torch", reason="the parity extra is not installed")
    transformers = pytest.importorskip("transformers", reason="the parity extra is not installed")
    make_run("electra.py:tiny", tmp_path / "W", embedding_size=12)
    for part, kind in (("encoder", "ElectraForPreTraining"), ("generator", "ElectraForMaskedLM")):
        convert.take_out(tmp_path / "W", tmp_path / part, num_strings=10, part=part, say=str)
        peer = getattr(transformers, kind).from_pretrained(tmp_path / part)
        ids = np.arange(5, 15, dtype=np.int32)[None]
        batch = {"input_ids": ids, "input_mask": np.ones_like(ids), "segment_ids": np.zeros_like(ids)}
        batch["masked_lm_positions"] = np.arange(10, dtype=np.int32)[None]
        trained = open_trained(tmp_path / "W")
        found = jax.jit(trained.objective.predict)(trained.params, batch)
        with torch.no_grad():
            expected = peer.eval()(torch.from_numpy(ids).long()).logits
        np.testing.assert_allclose(found["logits_BL" if part == "encoder" else "logits_BPV"], expected, atol=1e-4, rtol=0)


def test_the_head_that_makes_the_vectors_of_sentences_goes_out_as_the_pooler(tmp_path):
    torch = pytest.importorskip("torch", reason="the parity extra is not installed")
    transformers = pytest.importorskip("transformers", reason="the parity extra is not installed")
    make_run("simcse.py:unsup", tmp_path / "W", "objective.mlp=always")
    convert.take_out(tmp_path / "W", tmp_path / "out", num_strings=10, say=str)
    peer, trained = transformers.BertModel.from_pretrained(tmp_path / "out").eval(), open_trained(tmp_path / "W")
    ids = np.arange(5, 15, dtype=np.int32)[None]
    batch = {"input_ids": ids, "input_mask": np.ones_like(ids), "segment_ids": np.zeros_like(ids)}
    with torch.no_grad():
        expected = peer(torch.from_numpy(ids).long()).pooler_output
    np.testing.assert_allclose(trained.objective.predict(trained.params, batch)["embedding_BD"], expected, atol=1e-4, rtol=0)

    make_run("simcse.py:unsup", tmp_path / "M", "objective.mlp=always", "objective.pooling=mean")
    with pytest.raises(UserError, match="a layer that no class of transformers has"):
        convert.take_out(tmp_path / "M", tmp_path / "mean", num_strings=10, say=str)


def test_tables_as_wide_as_the_layers_go_out_with_their_width(tmp_path):
    make_run("electra.py:tiny", tmp_path / "W", embedding_size=0)
    convert.take_out(tmp_path / "W", tmp_path / "out", num_strings=10, say=str)
    assert huggingface.read_json(tmp_path / "out" / "config.json")["embedding_size"] == SIZES["hidden_size"]
    convert.bring_in(tmp_path / "out", tmp_path / "back", num_strings=10, say=str)


def test_a_run_without_a_generator_has_none_to_take_out(tmp_path, capsys):
    make_run("spanbert.py:tiny", tmp_path / "W")
    arguments = ["convert", f"--workdir={tmp_path / 'W'}", f"--to={tmp_path / 'out'}", "--part=generator"]
    assert main(arguments) == 2
    assert "the run has no generator" in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["W"]


@pytest.mark.parametrize(
    ("name", "family"),
    [
        ("bert.py:base", "Bert"),
        ("roberta.py:base", "Roberta"),
        ("albert.py:base", "Albert"),
        ("electra.py:small", "Electra"),
        ("electra.py:base", "Electra"),
        ("distill.py:distilbert", "DistilBert"),
        ("modern.py:base", "ModernBert"),
    ],
)
def test_what_is_fine_tuned_from_a_config_is_a_classifier_of_its_family(name, family):
    task = "SequenceClassification"
    model = configs.load(str(tiny.ROOT / "configs" / name)).model
    encoder = encoder_config({**model, "pooler": True}, 1000)
    params = jax.eval_shape(OBJECTIVES[task][0](encoder).init, jax.random.key(0))
    pad_id = encoder.position_offset - 1 if encoder.position_offset else 0
    assert huggingface.expressed(encoder, params, pad_id)[1] == f"{family}For{task}"
