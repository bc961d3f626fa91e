"""What a certificate must notice: each single fault, by name."""

import json
from dataclasses import replace

import jax
import numpy as np
import pytest

from bert_jax import convert
from bert_jax.__main__ import main
from bert_jax.build import build_objective, encoder_config
from bert_jax.errors import UserError
from bert_jax.interop import certificate, huggingface, names, vocabulary
from bert_jax.interop.strings import strings
from bert_jax.text import wordpiece
from tests.interop import peers, small
from tests.text import modern as modern_vocabulary


@pytest.fixture
def made(tmp_path):
    return small.write(tmp_path / "hf")


def changed(params: dict, path: str, change) -> dict:
    """A copy in which the array at this path is another one."""
    first, _, rest = path.partition("/")
    return params | {first: changed(params[first], rest, change) if rest else change(np.array(params[first]))}


def heads_swapped(kernel_NIO):
    """The two heads of layer 2 change places."""
    kernel_NIO[1] = np.roll(kernel_NIO[1], 4, axis=-1)
    return kernel_NIO


def norm_swapped(params: dict) -> dict:
    """Scale and bias of the last norm of layer 1 change places."""
    norm = params["encoder"]["layers"]["output_norm"]
    first = np.arange(2)[:, None] == 0
    scale, bias = (np.where(first, norm[other], norm[own]) for own, other in (("scale", "bias"), ("bias", "scale")))
    params = changed(params, "encoder/layers/output_norm/scale", lambda _: scale)
    return changed(params, "encoder/layers/output_norm/bias", lambda _: bias)


def one_value(table):
    table[3, 2] += 0.01
    return table


