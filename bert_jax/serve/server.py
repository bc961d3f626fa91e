"""The process: opens the models, listens, and on a signal answers what it has taken on before it ends."""

import asyncio
import gc
import math
import os
import re
import signal
import socket
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from bert_jax import buckets
from bert_jax.errors import EXIT_DONE, UserError
from bert_jax.predicting import said
from bert_jax.ranges import POSITIVE, require, whole
from bert_jax.serve.guard import Limits, is_loopback
from bert_jax.serve.services import open_models

try:
    import uvicorn
    from uvicorn.protocols.http.h11_impl import H11Protocol

    from bert_jax.serve.app import State, make_app
except ImportError as error:
    raise UserError("serving needs packages that are not installed", got=error.name, fix="pip install -e '.[serve]'") from None

RANGES = {
    "port": whole(0, 65535),
    "queue": whole(1),
    "cache": whole(0),
    "timeout": POSITIVE,
    "max_texts": whole(1),
    "max_chars": whole(1),
    "max_bytes": whole(1),
}
TOKEN = "BERT_JAX_TOKEN"
TOKENS = re.compile(r"[\w.~+/=-]{16,}", re.ASCII)
NAME = re.compile(r"[\w.-]+")
WAITING = 512  # connections that are not accepted yet
KEPT = 15  # seconds that a connection lasts between two requests
SWITCH = 0.0005  # seconds after which the thread of the models lets that of the clients go on; Python has ten times as many
LINGER = 0.5  # seconds in which a client that keeps its connection learns that it ends


def serve(
    workdirs: Sequence[str],
    *,
    host: str,
    port: int,
    token_file: Path | None,
    collection: Path | None,
    queue: int,
    cache: int,
    limits: Limits,
    **settings,
) -> int:
    """Answers until SIGTERM or SIGINT.

    Args:
        workdirs: DIR or NAME=DIR of each model.
        cache: MiB.
        settings: of `open_models`.

    Raises:
        UserError: what cannot be served, an address that cannot be had, or one that others reach without a token.
    """
    given = {"port": port, "queue": queue, "cache": cache, "timeout": limits.seconds, "max_texts": limits.texts}
    require("serve", given | {"max_chars": limits.characters, "max_bytes": limits.body}, RANGES)
    folders, token, local = _folders(workdirs), _token(token_file), is_loopback(host)
    if not local and not token:
        raise UserError(
            "others could ask this server", got=f"--host={host}", fix=f"give a token by --token_file=FILE or in {TOKEN}"
        )
    listener = _listener(host, port)
    state = State(open_models(folders, collection, say=said, **settings), limits, queue, cache * 2**20)
    server = _Server(state, local, token)
    sys.setswitchinterval(SWITCH)
    asyncio.run(server.serve(sockets=[listener]))
    if server.fault:
        raise server.fault
    return EXIT_DONE


class _Server(uvicorn.Server):
    """Ends with exit code 0 on a signal, when all that it has accepted is answered."""

    def __init__(self, state: State, local: bool, token: str):
        self.state, self.fault = state, None
        seconds = state.limits.seconds
        super().__init__(
            uvicorn.Config(
                make_app(state, local=local, token=token, compiled=self._compiled),
                http=partial(_Impatient, seconds=seconds),
                ws="none",
                access_log=False,
                log_level="critical",  # what a client sends is its own fault, and what is ours the application says
                server_header=False,
                backlog=WAITING,
                timeout_keep_alive=KEPT,
                timeout_graceful_shutdown=math.ceil(2 * seconds),
            )
        )

    def _compiled(self, fault: BaseException | None) -> None:
        self.fault = fault
        self.should_exit = self.should_exit or fault is not None
        if not fault:
            gc.collect()
            gc.freeze()  # what was made so far stays; to look through it again and again would stop everything for a while
            said("ready")

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        host, port = sockets[0].getsockname()[:2]
        said(f"http://{f'[{host}]' if ':' in host else host}:{port} begins to serve {', '.join(self.state.models)}")
        await super().startup(sockets)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._end)
        yield

    def _end(self) -> None:
        """Accepts no more connections; those that are there end with the next answer, or in the end without one."""
        if self.state.draining:  # a second signal: at once
            self.force_exit = self.should_exit = True
            return
        self.state.draining = True
        for listening in getattr(self, "servers", ()):  # not yet, where it has just begun
            listening.close()
        asyncio.get_running_loop().call_later(LINGER, setattr, self, "should_exit", True)


class _Impatient(H11Protocol):
    """Ends a connection whose client is too slow: with the lines before a body, or to take an answer."""

    def __init__(self, *arguments, seconds: float, **named):
        super().__init__(*arguments, **named)
        self._seconds, self._deadline, self._taking = seconds, None, None

    def connection_made(self, transport) -> None:
        super().connection_made(transport)
        self._deadline = self.loop.call_later(self._seconds, self._give_up)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.cycle is not None and not self.cycle.response_complete:
            self._deadline.cancel()
        elif self._deadline.cancelled():  # the begin of a further request
            self._deadline = self.loop.call_later(self._seconds, self._give_up)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._wait_for_the_client()

    def resume_writing(self) -> None:
        super().resume_writing()
        if not self.transport.is_closing():
            self._wait_no_more()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.transport.is_closing() and self.transport.get_write_buffer_size():
            self._wait_for_the_client()

    def connection_lost(self, exc) -> None:
        self._deadline.cancel()
        self._wait_no_more()
        super().connection_lost(exc)

    def _wait_for_the_client(self) -> None:
        if self._taking is None:
            self._taking = self.loop.call_later(self._seconds, self._give_up)

    def _wait_no_more(self) -> None:
        if self._taking is not None:
            self._taking.cancel()
            self._taking = None

    def timeout_keep_alive_handler(self) -> None:
        if self.transport.get_write_buffer_size():
            self.transport.abort()
        super().timeout_keep_alive_handler()

    def _give_up(self) -> None:
        self.transport.abort()


def _folders(given: Sequence[str]) -> dict[str, Path]:
    """name -> folder, each DIR or NAME=DIR; DIR is called as its last part."""
    folders = {}
    for each in given:
        name, equals, folder = each.partition("=")
        if not equals or not NAME.fullmatch(name):
            name, folder = Path(each).resolve().name, each
        if buckets.is_bucket(folder):
            raise UserError("a server reads no bucket", got=folder, fix="copy the workdir to a disk, and name that")
        if not NAME.fullmatch(name) or name in folders:
            raise UserError(
                "a model needs a name of its own", got=each, expected="letters, digits, . _ -", fix="--workdir=NAME=DIR"
            )
        folders[name] = Path(folder)
    return folders


def _token(file: Path | None) -> str:
    """Of a file, or else of the environment; never of the command line, which others can read."""
    if file is None:
        token, place = os.environ.get(TOKEN, "").strip(), TOKEN
    else:
        try:
            token, place = file.read_text(encoding="ascii").strip(), file
        except (OSError, ValueError) as error:
            raise UserError("the token cannot be read", got=f"{file}: {error}", expected="a file of ASCII") from None
    if (token or file) and not TOKENS.fullmatch(token):
        raise UserError("the token is too short, or has other characters", got=place, expected="16 letters or digits, or more")
    return token


def _listener(host: str, port: int) -> socket.socket:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(WAITING)
    except (OSError, ValueError) as error:
        got = f"{host}, port {port}: {getattr(error, 'strerror', None) or error}"
        raise UserError("cannot listen there", got=got, fix="another --port or --host") from None
    return listener
