"""What reading the text met: for the person who wants to know what a corpus became."""

import math
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, field

from bert_jax.errors import UserError

STOP, SKIP = "stop", "skip"
SECONDS_BETWEEN_LINES = 10.0


@dataclass
class Report:
    """Filled while documents are read. `notes` counts what was left out or changed, by reason; `places` says for each reason
    where it was met first. With on_bad_input "stop" the first bad input is an error, with "skip" it is left out and counted."""

    on_bad_input: str = STOP
    files: int = 0
    documents: int = 0
    sentences: int = 0
    characters: int = 0
    single_sentence_documents: int = 0
    notes: Counter[str] = field(default_factory=Counter)
    places: dict[str, str] = field(default_factory=dict)

    def __post_init__(self):
        if self.on_bad_input not in (STOP, SKIP):
            raise UserError("unknown data.on_bad_input", got=self.on_bad_input, expected=f"{STOP} or {SKIP}")
        self.notes = Counter(self.notes)

    def add(self, document: list[str]) -> None:
        self.documents += 1
        self.sentences += len(document)
        self.characters += sum(map(len, document))
        self.single_sentence_documents += len(document) == 1

    def note(self, reason: str, place: str, count: int = 1) -> None:
        if count:
            self.notes[reason] += count
            self.places.setdefault(reason, place)

    def bad_input(self, reason: str, place: str, *, expected: str = "", fix: str) -> None:
        """What cannot be read: `reason` is in the plural, as it is counted.

        Raises:
            UserError: unless bad input is to be skipped.
        """
        if self.on_bad_input == STOP:
            raise UserError(
                f"the input holds {reason}", got=place, expected=expected, fix=f"{fix}; or skip such: data.on_bad_input=skip"
            )
        self.note(reason, place)

    def merge(self, later: "Report") -> None:
        """Adds what a report over the text that follows has met."""
        for name in ("files", "documents", "sentences", "characters", "single_sentence_documents"):
            setattr(self, name, getattr(self, name) + getattr(later, name))
        self.notes.update(later.notes)
        self.places = later.places | self.places

    def to_dict(self) -> dict:
        """For JSON; Report(**report.to_dict()) equals it."""
        return asdict(self) | {"notes": dict(self.notes)}

    def totals(self) -> str:
        documents = f"{self.documents:,} documents ({self.single_sentence_documents:,} of one sentence)"
        return f"{self.files:,} files, {documents}, {self.sentences:,} sentences, {self.characters / 1e6:,.1f} M characters"

    def describe(self) -> str:
        """One line of totals, and one for each reason for which something was left out or changed."""
        reasons = sorted(reason for reason, count in self.notes.items() if count)
        lines = [f"  {self.notes[reason]:,} {reason}, first in {self.places[reason]}" for reason in reasons]
        return "\n".join([self.totals(), *(["left out or changed:", *lines] if lines else [])])


class Progress:
    """Says now and then how far a pass over the text is."""

    def __init__(self, doing: str, say: Callable[[str], None], clock: Callable[[], float] = time.monotonic):
        self._doing, self._say, self._clock = doing, say, clock
        self._began = self._told = clock()
        self._first_share: float | None = None

    def __call__(self, report: Report, share: float) -> None:
        """Args: share: of the input that is done, from 0 to 1; NaN where nobody knows."""
        now = self._clock()
        if self._first_share is None:  # what an earlier, killed pass did took no time of this one
            self._first_share, self._began = share, now
        if now - self._told < SECONDS_BETWEEN_LINES:
            return
        self._told = now
        done = share - self._first_share
        left = (now - self._began) * (1 - share) / done if done > 0 else math.nan
        eta = f"{share:.0%}, about {_duration(left)} left, " if math.isfinite(left) else ""
        self._say(f"{self._doing}: {eta}{report.documents:,} documents, {report.characters / 1e6:,.1f} M characters so far")


def _duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    return f"{round(seconds)} s" if seconds < 90 else f"{minutes} min" if minutes < 90 else f"{minutes / 60:.1f} h"
