"""Processes that tell each other what they are, over plain connections to process 0: it needs no jax, so that it works where
jax waits for a process that never comes, or ends with it.

A message is a line of JSON. Process 0 listens where jax will have its coordinator, until all have come or the time is over.
"""

import json
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager

from bert_jax.errors import UserError
from bert_jax.parallel import hosts
from bert_jax.parallel.hosts import Place

LONGEST_MESSAGE = 2**24
GREETING_SECONDS = 5  # for one that has connected to say who it is
LATE_SECONDS = 5  # after the time is over, for what is under way


class Meeting:
    """It begins for all at the same time, and all call `gather` equally often."""

    def __init__(self, place: Place, streams: dict[int, "_Stream"], refused: list[str]):
        """Args: streams: of process 0 one to each other process that came; of another one to process 0."""
        self.place, self.refused = place, refused
        self._streams = streams

    def gather(self, said: dict, deadline: float) -> list[dict | None]:
        """What each process has said, in their order; None for one that says nothing in time, now and ever after.

        Args:
            deadline: on the clock time.monotonic, at which each must have begun to say it.

        Raises:
            UserError: process 0 says nothing.
        """
        deadline += LATE_SECONDS
        if self.place.index:
            self._streams[0].send(said)
            answer = self._streams[0].receive(deadline + LATE_SECONDS)
            if answer is None:
                raise UserError("process 0 no longer answers", got=f"nothing more from {self.place.address}")
            return answer["said"]
        records: list[dict | None] = [said] + [None] * (self.place.count - 1)
        for index, stream in list(self._streams.items()):
            records[index] = stream.receive(deadline)
            if records[index] is None:
                self._streams.pop(index).close()
        for stream in self._streams.values():
            stream.send({"said": records})
        return records


@contextmanager
def meet(place: Place, seconds: float) -> Iterator[Meeting]:
    """Waits until all processes have come, or so long.

    Raises:
        UserError: process 0 does not answer, or sends this one away; its address is taken.
    """
    with ExitStack() as open_streams:
        refused: list[str] = []
        if place.index:
            streams = {0: open_streams.enter_context(closing(_greet(place, seconds)))}
        else:
            streams = _welcome_all(place, seconds, refused) if place.count > 1 else {}
            for stream in streams.values():
                open_streams.enter_context(closing(stream))
        yield Meeting(place, streams, refused)


def _greet(place: Place, seconds: float) -> "_Stream":
    stream = _Stream(hosts.connect(place.address, seconds))
    stream.send({"process": place.index, "of": place.count, "host": socket.gethostname()})
    answer = stream.receive(time.monotonic() + seconds + LATE_SECONDS)
    if answer is None or "refused" in answer:
        stream.close()
        said = answer["refused"] if answer else f"it says nothing in {seconds:.0f} seconds"
        raise UserError("process 0 does not take this process in", got=f"{place.address}: {said}")
    return stream


def _welcome_all(place: Place, seconds: float, refused: list[str]) -> dict[int, "_Stream"]:
    port = place.address.rpartition(":")[2]
    deadline = time.monotonic() + seconds
    streams: dict[int, _Stream] = {}
    try:
        family = {"family": socket.AF_INET6, "dualstack_ipv6": True} if socket.has_dualstack_ipv6() else {}
        listening = socket.create_server(("", int(port)), backlog=place.count, **family)
    except (OSError, ValueError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(
            "process 0 cannot be met at its address", got=f"{place.address}: {reason}", fix="give a free port"
        ) from None
    with listening:
        while len(streams) < place.count - 1 and (left := deadline - time.monotonic()) > 0:
            listening.settimeout(left)
            try:
                connection, address = listening.accept()
            except OSError:
                continue
            stream = _Stream(connection)
            greeting = stream.receive(min(deadline, time.monotonic() + GREETING_SECONDS)) or {}
            if wrong := _wrong_with(greeting, streams, place):
                refused.append(f"{greeting.get('host', address[0])}: {wrong}")  # ports are looked at by strangers, too
                stream.send({"refused": wrong})
                stream.close()
            else:
                streams[greeting["process"]] = stream
    for stream in streams.values():
        stream.send({"welcome": True})
    return streams


def _wrong_with(greeting: dict, streams: dict[int, "_Stream"], place: Place) -> str:
    index, count = greeting.get("process"), greeting.get("of")
    if type(index) is not int or type(count) is not int:
        return "what came says not which process it is"
    if count != place.count:
        return f"process {index} takes itself for one of {count}, process 0 for one of {place.count}"
    if index in streams or not 0 < index < count:
        return f"there is a process {index} already" if index < count else f"there is no process {index} of {count}"
    return ""


class _Stream:
    """Lines of JSON over a connection that may fail at any time."""

    def __init__(self, connection: socket.socket):
        self._connection, self._rest = connection, b""

    def send(self, value: dict) -> None:
        try:
            self._connection.settimeout(GREETING_SECONDS)
            self._connection.sendall(json.dumps(value).encode() + b"\n")
        except OSError:
            pass  # who has gone is missed when an answer is wanted

    def receive(self, deadline: float) -> dict | None:
        """The next message; None when none comes in time, or what comes is none."""
        try:
            while b"\n" not in self._rest:
                self._connection.settimeout(max(deadline - time.monotonic(), 0.01))
                more = self._connection.recv(2**16)
                if not more or len(self._rest) > LONGEST_MESSAGE:
                    return None
                self._rest += more
            line, _, self._rest = self._rest.partition(b"\n")
            value = json.loads(line)
        except (OSError, ValueError, RecursionError):
            return None
        return value if isinstance(value, dict) else None

    def close(self) -> None:
        self._connection.close()
