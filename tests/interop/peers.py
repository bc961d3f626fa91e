"""Small models of transformers with random weights, saved by transformers, each with a tokeniser learned from the README."""

from pathlib import Path

import numpy as np
import pytest
import sentencepiece

from bert_jax.text import kinds
from tests.paths import ROOT
from tests.text import modern

TEXTS = (ROOT / "README.md").read_text(encoding="utf-8").split("\n") * 3
SIZES = dict(hidden_size=32, num_hidden_layers=4, num_attention_heads=4, intermediate_size=48, max_position_embeddings=40)
OPTIONS = {  # of a family, beside the sizes
    "bert": {},
    "roberta": {"type_vocab_size": 1, "layer_norm_eps": 1e-5, "pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2},
    "albert": {"embedding_size": 12, "num_hidden_groups": 2},
    "electra": {"embedding_size": 12},
    "distilbert": {"hidden_dim": 48},
    "modernbert": {"local_attention": 8, "classifier_pooling": "mean"},  # two near, one that sees all, one more
}
TASKS = ("SequenceClassification", "TokenClassification", "QuestionAnswering", "MultipleChoice")
PRETRAINED = {
    "Bert": ("ForPreTraining", "ForMaskedLM", "Model"),
    "Roberta": ("ForMaskedLM", "Model"),
    "Albert": ("ForPreTraining", "ForMaskedLM", "Model"),
    "Electra": ("ForMaskedLM", "ForPreTraining", "Model"),
    "DistilBert": ("ForMaskedLM", "Model"),
    "ModernBert": ("ForMaskedLM", "Model"),
}
CLASSES = [f"{family}{kind}" for family in PRETRAINED for kind in (*PRETRAINED[family], *(f"For{task}" for task in TASKS))]


def family_of(kind: str) -> str:
    return next(family for family in OPTIONS if kind.lower().startswith(family))


def write_vocabulary(folder: Path, family: str) -> dict:
    """The files that a release of the family comes with; what its config.json says of the pieces."""
    if family == "albert":
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(TEXTS),
            model_prefix=str(folder / "spiece"),
            vocab_size=300,
            pad_id=0,
            unk_id=1,
            bos_id=-1,
            eos_id=-1,
            control_symbols=["[CLS]", "[SEP]", "[MASK]"],
            minloglevel=2,
        )
        return {"vocab_size": sentencepiece.SentencePieceProcessor(model_file=str(folder / "spiece.model")).vocab_size()}
    if family == "modernbert":
        return modern.write(folder, TEXTS)
    kind = "bytelevel" if family == "roberta" else "wordpiece"
    report = kinds.learn_vocabulary(
        kind, TEXTS, folder / kinds.KINDS[kind].file_name, vocab_size=400, do_lower_case=kind == "wordpiece"
    )
    return {"vocab_size": report.pieces}


def save(kind: str, folder: Path, **options):
    """Makes the directory of a model of this class, and gives the model."""
    torch = pytest.importorskip("torch", reason="the parity extra is not installed")
    transformers = pytest.importorskip("transformers", reason="the parity extra is not installed")
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    folder.mkdir()
    family = family_of(kind)
    torch.manual_seed(0)
    sizes = {"initializer_range": 0.2} | SIZES | write_vocabulary(folder, family)
    if kind.endswith("Classification"):
        sizes["num_labels"] = 3
    model = getattr(transformers, kind)
    model = model(model.config_class(attn_implementation="eager", **sizes | OPTIONS[family] | options)).eval()
    with torch.no_grad():  # fresh biases are 0 and fresh norms 1: nothing would tell them apart
        for parameter in model.parameters():
            if parameter.ndim == 1:
                parameter += 0.2 * torch.randn_like(parameter)
    model.save_pretrained(folder)
    return model


def tensors(model) -> dict[str, np.ndarray]:
    return {name: parameter.detach().numpy().copy() for name, parameter in model.named_parameters()}
