"""Checkpoints as Google released them: names, a writer of the format in a few lines, and TensorFlow itself.

python -m tests.interop.released     writes goldens/tensorflow/, where TensorFlow is installed
"""

import struct
from pathlib import Path

import numpy as np

GOLDEN = Path(__file__).parent / "goldens" / "tensorflow"
WIDTH, INNER, TABLE, POSITIONS = 8, 12, 4, 16
PRODUCT, NORM = ("kernel", "bias"), ("gamma", "beta")
# Released name -> path of ours, as read in the code of each release; kernels are as ours, not as torch's.
BERT_LAYER = {
    "attention/self/query": "attention/query",
    "attention/self/key": "attention/key",
    "attention/self/value": "attention/value",
    "attention/output/dense": "attention/output",
    "attention/output/LayerNorm": "attention_norm",
    "intermediate/dense": "intermediate",
    "output/dense": "output",
    "output/LayerNorm": "output_norm",
}
ALBERT_BLOCK = {
    "attention_1/self/query": "attention/query",
    "attention_1/self/key": "attention/key",
    "attention_1/self/value": "attention/value",
    "attention_1/output/dense": "attention/output",
    "LayerNorm": "attention_norm",
    "ffn_1/intermediate/dense": "intermediate",
    "ffn_1/intermediate/output/dense": "output",
    "LayerNorm_1": "output_norm",
}
EMBEDDINGS = {
    "word_embeddings": "encoder/embeddings/word/embedding",
    "position_embeddings": "encoder/embeddings/position/embedding",
    "token_type_embeddings": "encoder/embeddings/segment/embedding",
}
LEAVES = {"kernel": "kernel", "bias": "bias", "gamma": "scale", "beta": "bias"}
CONFIG = {  # as bert_config.json has it
    "attention_probs_dropout_prob": 0.1,
    "hidden_act": "gelu",
    "hidden_dropout_prob": 0.1,
    "hidden_size": WIDTH,
    "initializer_range": 0.02,
    "intermediate_size": INNER,
    "max_position_embeddings": POSITIONS,
    "num_attention_heads": 2,
    "num_hidden_layers": 2,
    "type_vocab_size": 2,
}


