"""Questions that wait are put together by length, and one thread, which owns the models, answers them batch by batch."""

import asyncio
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from itertools import count
from typing import Any, NamedTuple

from bert_jax.serve.services import Service
from bert_jax.tasks.form import Answer

MEMORY = 0.9  # of the mean seconds of an answer: about the last ten batches count


class Full(Exception):
    """There is no room to wait; after so many seconds there may be."""

    def __init__(self, seconds: int):
        self.seconds = seconds


class _Waiting(NamedTuple):
    number: int  # in the order they came
    example: Any
    rows: int
    answer: asyncio.Future


class _Lane(NamedTuple):
    """What may share a batch: of one service, under the same settings, of the same length."""

    service: Service
    settings: Mapping
    rows: int  # of a batch
    waiting: deque


class Batcher:
    """
    Args:
        room: how many examples may wait.
        on_batch: (examples, seconds) of each batch, called by the thread.
    """

    def __init__(self, room: int, on_batch: Callable[[int, float], None] = lambda examples, seconds: None):
        self.room, self.waiting, self._on_batch = room, 0, on_batch
        self._lanes: dict[tuple, _Lane] = {}
        self._numbers, self._seconds, self._closing = count(), 0.0, False
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None

    def start(self, services: Iterable[Service], then: Callable[[BaseException | None], None]) -> None:
        """Begins to compile all shapes, and then to answer.

        Args:
            then: called from the event loop when all is compiled, with what went wrong, or None.
        """
        loop = asyncio.get_running_loop()

        def work() -> None:
            try:
                for service in services:
                    for _ in service.compile():
                        if self._closing:
                            return
            except Exception as error:
                _tell(loop, then, error)
                return
            _tell(loop, then, None)
            self._answer_all(loop)

        self._thread = threading.Thread(target=work, name="models", daemon=True)
        self._thread.start()

    async def close(self) -> None:
        """Returns when what waits is answered."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        if self._thread:
            await asyncio.to_thread(self._thread.join)

    def require_room(self, examples: int) -> None:
        """Raises Full where not all of them can wait; else they can, as none but the event loop adds to those that do."""
        if self.waiting + examples > self.room:
            raise Full(min(60, max(1, math.ceil(self.waiting * self._seconds))))

    def submit(self, service: Service, examples: Sequence, settings: Mapping) -> list[asyncio.Future]:
        """The answers to come; a future that is cancelled is not computed.

        Raises:
            Full: not all of them can wait.
        """
        self.require_room(len(examples))
        loop, shapes = asyncio.get_running_loop(), service.reads.shapes
        placed = [(shapes.length(max(lengths)), len(lengths)) for lengths in map(service.reads.lengths, examples)]
        with self._changed:
            answers = [loop.create_future() for _ in examples]
            for example, answer, (length, rows) in zip(examples, answers, placed, strict=True):
                name = (service.key, tuple(sorted(settings.items())), length)
                lane = self._lanes.setdefault(name, _Lane(service, settings, shapes.rows(length), deque()))
                lane.waiting.append(_Waiting(next(self._numbers), example, rows, answer))
            self.waiting += len(examples)
            self._changed.notify()
        return answers

    def _answer_all(self, loop: asyncio.AbstractEventLoop) -> None:
        while batch := self._next():
            lane, some = batch
            before = time.perf_counter()
            answered = _answers(lane, some)
            seconds = time.perf_counter() - before
            if answered:
                self._seconds = MEMORY * (self._seconds or seconds / len(answered)) + (1 - MEMORY) * seconds / len(answered)
                self._on_batch(len(answered), seconds)
            _tell(loop, _deliver, answered)

    def _next(self) -> tuple[_Lane, list[_Waiting]] | None:
        """Of the lane that has waited longest, as many as fill a batch, but for cancelled ones; None when nothing waits and
        it is closing."""
        with self._changed:
            self._changed.wait_for(lambda: self._lanes or self._closing)
            if not self._lanes:
                return None
            name, lane = min(self._lanes.items(), key=lambda item: item[1].waiting[0].number)
            before, some, rows = len(lane.waiting), [], 0
            while lane.waiting and (not some or rows + lane.waiting[0].rows <= lane.rows):
                first = lane.waiting.popleft()
                if not first.answer.cancelled():
                    some.append(first)
                    rows += first.rows
            self.waiting -= before - len(lane.waiting)
            if not lane.waiting:
                del self._lanes[name]
            return lane, some


def _tell(loop: asyncio.AbstractEventLoop, *call) -> None:
    """What the thread has to say; nothing where the loop is gone, as after a second signal."""
    with suppress(RuntimeError):
        loop.call_soon_threadsafe(*call)


def _answers(lane: _Lane, some: Sequence[_Waiting]) -> list[tuple[asyncio.Future, Answer | Exception]]:
    """One that cannot be answered spoils no other."""
    if not some:
        return []
    try:
        answers = lane.service.answers([each.example for each in some], **lane.settings)
        return [(each.answer, answer) for each, answer in zip(some, answers, strict=True)]
    except Exception as error:
        if len(some) == 1:
            return [(some[0].answer, error)]
        return [answered for each in some for answered in _answers(lane, [each])]


def _deliver(answered: Sequence[tuple[asyncio.Future, Answer | Exception]]) -> None:
    for future, answer in answered:
        if not future.done():  # nobody waits any more
            future.set_exception(answer) if isinstance(answer, Exception) else future.set_result(answer)
