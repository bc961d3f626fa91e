"""Directories of Hugging Face models: config.json and weights, in and out. What lies there is data, and none of it is trusted.

No pickle is ever loaded: weights are read from safetensors files alone.
"""

import json
import shlex
from collections.abc import Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from bert_jax.config import write_json
from bert_jax.errors import UserError
from bert_jax.interop import names, safetensors
from bert_jax.interop.families import FAMILIES, Class, Family
from bert_jax.models.encoder import RANGES, EncoderConfig
from bert_jax.text.tokenizer import Tokenizer

CONFIG, WEIGHTS, INDEX = "config.json", "model.safetensors", "model.safetensors.index.json"
MAKE_SAFE = (  # for a shell, between double quotes
    "import sys, torch; from safetensors.torch import save_file; "
    "parts = [torch.load(name, 'cpu', weights_only=True) for name in sys.argv[1:]]; "
    f"save_file({{k: v.clone() for part in parts for k, v in part.items()}}, '{WEIGHTS}', {{'format': 'pt'}})"
)


# What of an EncoderConfig says how a run computes or trains, not what; the dropout among it has no word in any config.json.
OF_THE_RUN = ("vocab_size", "dtype", "matmul_dtype", "quantize", "unroll_layers", "remat", "attention_output_dropout_prob")
POOLED = ("next_sentence", "classifier", "choice")  # heads on the vector of the whole row
LABELLED = {"classifier": "classifier/dense", "token_classifier": "token_classifier/logits"}  # head -> its layer of classes


class Model(NamedTuple):
    """A directory, read.

    Attributes:
        file: the weights, or their index.
        family, kind: model_type, and the class of transformers that has these heads.
        encoder: fields of EncoderConfig but those of a run.
        labels: names of the classes, where there is a classifier.
        tensors: name -> array, all of them, under the names that the class has today.
    """

    file: Path
    family: str
    kind: str
    encoder: dict
    vocab_size: int
    labels: list[str]
    tensors: dict[str, np.ndarray]

    @property
    def names(self) -> dict[str, str]:
        return FAMILIES[self.family].classes[self.kind].names

    @property
    def heads(self) -> tuple[str, ...]:
        return FAMILIES[self.family].classes[self.kind].heads


def read(folder: Path) -> Model:
    """Raises UserError, naming file and key or tensor: a kind of model or a head that is not ours, damaged files, unsafe ones."""
    config = read_json(folder / CONFIG)
    model_type = config.get("model_type")
    if not isinstance(model_type, str) or model_type not in FAMILIES:
        fix = 'name it there: "model_type": "bert" for a model as google-research/bert makes them' if model_type is None else ""
        raise _refused(folder / CONFIG, "model_type", model_type, " or ".join(FAMILIES), fix=fix)
    return from_tensors(folder / CONFIG, config, *_read_tensors(folder))


def from_tensors(config_file: Path, config: dict, file: Path, tensors: Mapping[str, np.ndarray]) -> Model:
    """A model of known model_type from its config.json and its tensors; raises UserError as `read` does."""
    model_type = config["model_type"]
    family = FAMILIES[model_type]
    tensors = _todays_names(family, tensors)
    kind = _class_of(config_file, family, config.get("architectures"), tensors)
    heads, head_names = family.classes[kind]
    encoder = _encoder_fields(config_file, family, config)
    encoder["pooler"] = any(head in POOLED for head in heads) or f"{head_names.get('encoder/pooler')}.weight" in tensors
    vocab_size = _whole_number(config_file, config, "vocab_size", 1)
    try:
        EncoderConfig(vocab_size, **encoder)
    except UserError as error:
        raise UserError(f"{config_file}: {error}") from None
    labels = []
    for head in LABELLED.keys() & set(heads):
        count = np.size(tensors.get(f"{head_names[LABELLED[head]]}.bias", ()))
        named = config["id2label"] if isinstance(config.get("id2label"), dict) else {}
        labels = [str(named.get(str(number), f"LABEL_{number}")) for number in range(count)]
    return Model(file, model_type, kind, encoder, vocab_size, labels, tensors)


