"""Fine-tuning in plain torch and transformers, as a peer of ours: losses, outputs and scores. Needs the parity extra.

Nothing here calls our models, objectives or optimisers; only the batches are ours, so that both learn from the same rows.
"""

from collections.abc import Iterable, Sequence
from itertools import islice
from pathlib import Path

import numpy as np

INPUTS = {"input_ids": "input_ids", "attention_mask": "input_mask", "token_type_ids": "segment_ids"}  # theirs -> ours
IGNORED = -100  # the label of what their loss leaves out
NOT_DECAYED = ("bias", "LayerNorm.weight", "LayerNorm.bias")  # google-research/bert optimization.py
KINDS = {  # objective.name -> their class
    "classify": "BertForSequenceClassification",
    "regress": "BertForSequenceClassification",
    "tag": "BertForTokenClassification",
    "answer": "BertForQuestionAnswering",
}


def open_peer(source, objective: str, num_labels: int, *, dropout: float = 0.0, seed: int = 0):
    """Their class for a task, with a head drawn by torch.

    Args:
        source: a directory of Hugging Face, or the arguments of a BertConfig, for random weights.
        num_labels: 1 for a score.
    """
    import torch
    import transformers

    torch.manual_seed(seed)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    kind = getattr(transformers, KINDS[objective])
    options = {"num_labels": num_labels, "hidden_dropout_prob": dropout, "attention_probs_dropout_prob": dropout}
    if isinstance(source, Path):
        return kind.from_pretrained(source, local_files_only=True, attn_implementation="sdpa", **options)
    return kind(transformers.BertConfig(attn_implementation="sdpa", **source | options))


def open_taken_out(folder: Path, objective: str):
    """A directory that convert.take_out wrote, by the class that its config names."""
    import transformers

    kinds = {
        "classify": transformers.AutoModelForSequenceClassification,
        "regress": transformers.AutoModelForSequenceClassification,
        "tag": transformers.AutoModelForTokenClassification,
        "answer": transformers.AutoModelForQuestionAnswering,
    }
    transformers.logging.disable_progress_bar()
    return kinds[objective].from_pretrained(folder, local_files_only=True).eval()


def tensors(model) -> dict[str, np.ndarray]:
    return {name: tensor.detach().numpy().copy() for name, tensor in model.named_parameters()}


def inputs_of(batch: dict[str, np.ndarray]) -> dict:
    import torch

    return {theirs: torch.from_numpy(np.asarray(batch[ours], np.int64)) for theirs, ours in INPUTS.items()}


def labels_of(batch: dict[str, np.ndarray]) -> dict:
    """The labels as their classes take them; those of weight 0 are left out of the loss."""
    import torch

    if "label_values" in batch:
        return {"labels": torch.from_numpy(np.asarray(batch["label_values"], np.float32))}
    if "start_positions" in batch:
        return {name: torch.from_numpy(np.asarray(batch[name], np.int64)) for name in ("start_positions", "end_positions")}
    labels = np.where(batch["label_weights"] > 0, batch["label_ids"], IGNORED)
    return {"labels": torch.from_numpy(labels.astype(np.int64))}


class BertAdam:
    """Adam as BERT was released with: moments from zero without correction, decay beside them and not of biases and norms, all
    times the rate."""

    def __init__(self, model, rate: float, num_warmup_steps: int, num_train_steps: int):
        import torch

        self.step_number, self.rate, self.warmup, self.steps = 0, rate, num_warmup_steps, num_train_steps
        self.parameters = [parameter for _, parameter in model.named_parameters()]
        self.decays = [0.0 if name.endswith(NOT_DECAYED) else 0.01 for name, _ in model.named_parameters()]
        self.means = [torch.zeros_like(parameter) for parameter in self.parameters]
        self.squares = [torch.zeros_like(parameter) for parameter in self.parameters]

    def now(self) -> float:
        """Up from 0, then as if it had fallen from the first step on."""
        if self.step_number < self.warmup:
            return self.rate * self.step_number / self.warmup
        return self.rate * (1 - self.step_number / self.steps)

    def step(self) -> None:
        import torch

        with torch.no_grad():
            torch.nn.utils.clip_grad_norm_(self.parameters, 1.0)
            rate = self.now()
            for parameter, mean, square, decay in zip(self.parameters, self.means, self.squares, self.decays):
                if parameter.grad is None:
                    continue
                mean.mul_(0.9).add_(parameter.grad, alpha=0.1)
                square.mul_(0.999).addcmul_(parameter.grad, parameter.grad, value=0.001)
                change = mean / (square.sqrt() + 1e-6)
                parameter.add_(change.add_(parameter, alpha=decay), alpha=-rate)
                parameter.grad = None
        self.step_number += 1


def cast_to(dtype: str):
    """A context in which torch multiplies matrices in bfloat16 where that is asked for."""
    import torch

    return torch.autocast("cpu", dtype=torch.bfloat16, enabled=dtype == "bfloat16")


def train(
    model, batches: Iterable[dict[str, np.ndarray]], rate: float, num_warmup_steps: int, steps: int, dtype: str = "float32"
) -> list[float]:
    """The loss of each step; with the dropout that the model was opened with."""
    optimizer, losses = BertAdam(model, rate, num_warmup_steps, steps), []
    model.train()
    for batch in islice(batches, steps):
        with cast_to(dtype):
            loss = model(**inputs_of(batch), **labels_of(batch)).loss
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def outputs(
    model, batches: Iterable[tuple[Sequence[int], dict[str, np.ndarray]]], objective: str, dtype: str = "float32"
) -> list[dict]:
    """For each row what our objective.predict gives under the same names, from their logits."""
    import torch

    model.eval()
    found = {}
    for numbers, batch in batches:
        with torch.inference_mode(), cast_to(dtype):
            given = model(**inputs_of(batch))
        for place, number in enumerate(numbers):
            found[int(number)] = {name: array[place] for name, array in _named(given, objective).items()}
    return [found[number] for number in range(len(found))]


def _named(given, objective: str) -> dict[str, np.ndarray]:
    if objective == "answer":
        return {f"{side}_logits_BL": getattr(given, f"{side}_logits").float().numpy() for side in ("start", "end")}
    logits = given.logits.float().numpy()
    if objective == "regress":
        return {"scores_B": logits[:, 0]}
    return {"logits_BLC" if objective == "tag" else "logits_BC": logits}