def released(family: str, vocab_size: int) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Name -> (path of ours, shape). A path that ends in " N" is that of layer N, or group N, in a stack."""
    found = {}

    def add(theirs: str, ours: str, inputs: int, outputs: int, place: str = ""):
        for leaf in PRODUCT if inputs else NORM:
            found[f"{theirs}/{leaf}"] = f"{ours}/{LEAVES[leaf]}{place}", (inputs, outputs) if leaf == "kernel" else (outputs,)

    scope, table = ("electra" if family == "electra" else "bert"), WIDTH if family == "bert" else TABLE
    for (name, path), rows in zip(EMBEDDINGS.items(), (vocab_size, POSITIONS, 2)):
        found[f"{scope}/embeddings/{name}"] = path, (rows, table)
    add(f"{scope}/embeddings/LayerNorm", "encoder/embeddings/norm", 0, table)
    projections = {"albert": "bert/encoder/embedding_hidden_mapping_in", "electra": "electra/embeddings_project"}
    if family in projections:
        add(projections[family], "encoder/embeddings/projection", table, WIDTH)
    sizes = {"intermediate": (WIDTH, INNER), "output": (INNER, WIDTH), "attention_norm": (0, WIDTH), "output_norm": (0, WIDTH)}
    for layer in range(1 if family == "albert" else 2):
        before = "transformer/group_0/inner_group_0" if family == "albert" else f"layer_{layer}"
        within = "encoder/layers/block" if family == "albert" else "encoder/layers"
        for theirs, ours in (ALBERT_BLOCK if family == "albert" else BERT_LAYER).items():
            add(f"{scope}/encoder/{before}/{theirs}", f"{within}/{ours}", *sizes.get(ours, (WIDTH, WIDTH)), f" {layer}")
    if family == "electra":
        add("discriminator_predictions/dense", "replaced/dense", WIDTH, WIDTH)
        add("discriminator_predictions/dense_1", "replaced/logit", WIDTH, 1)
        return found
    add("bert/pooler/dense", "encoder/pooler", WIDTH, WIDTH)
    add("cls/predictions/transform/dense", "masked_lm/dense", WIDTH, table)
    add("cls/predictions/transform/LayerNorm", "masked_lm/norm", 0, table)
    found["cls/predictions/output_bias"] = "masked_lm/bias", (vocab_size,)
    found["cls/seq_relationship/output_weights"] = "next_sentence/dense/kernel, transposed", (2, WIDTH)
    found["cls/seq_relationship/output_bias"] = "next_sentence/dense/bias", (2,)
    return found


def tensors(family: str, vocab_size: int) -> dict[str, np.ndarray]:
    """Values by rule, with what an optimiser leaves in a checkpoint."""
    found, shapes = {}, {name: shape for name, (_, shape) in released(family, vocab_size).items()}
    for number, name in enumerate(sorted(shapes)):
        index = np.arange(np.prod(shapes[name], dtype=int), dtype=np.float64)
        found[name] = np.modf(np.sin(index * 12.9898 + number * 78.233) * 43758.5453)[0].astype(np.float32).reshape(shapes[name])
    found |= {f"{name}/adam_{moment}": array / 2 for name, array in list(found.items()) for moment in "mv"}
    return found | {"global_step": np.array(1234, np.int64)}


def write(prefix: Path, values: dict[str, np.ndarray], *, shards: int = 1) -> None:
    """The format by hand: blocks of a few keys, each key cut where it is like the one before; checksums by tensorboardX."""
    prefix.parent.mkdir(parents=True, exist_ok=True)
    contents, entries = [b"" for _ in range(shards)], {b"": _field(1, shards) + _field(3, _field(1, 1))}
    for number, name in enumerate(sorted(values)):
        array, shard = np.asarray(values[name], order="C"), number % shards
        dtype = {"float32": 1, "int64": 9}[str(array.dtype)]
        shape = b"".join(_field(2, _field(1, size)) for size in array.shape)
        place = _field(3, shard) + _field(4, len(contents[shard])) + _field(5, array.nbytes)
        entries[name.encode()] = _field(1, dtype) + _field(2, shape) + place + b"\x35" + _checksum(array.tobytes())
        contents[shard] += array.tobytes()
    for shard, content in enumerate(contents):
        prefix.with_name(f"{prefix.name}.data-{shard:05d}-of-{shards:05d}").write_bytes(content)
    table, handles, keys = b"", {}, list(entries)
    for start in range(0, len(keys), 5):
        block = _block({key: entries[key] for key in keys[start : start + 5]})
        handles[keys[start : start + 5][-1]] = _varint(len(table)) + _varint(len(block))
        table += block + b"\0" + _checksum(block + b"\0")
    places = []
    for block in (_block({}), _block(handles)):
        places.append(_varint(len(table)) + _varint(len(block)))
        table += block + b"\0" + _checksum(block + b"\0")
    footer = b"".join(places).ljust(40, b"\0") + struct.pack("<Q", 0xDB4775248B80FB57)
    prefix.with_name(f"{prefix.name}.index").write_bytes(table + footer)


def _block(entries: dict[bytes, bytes]) -> bytes:
    content, before = b"", b""
    for key, value in entries.items():
        shared = next((n for n, (a, b) in enumerate(zip(key, before)) if a != b), min(len(key), len(before)))
        content += _varint(shared) + _varint(len(key) - shared) + _varint(len(value)) + key[shared:] + value
        before = key
    return content + struct.pack("<II", 0, 1)


def _varint(number: int) -> bytes:
    return (bytes([number & 127 | 128]) + _varint(number >> 7)) if number > 127 else bytes([number])


def _field(number: int, value: int | bytes) -> bytes:
    if isinstance(value, bytes):
        return _varint(number << 3 | 2) + _varint(len(value)) + value
    return _varint(number << 3) + _varint(value)


def _checksum(content: bytes) -> bytes:
    from tensorboardX.record_writer import masked_crc32c

    return struct.pack("<I", masked_crc32c(content))


def write_by_tensorflow(prefix: Path, values: dict[str, np.ndarray]) -> None:
    """In two shards, and a string beside the numbers, as Keras leaves one."""
    import tensorflow

    parts = [dict(list(values.items())[start::2]) for start in range(2)]
    names = [f"{prefix}-part-{number}" for number in range(2)]
    for name, part in zip(names, parts):
        arrays = [tensorflow.constant(array) for array in part.values()]
        keys = [*part, *(["_CHECKPOINTABLE_OBJECT_GRAPH"] if name is names[0] else [])]
        arrays += [tensorflow.constant(b"notes")] if name is names[0] else []
        tensorflow.raw_ops.SaveV2(prefix=name, tensor_names=keys, shape_and_slices=[""] * len(keys), tensors=arrays)
    tensorflow.raw_ops.MergeV2Checkpoints(checkpoint_prefixes=names, destination_prefix=str(prefix), delete_old_dirs=False)


if __name__ == "__main__":
    GOLDEN.mkdir(parents=True, exist_ok=True)
    write_by_tensorflow(GOLDEN / "bert_model.ckpt", tensors("bert", 20))
