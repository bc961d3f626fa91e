"""Starts training on a Cloud TPU, or a whole sweep of runs on this machine, and compares what came of it.

    python -m launch tpu-vm --help
    python -m launch sweep --help
    python -m launch compare --help

launch/README.md says which verb is for whom. Text beyond one machine is tokenised by python -m launch.beam.
"""

import sys
from functools import partial

from bert_jax.command import run_verb
from launch import compare, engine, gke, local, sky, slurm, sweep, tpu_slice, tpu_vm

VERBS = {
    "tpu-vm": (tpu_vm.main, "create one Cloud TPU VM, train on it, watch it, delete it"),
    "local": (partial(engine.main, "local", local), "one run on this machine, by several processes if wanted"),
    "tpu-slice": (
        partial(engine.main, "tpu-slice", tpu_slice),
        "one run on a Cloud TPU slice, also when it is taken away",
    ),
    "slurm": (partial(engine.main, "slurm", slurm), "one run on a SLURM cluster"),
    "gke": (partial(engine.main, "gke", gke), "one run on the TPUs of a Kubernetes cluster of Google"),
    "sky": (partial(engine.main, "sky", sky), "one run by SkyPilot, on whichever cloud has room"),
    "sweep": (sweep.main, "every cell of a table times every seed: plan, submit, status, resume, table"),
    "compare": (compare.main, "say whether one of two fine-tuned systems is better, or could not be told apart"),
}


def main(arguments: list[str]) -> int:
    return run_verb("python -m launch", VERBS, arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
