"""The checkpoints of Google's releases: written by TensorFlow, by hand, and damaged."""

import json
import re

import numpy as np
import pytest

from bert_jax.__main__ import main
from bert_jax.errors import UserError
from bert_jax.interop import tf_checkpoint
from bert_jax.text import wordpiece
from bert_jax.trained import open_trained
from tests.interop import released, small

VOCAB_SIZE = len(small.PIECES)
CHECK_VALUES = {b"": 0, b"123456789": 0xE3069283, bytes(32): 0x8A9136AA, b"\xff" * 32: 0x62A8AB43, bytes(range(32)): 0x46DD794E}


@pytest.mark.parametrize("content", CHECK_VALUES)
def test_checksums_are_those_of_rfc_3720(content):
    assert tf_checkpoint.crc32c(np.frombuffer(content, np.uint8)) == CHECK_VALUES[content]


@pytest.mark.parametrize("size", [1, 4095, 4096, 4097, 50_000])
def test_long_checksums_are_those_of_another_implementation(size):
    from tensorboardX.crc32c import crc32c

    content = np.random.default_rng(size).integers(0, 256, size).astype(np.uint8)
    assert tf_checkpoint.crc32c(content) == crc32c(content.tobytes())


def equal(found: dict, expected: dict) -> None:
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array, err_msg=name)
        assert (found[name].shape, found[name].dtype) == (array.shape, array.dtype)


def test_what_tensorflow_wrote_is_read():
    """Recorded, so that TensorFlow is not needed; in two shards."""
    equal(tf_checkpoint.read(released.GOLDEN / "bert_model.ckpt"), released.tensors("bert", 20))


def test_what_tensorflow_writes_is_read(tmp_path):
    pytest.importorskip("tensorflow", reason="TensorFlow is not installed")
    expected = released.tensors("albert", 33)
    released.write_by_tensorflow(tmp_path / "model.ckpt-best", expected)
    equal(tf_checkpoint.read(tmp_path / "model.ckpt-best"), expected)


@pytest.mark.parametrize("shards", [1, 3])
def test_what_is_written_by_hand_is_read(shards, tmp_path):
    expected = released.tensors("electra", 21) | {"empty": np.zeros((0, 3), np.float32)}
    released.write(tmp_path / "model.ckpt", expected, shards=shards)
    equal(tf_checkpoint.read(tmp_path / "model.ckpt"), expected)


def release(folder, family: str, **config):
    """A folder as it comes out of the archive of a release."""
    values = released.tensors(family, VOCAB_SIZE)
    if family == "electra":
        values |= {f"generator/{name}": array for name, array in values.items() if name.startswith("electra/encoder")}
    released.write(folder / f"{family}_model.ckpt", values)
    own = {"albert": {"embedding_size": released.TABLE, "num_hidden_groups": 1, "inner_group_num": 1}}
    own["electra"] = {"embedding_size": released.TABLE, "layer_norm_eps": 1e-12, "model_type": "electra", "pad_token_id": 0}
    name = {"electra": "config.json"}.get(family, f"{family}_config.json")
    settings = released.CONFIG | {"vocab_size": VOCAB_SIZE} | own.get(family, {}) | config
    (folder / name).write_text(json.dumps(settings))
    wordpiece.save_vocab(small.PIECES, folder / "vocab.txt")
    return values


@pytest.mark.parametrize("family", ["bert", "albert", "electra"])
def test_each_released_tensor_finds_its_place(family, tmp_path):
    values = release(tmp_path / "release", family)
    assert main(["convert", f"--from={tmp_path / 'release'}", f"--workdir={tmp_path / 'W'}", "--num_strings=50"]) == 0
    trained = open_trained(tmp_path / "W")
    assert trained.config.model.hidden_act == ("gelu" if family == "electra" else "gelu_new")
    seen = 0
    for name, (path, _) in released.released(family, VOCAB_SIZE).items():
        path, _, place = re.sub(", transposed$", "", path).partition(" ")
        array = trained.params
        for part in path.split("/"):
            array = array[part]
        found = array[int(place)] if place else array
        np.testing.assert_array_equal(
            found.T if name == "cls/seq_relationship/output_weights" else found, values[name], err_msg=name
        )
        seen += found.size
    sizes = sum(np.size(leaf) for leaf in flat(trained.params))
    assert seen == sizes


def flat(tree: dict) -> list:
    return [leaf for value in tree.values() for leaf in (flat(value) if isinstance(value, dict) else [value])]


