"""Answers that were given, kept for those who ask the same of the same model."""

from collections import OrderedDict

ENTRY = 256  # bytes that an entry takes beside what is in it, about


class Cache:
    """The last used, as long as all of them take no more than `room` bytes."""

    def __init__(self, room: int):
        self.room, self.taken = room, 0
        self._kept: OrderedDict[bytes, bytes] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, key: bytes) -> bytes | None:
        if key in self._kept:
            self._kept.move_to_end(key)
        return self._kept.get(key)

    def put(self, key: bytes, value: bytes) -> None:
        if key in self._kept:
            self.taken -= _size(key, self._kept.pop(key))
        if _size(key, value) > self.room:
            return  # all others would go, and then it too
        self._kept[key] = value
        self.taken += _size(key, value)
        while self.taken > self.room:
            self.taken -= _size(*self._kept.popitem(last=False))


def _size(key: bytes, value: bytes) -> int:
    return ENTRY + len(key) + len(value)