def read_json(path: Path) -> dict:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"cannot read {path}", got=error.strerror, expected="a directory of a Hugging Face model") from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is no JSON", got=error) from None
    if not isinstance(value, dict):
        raise UserError(f"{path} is no JSON object", got=type(value).__name__)
    return value


def _read_tensors(folder: Path) -> tuple[Path, dict[str, np.ndarray]]:
    if (folder / WEIGHTS).exists():
        return folder / WEIGHTS, safetensors.read(folder / WEIGHTS)
    if (folder / INDEX).exists():
        return folder / INDEX, _read_shards(folder)
    unsafe = sorted(path.name for path in folder.glob("*.bin"))
    if unsafe:
        raise UserError(
            "the weights are a pickle, which may run any program when it is loaded",
            got=f"{folder}: {', '.join(unsafe)}",
            expected=WEIGHTS,
            fix=f'if you trust who made it, in that folder: python -c "{MAKE_SAFE}" {shlex.join(unsafe)}',
        )
    raise UserError("there are no weights", got=folder, expected=f"{WEIGHTS}, or {INDEX} with its shards")


def _read_shards(folder: Path) -> dict[str, np.ndarray]:
    index = folder / INDEX
    file_of = read_json(index).get("weight_map")
    if not isinstance(file_of, dict) or not all(isinstance(name, str) for name in file_of.values()):
        raise _refused(index, "weight_map", file_of, "tensor -> file")
    for tensor, file in file_of.items():
        if file in ("", ".", "..") or any(character in file for character in "/\\\0"):
            got = f"{tensor}: {file!r}"
            raise UserError(f"{index} names a file outside its directory", got=got, expected="a plain file name")
    shards = {file: safetensors.read(folder / file) for file in sorted(set(file_of.values()))}
    held = {(tensor, file) for file, tensors in shards.items() for tensor in tensors}
    for tensor, file in sorted(held ^ set(file_of.items())):
        where = "is not in" if tensor in file_of and file_of[tensor] == file else "is in, without being indexed,"
        raise UserError(f"{index} does not fit its shards", got=f"{tensor} {where} {file}")
    return {tensor: shards[file][tensor] for tensor, file in file_of.items()}


