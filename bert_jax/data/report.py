"""What reading the text met: for the person who wants to know what a corpus became."""

from collections import Counter
from dataclasses import dataclass, field


@dataclass
class Report:
    """Filled while documents are read. `notes` counts what was left out or changed, by reason."""

    files: int = 0
    documents: int = 0
    sentences: int = 0
    characters: int = 0
    notes: Counter[str] = field(default_factory=Counter)

    def add(self, document: list[str]) -> None:
        self.documents += 1
        self.sentences += len(document)
        self.characters += sum(map(len, document))

    def describe(self) -> str:
        """One line of totals, and a second one where something was left out or changed."""
        total = f"{self.files:,} files, {self.documents:,} documents, {self.sentences:,} sentences"
        total += f", {self.characters / 1e6:,.1f} M characters"
        notes = ", ".join(f"{count:,} {reason}" for reason, count in sorted(self.notes.items()) if count)
        return f"{total}\nleft out or changed: {notes}" if notes else total
