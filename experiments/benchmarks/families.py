"""What is trained in the race of training steps: each family's model of Hugging Face in torch, and ours with its weights."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

VOCABULARY = 30522
SEGMENTS = {"input_ids": "input_ids", "attention_mask": "input_mask", "token_type_ids": "segment_ids"}  # theirs -> ours
NO_SEGMENTS = {"input_ids": "input_ids", "attention_mask": "input_mask"}
ENCODER_WEIGHT = 50.0  # of the discriminator's loss (ELECTRA, appendix A)


class Case(NamedTuple):
    """What one race trains.

    Attributes:
        rows, length, predictions: of a batch.
        steps: of a turn.
        sizes: under names that our EncoderConfig and their config share.
    """

    family: str
    rows: int
    length: int
    predictions: int
    steps: int
    sizes: dict


class Family(NamedTuple):
    """
    Attributes:
        torch_model: sizes -> a module with random weights.
        torch_loss: (module, batch) -> (the loss that is minimised, the loss that must be equal here and there).
        objective: (sizes, dtype of the operands of products) -> our Objective.
        params: (their tensors by name, params of our structure) -> params.
        compared: our name of the loss that must be equal.
    """

    torch_model: Callable
    torch_loss: Callable
    objective: Callable
    params: Callable
    compared: str


def sized(layers: int, width: int, *, heads: int = 0, inner: int = 0, dropout: float = 0.1, **more) -> dict:
    return {
        "vocab_size": VOCABULARY,
        "num_hidden_layers": layers,
        "hidden_size": width,
        "num_attention_heads": heads or width // 64,
        "intermediate_size": inner or 4 * width,
        "max_position_embeddings": 512,
        "hidden_dropout_prob": dropout,
        "attention_probs_dropout_prob": dropout,
        **more,
    }


CASES = {
    "4x256": Case("bert", rows=32, length=128, predictions=20, steps=8, sizes=sized(4, 256)),
    "12x768": Case("bert", rows=16, length=128, predictions=20, steps=2, sizes=sized(12, 768)),
    "albert_base": Case(
        "albert", rows=16, length=128, predictions=20, steps=2, sizes=sized(12, 768, dropout=0.0, embedding_size=128)
    ),
    "electra_small": Case(
        "electra", rows=32, length=128, predictions=19, steps=5, sizes=sized(12, 256, heads=4, embedding_size=128)
    ),
    "modern_7x384": Case(  # the first layer and two groups of three; widths in the ratios of its base
        "modern",
        rows=4,
        length=1024,
        predictions=308,
        steps=1,
        sizes=sized(7, 384, inner=576, dropout=0.0, max_position_embeddings=1024),
    ),
}


def make_batch(case: Case, seed: int) -> dict[str, np.ndarray]:
    """Full rows of random pieces: the step takes the same time whatever they are."""
    draw, (rows, length, predictions) = np.random.default_rng(seed), case[1:4]
    positions = np.sort(np.argsort(draw.random((rows, length)), axis=1)[:, :predictions], axis=1)
    return {
        "example_id": np.arange(rows, dtype=np.int32),
        "input_ids": draw.integers(5, VOCABULARY, (rows, length), dtype=np.int32),
        "input_mask": np.ones((rows, length), np.int32),
        "segment_ids": np.repeat(np.arange(length)[None] >= length // 2, rows, axis=0).astype(np.int32),
        "masked_lm_positions": positions.astype(np.int32),
        "masked_lm_ids": draw.integers(5, VOCABULARY, (rows, predictions), dtype=np.int32),
        "masked_lm_weights": np.ones((rows, predictions), np.float32),
        "next_sentence_labels": draw.integers(0, 2, rows, dtype=np.int32),
        "next_sentence_weights": np.ones(rows, np.float32),
    }


def torch_inputs(batch: Mapping[str, np.ndarray], names: Mapping[str, str]) -> dict:
    """Tensors for a model of Hugging Face: `names` (theirs -> ours), and the labels of the masked places."""
    import torch

    labels = np.full(batch["input_ids"].shape, -100)
    rows, slots = np.nonzero(batch["masked_lm_weights"])
    labels[rows, batch["masked_lm_positions"][rows, slots]] = batch["masked_lm_ids"][rows, slots]
    inputs = {theirs: torch.from_numpy(batch[ours].astype(np.int64)) for theirs, ours in names.items()}
    return inputs | {"labels": torch.from_numpy(labels)}


def _torch_class(name: str, **options):
    import transformers

    kind = getattr(transformers, name)
    return kind(kind.config_class(attn_implementation="sdpa", **options))


def _torch_loss(names: Mapping[str, str]) -> Callable:
    def loss(model, batch):
        found = model(**torch_inputs(batch, names)).loss
        return found, found

    return loss


def _torch_electra(sizes: dict):
    """Generator and discriminator with one embedding between them (ELECTRA, section 3.2)."""
    import torch

    width = sizes["hidden_size"] // 4
    small = {"hidden_size": width, "num_attention_heads": 1, "intermediate_size": sizes["intermediate_size"] // 4}
    encoder = _torch_class("ElectraForPreTraining", **sizes)
    generator = _torch_class("ElectraForMaskedLM", **sizes | small)
    generator.electra.embeddings = encoder.electra.embeddings
    generator.tie_weights()
    return torch.nn.ModuleDict({"encoder": encoder, "generator": generator})


def _torch_electra_loss(model, batch):
    """The generator's logits at the masks alone, as ours and the released code have them; its class would give all."""
    import torch

    encoder, generator = model["encoder"], model["generator"]
    inputs = torch_inputs(batch, SEGMENTS)
    del inputs["labels"]
    at, originals = (torch.from_numpy(batch[name].astype(np.int64)) for name in ("masked_lm_positions", "masked_lm_ids"))
    hidden = generator.electra(**inputs).last_hidden_state
    picked = hidden[torch.arange(len(at))[:, None], at]
    logits = generator.generator_lm_head(generator.generator_predictions(picked)).flatten(0, 1).float()
    masked_lm = torch.nn.functional.cross_entropy(logits, originals.flatten())
    drawn = torch.multinomial(torch.softmax(logits.detach(), -1), 1).view_as(at)
    ids = inputs.pop("input_ids")
    filled = ids.scatter(1, at, drawn)
    replaced = (filled != ids.scatter(1, at, originals)).float()
    return masked_lm + ENCODER_WEIGHT * encoder(input_ids=filled, labels=replaced, **inputs).loss, masked_lm


