"""Counting the words of a text of any length in memory that is bounded."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

MAX_WORDS = 2**20  # different words in the table, about 150 MB of English
SAMPLE_CHARS = 2**20


@dataclass
class WordCounts:
    """How often each word comes.

    When a text leaves more than `max_words` different words in the table, those counted once are forgotten, then those counted
    twice, and so on until at most half of max_words are left. A forgotten word starts again at nothing: the count of a word may
    be too small, by `forgotten` at most, and never too large. The outcome depends on the texts and their order alone.
    """

    max_words: int = MAX_WORDS
    counts: Counter[str] = field(default_factory=Counter)
    forgotten: int = 0  # occurrences that are no longer counted

    def add(self, words: Iterable[str]) -> None:
        self.counts.update(words)
        if len(self.counts) > self.max_words:
            self._forget()

    def _forget(self) -> None:
        rare = sorted(self.counts.values(), reverse=True)[self.max_words // 2]
        kept = Counter({word: count for word, count in self.counts.items() if count > rare})
        self.forgotten += self.counts.total() - kept.total()
        self.counts = kept


def count_words(texts: Iterable[str], words_of: Callable[[str], Iterable[str]], max_words: int = MAX_WORDS) -> WordCounts:
    """Reads the texts once."""
    table = WordCounts(max_words)
    for text in texts:
        table.add(words_of(text))
    return table


@dataclass
class Sample:
    """Texts evenly spread over a stream of unknown length: every n-th, n doubled whenever they hold too many characters."""

    max_chars: int = SAMPLE_CHARS
    texts: list[str] = field(default_factory=list)

    def watch(self, texts: Iterable[str]) -> Iterator[str]:
        """The texts, unchanged, while the sample fills."""
        stride, chars = 1, 0
        for number, text in enumerate(texts):
            if number % stride == 0:
                self.texts.append(text[: self.max_chars])
                chars += len(self.texts[-1])
                while chars > self.max_chars and len(self.texts) > 1:
                    self.texts = self.texts[::2]
                    stride, chars = 2 * stride, sum(map(len, self.texts))
            yield text
