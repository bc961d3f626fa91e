"""Tables between our parameter paths and the names in Hugging Face's models, and the ways across them."""

import re
from collections.abc import Iterator, Mapping

import numpy as np

# Of what is learned behind a pretrained encoder, in every family.
HEADS = {
    "classifier/dense": "classifier",
    "token_classifier/logits": "classifier",
    "answer_span/logits": "qa_outputs",
    "choice/dense": "classifier",
}
# Of BertForPreTraining: our path -> their name. "{}" in their name is the number of the layer, "{1}" the same counted from 1;
# ours stacks the layers along a first axis. "[0/3]" is the first of three equal parts of their array, along its first axis. A
# name that ends in .weight under a Dense is stored transposed there (torch keeps [out, in]).
BERT = {
    "encoder/embeddings/word/embedding": "bert.embeddings.word_embeddings.weight",
    "encoder/embeddings/position/embedding": "bert.embeddings.position_embeddings.weight",
    "encoder/embeddings/segment/embedding": "bert.embeddings.token_type_embeddings.weight",
    "encoder/embeddings/norm": "bert.embeddings.LayerNorm",
    "encoder/layers/attention/query": "bert.encoder.layer.{}.attention.self.query",
    "encoder/layers/attention/key": "bert.encoder.layer.{}.attention.self.key",
    "encoder/layers/attention/value": "bert.encoder.layer.{}.attention.self.value",
    "encoder/layers/attention/output": "bert.encoder.layer.{}.attention.output.dense",
    "encoder/layers/attention_norm": "bert.encoder.layer.{}.attention.output.LayerNorm",
    "encoder/layers/intermediate": "bert.encoder.layer.{}.intermediate.dense",
    "encoder/layers/output": "bert.encoder.layer.{}.output.dense",
    "encoder/layers/output_norm": "bert.encoder.layer.{}.output.LayerNorm",
    "encoder/pooler": "bert.pooler.dense",
    "masked_lm/dense": "cls.predictions.transform.dense",
    "masked_lm/norm": "cls.predictions.transform.LayerNorm",
    "masked_lm/bias": "cls.predictions.bias",
    "next_sentence/dense": "cls.seq_relationship",
    **HEADS,
}
# Of RobertaForMaskedLM: the same encoder, another head.
ROBERTA = {ours: theirs.replace("bert.", "roberta.", 1) for ours, theirs in BERT.items() if theirs.startswith("bert.")} | {
    "masked_lm/dense": "lm_head.dense",
    "masked_lm/norm": "lm_head.layer_norm",
    "masked_lm/bias": "lm_head.bias",
    **HEADS,
}
# Of AlbertForPreTraining; "{}" is the number of the group.
ALBERT = {
    "encoder/embeddings/word/embedding": "albert.embeddings.word_embeddings.weight",
    "encoder/embeddings/position/embedding": "albert.embeddings.position_embeddings.weight",
    "encoder/embeddings/segment/embedding": "albert.embeddings.token_type_embeddings.weight",
    "encoder/embeddings/norm": "albert.embeddings.LayerNorm",
    "encoder/embeddings/projection": "albert.encoder.embedding_hidden_mapping_in",
    "encoder/layers/block/attention/query": "albert.encoder.albert_layer_groups.{}.albert_layers.0.attention.query",
    "encoder/layers/block/attention/key": "albert.encoder.albert_layer_groups.{}.albert_layers.0.attention.key",
    "encoder/layers/block/attention/value": "albert.encoder.albert_layer_groups.{}.albert_layers.0.attention.value",
    "encoder/layers/block/attention/output": "albert.encoder.albert_layer_groups.{}.albert_layers.0.attention.dense",
    "encoder/layers/block/attention_norm": "albert.encoder.albert_layer_groups.{}.albert_layers.0.attention.LayerNorm",
    "encoder/layers/block/intermediate": "albert.encoder.albert_layer_groups.{}.albert_layers.0.ffn",
    "encoder/layers/block/output": "albert.encoder.albert_layer_groups.{}.albert_layers.0.ffn_output",
    "encoder/layers/block/output_norm": "albert.encoder.albert_layer_groups.{}.albert_layers.0.full_layer_layer_norm",
    "encoder/pooler": "albert.pooler",
    "masked_lm/dense": "predictions.dense",
    "masked_lm/norm": "predictions.LayerNorm",
    "masked_lm/bias": "predictions.bias",
    "next_sentence/dense": "sop_classifier.classifier",
    **HEADS,
}
# Of ElectraForMaskedLM, the generator.
ELECTRA_GENERATOR = {
    ours: theirs.replace("bert.", "electra.", 1)
    for ours, theirs in BERT.items()
    if theirs.startswith("bert.") and ours != "encoder/pooler"
} | {
    "encoder/embeddings/projection": "electra.embeddings_project",
    "masked_lm/dense": "generator_predictions.dense",
    "masked_lm/norm": "generator_predictions.LayerNorm",
    "masked_lm/bias": "generator_lm_head.bias",
}
# Of ElectraForPreTraining, the discriminator.
ELECTRA = {ours: theirs for ours, theirs in ELECTRA_GENERATOR.items() if ours.startswith("encoder/")} | {
    "replaced/dense": "discriminator_predictions.dense",
    "replaced/logit": "discriminator_predictions.dense_prediction",
    **HEADS,
}
# Of DistilBertForMaskedLM.
DISTILBERT = {
    "encoder/embeddings/word/embedding": "distilbert.embeddings.word_embeddings.weight",
    "encoder/embeddings/position/embedding": "distilbert.embeddings.position_embeddings.weight",
    "encoder/embeddings/norm": "distilbert.embeddings.LayerNorm",
    "encoder/layers/attention/query": "distilbert.transformer.layer.{}.attention.q_lin",
    "encoder/layers/attention/key": "distilbert.transformer.layer.{}.attention.k_lin",
    "encoder/layers/attention/value": "distilbert.transformer.layer.{}.attention.v_lin",
    "encoder/layers/attention/output": "distilbert.transformer.layer.{}.attention.out_lin",
    "encoder/layers/attention_norm": "distilbert.transformer.layer.{}.sa_layer_norm",
    "encoder/layers/intermediate": "distilbert.transformer.layer.{}.ffn.lin1",
    "encoder/layers/output": "distilbert.transformer.layer.{}.ffn.lin2",
    "encoder/layers/output_norm": "distilbert.transformer.layer.{}.output_layer_norm",
    "masked_lm/dense": "vocab_transform",
    "masked_lm/norm": "vocab_layer_norm",
    "masked_lm/bias": "vocab_projector.bias",
    **HEADS,
}
# Where the head holds what we call the pooler: of RobertaForSequenceClassification and ElectraForSequenceClassification, of
# ElectraForMultipleChoice, of both classes of DistilBERT, and of both of ModernBERT.
CLASSIFIER = {"encoder/pooler": "classifier.dense", "classifier/dense": "classifier.out_proj"}
ELECTRA_POOLER = {"encoder/pooler": "sequence_summary.summary"}
DISTILBERT_POOLER = {"encoder/pooler": "pre_classifier"}
MODERNBERT_POOLER = {"encoder/pooler": "head.dense", "encoder/pooler_norm": "head.norm"}
_MODERNBERT_LAYER = {
    "attention_norm": "attn_norm",
    "attention/query": "attn.Wqkv[0/3]",
    "attention/key": "attn.Wqkv[1/3]",
    "attention/value": "attn.Wqkv[2/3]",
    "attention/output": "attn.Wo",
    "intermediate_norm": "mlp_norm",
    "intermediate": "mlp.Wi[0/2]",
    "gate": "mlp.Wi[1/2]",
    "output": "mlp.Wo",
}
# Of ModernBertForMaskedLM.
MODERNBERT = (
    HEADS
    | {
        "encoder/embeddings/word/embedding": "model.embeddings.tok_embeddings.weight",
        "encoder/embeddings/norm": "model.embeddings.norm",
        "encoder/final_norm": "model.final_norm",
        "masked_lm/dense": "head.dense",
        "masked_lm/norm": "head.norm",
        "masked_lm/bias": "decoder.bias",
        "answer_span/logits": "classifier",
    }
    | {f"{head}/{part}": f"head.{part}" for head in ("token_classifier", "answer_span") for part in ("dense", "norm")}
    | {f"encoder/first_layer/{ours}": f"model.layers.0.{theirs}" for ours, theirs in _MODERNBERT_LAYER.items()}
    | {f"encoder/layers/{ours}": f"model.layers.{{1}}.{theirs}" for ours, theirs in _MODERNBERT_LAYER.items()}
)
LEAVES = {"kernel": "weight", "bias": "bias", "scale": "weight"}  # the last word of a path under a Dense or a LayerNorm
LAYER, PART = re.compile(r"\{(\d*)\}"), re.compile(r"\[(\d)/(\d)\]")


