"""What is wrong with a run that goes on: the parts of UserError, for those who look on and do not stop."""

from typing import NamedTuple


class Finding(NamedTuple):
    """One sign that a run does not learn what its config says.

    Attributes:
        what: what is wrong, the same words for the same fault: findings are told apart by it.
        seen, expected: with their figures.
        do: what to do next.
    """

    what: str
    seen: str
    expected: str
    do: str

    def line(self) -> str:
        return f"{self.what}: seen {self.seen}; expected {self.expected}; do: {self.do}"
