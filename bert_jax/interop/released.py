"""The checkpoints that Google released of BERT, ALBERT and ELECTRA, as models of Hugging Face: other names, the same tensors.

Of a checkpoint of ELECTRA the discriminator is read; what belongs to its generator is left out.
"""

import re
from pathlib import Path

import numpy as np

from bert_jax.errors import UserError
from bert_jax.interop import huggingface, tf_checkpoint

CONFIGS = ("bert_config.json", "albert_config.json", huggingface.CONFIG)
# What the released code has and its config files do not say (google-research/bert, albert and electra, modeling.py: layer_norm of
# tf.contrib); its gelu is the tanh form, but in electra, where it is the exact one.
SILENT = {"layer_norm_eps": 1e-12, "pad_token_id": 0}
TANH_GELU = ("bert", "albert")
# One after the other, on released names.
RULES = [
    (r"/layer_(\d+)/", r"/layer/\1/"),
    (r"/transformer/group_(\d+)/inner_group_(\d+)/", r"/albert_layer_groups/\1/albert_layers/\2/"),
    (r"/attention_1/self/", "/attention/"),
    (r"/attention_1/output/dense/", "/attention/dense/"),
    (r"(/albert_layers/\d+)/LayerNorm/", r"\1/attention/LayerNorm/"),
    (r"/LayerNorm_1/", "/full_layer_layer_norm/"),
    (r"/ffn_1/intermediate/output/dense/", "/ffn_output/"),
    (r"/ffn_1/intermediate/dense/", "/ffn/"),
    (r"^discriminator_predictions/dense_1/", "discriminator_predictions/dense_prediction/"),
    (r"^cls/(predictions|seq_relationship)/output_", r"cls/\1/"),
    (r"^output_(weights|bias)$", r"classifier/\1"),
    (r"_embeddings$", r"\g<0>/weight"),
    (r"/(kernel|gamma|weights)$", "/weight"),
    (r"/beta$", "/bias"),
]
OF_ALBERT = [
    (r"^bert/pooler/dense/", "albert/pooler/"),
    (r"^bert/", "albert/"),
    (r"^cls/predictions/(transform/)?", "predictions/"),
    (r"^cls/seq_relationship/", "sop_classifier/classifier/"),
]
LEFT_OUT = re.compile(r"(^|/)(adam|lamb)_[mv](_\d+)?$|/Adam(_1)?$|^beta[12]_power$|^global_step$|^generator")


def is_one(folder: Path) -> bool:
    return folder.is_dir() and any(folder.glob("*.index"))


def read(folder: Path) -> huggingface.Model:
    """The checkpoint in a folder as it comes out of a release, with its config beside it.

    Raises:
        UserError: there is more than one, no config, or a file is damaged; the file and the tensor are named.
    """
    indices = sorted(path.name for path in folder.glob("*.index"))
    if len(indices) > 1:
        raise UserError("there is more than one checkpoint", got=f"{folder}: {', '.join(indices)}", expected="one .index file")
    config_file = next((folder / name for name in CONFIGS if (folder / name).exists()), None)
    if config_file is None:
        expected = " or ".join(CONFIGS) + ", the last as Hugging Face has it"
        raise UserError("nothing says how large the model is and how many heads it has", got=folder, expected=expected)
    found = tf_checkpoint.read(folder / indices[0].removesuffix(".index"))
    tensors = {name: array for name, array in found.items() if not LEFT_OUT.search(name)}
    family = _family(tensors)
    config = SILENT | huggingface.read_json(config_file) | {"model_type": family}
    if family in TANH_GELU and config_file.name != huggingface.CONFIG and config.get("hidden_act") == "gelu":
        config["hidden_act"] = "gelu_new"
    rules = RULES + (OF_ALBERT if family == "albert" else [])
    renamed = {_renamed(name, rules): array.T if name.endswith("/kernel") else array for name, array in tensors.items()}
    return huggingface.from_tensors(config_file, config, folder / indices[0], renamed)


def _family(tensors: dict[str, np.ndarray]) -> str:
    if any("/transformer/group_" in name for name in tensors):
        return "albert"
    return "electra" if any(name.startswith("electra/") for name in tensors) else "bert"


def _renamed(name: str, rules: list[tuple[str, str]]) -> str:
    for pattern, replacement in rules:
        name = re.sub(pattern, replacement, name)
    return name.replace("/", ".")
