"""A past step once more: the text of its batch, the masks that were drawn, and what each row costs."""

from pathlib import Path

import jax
import numpy as np
from rich.console import Console

from bert_jax import inputs, show
from bert_jax import workdir as workdirs
from bert_jax.build import loader_config
from bert_jax.data import loader
from bert_jax.errors import UserError
from bert_jax.parallel.step import evaluation
from bert_jax.trained import open_trained, teacher_params


def replay(workdir: Path, step: int, *, rows: int, console: Console | None = None) -> dict[str, np.ndarray]:
    """Prints the rows that update number `step` of the run in `workdir` was made from, the first `rows` of them in full.

    The losses are those of the newest checkpoint from before the step, without dropout: what the model made of this batch when
    it met it, as nearly as the checkpoints kept allow. Where none is from before it, those of the oldest.

    Args:
        step: from 1, as in metrics.jsonl.

    Returns:
        each metric of the objective for each row alone, float32[B].

    Raises:
        UserError: there is no such step, no trained model, or one whose objective compares rows.
    """
    newest = open_trained(workdir)
    if "task" in newest.config:
        raise UserError("only steps of pretraining are replayed", got=f"a model fine-tuned on {newest.config.task}, in {workdir}")
    if newest.objective.compares_rows:
        raise UserError(
            "where rows are compared with each other the loss of one alone means nothing", fix="show prints the rows of a batch"
        )
    if not 1 <= step <= newest.step:
        raise UserError("there is no such step", got=step, expected=f"1 to {newest.step}, as in metrics.jsonl")
    trained = open_trained(workdir, before=step)
    tokenizer, text = trained.tokenizer, inputs.open_store(trained.config, workdir, trained.tokenizer)
    workdirs.same_store(trained.facts, text.content_hash)
    batches = loader.Loader(text.train, tokenizer, loader_config(trained.config), Path(workdir) / "plans")
    batch = batches.batch(step - 1)
    metrics = of_each_row(trained.objective, trained.params, batch, teacher_params(trained))
    console = console or Console()
    documents = ", ".join(map(str, batches.documents(step - 1)))
    console.print(f"step {step:,} under the parameters of step {trained.step:,}; documents {documents} of the training text")
    worst_first = np.argsort(-metrics["loss"], kind="stable")[:rows]
    notes = [
        "  ".join(f"{name.replace('_', ' ')} {values[row]:.3f}" for name, values in metrics.items() if name.endswith("loss"))
        for row in range(len(metrics["loss"]))
    ]
    show.print_rows(batch, tokenizer, rows=worst_first.tolist(), notes=notes, console=console)
    return metrics


def of_each_row(objective, params, batch: dict, frozen=None) -> dict[str, np.ndarray]:
    """Each metric and "loss" for each row as if it were the batch, float32[B], without dropout."""

    def of_row(params, frozen, row):
        alone = jax.tree.map(lambda leaf: leaf[None], row)
        return objective.means(objective.sums(params, alone, evaluation(frozen)), objective.counts(alone))

    return jax.tree.map(np.asarray, jax.jit(jax.vmap(of_row, in_axes=(None, None, 0)))(params, frozen, batch))
