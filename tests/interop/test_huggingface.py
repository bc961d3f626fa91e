"""Directories that are not what they say: one message that names file and tensor, exit code 2, and no workdir."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest

from bert_jax.__main__ import main
from bert_jax.errors import UserError
from bert_jax.interop import huggingface, safetensors, vocabulary
from bert_jax.objectives.pretrain import bert
from bert_jax.text import wordpiece
from tests.interop import small

QUERY = "bert.encoder.layer.1.attention.self.query.weight"


@pytest.fixture
def made(tmp_path):
    return small.write(tmp_path / "hf")


@pytest.fixture
def refused(made, tmp_path, capsys):
    """Brings the directory in, which must fail; returns the message."""

    def check() -> str:
        assert main(["convert", f"--from={made.folder}", f"--workdir={tmp_path / 'W'}", "--num_strings=10"]) == 2
        message = capsys.readouterr().err
        assert message.startswith("error: ") and "Traceback" not in message
        assert sorted(path.name for path in tmp_path.iterdir()) == ["hf"]
        return message

    return check


def change_config(made, **changes):
    path = made.folder / "config.json"
    values = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({key: value for key, value in values.items() if value is not None}))


def change_tensors(made, **changes):
    path = made.folder / "model.safetensors"
    tensors = {name: np.array(array) for name, array in safetensors.read(path).items()}
    tensors |= {name.replace("__", "."): array for name, array in changes.items()}
    safetensors.write(path, {name: array for name, array in tensors.items() if array is not None})


def test_the_directory_those_are_made_from_comes_in(made, tmp_path):
    assert main(["convert", f"--from={made.folder}", f"--workdir={tmp_path / 'W'}", "--num_strings=10"]) == 0


@pytest.mark.parametrize(
    "variant",
    [
        {"left_to_right": True},
        {"num_lstm_layers": 1},
        {"positions": "sinusoidal"},
        {"positions": "none"},
        {"embedding_norm": False},
        {"num_hidden_layers": 0},
    ],
    ids=str,
)
def test_an_encoder_that_computes_otherwise_does_not_go_out(made, variant):
    encoder = replace(made.encoder, **variant)
    params = jax.eval_shape(bert(encoder).init, jax.random.key(0))
    assert huggingface.expressed(made.encoder, made.params, 0) == ("bert", "BertForPreTraining")
    with pytest.raises(UserError, match=f"no class of transformers computes what this model does\n.*{[*variant][0]}"):
        huggingface.expressed(encoder, params, 0)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("model_type", "gpt2", "model_type is not one that is supported here\n  got:      gpt2\n  expected: bert or roberta"),
        ("model_type", None, 'do:       name it there: "model_type": "bert" for'),
        ("model_type", [], "model_type is not one"),
        ("architectures", [{}], "architectures is not one"),
        ("architectures", ["BertLMHeadModel"], "architectures is not one"),
        ("architectures", ["BertForQuestionAnswering"], "no tensors of its answer_span"),
        ("architectures", "BertModel", "architectures is not one"),
        ("architectures", ["BertForSequenceClassification"], "no tensors of its classifier"),
        ("hidden_act", "silu", "model.hidden_act is unknown"),
        ("is_decoder", True, "is_decoder is not one"),
        ("position_embedding_type", "relative_key", "position_embedding_type is not one"),
        ("tie_word_embeddings", False, "tie_word_embeddings is not one"),
        ("num_attention_heads", 0, "num_attention_heads is not one"),
        ("num_attention_heads", "2", "num_attention_heads is not one"),
        ("hidden_size", 9, "config.json: model.hidden_size does not divide"),
        ("layer_norm_eps", None, "layer_norm_eps is not one"),
        ("layer_norm_eps", float("nan"), "config.json: layer_norm_eps is not one"),
        ("layer_norm_eps", 10**400, "config.json: layer_norm_eps is not one"),
        (
            "hidden_dropout_prob",
            7.0,
            "hidden_dropout_prob is not one that is supported here\n  got:      7.0\n  expected: from 0",
        ),
        ("initializer_range", -1, "config.json: initializer_range is not one"),
        ("hidden_size", 2**40, "config.json: hidden_size is not one"),
        ("hidden_size", 2**63, "config.json: hidden_size is not one"),
        ("hidden_size", 2**20, "bert.embeddings.LayerNorm.bias is not what config.json says"),
        ("num_hidden_layers", 10**9, "config.json: num_hidden_layers is not one"),
        ("num_hidden_layers", 2**12, "lacks a tensor of BertForPreTraining"),
        ("intermediate_size", 2**63, "config.json: intermediate_size is not one"),
        ("max_position_embeddings", 2**40, "config.json: max_position_embeddings is not one"),
        ("max_position_embeddings", 2**30, "position_embeddings.weight is not what config.json says"),
        ("type_vocab_size", 2**40, "config.json: type_vocab_size is not one"),
        ("type_vocab_size", 2**30, "token_type_embeddings.weight is not what config.json says"),
        ("vocab_size", 2**63, "config.json: model.vocab_size is out of range"),
        ("vocab_size", None, "vocab_size is not one"),
        ("vocab_size", 50, "the vocabulary does not fit the word table of the model"),
        ("hidden_size", 16, "bert.embeddings.LayerNorm.bias is not what config.json says\n  got:      [8] in float32"),
        ("num_hidden_layers", 3, "lacks a tensor of BertForPreTraining\n  got:      no bert.encoder.layer.2."),
        ("num_hidden_layers", 1, "holds a tensor that BertForPreTraining does not have\n  got:      bert.encoder.layer.1."),
    ],
)
def test_a_config_that_does_not_fit(key, value, message, made, refused):
    change_config(made, **{key: value})
    assert message in refused()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({QUERY: None}, f"no {QUERY}"),
        ({QUERY: np.zeros((8, 9))}, f"{QUERY} is not what config.json says\n  got:      [8, 9]"),
        ({"bert.encoder.layer.0.crossattention.self.key.bias": np.zeros(8)}, "layer.0.crossattention.self.key.bias"),
        ({"cls.predictions.decoder.weight": np.zeros((35, 8))}, "cls.predictions.decoder.weight has values of its own"),
        ({"bert.embeddings.position_ids": np.ones((1, 16))}, "bert.embeddings.position_ids has values of its own"),
        ({"bert.pooler.dense.weight": None}, "no bert.pooler.dense"),
    ],
)
def test_tensors_that_do_not_fit(changes, message, made, refused):
    change_tensors(made, **changes)
    found = refused()
    assert message in found and "model.safetensors" in found


def test_copies_that_are_copies_are_fine(made):
    word = made.params["encoder"]["embeddings"]["word"]["embedding"]
    change_tensors(
        made,
        **{
            "cls.predictions.decoder.weight": word,
            "cls.predictions.decoder.bias": made.params["masked_lm"]["bias"],
            "bert.embeddings.position_ids": np.arange(16)[None],
        },
    )
    found = huggingface.params_of(huggingface.read(made.folder), made.params)
    np.testing.assert_array_equal(found["encoder"]["embeddings"]["word"]["embedding"], word)


def test_old_names_and_an_encoder_by_itself_are_read(made):
    model = huggingface.read(made.folder)
    old = {"LayerNorm.weight": "LayerNorm.gamma", "LayerNorm.bias": "LayerNorm.beta"}
    tensors = {}
    for name, array in model.tensors.items():
        for new, before in old.items():
            name = name.replace(new, before)
        if name.startswith("bert."):
            tensors[name.removeprefix("bert.")] = array
    safetensors.write(made.folder / "model.safetensors", tensors)
    change_config(made, architectures=["BertModel"])
    found = huggingface.read(made.folder)
    assert found.kind == "BertModel" and found.encoder["pooler"]
    back = huggingface.params_of(found, {"encoder": made.params["encoder"]})
    np.testing.assert_array_equal(
        back["encoder"]["layers"]["output_norm"]["scale"][1], tensors["encoder.layer.1.output.LayerNorm.gamma"]
    )


def shard(made) -> dict:
    """Cuts the weights into two shards; gives the index."""
    tensors = safetensors.read(made.folder / "model.safetensors")
    names = sorted(tensors)
    files = {"model-00001-of-00002.safetensors": names[::2], "model-00002-of-00002.safetensors": names[1::2]}
    for file, held in files.items():
        safetensors.write(made.folder / file, {name: tensors[name] for name in held})
    (made.folder / "model.safetensors").unlink()
    return {name: file for file, held in files.items() for name in held}


def write_index(made, file_of: dict):
    (made.folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": file_of}))


def test_shards_are_one_model(made):
    whole = {name: np.array(array) for name, array in safetensors.read(made.folder / "model.safetensors").items()}
    write_index(made, shard(made))
    found = huggingface.read(made.folder).tensors
    assert found.keys() == whole.keys()
    for name, array in whole.items():
        np.testing.assert_array_equal(found[name], array)


@pytest.mark.parametrize("file", ["../other.safetensors", "/etc/passwd", "..", "a\\b", ""])
def test_an_index_may_not_leave_its_directory(file, made, refused):
    write_index(made, shard(made) | {QUERY: file})
    message = refused()
    assert "model.safetensors.index.json names a file outside its directory" in message and QUERY in message


@pytest.mark.parametrize("tensor", ["new", QUERY])
def test_an_index_must_fit_its_shards(tensor, made, refused):
    file_of = shard(made)
    others = set(file_of.values()) - {file_of.get(tensor)}
    write_index(made, file_of | {tensor: min(others)})
    message = refused()
    assert "does not fit its shards" in message and tensor in message


def test_an_index_without_shards(made, refused):
    write_index(made, shard(made))
    (made.folder / "model-00002-of-00002.safetensors").unlink()
    assert "model-00002-of-00002.safetensors: No such file" in refused()


def test_a_pickle_is_refused_with_the_command_that_makes_it_safe(made, refused):
    (made.folder / "model.safetensors").rename(made.folder / "pytorch_model.bin")
    message = refused()
    assert "may run any program" in message and "weights_only=True" in message and "pytorch_model.bin" in message


def test_that_command_makes_it_safe(made):
    torch = pytest.importorskip("torch", reason="the parity extra is not installed")
    before = {name: np.array(array) for name, array in safetensors.read(made.folder / "model.safetensors").items()}
    tensors = {name: torch.from_numpy(array) for name, array in before.items()}
    tensors["cls.predictions.decoder.weight"] = tensors["bert.embeddings.word_embeddings.weight"]
    torch.save(tensors, made.folder / "pytorch_model.bin")
    (made.folder / "model.safetensors").unlink()
    subprocess.run([sys.executable, "-c", huggingface.MAKE_SAFE, "pytorch_model.bin"], cwd=made.folder, check=True)
    after = huggingface.read(made.folder).tensors
    assert after.keys() == tensors.keys()
    for name, array in before.items():
        np.testing.assert_array_equal(after[name], array)


def test_a_directory_without_weights_or_config_or_vocabulary(made, refused):
    for name in ("vocab.txt", "tokenizer.json"):
        (made.folder / name).unlink()
    assert "there is no vocabulary" in refused()
    (made.folder / "model.safetensors").unlink()
    assert "there are no weights" in refused()
    (made.folder / "config.json").write_text("{")
    assert "config.json is no JSON" in refused()
    (made.folder / "config.json").unlink()
    assert "cannot read" in refused()


def test_a_workdir_that_holds_something_is_left_alone(made, tmp_path, capsys):
    (tmp_path / "W").mkdir()
    (tmp_path / "W" / "mine").write_text("x")
    assert main(["convert", f"--from={made.folder}", f"--workdir={tmp_path / 'W'}"]) == 2
    assert "there is something already" in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "W").iterdir()] == ["mine"]


@pytest.mark.parametrize("arguments", [[], ["--from=a", "--to=b"]])
def test_the_verb_needs_one_direction(arguments, tmp_path, capsys):
    assert main(["convert", f"--workdir={tmp_path / 'W'}", *arguments]) == 2
    assert "one of --from and --to" in capsys.readouterr().err


@pytest.mark.parametrize(
    "change",
    [
        {"position_offset": 3},
        {"pooler_act": "relu"},
        {"type_vocab_size": 0},
        {"num_hidden_groups": 1},
        {"num_hidden_groups": 1, "embedding_size": 8},
        {"layer_norm_eps": 1e-5, "position_offset": 1, "hidden_act": "relu"},
    ],
)
def test_what_no_class_computes_is_refused(change, made):
    with pytest.raises(UserError, match="no class of transformers computes what this model does"):
        huggingface.expressed(replace(made.encoder, **change), made.params, pad_id=0)
    assert huggingface.expressed(made.encoder, made.params, pad_id=0) == ("bert", "BertForPreTraining")


def test_a_vocabulary_in_tokenizer_json_alone_is_read(made, tmp_path):
    (made.folder / "vocab.txt").unlink()
    (tmp_path / "W").mkdir()
    kind, tokenizer = vocabulary.read(made.folder, tmp_path / "W")
    assert kind == "wordpiece" and tokenizer == made.tokenizer
    assert wordpiece.load(tmp_path / "W" / "vocab.txt", do_lower_case=True) == made.tokenizer


def test_a_roberta_whose_padding_takes_all_positions_is_refused(made):
    config = json.loads((made.folder / "config.json").read_text())
    config |= {"model_type": "roberta", "hidden_act": "gelu", "pad_token_id": 100, "max_position_embeddings": 40}
    with pytest.raises(UserError, match=r"config.json: model.position_offset leaves no positions for tokens\n.*101 of"):
        huggingface.from_tensors(Path("config.json"), config | {"architectures": None}, Path("model.safetensors"), {})


FAR, NEAR = "full_attention", "sliding_attention"
MODERN = {  # as transformers 5 writes it
    "model_type": "modernbert",
    "vocab_size": 30,
    "hidden_size": 8,
    "num_hidden_layers": 5,
    "num_attention_heads": 2,
    "intermediate_size": 12,
    "hidden_activation": "gelu",
    "mlp_dropout": 0.0,
    "attention_dropout": 0.0,
    "max_position_embeddings": 16,
    "initializer_range": 0.02,
    "norm_eps": 1e-5,
    "classifier_pooling": "mean",
    "local_attention": 8,
    "layer_types": [FAR, NEAR, FAR, NEAR, FAR],
    "rope_parameters": {FAR: {"rope_type": "default", "rope_theta": 160_000.0}, NEAR: {"rope_theta": 10_000.0}},
}


def modern_encoder(**changes) -> dict:
    config = {key: value for key, value in (MODERN | changes).items() if value is not None}
    return huggingface.from_tensors(Path("config.json"), config, Path("model.safetensors"), {}).encoder


def test_modernbert_before_transformers_5_says_the_same_in_numbers():
    before = {"global_attn_every_n_layers": 2, "global_rope_theta": 160_000.0, "local_rope_theta": 10_000.0}
    assert modern_encoder() == modern_encoder(layer_types=None, rope_parameters=None, **before)
    assert modern_encoder()["global_attn_every_n_layers"] == 2 and modern_encoder()["classifier_pooling"] == "mean"
    assert modern_encoder(layer_types=None)["global_attn_every_n_layers"] == 3  # that of the class


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("layer_types", [FAR, NEAR, NEAR, FAR, FAR]),
        ("layer_types", [NEAR, FAR, NEAR, FAR, NEAR]),
        ("layer_types", [FAR, NEAR, FAR]),
        ("layer_types", "all"),
        ("rope_parameters", {FAR: {"rope_type": "linear", "factor": 2.0}}),
        ("rope_parameters", {NEAR: {"rope_theta": 10_000.0, "partial_rotary_factor": 0.5}}),
        ("rope_parameters", [1]),
        ("rope_scaling", {"type": "linear"}),
        ("norm_bias", True),
        ("classifier_activation", "silu"),
        ("hidden_activation", "relu"),
        ("local_attention", 2**40),
    ],
)
def test_a_modernbert_that_ours_does_not_compute_is_refused_by_its_key(key, value):
    with pytest.raises(UserError, match=f"config.json: {key} is not one that is supported here"):
        modern_encoder(**{key: value})


@pytest.mark.parametrize(
    ("key", "changes"),
    [
        ("global_attn_every_n_layers", {"layer_types": None, "global_attn_every_n_layers": 2**63}),
        ("global_rope_theta", {"rope_parameters": {FAR: {"rope_theta": 0.0}}}),
        ("local_rope_theta", {"rope_parameters": {NEAR: {"rope_theta": float("nan")}}}),
    ],
)
def test_a_number_of_a_modernbert_that_is_out_of_range_is_refused(key, changes):
    with pytest.raises(UserError, match=f"config.json: {key} is not one that is supported here"):
        modern_encoder(**changes)
