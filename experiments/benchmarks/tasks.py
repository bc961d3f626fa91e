"""Fine-tuning on SST-2 and prediction of its dev set against Hugging Face's classes in torch, side by side on the same work.

    python -m experiments.benchmarks.tasks
    python -m experiments.benchmarks.tasks --buckets=0
    python -m experiments.benchmarks.tasks --defaults

The same encoder, 6 x 384, as it was published, the same head, rows, dropout, optimiser and threads for all. First the losses
without dropout on the same rows, padded alike, are compared: a race between different work is void. Then each contender, a
process of its own, trains some steps and predicts in turn, round after round. Rows are cut into pieces before. --buckets: rows
of like length share a batch, padded to a multiple of it, 0 pads all to 128; for all contenders alike. --defaults: each pads as
it does where nothing is said, ours rows of like length to a multiple of 32, transformers' DataCollatorWithPadding rows as they
come to the longest of the batch. Needs the parity extra.
"""

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from bert_jax import config as configs
from bert_jax.command import exit_code
from experiments.benchmarks import measure

CONFIG, ROWS, LENGTH = "finetune_glue.py:sst2", 32, 128
STEPS, DEV_ROWS = 20, 872  # of a turn
RATE = 5e-5
CONTENDERS = {  # name -> (framework, dtype of the operands of matrix products)
    "ours float32": ("jax", "float32"),
    "ours bfloat16 operands": ("jax", "bfloat16"),
    "torch float32": ("torch", "float32"),
    "torch bfloat16 autocast": ("torch", "bfloat16"),
}
TOLERANCE = {"float32": 1e-4, "bfloat16": 1e-2}  # of the loss, relative
WORKS = ("train", "predict")
DYNAMIC = -1  # rows in the order of training, each batch padded to its longest


def train_batches(found, buckets: int, number: int):
    """The first ones of training, the same in each turn."""
    from bert_jax.data.finetune import FinetuneLoader

    loader = FinetuneLoader(found.job.train, ROWS, 0, LENGTH, max(buckets, 0))
    return (_cut(loader.batch(step), buckets) for step in range(number))


def dev_batches(found, buckets: int):
    from bert_jax.data.finetune import evaluation_batches

    return (_cut(batch, buckets) for _, batch in evaluation_batches(found.job.dev, ROWS, LENGTH, max(buckets, 0)))


def _cut(batch: dict, buckets: int) -> dict:
    if buckets != DYNAMIC:
        return batch
    longest = int(batch["input_mask"].sum(axis=1).max())
    return {name: array[:, :longest] if array.ndim > 1 else array for name, array in batch.items()}


def opened(workdir: Path, dtype: str):
    from experiments.proofs.finetuning import setting

    given = {"model.matmul_dtype": dtype, "data.max_seq_length": LENGTH, "data.max_train_examples": 20000}
    return setting(CONFIG, workdir, given)


def torch_contender(dtype: str, workdir: Path, buckets: int):
    """(loss without dropout, {work -> function that does so much of it})."""
    import torch

    from experiments import beside_torch_tasks as peer
    from experiments.proofs.finetuning import minilm

    found = opened(workdir, "float32")
    model = peer.open_peer(minilm(), "classify", 2, dropout=0.1)
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=0.01, eps=1e-6, fused=True)
    cast = peer.cast_to(dtype)

    def train(number: int) -> None:
        model.train()
        for batch in train_batches(found, buckets, number):
            optimizer.zero_grad(set_to_none=True)
            with cast:
                loss = model(**peer.inputs_of(batch), **peer.labels_of(batch)).loss
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()

    def predict(number: int) -> None:
        model.eval()
        with torch.inference_mode(), cast:
            for batch in dev_batches(found, buckets):
                model(**peer.inputs_of(batch)).logits.float().numpy()

    model.eval()
    (first,) = train_batches(found, 0, 1)
    with torch.inference_mode(), cast:
        loss = float(model(**peer.inputs_of(first), **peer.labels_of(first)).loss)
    return loss, {"train": train, "predict": predict}