def test_a_release_fills_masks_and_has_a_certificate(tmp_path, capsys):
    pytest.importorskip("torch", reason="the parity extra is not installed")
    pytest.importorskip("transformers", reason="the parity extra is not installed")
    release(tmp_path / "release", "bert")
    assert main(["convert", f"--from={tmp_path / 'release'}", f"--workdir={tmp_path / 'W'}", "--num_strings=50"]) == 0
    found = json.loads((tmp_path / "W" / "certificate.json").read_text())
    assert found["largest_differences"]["next_sentence"] < 1e-5 and found["tokenizer"] == {"texts": 50, "different": 0}
    assert set(found["files"]) == {path.name for path in (tmp_path / "release").iterdir()}
    capsys.readouterr()
    assert main(["predict", f"--workdir={tmp_path / 'W'}", "--text=the [MASK] sat"]) == 0


def test_capitals_in_the_vocabulary_mean_that_case_is_kept(tmp_path):
    release(tmp_path / "release", "bert")
    pieces = [*small.PIECES[:-6], *"ABCDEF"]
    wordpiece.save_vocab(pieces, tmp_path / "release" / "vocab.txt")
    assert main(["convert", f"--from={tmp_path / 'release'}", f"--workdir={tmp_path / 'W'}", "--num_strings=50"]) == 0
    assert not open_trained(tmp_path / "W").tokenizer.do_lower_case


def flipped(path, place: int):
    content = bytearray(path.read_bytes())
    content[place] ^= 16
    path.write_bytes(bytes(content))


INDEX, DATA = "model.ckpt.index", "model.ckpt.data-00000-of-00001"
DAMAGES = {
    "a flipped bit": (
        lambda folder: flipped(folder / DATA, 4),
        DATA,
        "bert/embeddings/LayerNorm/beta: its bytes have another checksum",
    ),
    "data cut short": (
        lambda folder: (folder / DATA).write_bytes((folder / DATA).read_bytes()[:-3]),
        DATA,
        "global_step: 5 bytes of 8",
    ),
    "no data": (lambda folder: (folder / DATA).unlink(), DATA, "cannot be read"),
    "an index cut short": (
        lambda folder: (folder / INDEX).write_bytes((folder / INDEX).read_bytes()[:-1]),
        INDEX,
        "does not end as one",
    ),
    "an index of nothing": (lambda folder: (folder / INDEX).write_bytes(b""), INDEX, "does not end as one"),
    "a flipped bit in the index": (lambda folder: flipped(folder / INDEX, 9), INDEX, "the block at byte 0 has another checksum"),
    "a flipped bit in its end": (lambda folder: flipped(folder / INDEX, -44), INDEX, "no table of tensors"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_is_named(damage, tmp_path):
    change, file, message = DAMAGES[damage]
    values = released.tensors("bert", 20)
    released.write(tmp_path / "model.ckpt", {name: array for name, array in values.items() if "adam" not in name})
    if damage == "data cut short":
        step = values["global_step"]
        released.write(tmp_path / "model.ckpt", {"bert/x": np.ones(3, np.float32), "global_step": step})
    change(tmp_path)
    with pytest.raises(UserError) as error:
        tf_checkpoint.read(tmp_path / "model.ckpt")
    assert str(tmp_path / file) in str(error.value) and message in str(error.value)


@pytest.mark.parametrize("place", range(0, 4700, 470))
def test_no_flipped_bit_of_an_index_passes_unnoticed(place, tmp_path):
    expected = released.tensors("bert", 20)
    for path in released.GOLDEN.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    flipped(tmp_path / "bert_model.ckpt.index", place)
    with pytest.raises(UserError):
        equal(tf_checkpoint.read(tmp_path / "bert_model.ckpt"), expected)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda folder: (folder / "bert_config.json").unlink(), "nothing says how large the model is"),
        (lambda folder: (folder / "another.index").write_bytes(b""), "more than one checkpoint"),
        (
            lambda folder: released.write(folder / "bert_model.ckpt", {"bert/pooler/dense/bias": np.zeros(8, np.float32)}),
            "no bert.",
        ),
        (lambda folder: (folder / "bert_config.json").write_text("[]"), "bert_config.json is no JSON object"),
    ],
)
def test_a_release_that_is_not_whole(change, message, tmp_path, capsys):
    release(tmp_path / "release", "bert")
    change(tmp_path / "release")
    assert main(["convert", f"--from={tmp_path / 'release'}", f"--workdir={tmp_path / 'W'}"]) == 2
    assert message in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["release"]