def from_huggingface(tensors: Mapping[str, np.ndarray], like: dict, names: dict[str, str] = BERT) -> dict:
    """Params in the structure of `like`, with the values of a state dict.

    Args:
        tensors: name -> array.
        like: nested params whose shapes are those wanted.
        names: one of the tables above.

    Raises:
        KeyError: a name is missing. ValueError: a shape differs; both are named.
    """

    def value(path: str, ours):
        name, transposed = _their_name(path, names)
        one = lambda n: _part(tensors, n).T if transposed else _part(tensors, n)  # noqa: E731
        array = np.stack([one(_numbered(name, layer)) for layer in range(ours.shape[0])]) if LAYER.search(name) else one(name)
        if array.shape != ours.shape:
            raise ValueError(f"{name} has shape {array.shape}, {path} needs {ours.shape}")
        return array

    def convert(tree, path):
        return {
            key: convert(sub, f"{path}{key}/") if isinstance(sub, dict) else value(path + key, sub) for key, sub in tree.items()
        }

    return convert(like, "")


def to_huggingface(params: dict, names: dict[str, str] = BERT) -> dict[str, np.ndarray]:
    """Params as a state dict: the inverse of `from_huggingface`.

    Raises:
        KeyError: the table has no name for a path.
    """
    tensors = {}
    for path, array in _leaves(params):
        array, (name, transposed) = np.asarray(array), _their_name(path, names)
        layers = {_numbered(name, layer): one for layer, one in enumerate(array)} if LAYER.search(name) else {name: array}
        tensors |= {name: one.T if transposed else one for name, one in layers.items()}
    return _joined(tensors)


def _joined(tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What belongs to one tensor of theirs put together, in the order of the parts."""
    whole: dict[str, list[np.ndarray]] = {}
    for name in sorted(tensors, key=lambda name: PART.findall(name)):
        whole.setdefault(PART.sub("", name), []).append(tensors[name])
    return {name: np.concatenate(parts) if len(parts) > 1 else parts[0] for name, parts in whole.items()}


def _leaves(tree: dict, prefix: str = "") -> Iterator[tuple[str, np.ndarray]]:
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{prefix}{key}/")
        else:
            yield prefix + key, value


def _their_name(path: str, names: dict[str, str]) -> tuple[str, bool]:
    if path in names:
        return names[path], False
    parent, _, leaf = path.rpartition("/")
    return f"{names[parent]}.{LEAVES[leaf]}", leaf == "kernel"


def _numbered(name: str, layer: int) -> str:
    return LAYER.sub(lambda first: str(int(first[1] or 0) + layer), name)


def _part(tensors: Mapping[str, np.ndarray], name: str) -> np.ndarray:
    part = PART.search(name)
    if not part:
        return np.asarray(tensors[name])
    number, parts = map(int, part.groups())
    return np.split(np.asarray(tensors[PART.sub("", name)]), parts)[number]