FAULTS = {
    "a permuted head": (
        lambda params: changed(params, "encoder/layers/attention/value/kernel", heads_swapped),
        "bert.encoder.layer.1.attention.self.value.weight",
        "layer 2",
    ),
    "scale and bias swapped": (norm_swapped, "bert.encoder.layer.0.output.LayerNorm.bias", "layer 1"),
    "a transposed product": (
        lambda params: changed(params, "encoder/layers/attention/output/kernel", lambda k: np.swapaxes(k, 1, 2)),
        "bert.encoder.layer.0.attention.output.dense.weight",
        "layer 1",
    ),
    "one value": (
        lambda params: changed(params, "encoder/embeddings/position/embedding", one_value),
        "bert.embeddings.position_embeddings.weight",
        "embeddings",
    ),
    "a head of another model": (
        lambda params: changed(params, "next_sentence/dense/kernel", lambda k: k[:, ::-1]),
        "cls.seq_relationship.weight",
        "next_sentence",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_named_by_its_tensor_and_by_its_layer(fault, made):
    pytest.importorskip("torch", reason="the parity extra is not installed")
    pytest.importorskip("transformers", reason="the parity extra is not installed")
    tamper, tensor, place = FAULTS[fault]
    params, model = tamper(made.params), huggingface.read(made.folder)
    with pytest.raises(UserError, match=f"the certificate fails: {tensor} is not the tensor"):
        certificate.compare_tensors(model, params)
    with pytest.raises(UserError, match=f"the certificate fails: {place} is not what BertForPreTraining computes"):
        certificate.compare_outputs(made.folder, model.kind, made.encoder, params, made.tokenizer.pad_id)
    assert certificate.compare_tensors(model, made.params) == len(model.tensors)
    found = certificate.compare_outputs(made.folder, model.kind, made.encoder, made.params, made.tokenizer.pad_id)
    assert list(found) == ["embeddings", "layer 1", "layer 2", "masked_lm", "next_sentence"] and max(found.values()) < 1e-5


@pytest.mark.parametrize(
    ("theirs", "ours", "fault"),
    [(0.0, -0.0, "is not the tensor of .*\n.*0 apart"), *((value, value, "is not finite") for value in (np.nan, np.inf))],
)
def test_bits_are_compared_and_are_those_of_numbers(theirs, ours, fault, made):
    model, tensor = huggingface.read(made.folder), "bert.embeddings.position_embeddings.weight"

    def with_value(value: float, table):
        table = np.array(table)
        table[3, 2] = value
        return table

    model.tensors[tensor] = with_value(theirs, model.tensors[tensor])
    params = changed(made.params, "encoder/embeddings/position/embedding", lambda table: with_value(ours, table))
    with pytest.raises(UserError, match=f"the certificate fails: {tensor} {fault}"):
        certificate.compare_tensors(model, params)


MODERN_FAULTS = {  # what lies in one tensor of theirs with others
    "a permuted head": (
        lambda params: changed(params, "encoder/layers/attention/value/kernel", lambda k: np.roll(k, 8, axis=-1)),
        "model.layers.1.attn.Wqkv.weight",
        "layer 2",
    ),
    "gate for intermediate": (
        lambda params: changed(
            params, "encoder/first_layer/intermediate/kernel", lambda _: params["encoder"]["first_layer"]["gate"]["kernel"]
        ),
        "model.layers.0.mlp.Wi.weight",
        "layer 1",
    ),
    "the norm of another layer": (
        lambda params: changed(params, "encoder/layers/attention_norm/scale", lambda s: np.roll(s, 1, axis=0)),
        "model.layers.1.attn_norm.weight",
        "layer 2",
    ),
    "pooled otherwise": (
        lambda params: changed(params, "encoder/pooler_norm/scale", lambda s: s[::-1]),
        "head.norm.weight",
        "classifier",
    ),
}


@pytest.fixture(scope="module")
def modern(tmp_path_factory):
    """(folder, model, encoder, params) of a ModernBertForSequenceClassification."""
    folder = tmp_path_factory.mktemp("modern")
    peers.save("ModernBertForSequenceClassification", folder / "hf")
    model = huggingface.read(folder / "hf")
    config = convert.saved_config(model, "", vocabulary.read(folder / "hf", folder).tokenizer)
    like = jax.eval_shape(build_objective(config, model.vocab_size).init, jax.random.key(0))
    encoder = encoder_config(dict(config.model), model.vocab_size)
    return folder / "hf", model, encoder, huggingface.params_of(model, like)


@pytest.mark.parametrize("fault", MODERN_FAULTS)
def test_a_fault_is_named_where_tensors_are_fused(fault, modern):
    folder, model, encoder, params = modern
    tamper, tensor, place = MODERN_FAULTS[fault]
    params = tamper(params)
    with pytest.raises(UserError, match=f"the certificate fails: {tensor} is not the tensor"):
        certificate.compare_tensors(model, params)
    with pytest.raises(UserError, match=f"the certificate fails: {place} is not what ModernBertForSequenceClassification"):
        certificate.compare_outputs(folder, model.kind, encoder, params, 1)


def test_a_table_with_two_names_swapped_fails_by_layer(made, tmp_path, monkeypatch, capsys):
    """Tensors that went through a wrong table both ways are equal: only what they compute tells."""
    pytest.importorskip("torch", reason="the parity extra is not installed")
    pytest.importorskip("transformers", reason="the parity extra is not installed")
    key, value = "encoder/layers/attention/key", "encoder/layers/attention/value"
    monkeypatch.setitem(names.BERT, key, "bert.encoder.layer.{}.attention.self.value")
    monkeypatch.setitem(names.BERT, value, "bert.encoder.layer.{}.attention.self.key")
    assert main(["convert", f"--from={made.folder}", f"--workdir={tmp_path / 'W'}", "--num_strings=10"]) == 2
    assert "layer 1 is not what BertForPreTraining computes" in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["hf"]


def test_weights_changed_on_their_way_into_the_workdir_leave_none(made, tmp_path, monkeypatch, capsys):
    from_huggingface = names.from_huggingface
    monkeypatch.setattr(names, "from_huggingface", lambda *args: FAULTS["a permuted head"][0](from_huggingface(*args)))
    assert main(["convert", f"--from={made.folder}", f"--workdir={tmp_path / 'W'}", "--num_strings=10"]) == 2
    assert "the certificate fails: bert.encoder.layer.1.attention.self.value.weight" in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["hf"]


def test_another_tokeniser_is_named_with_the_text(made):
    other = wordpiece.WordPiece(made.tokenizer.pieces, do_lower_case=False)
    with pytest.raises(UserError, match="(?s)the certificate fails: .* of 200 texts are not cut as by the tokeniser of .*hf"):
        certificate.compare_tokenizers(made.folder, other, 200)
    assert certificate.compare_tokenizers(made.folder, made.tokenizer, 200) == {"texts": 200, "different": 0}


@pytest.mark.parametrize("left_out", [{"nfc": False}, {"literals": ()}])
def test_a_rule_that_is_not_followed_is_noticed(left_out, tmp_path):
    modern_vocabulary.write(tmp_path, peers.TEXTS)
    (tmp_path / "W").mkdir()
    tokenizer = vocabulary.read(tmp_path, tmp_path / "W").tokenizer
    assert certificate.compare_tokenizers(tmp_path, tokenizer, 300) == {"texts": 300, "different": 0}
    with pytest.raises(UserError, match="of 300 texts are not cut as by the tokeniser of"):
        certificate.compare_tokenizers(tmp_path, replace(tokenizer, rules=tokenizer.rules._replace(**left_out)), 300)


def test_what_cannot_be_checked_is_said(made, tmp_path, monkeypatch):
    """Without transformers, tokenizer.json is still compared."""
    import sys

    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.setitem(sys.modules, "transformers", None)
    convert.bring_in(made.folder, tmp_path / "W", num_strings=50, say=str)
    found = json.loads((tmp_path / "W" / "certificate.json").read_text())
    assert found["largest_differences"] == "not checked: torch is not installed"
    assert found["tokenizer"] == {"texts": 50, "different": 0} and found["tensors_equal"] == 46
    (made.folder / "tokenizer.json").unlink()
    assert "not checked" in certificate.compare_tokenizers(made.folder, made.tokenizer, 50)


def test_a_tokeniser_that_transformers_cannot_read_is_no_traceback(made):
    (made.folder / "tokenizer.json").write_text("{}", encoding="utf-8")
    with pytest.raises(UserError, match="transformers cannot read the tokeniser of"):
        certificate.compare_tokenizers(made.folder, made.tokenizer, 10)


def test_the_hashes_are_those_of_the_files(made):
    import hashlib

    found = certificate.certify(
        made.folder, made.folder, huggingface.read(made.folder), made.encoder, made.params, made.tokenizer, 10
    )["files"]
    assert set(found) == {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "vocab.txt"}
    for name, digest in found.items():
        assert digest == hashlib.sha256((made.folder / name).read_bytes()).hexdigest()


def test_the_hidden_states_end_where_the_encoder_ends(made):
    from bert_jax.models.encoder import Encoder

    batch = certificate.padded_batch(made.encoder, 0)
    inputs = (batch["input_ids"], batch["segment_ids"], batch["input_mask"])
    last = Encoder(made.encoder).apply({"params": made.params["encoder"]}, *inputs, train=False).hidden_BLD
    states = certificate.hidden_states(made.encoder, made.params["encoder"], batch)
    np.testing.assert_allclose(states["layer 2"], last, atol=1e-5, rtol=0)
    lengths = batch["input_mask"].sum(axis=1)
    assert len(set(lengths)) == len(lengths) and batch["segment_ids"].max(axis=1).min() == 1


def test_the_texts_are_the_same_every_time_and_of_many_kinds():
    texts = strings(small.PIECES, 500)
    assert texts == strings(small.PIECES, 500) and len(set(texts)) > 450
    joined = "".join(texts)
    for first, last in [(0x400, 0x45F), (0x4E00, 0x9FA5), (0xAC00, 0xD7A3), (0xA1, 0xFF)]:
        assert any(first <= ord(character) <= last for character in joined)
    assert sorted({len(word) // 100 for word in " ".join(texts).split()}) == [0, 1, 2]  # as long as a limit, and longer


@pytest.mark.parametrize("family", ["albert", "roberta"])
def test_a_certificate_is_the_same_from_either_side(family, tmp_path):
    kind = next(kind for kind in peers.CLASSES if kind.lower().startswith(family))
    peers.save(kind, tmp_path / "hf")
    convert.bring_in(tmp_path / "hf", tmp_path / "W", num_strings=100, say=str)
    convert.take_out(tmp_path / "W", tmp_path / "out", num_strings=100, say=str)
    one, two = (json.loads((tmp_path / name / "certificate.json").read_text()) for name in ("W", "out"))
    assert {**one, "files": 0} == {**two, "files": 0}
