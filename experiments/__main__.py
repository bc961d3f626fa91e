"""Runs what a table of a paper needs and prints it, ours beside the published numbers.

    python -m experiments reproduce bert/table5 --scale=smoke
    python -m experiments reproduce --help
    python -m experiments sizes

experiments/README.md says what there is.
"""

import sys

from bert_jax.command import run_verb
from experiments import reproduce, sizes

VERBS = {
    "reproduce": (reproduce.main, "run what is missing of a table, then print it"),
    "sizes": (sizes.main, "parameters of our configs beside the published numbers"),
}


def main(arguments: list[str]) -> int:
    return run_verb("python -m experiments", VERBS, arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
