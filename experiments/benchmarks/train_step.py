"""The training step against Hugging Face's classes in torch, side by side on the same work.

    python -m experiments.benchmarks.train_step 4x256
    python -m experiments.benchmarks.train_step albert_base --kept_memory

The same weights, batches, dropout, optimiser (Adam with decoupled decay, gradient clipping) and threads for all. First the
losses without dropout are compared: a race between different work is void. Then each contender, a process of its own, trains a
few steps in turn, round after round. Needs the parity extra.
"""

import argparse
import json
import resource
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from bert_jax.command import exit_code
from experiments.benchmarks import measure
from experiments.benchmarks.families import CASES, FAMILIES, Case, make_batch

RATE, DECAY = 1e-4, 0.01
CONTENDERS = {  # name -> (framework, dtype of the operands of matrix products)
    "ours float32": ("jax", "float32"),
    "ours bfloat16 operands": ("jax", "bfloat16"),
    "torch float32": ("torch", "float32"),
    "torch bfloat16 autocast": ("torch", "bfloat16"),
}
# Else glibc gives the memory of a step back to the system after it, and takes it anew: up to 1 s of a step of 2.
KEPT_MEMORY = {
    "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1:glibc.malloc.arena_max=1:glibc.malloc.mmap_max=0:"
    "glibc.malloc.trim_threshold=16000000000:glibc.malloc.top_pad=268435456"
}
TOLERANCE = {"float32": 1e-5, "bfloat16": 2e-3}  # of the loss, relative


def torch_model(case: Case):
    import torch

    torch.manual_seed(0)
    return FAMILIES[case.family].torch_model(case.sizes)


def torch_contender(case: Case, dtype: str, weights: Path):
    """(loss without dropout, function that trains so many steps)."""
    import torch

    model, family = torch_model(case), FAMILIES[case.family]
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=DECAY, eps=1e-6, fused=True)

    def losses_of(batch):
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=dtype == "bfloat16"):
            return family.torch_loss(model, batch)

    def train(steps: int) -> None:
        model.train()
        for step in range(steps):
            optimizer.zero_grad(set_to_none=True)
            losses_of(make_batch(case, step))[0].backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()

    model.eval()
    with torch.no_grad():
        return float(losses_of(make_batch(case, 0))[1]), train


def our_contender(case: Case, dtype: str, weights: Path):
    """(loss without dropout, function that trains so many steps)."""
    import jax

    from bert_jax.optim.optimizers import make_optimizer
    from bert_jax.parallel.layout import make_layout
    from bert_jax.parallel.step import init_state
    from bert_jax.train.evaluate import evaluate

    family = FAMILIES[case.family]
    objective = family.objective(case.sizes, dtype)
    optimizer = make_optimizer(lambda step: RATE, name="adamw", weight_decay=DECAY, eps=1e-6, clip=1.0)
    layout = make_layout("jit", objective, optimizer, seed=0, batch_size=case.rows)
    state = init_state(objective, optimizer, 0)
    with np.load(weights, allow_pickle=False) as tensors:
        state = layout.place_state(state._replace(params=family.params(tensors, state.params)))
    first = evaluate(objective, layout, state.params, [make_batch(case, 0)])[family.compared]

    def train(steps: int) -> None:
        nonlocal state
        for step in range(steps):
            state = layout.train_step(state, layout.place_batch(make_batch(case, step)))
        jax.block_until_ready(state)

    return first, train


FRAMEWORKS = {"jax": our_contender, "torch": torch_contender}


def serve(case: str, contender: str, weights: Path) -> None:
    """The process of one contender: says its first loss, then trains as often as it is asked to on standard input."""
    framework, dtype = CONTENDERS[contender]
    first, train = FRAMEWORKS[framework](CASES[case], dtype, weights)
    train(8)  # compiles; and memory that will be kept is handed out
    print(json.dumps({"loss": first}), flush=True)
    for line in sys.stdin:
        before = time.perf_counter()
        train(int(line))
        seconds = time.perf_counter() - before
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        print(json.dumps({"seconds": seconds, "peak_bytes": peak}), flush=True)


def race(case: str, rounds: int, kept_memory: bool) -> dict:
    """Tokens per second of each contender, our ratios to torch and the peak memory of each process."""
    work = CASES[case]
    with tempfile.TemporaryDirectory() as folder:
        weights = Path(folder) / "weights.npz"
        np.savez(weights, **{name: tensor.detach().numpy() for name, tensor in torch_model(work).named_parameters()})
        environment, peaks = KEPT_MEMORY if kept_memory else {}, {}
        processes = {
            name: measure.Process(__spec__.name, [case, "--contender", name, "--weights", str(weights)], environment)
            for name in CONTENDERS
        }
        tolerances = {name: TOLERANCE[dtype] for name, (_, dtype) in CONTENDERS.items()}
        measure.require_same_loss(processes, tolerances, "torch float32")

        def seconds_of(name: str) -> float:
            answer = processes[name].ask(str(work.steps))
            peaks[name] = answer["peak_bytes"]
            return answer["seconds"]

        seconds = measure.interleaved({name: lambda name=name: seconds_of(name) for name in processes}, rounds)
        for process in processes.values():
            process.close()
    speeds = {name: [work.rows * work.length * work.steps / value for value in values] for name, values in seconds.items()}
    summaries = {name: measure.summarise(values) for name, values in speeds.items()}
    best_torch = max(("torch float32", "torch bfloat16 autocast"), key=lambda name: summaries[name].median)
    best_ours = max(("ours float32", "ours bfloat16 operands"), key=lambda name: summaries[name].median)
    return {
        "case": work._asdict(),
        "environment": environment,
        "tokens_per_second": {name: round(summary.median) for name, summary in summaries.items()},
        "spread": {name: round(summary.spread, 3) for name, summary in summaries.items()},
        "ours_float32_to_torch_float32": round(measure.ratios(speeds, "ours float32", "torch float32").median, 2),
        "our_best_to_torch_float32": round(measure.ratios(speeds, best_ours, "torch float32").median, 2),
        "our_best_to_best_torch": round(measure.ratios(speeds, best_ours, best_torch).median, 2),
        "losses": {name: process.loss for name, process in processes.items()},
        "peak_gigabytes": {name: round(peak / 1e9, 2) for name, peak in peaks.items()},
    }


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("case", choices=CASES)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--kept_memory", action="store_true", help="no contender gives memory back between its steps")
    parser.add_argument("--contender", choices=CONTENDERS, help=argparse.SUPPRESS)
    parser.add_argument("--weights", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args(arguments)
    if args.contender:
        serve(args.case, args.contender, args.weights)
        return 0
    figures = race(args.case, args.rounds, args.kept_memory)
    print(json.dumps(figures, indent=2))
    name = f"train_step_{args.case}" + ("_kept_memory" if args.kept_memory else "")
    measure.write(name, figures, spread=max(figures["spread"].values()))
    return 0


if __name__ == "__main__":
    sys.exit(exit_code(lambda: main(sys.argv[1:])))