def _todays_names(family: Family, tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """An encoder saved by itself lacks the word before its names, and LayerNorm had other ones before 2020."""
    word_table = next(iter(family.classes.values())).names["encoder/embeddings/word/embedding"]
    before = word_table[: word_table.index(".") + 1]
    before = "" if any(name.startswith(before) for name in tensors) else before
    endings = {"LayerNorm.gamma": "LayerNorm.weight", "LayerNorm.beta": "LayerNorm.bias"}

    def today(name: str) -> str:
        for old, new in endings.items():
            name = name.removesuffix(old) + new if name.endswith(old) else name
        return before + name

    return {today(name): array for name, array in tensors.items()}


def _class_of(config_file: Path, family: Family, declared, tensors: Mapping) -> str:
    """The class with the most heads whose tensors are there, for config.json often names one with fewer; of several the one that
    it names."""
    if declared is not None and (not isinstance(declared, list) or any(name not in [*family.classes] for name in declared[:1])):
        raise _refused(config_file, "architectures", declared, " or ".join(family.classes))

    def is_there(kind: Class, head: str) -> bool:
        roots = [theirs for ours, theirs in kind.names.items() if ours.startswith(f"{head}/")]
        return any(name in tensors for root in roots for name in (root, f"{root}.weight", f"{root}.bias"))

    found = [name for name, kind in family.classes.items() if all(is_there(kind, head) for head in kind.heads)]
    best = max(found, key=lambda name: (len(family.classes[name].heads), (declared or [])[:1] == [name]))
    lacking = set(family.classes[declared[0]].heads).difference(family.classes[best].heads) if declared else ()
    if lacking:
        heads = ", ".join(sorted(lacking))
        raise UserError(f"{config_file} names {declared[0]}", got=f"no tensors of its {heads}", expected=f"{best}")
    return best


def _encoder_fields(config_file: Path, family: Family, config: dict) -> dict:
    config = family.flat(config, partial(_refused, config_file))
    for key, wanted in family.values.items():
        if config.get(key, wanted) != wanted:
            raise _refused(config_file, key, config[key], repr(wanted))
    found = {ours: _field(config_file, config, ours, theirs) for ours, theirs in family.fields.items()} | family.fixed
    if family.padding_is_counted:
        found["position_offset"] = 1 + _whole_number(config_file, config, "pad_token_id", 0)
    return found


def _field(config_file: Path, config: dict, ours: str, theirs: str):
    """The value of a key, of the type and in the range that EncoderConfig has it in."""
    default = getattr(EncoderConfig, ours)
    if isinstance(default, int):
        _whole_number(config_file, config, theirs, 1)
    value, wanted = config.get(theirs), (int, float) if isinstance(default, (int, float)) else str
    if not isinstance(value, wanted) or isinstance(value, bool):
        raise _refused(config_file, theirs, value, f"such as {default!r}")
    if ours in RANGES and value not in RANGES[ours]:
        raise _refused(config_file, theirs, value, RANGES[ours].expected)
    return type(default)(value)


def _whole_number(config_file: Path, config: dict, key: str, least: int) -> int:
    if type(config.get(key)) is not int or config[key] < least:
        raise _refused(config_file, key, config.get(key), f"a whole number from {least} on")
    return config[key]


def _refused(path: Path, key: str, got, expected: str, *, fix: str = "") -> UserError:
    return UserError(f"{path}: {key} is not one that is supported here", got=got, expected=expected, fix=fix)


def params_of(model: Model, like: dict) -> dict:
    """The tensors as params in the structure of `like`: each once, none left over, none missing.

    Raises:
        UserError: naming the first tensor that is missing, left over, of another shape or kind, or a copy that differs.
    """
    wanted = names.to_huggingface(_shapes_alone(like), model.names)
    for name, empty in wanted.items():
        shape = f"{list(empty.shape)} in float32, float16 or bfloat16"
        if name not in model.tensors:
            raise UserError(f"{model.file} lacks a tensor of {model.kind}", got=f"no {name}", expected=shape)
        found = model.tensors[name]
        if (found.shape, found.dtype) != (empty.shape, np.float32):
            got = f"{list(found.shape)} in {found.dtype}"
            raise UserError(f"{model.file}: {name} is not what {CONFIG} says", got=got, expected=shape)
    for name in sorted(model.tensors.keys() - wanted.keys()):
        _check_copy(model, name, wanted.keys())
    return names.from_huggingface(model.tensors, like, model.names)


def _check_copy(model: Model, name: str, wanted) -> None:
    """What the class has no parameter for may only repeat what is known."""
    found, original = model.tensors[name], FAMILIES[model.family].copies.get(name)
    if name.endswith("embeddings.position_ids"):
        same, expected = np.array_equal(found.reshape(-1), np.arange(found.size)), "0, 1, 2, ..."
    elif original in wanted:
        same, expected = np.array_equal(found, model.tensors[original]), f"those of {original}, to which it is tied"
    else:
        raise UserError(f"{model.file} holds a tensor that {model.kind} does not have", got=name)
    if not same:
        raise UserError(f"{model.file}: {name} has values of its own", got="other values", expected=expected)


def _shapes_alone(tree: dict) -> dict:
    """Arrays of these shapes that take no memory."""
    return {
        key: _shapes_alone(value) if isinstance(value, dict) else np.broadcast_to(np.float32(0), value.shape)
        for key, value in tree.items()
    }


def expressed(encoder: EncoderConfig, params: dict, pad_id: int) -> tuple[str, str]:
    """(model_type, class) that compute what this encoder and these heads do.

    Raises:
        UserError: none of FAMILIES does.
    """
    if encoder.num_hidden_layers and encoder.attention_width != encoder.hidden_size:
        raise UserError(
            "no class of transformers has attention that is narrower or wider than the rest",
            got=f"{encoder.num_attention_heads} heads of size {encoder.head_width} at a width of {encoder.hidden_size}",
            expected="an encoder of which no heads were cut",
            fix="write it with --format=onnx or --format=stablehlo",
        )
    heads = params.keys() - {"encoder"}
    for model_type, family in FAMILIES.items():
        for name, kind in family.classes.items():
            if heads == set(kind.heads) and _says_all(family, encoder, pad_id) and _all_named(params, kind.names):
                return model_type, name
    plain = _what_is_computed(EncoderConfig(encoder.vocab_size))
    unusual = {key: value for key, value in _what_is_computed(encoder).items() if value != plain.get(key)}
    raise UserError(
        "no class of transformers computes what this model does",
        got=f"{', '.join(sorted(heads)) or 'no head'} on an encoder with {unusual}",
        expected=" or ".join(name for family in FAMILIES.values() for name in family.classes),
    )


def _says_all(family: Family, encoder: EncoderConfig, pad_id: int) -> bool:
    """Whether from the config.json of the family the same encoder would be read."""
    try:
        found = _encoder_fields(Path(CONFIG), family, config_json(family, encoder, pad_id)) | {"pooler": encoder.pooler}
        read = EncoderConfig(encoder.vocab_size, **found)
    except UserError:
        return False
    if family.always_projects and encoder.table_width == encoder.hidden_size:
        return False
    return _what_is_computed(read) == _what_is_computed(encoder)


def _what_is_computed(encoder: EncoderConfig) -> dict:
    found = {key: value for key, value in asdict(encoder).items() if key not in OF_THE_RUN}
    found["embedding_size"] = encoder.table_width  # 0 and hidden_size are the same
    found["head_size"] = encoder.head_width
    if not encoder.pooler:
        del found["pooler_act"], found["classifier_pooling"]
    return found


def _all_named(params: dict, table: dict[str, str]) -> bool:
    try:
        names.to_huggingface(_shapes_alone(params), table)
    except KeyError:
        return False
    return True


def config_json(family: Family, encoder: EncoderConfig, pad_id: int) -> dict:
    written = {theirs: getattr(encoder, ours) for ours, theirs in family.fields.items()}
    if "embedding_size" in written:
        written["embedding_size"] = encoder.table_width  # 0 says so to us alone
    return written | {key: value for key, value in family.values.items() if key not in written} | {"pad_token_id": pad_id}


def write(folder: Path, encoder: EncoderConfig, params: dict, labels: list[str], tokenizer: Tokenizer) -> tuple[str, str]:
    """Writes config.json and model.safetensors; gives (model_type, class)."""
    model_type, kind = expressed(encoder, params, tokenizer.pad_id)
    written = config_json(FAMILIES[model_type], encoder, tokenizer.pad_id) | {
        "model_type": model_type,
        "architectures": [kind],
        "vocab_size": encoder.vocab_size,
        **dict.fromkeys(("bos_token_id", "cls_token_id"), tokenizer.cls_id),
        **dict.fromkeys(("eos_token_id", "sep_token_id"), tokenizer.sep_id),
    }
    if labels:
        written["id2label"] = {str(number): label for number, label in enumerate(labels)}
        written["label2id"] = {label: number for number, label in enumerate(labels)}
    write_json(folder / CONFIG, written)
    safetensors.write(folder / WEIGHTS, names.to_huggingface(params, FAMILIES[model_type].classes[kind].names))
    return model_type, kind
