"""Answers that were given, kept for those who ask the same of the same model."""

from collections import OrderedDict
from collections.abc import Hashable
from typing import Any


class Cache:
    """The last used `entries`; of 0 none."""

    def __init__(self, entries: int):
        self.entries = entries
        self._kept: OrderedDict[Hashable, Any] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, key: Hashable) -> Any | None:
        if key in self._kept:
            self._kept.move_to_end(key)
        return self._kept.get(key)

    def put(self, key: Hashable, value: Any) -> None:
        self._kept[key] = value
        self._kept.move_to_end(key)
        while len(self._kept) > self.entries:
            self._kept.popitem(last=False)
