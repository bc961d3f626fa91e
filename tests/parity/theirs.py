"""The peer: Hugging Face's BertForPreTraining in torch, run on the case."""

import numpy as np


def model(layers: int, sizes: dict, weights: dict | None = None):
    """With the given weights, or with the random ones that transformers draws."""
    import torch
    import transformers

    torch.manual_seed(0)
    config = transformers.BertConfig(num_hidden_layers=layers, attn_implementation="eager", **sizes)
    bert = transformers.BertForPreTraining(config).eval()
    if weights:
        with torch.no_grad():
            for name, parameter in bert.named_parameters():
                parameter.copy_(torch.from_numpy(weights[name].copy()))
    return bert


def shapes(bert) -> dict[str, tuple]:
    return {name: tuple(parameter.shape) for name, parameter in bert.named_parameters()}


def tensors(bert) -> dict[str, np.ndarray]:
    return {name: parameter.detach().numpy().copy() for name, parameter in bert.named_parameters()}


def forward(bert, batch: dict):
    import torch

    labels = np.full(batch["input_ids"].shape, -100)
    for row, (positions, ids, weights) in enumerate(
        zip(batch["masked_lm_positions"], batch["masked_lm_ids"], batch["masked_lm_weights"])
    ):
        labels[row, positions[weights > 0]] = ids[weights > 0]
    long = {name: torch.tensor(array, dtype=torch.long) for name, array in batch.items() if array.dtype == np.int32}
    return bert(
        input_ids=long["input_ids"],
        attention_mask=long["input_mask"],
        token_type_ids=long["segment_ids"],
        labels=torch.tensor(labels),
        next_sentence_label=long["next_sentence_labels"],
        output_hidden_states=True,
    )


def outputs_and_gradients(bert, batch: dict) -> dict[str, np.ndarray]:
    """hidden_BLD, pooled_BD, logits_BLV, logits_BC, loss, and gradient/NAME for each parameter."""
    bert.zero_grad()
    out = forward(bert, batch)
    out.loss.backward()
    hidden = out.hidden_states[-1]
    result = {
        "hidden_BLD": hidden,
        "pooled_BD": bert.bert.pooler(hidden),
        "logits_BLV": out.prediction_logits,
        "logits_BC": out.seq_relationship_logits,
        "loss": out.loss,
    }
    result = {name: tensor.detach().numpy() for name, tensor in result.items()}
    return result | {f"gradient/{name}": parameter.grad.numpy().copy() for name, parameter in bert.named_parameters()}
