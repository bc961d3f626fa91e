"""The families of encoders in Hugging Face's transformers: their classes, and what their config.json calls our fields."""

from typing import NamedTuple

from bert_jax.interop import names


class Class(NamedTuple):
    """A class of transformers: our heads in it, and the names of its tensors."""

    heads: tuple[str, ...]
    names: dict[str, str]


class Family(NamedTuple):
    """What transformers calls a model type.

    Attributes:
        classes: name -> Class.
        fields: field of EncoderConfig -> key of config.json.
        fixed: fields of EncoderConfig that all models of the family share.
        values: key of config.json -> the value that it must have where it is there: all that our encoder computes.
        copies: tensors that a file may repeat -> the tensor they must equal.
        padding_is_counted: positions begin behind the number of [PAD].
        always_projects: tables are widened by a product even where they are as wide as the layers.
    """

    classes: dict[str, Class]
    fields: dict[str, str]
    fixed: dict[str, object]
    values: dict[str, object]
    copies: dict[str, str]
    padding_is_counted: bool = False
    always_projects: bool = False


_SAME = (
    "hidden_size num_hidden_layers num_attention_heads intermediate_size hidden_act hidden_dropout_prob "
    "attention_probs_dropout_prob max_position_embeddings type_vocab_size initializer_range layer_norm_eps"
).split()
_FIELDS = {name: name for name in _SAME}
_PLAIN = {"is_decoder": False, "tie_word_embeddings": True, "position_embedding_type": "absolute"}
FAMILIES = {
    "bert": Family(
        classes={
            "BertForPreTraining": Class(("masked_lm", "next_sentence"), names.BERT),
            "BertForMaskedLM": Class(("masked_lm",), names.BERT),
            "BertForSequenceClassification": Class(("classifier",), names.BERT),
            "BertModel": Class((), names.BERT),
        },
        fields=_FIELDS,
        fixed={},
        values=_PLAIN,
        copies={
            "cls.predictions.decoder.weight": "bert.embeddings.word_embeddings.weight",
            "cls.predictions.decoder.bias": "cls.predictions.bias",
        },
    ),
    "roberta": Family(
        classes={
            "RobertaForMaskedLM": Class(("masked_lm",), names.ROBERTA),
            "RobertaForSequenceClassification": Class(("classifier",), names.ROBERTA | names.CLASSIFIER),
            "RobertaModel": Class((), names.ROBERTA),
        },
        fields=_FIELDS,
        fixed={},
        values=_PLAIN | {"hidden_act": "gelu"},  # its head computes gelu whatever config.json says
        copies={
            "lm_head.decoder.weight": "roberta.embeddings.word_embeddings.weight",
            "lm_head.decoder.bias": "lm_head.bias",
        },
        padding_is_counted=True,
    ),
    "albert": Family(
        classes={
            "AlbertForPreTraining": Class(("masked_lm", "next_sentence"), names.ALBERT),
            "AlbertForMaskedLM": Class(("masked_lm",), names.ALBERT),
            "AlbertForSequenceClassification": Class(("classifier",), names.ALBERT),
            "AlbertModel": Class((), names.ALBERT),
        },
        fields=_FIELDS | {"embedding_size": "embedding_size", "num_hidden_groups": "num_hidden_groups"},
        fixed={},
        values=_PLAIN | {"inner_group_num": 1},
        copies={
            "predictions.decoder.weight": "albert.embeddings.word_embeddings.weight",
            "predictions.decoder.bias": "predictions.bias",
        },
        always_projects=True,
    ),
    "electra": Family(
        classes={
            "ElectraForMaskedLM": Class(("masked_lm",), names.ELECTRA_GENERATOR),
            "ElectraForPreTraining": Class(("replaced",), names.ELECTRA),
            "ElectraForSequenceClassification": Class(("classifier",), names.ELECTRA | names.CLASSIFIER),
            "ElectraModel": Class((), names.ELECTRA),
        },
        fields=_FIELDS | {"embedding_size": "embedding_size"},
        fixed={"pooler_act": "gelu"},
        values=_PLAIN | {"hidden_act": "gelu"},
        copies={"generator_lm_head.weight": "electra.embeddings.word_embeddings.weight"},
    ),
    "distilbert": Family(
        classes={
            "DistilBertForMaskedLM": Class(("masked_lm",), names.DISTILBERT),
            "DistilBertForSequenceClassification": Class(("classifier",), names.DISTILBERT | names.DISTILBERT_CLASSIFIER),
            "DistilBertModel": Class((), names.DISTILBERT),
        },
        fields={
            "hidden_size": "dim",
            "num_hidden_layers": "n_layers",
            "num_attention_heads": "n_heads",
            "intermediate_size": "hidden_dim",
            "hidden_act": "activation",
            "hidden_dropout_prob": "dropout",
            "attention_probs_dropout_prob": "attention_dropout",
            "max_position_embeddings": "max_position_embeddings",
            "initializer_range": "initializer_range",
        },
        fixed={"type_vocab_size": 0, "pooler_act": "relu"},
        values={"tie_word_embeddings": True},
        copies={"vocab_projector.weight": "distilbert.embeddings.word_embeddings.weight"},
    ),
}
