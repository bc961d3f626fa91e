"""What is wrong, where, how often, and what to do about it."""

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from typing import NamedTuple

SHOWN = 3  # examples that are printed
KEPT = 1000  # examples that are written down


@dataclass
class Fault:
    """One kind of fault.

    Attributes:
        what: in the plural, its count comes after it.
        count: how often it was met.
        of: how many there are of what it was looked for in; 0 where a share says nothing.
        examples: where, the first KEPT of them: "FILE, line N: what stands there".
        fix: what to do.
    """

    what: str
    fix: str
    count: int = 0
    of: int = 0
    examples: list[str] = field(default_factory=list)

    def add(self, example: str, count: int = 1) -> None:
        self.count += count
        if len(self.examples) < KEPT:
            self.examples.append(example)

    def lines(self) -> list[str]:
        share = f" of {self.of:,} ({self.count / self.of:.2%})" if self.of else ""
        shown = self.examples[:SHOWN]
        left = (self.count if len(self.examples) == KEPT else len(self.examples)) - SHOWN
        more = [f"      and {left:,} more"] if left > 0 else []
        return [f"  {self.what}: {self.count:,}{share}", *(f"      {example}" for example in shown), *more, f"    do: {self.fix}"]


class Checked(NamedTuple):
    """What was seen, a line each, and what of it is wrong."""

    facts: list[str]
    findings: list[Fault]


def tell(title: str, facts: Iterable[str], findings: Iterable[Fault], say: Callable[[str], None]) -> None:
    """Prints a part of the report: what was looked at, then what was found."""
    findings = list(findings)
    verdict = f"faults of {len(findings)} kind{'s' * (len(findings) > 1)}" if findings else "nothing found"
    for line in (f"{title}: {verdict}", *(f"  {fact}" for fact in facts), *(line for one in findings for line in one.lines())):
        say(line)


def to_json(findings: Iterable[Fault]) -> list[dict]:
    return [asdict(finding) for finding in findings]
