"""The one exception for mistakes that a user can mend, and the process exit codes."""

EXIT_DONE = 0
EXIT_USER_ERROR = 2
EXIT_DIVERGED = 3
EXIT_RESTART = 42  # state saved; the same command continues


class UserError(Exception):
    """A mistake in what the user gave: shown as one message without a traceback, exit code 2.

    Args:
        what: what is wrong, a sentence without a full stop.
        got: the value seen, if there is one.
        expected: what would have been right.
        fix: what to do next.
    """

    def __init__(self, what: str, *, got: object = None, expected: str = "", fix: str = ""):
        self.parts = {"what": what, "got": got, "expected": expected, "fix": fix}
        parts = [what]
        if got is not None:
            parts.append(f"  got:      {got}")
        if expected:
            parts.append(f"  expected: {expected}")
        if fix:
            parts.append(f"  do:       {fix}")
        super().__init__("\n".join(parts))


class Diverged(Exception):
    """Training met a loss that is not finite: exit code 3."""
