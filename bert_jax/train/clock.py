"""How fast training goes: real tokens per second, waiting for data, and the time left."""

import contextlib
import time


class Clock:
    """Counts the seconds of training alone: evaluation, checkpoints and compilation of the first step are left out.

    Padding does not count as tokens; the caller passes the number of real ones.
    """

    def __init__(self):
        self._started = None
        self._since_lap = self._data_wait = self._total = 0.0
        self._steps_since_lap = self._total_steps = 0

    def start(self) -> None:
        self._started = time.perf_counter()

    @contextlib.contextmanager
    def paused(self):
        self._bank()
        yield
        self._started = time.perf_counter()

    @contextlib.contextmanager
    def waiting_for_data(self):
        before = time.perf_counter()
        yield
        if self._started is not None:
            self._data_wait += time.perf_counter() - before

    def _bank(self) -> None:
        if self._started is not None:
            seconds = time.perf_counter() - self._started
            self._since_lap += seconds
            self._total += seconds
            self._started = None

    def step(self) -> None:
        """One step was timed."""
        if self._started is not None:
            self._steps_since_lap += 1
            self._total_steps += 1

    def lap(self, tokens: float, window_steps: float) -> dict[str, float]:
        """Rates since the last lap, given the real tokens of a window of steps; empty while nothing was timed."""
        self._bank()
        self.start()
        seconds, steps, wait = self._since_lap, self._steps_since_lap, self._data_wait
        self._since_lap, self._steps_since_lap, self._data_wait = 0.0, 0, 0.0
        if not steps or not seconds:
            return {}
        return {"tokens_per_second": tokens / window_steps * steps / seconds, "data_wait_fraction": wait / seconds}

    def seconds_left(self, steps: int) -> float | None:
        """For this many more steps, at the mean pace so far."""
        return self._total / self._total_steps * steps if self._total_steps else None
