"""The same start, batches and optimiser in torch: the two losses, step by step. Needs the parity extra."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from bert_jax.interop.names import from_huggingface
from bert_jax.models.encoder import EncoderConfig
from bert_jax.objectives.pretrain import bert
from bert_jax.optim.optimizers import make_optimizer
from bert_jax.parallel.layout import make_layout
from bert_jax.parallel.step import empty_window, init_state, window_means
from experiments.benchmarks.families import SEGMENTS, torch_inputs

SIZES = (
    "vocab_size hidden_size num_hidden_layers num_attention_heads intermediate_size max_position_embeddings initializer_range "
    "hidden_dropout_prob attention_probs_dropout_prob"
).split()


def compare(config: EncoderConfig, optim, schedule: Callable, batches: list[dict[str, np.ndarray]]) -> dict[str, list[float]]:
    """The masked-LM loss of every step of torch in float32, and of ours in float32 and with products in bfloat16.

    Args:
        config: without dropout, which the two draw differently.
        optim: weight_decay, b1, b2, eps and clip of AdamW, bias-corrected here for both.
        schedule: step -> learning rate.
    """
    import torch
    import transformers

    torch.manual_seed(0)
    sizes = {name: getattr(config, name) for name in SIZES}
    model = transformers.BertForMaskedLM(transformers.BertConfig(attn_implementation="sdpa", **sizes))
    start = {name: tensor.detach().numpy().copy() for name, tensor in model.named_parameters()}
    losses = {
        f"ours_{dtype}": _ours(replace(config, pooler=False, matmul_dtype=dtype), start, optim, schedule, batches)
        for dtype in ("float32", "bfloat16")
    }
    return {"torch_float32": _torch(model, optim, schedule, batches)} | losses


def _ours(config: EncoderConfig, start: dict, optim, schedule: Callable, batches: list) -> list[float]:
    objective = bert(config, next_sentence=False)
    settings = {name: optim[name] for name in ("weight_decay", "b1", "b2", "eps", "clip")}
    optimizer = make_optimizer(schedule, name="adamw", **settings)
    layout = make_layout("jit", objective, optimizer, seed=0, batch_size=len(batches[0]["input_ids"]))
    state = init_state(objective, optimizer, 0)
    state = layout.place_state(state._replace(params=from_huggingface(start, state.params)))
    losses = []
    for batch in batches:
        state = state._replace(window=layout.place_state(empty_window(objective)))
        state = layout.train_step(state, layout.place_batch(batch))
        losses.append(window_means(objective, layout.single(state.window))["loss"])
    return losses


def _torch(model, optim, schedule: Callable, batches: list) -> list[float]:
    import torch

    plain = [name.endswith("bias") or "LayerNorm" in name for name, _ in model.named_parameters()]
    groups = [[p for p, is_plain in zip(model.parameters(), plain) if is_plain == wanted] for wanted in (True, False)]
    optimizer = torch.optim.AdamW(
        [{"params": groups[0], "weight_decay": 0.0}, {"params": groups[1], "weight_decay": optim.weight_decay}],
        betas=(optim.b1, optim.b2),
        eps=optim.eps,
    )
    losses = []
    for step, batch in enumerate(batches):
        for group in optimizer.param_groups:
            group["lr"] = float(schedule(step))
        optimizer.zero_grad(set_to_none=True)
        loss = model(**torch_inputs(batch, SEGMENTS)).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), optim.clip)
        optimizer.step()
        losses.append(loss.item())
    return losses