def our_contender(dtype: str, workdir: Path, buckets: int):
    """The same of ours; each shape is compiled before the first turn, by a turn that is not measured."""
    import jax

    from bert_jax.interop.names import BERT, from_huggingface
    from bert_jax.optim.optimizers import make_optimizer
    from bert_jax.parallel.layout import make_layout
    from bert_jax.parallel.step import init_state
    from bert_jax.train.evaluate import evaluate
    from experiments import beside_torch_tasks as peer
    from experiments.proofs.finetuning import minilm

    found = opened(workdir, dtype)
    objective = found.objective
    optimizer = make_optimizer(lambda step: RATE, name="adamw", weight_decay=0.01, eps=1e-6, clip=1.0)
    layout = make_layout("jit", objective, optimizer, seed=0, batch_size=ROWS)
    like = jax.eval_shape(objective.init, jax.random.key(0))
    params = from_huggingface(peer.tensors(peer.open_peer(minilm(), "classify", 2)), like, BERT)
    state = layout.place_state(init_state(objective, optimizer, 0, params))
    predicted = jax.jit(objective.predict)

    def train(number: int) -> None:
        nonlocal state
        for batch in train_batches(found, buckets, number):
            state = layout.train_step(state, layout.place_batch(batch))
        jax.block_until_ready(state)

    def predict(number: int) -> None:
        for batch in dev_batches(found, buckets):
            np.asarray(predicted(state.params, batch)["logits_BC"])

    (first,) = train_batches(found, 0, 1)
    loss = evaluate(objective, layout, state.params, [first])["loss"]
    train(STEPS)
    return loss, {"train": train, "predict": predict}


FRAMEWORKS = {"jax": our_contender, "torch": torch_contender}


def serve(contender: str, workdir: Path, buckets: int) -> None:
    """The process of one contender: says its first loss, then does what it is asked to on standard input."""
    framework, dtype = CONTENDERS[contender]
    loss, works = FRAMEWORKS[framework](dtype, workdir, buckets)
    for name in WORKS:
        works[name](4)
    print(json.dumps({"loss": loss}), flush=True)
    for line in sys.stdin:
        before = time.perf_counter()
        works[line.strip()](STEPS)
        print(json.dumps({"seconds": time.perf_counter() - before}), flush=True)


def race(buckets: int, defaults: bool, rounds: int) -> dict:
    """Rows per second of each contender at each work, and our ratios to torch."""
    from experiments.proofs.finetuning import brought_in

    with tempfile.TemporaryDirectory() as folder:
        workdir = brought_in(Path(folder))
        padding = (
            {"jax": configs.load(f"configs/{CONFIG}").data.pad_to_multiple_of, "torch": DYNAMIC}
            if defaults
            else dict.fromkeys(FRAMEWORKS, buckets)
        )
        processes = {
            name: measure.Process(
                __spec__.name, ["--contender", name, "--workdir", str(workdir), f"--buckets={padding[framework]}"], {}
            )
            for name, (framework, _) in CONTENDERS.items()
        }
        tolerances = {name: TOLERANCE[dtype] for name, (_, dtype) in CONTENDERS.items()}
        measure.require_same_loss(processes, tolerances, "torch float32")
        figures = {}
        for work, rows in (("train", STEPS * ROWS), ("predict", DEV_ROWS)):
            turns = {name: lambda p=process, w=work: p.ask(w)["seconds"] for name, process in processes.items()}
            seconds = measure.interleaved(turns, rounds)
            figures[work] = _summarised({name: [rows / value for value in values] for name, values in seconds.items()})
            print(f"{work}: {figures[work]}", flush=True)
        for process in processes.values():
            process.close()
    losses = {name: process.loss for name, process in processes.items()}
    return {"rows": ROWS, "length": LENGTH, "padding": padding, "rounds": rounds, "losses": losses} | figures


def _summarised(speeds: dict[str, list[float]]) -> dict:
    summaries = {name: measure.summarise(values) for name, values in speeds.items()}
    best_torch = max(("torch float32", "torch bfloat16 autocast"), key=lambda name: summaries[name].median)
    pairs = {
        "ours_float32_to_torch_float32": ("ours float32", "torch float32"),
        "ours_bfloat16_to_torch_float32": ("ours bfloat16 operands", "torch float32"),
        "ours_bfloat16_to_best_torch": ("ours bfloat16 operands", best_torch),
    }
    ratios = {name: measure.ratios(speeds, *pair) for name, pair in pairs.items()}
    return {
        "rows_per_second": {name: round(summary.median, 1) for name, summary in summaries.items()},
        "spread": {name: round(summary.spread, 3) for name, summary in summaries.items()},
        "best_torch": best_torch,
        **{name: {"median": round(ratio.median, 2), "spread": round(ratio.spread, 3)} for name, ratio in ratios.items()},
    }


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--buckets", type=int, default=32)
    parser.add_argument("--defaults", action="store_true")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--contender", choices=CONTENDERS, help=argparse.SUPPRESS)
    parser.add_argument("--workdir", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args(arguments)
    if args.contender:
        serve(args.contender, args.workdir, args.buckets)
        return 0
    figures = race(args.buckets, args.defaults, args.rounds)
    name = "tasks_speed_defaults" if args.defaults else f"tasks_speed_buckets_{args.buckets}"
    measure.write(name, figures, spread=max(ratio for work in WORKS for ratio in figures[work]["spread"].values()))
    return 0


if __name__ == "__main__":
    sys.exit(exit_code(lambda: main(sys.argv[1:])))
