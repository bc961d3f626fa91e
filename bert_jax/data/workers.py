"""A function over a stream of items, in processes of its own: results in order, memory bounded, and no process left behind."""

import contextlib
import multiprocessing
import os
import signal
import traceback
from collections.abc import Callable, Iterable, Iterator
from itertools import chain, islice
from multiprocessing.connection import Connection, wait

from bert_jax.errors import UserError

ITEMS_WORTH_PROCESSES = 4  # a process takes half a second to start
ITEMS_AHEAD = 2  # for each process


def map_in_order(function: Callable, items: Iterable, workers: int) -> Iterator:
    """function(item) for each item, in their order, whatever the number of workers.

    Args:
        function: sent to each process once, so it, the items and the results must pickle.
        workers: processes; with 1, or for a few items, this one does the work.

    Raises:
        UserError: a process died. What `function` raises for an item is raised here in its turn.
    """
    items = iter(items)
    first = list(islice(items, ITEMS_WORTH_PROCESSES))
    items = chain(first, items)
    if workers <= 1 or len(first) < ITEMS_WORTH_PROCESSES:
        yield from map(function, items)
        return
    pool = _Pool(function, workers)
    try:
        yield from pool.results(items)
    finally:
        pool.close()


class _Pool:
    def __init__(self, function: Callable, workers: int):
        context = multiprocessing.get_context("spawn")  # a fork would copy the locks of other threads, jax's among them
        self._processes = {}
        for _ in range(workers):
            ours, theirs = context.Pipe()
            process = context.Process(target=_serve, args=(theirs, function), daemon=True)
            process.start()
            theirs.close()
            self._processes[ours] = process

    def results(self, items: Iterable) -> Iterator:
        idle, busy, done = list(self._processes), {}, {}
        ahead = ITEMS_AHEAD * len(idle)
        next_out = 0
        for number, item in enumerate(items):
            while not idle or number - next_out >= ahead:
                self._collect(idle, busy, done)
                while next_out in done:
                    yield _result(done.pop(next_out))
                    next_out += 1
            connection = idle.pop()
            self._send(connection, item)
            busy[connection] = number
        while busy or done:
            if next_out not in done:
                self._collect(idle, busy, done)
                continue
            yield _result(done.pop(next_out))
            next_out += 1

    def _collect(self, idle: list[Connection], busy: dict[Connection, int], done: dict) -> None:
        for connection in wait(list(busy)):
            try:
                done[busy.pop(connection)] = connection.recv()
            except (EOFError, OSError) as error:
                raise self._died(connection) from error
            idle.append(connection)

    def _send(self, connection: Connection, item) -> None:
        try:
            connection.send(item)
        except OSError as error:
            raise self._died(connection) from error

    def _died(self, connection: Connection) -> UserError:
        process = self._processes[connection]
        process.join()
        return UserError(
            "a worker process died",
            got=f"exit code {process.exitcode}" + (" (killed, often for want of memory)" if process.exitcode == -9 else ""),
            fix="give the same command again: it goes on from what is finished; with fewer data.num_workers it needs less memory",
        )

    def close(self) -> None:
        for connection, process in self._processes.items():
            connection.close()
            process.terminate()
        for process in self._processes.values():
            process.join()


def _result(answer):
    if isinstance(answer, BaseException):
        raise answer
    return answer


def _serve(connection: Connection, function: Callable) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent gets it as well, and ends its workers
    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # the other cores have their own process
    # However the parent dies, its end of the pipe closes: the worker ends with the item it is at.
    with contextlib.suppress(EOFError, OSError):
        while True:
            item = connection.recv()
            try:
                answer = function(item)
            except Exception as error:
                error.add_note(f"in a worker process:\n{traceback.format_exc()}")
                answer = error
            connection.send(answer)
