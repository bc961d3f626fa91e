"""The families of encoders in Hugging Face's transformers: their classes, and what their config.json calls our fields."""

from collections.abc import Callable
from typing import NamedTuple

from bert_jax.errors import UserError
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
        flat: (config.json, what makes the error from a key, its value and what is expected) -> the same with the keys of fields.
    """

    classes: dict[str, Class]
    fields: dict[str, str]
    fixed: dict[str, object]
    values: dict[str, object]
    copies: dict[str, str]
    padding_is_counted: bool = False
    always_projects: bool = False
    flat: Callable[[dict, Callable[[str, object, str], UserError]], dict] = lambda config, refused: config


def _modernbert_flat(config: dict, refused: Callable[[str, object, str], UserError]) -> dict:
    """transformers 5 lists the kind of each layer, and the base of the angles of each kind; before it had three numbers."""
    flat = {"global_attn_every_n_layers": 3, "global_rope_theta": 160_000.0, "local_rope_theta": 10_000.0} | config
    far, near = "full_attention", "sliding_attention"
    if (kinds := config.get("layer_types")) is not None:
        listed = kinds if isinstance(kinds, list) else []
        every = next((number for number, kind in enumerate(listed) if number and kind == far), max(len(listed), 1))
        regular = [near if number % every else far for number in range(len(listed))]
        if kinds != regular or len(regular) != config.get("num_hidden_layers"):
            raise refused("layer_types", kinds, f"for each layer one, {far} every so many layers from the first on, {near} else")
        flat["global_attn_every_n_layers"] = every
    for key, kind in (("global_rope_theta", far), ("local_rope_theta", near)):
        given = config.get("rope_parameters") or {}
        angles = given.get(kind, {}) if isinstance(given, dict) else None
        plain = {"rope_type": "default", "rope_theta": flat[key]}
        if not isinstance(angles, dict) or plain | angles | {"rope_theta": flat[key]} != plain:
            raise refused("rope_parameters", given, f"rope_type default and a rope_theta for {kind}")
        flat[key] = angles.get("rope_theta", flat[key])
    return flat


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
            "BertForTokenClassification": Class(("token_classifier",), names.BERT),
            "BertForQuestionAnswering": Class(("answer_span",), names.BERT),
            "BertForMultipleChoice": Class(("choice",), names.BERT),
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
            "RobertaForTokenClassification": Class(("token_classifier",), names.ROBERTA),
            "RobertaForQuestionAnswering": Class(("answer_span",), names.ROBERTA),
            "RobertaForMultipleChoice": Class(("choice",), names.ROBERTA),
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
            "AlbertForTokenClassification": Class(("token_classifier",), names.ALBERT),
            "AlbertForQuestionAnswering": Class(("answer_span",), names.ALBERT),
            "AlbertForMultipleChoice": Class(("choice",), names.ALBERT),
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
            "ElectraForTokenClassification": Class(("token_classifier",), names.ELECTRA),
            "ElectraForQuestionAnswering": Class(("answer_span",), names.ELECTRA),
            "ElectraForMultipleChoice": Class(("choice",), names.ELECTRA | names.ELECTRA_POOLER),
            "ElectraModel": Class((), names.ELECTRA),
        },
        fields=_FIELDS | {"embedding_size": "embedding_size"},
        fixed={"pooler_act": "gelu"},
        values=_PLAIN | {"hidden_act": "gelu", "summary_type": "first", "summary_use_proj": True, "summary_activation": "gelu"},
        copies={"generator_lm_head.weight": "electra.embeddings.word_embeddings.weight"},
    ),
    "distilbert": Family(
        classes={
            "DistilBertForMaskedLM": Class(("masked_lm",), names.DISTILBERT),
            "DistilBertForSequenceClassification": Class(("classifier",), names.DISTILBERT | names.DISTILBERT_POOLER),
            "DistilBertForTokenClassification": Class(("token_classifier",), names.DISTILBERT),
            "DistilBertForQuestionAnswering": Class(("answer_span",), names.DISTILBERT),
            "DistilBertForMultipleChoice": Class(("choice",), names.DISTILBERT | names.DISTILBERT_POOLER),
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
    "modernbert": Family(
        classes={
            "ModernBertForMaskedLM": Class(("masked_lm",), names.MODERNBERT),
            "ModernBertForSequenceClassification": Class(("classifier",), names.MODERNBERT | names.MODERNBERT_POOLER),
            "ModernBertForTokenClassification": Class(("token_classifier",), names.MODERNBERT),
            "ModernBertForQuestionAnswering": Class(("answer_span",), names.MODERNBERT),
            "ModernBertForMultipleChoice": Class(("choice",), names.MODERNBERT | names.MODERNBERT_POOLER),
            "ModernBertModel": Class((), names.MODERNBERT),
        },
        fields={
            **{name: name for name in _SAME[:4]},
            "hidden_act": "hidden_activation",
            "hidden_dropout_prob": "mlp_dropout",
            "attention_probs_dropout_prob": "attention_dropout",
            "max_position_embeddings": "max_position_embeddings",
            "initializer_range": "initializer_range",
            "layer_norm_eps": "norm_eps",
            "classifier_pooling": "classifier_pooling",
            "global_attn_every_n_layers": "global_attn_every_n_layers",
            "local_attention": "local_attention",
            "global_rope_theta": "global_rope_theta",
            "local_rope_theta": "local_rope_theta",
        },
        fixed={"block": "pre_norm", "use_bias": False, "type_vocab_size": 0, "pooler_act": "gelu"},
        values={
            "hidden_activation": "gelu",
            "classifier_activation": "gelu",
            "tie_word_embeddings": True,
            "decoder_bias": True,
            "rope_scaling": None,
            **dict.fromkeys(("attention_bias", "mlp_bias", "norm_bias", "classifier_bias"), False),
        },
        copies={"decoder.weight": "model.embeddings.tok_embeddings.weight"},
        flat=_modernbert_flat,
    ),
}
