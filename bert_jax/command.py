"""What every command of the project does at its edge: picks a verb, and turns mistakes into one message and an exit code."""

import errno
import sys
from collections.abc import Callable

from bert_jax.errors import EXIT_DIVERGED, EXIT_DONE, EXIT_USER_ERROR, Diverged, UserError

DISK_REFUSALS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES)


def exit_code(action: Callable[[], int]) -> int:
    """The exit code of action(); a user's mistake, a disk that refuses and a run that diverged are shown without a traceback."""
    try:
        return action()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_USER_ERROR
    except OSError as error:
        if error.errno not in DISK_REFUSALS:
            raise
        print(f"error: the disk refuses: {error.strerror}\n  got:      {error.filename or 'no file named'}", file=sys.stderr)
        return EXIT_USER_ERROR
    except Diverged as error:
        print(f"diverged: {error}", file=sys.stderr)
        return EXIT_DIVERGED


def run_verb(program: str, verbs: dict[str, tuple[Callable[[list[str]], int], str]], arguments: list[str]) -> int:
    """Runs `program VERB arguments`, where verbs maps a name to (function of the remaining arguments, meaning)."""
    if not arguments or arguments[0] in ("--help", "-h", "help"):
        width = max(map(len, verbs))
        lines = "\n".join(f"  {name:{width}} {meaning}" for name, (_, meaning) in verbs.items())
        print(f"usage: {program} VERB [flags]     {program} VERB --help\n\n{lines}")
        return EXIT_DONE if arguments else EXIT_USER_ERROR
    verb, *rest = arguments
    if verb not in verbs:
        return exit_code(lambda: _unknown(verb, verbs))
    return exit_code(lambda: verbs[verb][0](rest))


def _unknown(verb: str, verbs: dict) -> int:
    raise UserError("unknown verb", got=verb, expected=" or ".join(verbs))
