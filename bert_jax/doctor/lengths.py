"""How long documents and sentences are: as text and as a picture."""

from pathlib import Path

import numpy as np

from bert_jax.report import drawing

LONGEST = 2**20  # pieces; what is longer counts as this long
BAR = 40  # characters
QUANTILES = (0.1, 0.5, 0.9)


class Lengths:
    """Counts of lengths, so that quantiles are exact."""

    def __init__(self):
        self.counts = np.zeros(1, np.int64)

    def add(self, lengths: np.ndarray) -> None:
        """Args: lengths: int[N], in pieces."""
        counts = np.bincount(np.minimum(lengths, LONGEST), minlength=len(self.counts))
        counts[: len(self.counts)] += self.counts
        self.counts = counts

    def quantile(self, share: float) -> int:
        """The shortest length that this share is not longer than."""
        return int(np.searchsorted(np.cumsum(self.counts), share * self.counts.sum()))

    def by_powers(self) -> list[tuple[int, int, int]]:
        """(first, last, how many) of the lengths from one power of two to the next; 0 by itself."""
        longest = len(self.counts) - 1
        edges = [0, *(2**n for n in range(longest.bit_length() + 1))]
        return [(a, b - 1, int(self.counts[a:b].sum())) for a, b in zip(edges, edges[1:]) if a <= longest]

    def lines(self, name: str) -> list[str]:
        """A histogram of text."""
        low, middle, high = map(self.quantile, QUANTILES)
        title = f"pieces of a {name}: a tenth has {low:,} and fewer, half {middle:,}, a tenth {high:,} and more"
        rows = [row for row in self.by_powers() if row[2] or row[0]]
        most = max(count for *_, count in rows) if rows else 1
        return [title, *(f"  {first:>9,} to {last:<9,} {count:>12,} {_bar(count / most)}" for first, last, count in rows)]


def _bar(share: float) -> str:
    return "#" * max(round(BAR * share), share > 0)


def draw(documents: Lengths, sentences: Lengths, max_seq_length: int, workdir: Path) -> Path:
    """Writes report/lengths.png: both histograms, and where a row ends."""
    figure = drawing.figure(7.5, 3.6)
    for axes, lengths, name in zip(figure.subplots(1, 2), (documents, sentences), ("documents", "sentences")):
        rows = [row for row in lengths.by_powers() if row[0]]
        axes.bar(
            [first for first, *_ in rows],
            [count for *_, count in rows],
            [first for first, *_ in rows],
            align="edge",
            color=drawing.MAIN,
            edgecolor="white",
        )
        axes.set_xscale("log", base=2)
        axes.axvline(max_seq_length, color=drawing.BAD, linestyle="--", label=f"a row, {max_seq_length}")
        axes.set(xlabel="pieces", ylabel=name)
        axes.legend(frameon=False)
    path = workdir / "report" / "lengths.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    return drawing.write(figure, path)
