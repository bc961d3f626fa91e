"""Starts training on a Cloud TPU, or a whole sweep of runs on this machine.

    python -m launch tpu-vm --help
    python -m launch sweep --help

launch/README.md says which verb is for whom.
"""

import sys

from bert_jax.errors import EXIT_USER_ERROR, UserError
from launch import sweep, tpu_vm

VERBS = {
    "tpu-vm": (tpu_vm.main, "create one Cloud TPU VM, train on it, watch it, delete it"),
    "sweep": (sweep.main, "train every cell of a sweep on this machine, one after another, and print the table"),
}


def usage() -> str:
    verbs = "\n".join(f"  {name:8} {meaning}" for name, (_, meaning) in VERBS.items())
    return f"usage: python -m launch VERB [flags]     python -m launch VERB --help\n\n{verbs}"


def main(arguments: list[str]) -> int:
    """Runs one verb and returns the exit code; a user's mistake is shown as one message."""
    if not arguments or arguments[0] in ("--help", "-h", "help"):
        print(usage())
        return 0 if arguments else EXIT_USER_ERROR
    verb, *rest = arguments
    try:
        if verb not in VERBS:
            raise UserError("unknown verb", got=verb, expected=" or ".join(VERBS))
        return VERBS[verb][0](rest)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_USER_ERROR


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
