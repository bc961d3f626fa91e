"""The same start, batches and optimiser in torch: the two losses, step by step. Needs the parity extra."""

import numpy as np

from bert_jax.interop.names import from_huggingface
from bert_jax.models.encoder import EncoderConfig
from bert_jax.objectives.pretrain import bert
from bert_jax.optim.optimizers import make_optimizer
from bert_jax.optim.schedules import bert as bert_schedule
from bert_jax.parallel.layout import make_layout
from bert_jax.parallel.step import empty_window, init_state, window_means

RATE, WARMUP, TOTAL, DECAY, EPS, CLIP = 5e-4, 50, 2000, 0.01, 1e-6, 1.0


def rate_of(step: int) -> float:
    """google-research/bert optimization.create_optimizer: it falls from step 0 on, the warm-up is cut into that line."""
    return RATE * step / WARMUP if step < WARMUP else RATE * (1 - step / TOTAL)


def compare(sizes: dict, batches: list[dict[str, np.ndarray]]) -> dict[str, list[float]]:
    """The loss of every step of torch in float32, and of ours in float32 and with products in bfloat16.

    Args:
        sizes: as in bert_config.json; dropout is off.
    """
    import torch
    import transformers

    no_dropout = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    torch.manual_seed(0)
    model = transformers.BertForPreTraining(transformers.BertConfig(attn_implementation="sdpa", **sizes | no_dropout))
    start = {name: tensor.detach().numpy().copy() for name, tensor in model.named_parameters()}
    losses = {
        f"ours_{dtype}": _ours(EncoderConfig(**sizes | no_dropout, matmul_dtype=dtype), start, batches)
        for dtype in ("float32", "bfloat16")
    }
    return {"torch_float32": _torch(model, batches)} | losses


def _ours(config: EncoderConfig, start: dict, batches: list) -> list[float]:
    objective = bert(config)
    optimizer = make_optimizer(bert_schedule(RATE, WARMUP, TOTAL), name="adamw", weight_decay=DECAY, eps=EPS, clip=CLIP)
    layout = make_layout("jit", objective, optimizer, seed=0, batch_size=len(batches[0]["input_ids"]))
    state = init_state(objective, optimizer, 0)
    state = layout.place_state(state._replace(params=from_huggingface(start, state.params)))
    losses = []
    for batch in batches:
        state = state._replace(window=layout.place_state(empty_window(objective)))
        state = layout.train_step(state, layout.place_batch(batch))
        losses.append(window_means(objective, layout.single(state.window))["loss"])
    return losses


def _torch(model, batches: list) -> list[float]:
    import torch

    from experiments.benchmarks.train_step import torch_loss

    plain = [name.endswith("bias") or "LayerNorm" in name for name, _ in model.named_parameters()]
    groups = [[p for p, is_plain in zip(model.parameters(), plain) if is_plain == wanted] for wanted in (True, False)]
    optimizer = torch.optim.AdamW(
        [{"params": groups[0], "weight_decay": 0.0}, {"params": groups[1], "weight_decay": DECAY}], eps=EPS
    )
    losses = []
    for step, batch in enumerate(batches):
        for group in optimizer.param_groups:
            group["lr"] = rate_of(step)
        optimizer.zero_grad(set_to_none=True)
        loss = torch_loss(model, batch)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        optimizer.step()
        losses.append(loss.item())
    return losses