def _bert(next_sentence: bool, **fields) -> Callable:
    def objective(sizes: dict, dtype: str):
        from bert_jax.models.encoder import EncoderConfig
        from bert_jax.objectives.pretrain import bert

        return bert(EncoderConfig(**sizes | fields, matmul_dtype=dtype), next_sentence=next_sentence)

    return objective


def _electra(sizes: dict, dtype: str):
    from bert_jax.models.encoder import EncoderConfig
    from bert_jax.objectives.electra import electra

    config = EncoderConfig(**sizes, matmul_dtype=dtype, pooler=False)
    return electra(config, generator_size=1 / 4, encoder_weight=ENCODER_WEIGHT, learns="replaced")


def _params(table: str) -> Callable:
    def params(tensors: Mapping[str, np.ndarray], like: dict) -> dict:
        from bert_jax.interop import names

        return names.from_huggingface(tensors, like, getattr(names, table))

    return params


def _electra_params(tensors: Mapping[str, np.ndarray], like: dict) -> dict:
    theirs = {
        part: {name.removeprefix(f"{part}."): tensor for name, tensor in tensors.items() if name.startswith(f"{part}.")}
        for part in ("encoder", "generator")
    }
    alone = {name: part for name, part in like.items() if name != "generator"}
    generator = _params("ELECTRA_GENERATOR")(theirs["generator"], like["generator"])
    return _params("ELECTRA")(theirs["encoder"], alone) | {"generator": generator}


FAMILIES = {
    "bert": Family(
        torch_model=lambda sizes: _torch_class("BertForPreTraining", **sizes),
        torch_loss=_torch_loss(SEGMENTS | {"next_sentence_label": "next_sentence_labels"}),
        objective=_bert(next_sentence=True),
        params=_params("BERT"),
        compared="loss",
    ),
    "albert": Family(
        torch_model=lambda sizes: _torch_class("AlbertForPreTraining", **sizes, num_hidden_groups=1, hidden_act="gelu_new"),
        torch_loss=_torch_loss(SEGMENTS | {"sentence_order_label": "next_sentence_labels"}),
        objective=_bert(next_sentence=True, num_hidden_groups=1, hidden_act="gelu_new"),
        params=_params("ALBERT"),
        compared="loss",
    ),
    "electra": Family(_torch_electra, _torch_electra_loss, _electra, _electra_params, compared="masked_lm_loss"),
    "modern": Family(
        torch_model=lambda sizes: _torch_class("ModernBertForMaskedLM", **sizes, pad_token_id=0, sparse_prediction=True),
        torch_loss=_torch_loss(NO_SEGMENTS),
        objective=_bert(
            next_sentence=False, block="pre_norm", use_bias=False, type_vocab_size=0, pooler=False, layer_norm_eps=1e-5
        ),
        params=_params("MODERNBERT"),
        compared="loss",
    ),
}
