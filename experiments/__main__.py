"""Runs what a table of a paper needs and prints it, ours beside the published numbers.

    python -m experiments reproduce bert/table5 --scale=smoke
    python -m experiments reproduce --help

experiments/README.md says what there is.
"""

import sys

from bert_jax.errors import EXIT_DIVERGED, EXIT_DONE, EXIT_USER_ERROR, Diverged, UserError
from experiments import reproduce

VERBS = {"reproduce": (reproduce.main, "run what is missing of a table, then print it")}


def usage() -> str:
    verbs = "\n".join(f"  {name:10} {meaning}" for name, (_, meaning) in VERBS.items())
    return f"usage: python -m experiments VERB [flags]     python -m experiments VERB --help\n\n{verbs}"


def main(arguments: list[str]) -> int:
    """Runs one verb and returns the exit code; a user's mistake is shown as one message."""
    if not arguments or arguments[0] in ("--help", "-h", "help"):
        print(usage())
        return EXIT_DONE if arguments else EXIT_USER_ERROR
    verb, *rest = arguments
    try:
        if verb not in VERBS:
            raise UserError("unknown verb", got=verb, expected=" or ".join(VERBS))
        return VERBS[verb][0](rest)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_USER_ERROR
    except Diverged as error:
        print(f"diverged: {error}", file=sys.stderr)
        return EXIT_DIVERGED


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
