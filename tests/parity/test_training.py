"""Twenty optimiser steps against a plain torch loop with the released BERT's Adam, from the same weights on the same batches."""

import jax
import numpy as np
import pytest

from bert_jax.interop.names import from_huggingface
from bert_jax.objectives.pretrain import bert
from bert_jax.optim.optimizers import make_optimizer
from bert_jax.optim.schedules import bert as bert_schedule
from bert_jax.parallel.layout import make_layout
from bert_jax.parallel.step import init_state, window_means
from tests.parity import case, theirs

STEPS, WARMUP, RATE, TOTAL = 20, 5, 3e-3, 25


def batch_of_step(step: int) -> dict:
    """The case's batch with other pieces in it at each step."""
    batch = case.batch()
    batch["input_ids"] = ((batch["input_ids"] - 5 + 3 * step) % 62 + 5).astype(np.int32) * batch["input_mask"]
    batch["masked_lm_ids"] = ((batch["masked_lm_ids"] - 5 + 5 * step) % 62 + 5).astype(np.int32)
    return batch


def torch_losses(bert_hf) -> list[float]:
    """The rules of AdamWeightDecayOptimizer written out: no bias correction, eps beside the root, decay at the same rate."""
    import torch

    moments = {name: (torch.zeros_like(p), torch.zeros_like(p)) for name, p in bert_hf.named_parameters()}
    losses = []
    for step in range(STEPS):
        bert_hf.zero_grad()
        loss = theirs.forward(bert_hf, batch_of_step(step)).loss
        loss.backward()
        losses.append(loss.item())
        torch.nn.utils.clip_grad_norm_(bert_hf.parameters(), 1.0)
        rate = RATE * step / WARMUP if step < WARMUP else RATE * (1 - step / TOTAL)
        with torch.no_grad():
            for name, parameter in bert_hf.named_parameters():
                mean, square = moments[name]
                mean.mul_(0.9).add_(parameter.grad, alpha=0.1)
                square.mul_(0.999).addcmul_(parameter.grad, parameter.grad, value=0.001)
                update = mean / (square.sqrt() + 1e-6)
                if "LayerNorm" not in name and not name.endswith("bias"):
                    update = update + 0.01 * parameter
                parameter.sub_(rate * update)
    return losses


def our_losses(tensors: dict) -> list[float]:
    objective = bert(case.encoder_config(2))
    optimizer = make_optimizer(bert_schedule(RATE, WARMUP, TOTAL))
    layout = make_layout("jit", objective, optimizer, seed=0, batch_size=4, devices=jax.devices()[:1])
    state = init_state(objective, optimizer, 0)
    params = from_huggingface(tensors, state.params)
    state = layout.place_state(state._replace(params=params))
    losses = []
    for step in range(STEPS):
        empty = jax.tree.map(np.zeros_like, jax.tree.map(np.asarray, state.window))
        state = layout.train_step(state._replace(window=layout.place_state(empty)), layout.place_batch(batch_of_step(step)))
        losses.append(window_means(objective, jax.tree.map(float, layout.single(state.window)))["loss"])
    return losses


def test_twenty_losses_equal_a_torch_loop_with_berts_adam():
    pytest.importorskip("torch", reason="the parity extra is not installed")
    pytest.importorskip("transformers", reason="the parity extra is not installed")
    bert_hf = theirs.model(2, case.SIZES)
    ours = our_losses(theirs.tensors(bert_hf))
    expected = torch_losses(bert_hf)
    assert max(expected) - min(expected) > 0.1  # the loss moved, so that equality says something
    np.testing.assert_allclose(ours, expected, atol=1e-3, rtol=0)
