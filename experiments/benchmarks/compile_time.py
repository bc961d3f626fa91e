"""Seconds to compile the training step of 12 and of 24 layers: the loop over the layers is compiled once.

    python -m experiments.benchmarks.compile_time

Writes results/compile_time.json.
"""

import argparse
import sys
import time

import jax

from bert_jax.command import exit_code
from bert_jax.models.encoder import EncoderConfig
from bert_jax.objectives.pretrain import bert
from bert_jax.optim.optimizers import make_optimizer
from bert_jax.parallel.layout import make_layout
from bert_jax.parallel.step import init_state
from experiments.benchmarks import measure
from experiments.benchmarks.train_step import make_batch, sizes

ROUNDS, ROWS = 5, 16


def seconds_to_compile(layers: int) -> float:
    """From nothing: jax and XLA forget what they compiled before."""
    jax.clear_caches()
    objective, optimizer = (
        bert(EncoderConfig(**sizes("12x768") | {"num_hidden_layers": layers})),
        make_optimizer(lambda step: 1e-4),
    )
    layout = make_layout("jit", objective, optimizer, seed=0, batch_size=ROWS)
    shapes = jax.eval_shape(lambda: init_state(objective, optimizer, 0)), make_batch(ROWS, 0)
    before = time.perf_counter()
    layout.train_step.lower(*layout.abstract(*shapes)).compile()
    return time.perf_counter() - before


def main() -> int:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    seconds = measure.interleaved({str(layers): lambda n=layers: seconds_to_compile(n) for layers in (12, 24)}, ROUNDS)
    medians = {layers: measure.summarise(values)._asdict() for layers, values in seconds.items()}
    ratio = measure.ratios(seconds, "24", "12")
    figures = {"seconds_by_layers": medians, "of_24_to_12": ratio._asdict()}
    print(figures)
    measure.write("compile_time", figures, spread=ratio.spread)
    return 0


if __name__ == "__main__":
    sys.exit(exit_code(main))
