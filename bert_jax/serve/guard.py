"""Who may ask, and how much: what stands before the application. All of it holds before a byte of the body is parsed."""

import asyncio
import hmac
import ipaddress
import json
import re
import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

STRING = re.compile(rb'"(?:[^"\\]|\\.)*+"?', re.DOTALL)  # of JSON; one without an end goes on to that of the body
BRACKET = re.compile(rb"[\[\]{}]")
PROBES = ("/health", "/ready")  # asked without a token, by what watches over processes
PAGE, JSON = "/", "application/json"
CLOSE = {"Connection": "close"}  # what is left of the request is not read
HEADERS = (
    (b"cache-control", b"no-store"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
)


class Limits(NamedTuple):
    """
    Attributes:
        body: bytes of a request.
        texts: questions of a request.
        characters: of each text.
        depth: of JSON in JSON.
        seconds: until an answer is given up; so long a client may take to send a request, and to take its answer.
        requests: at a time, each of which may hold its body in memory.
    """

    body: int = 2**20
    texts: int = 64
    characters: int = 20_000
    depth: int = 8
    seconds: float = 30.0
    requests: int = 512


class Refused(Exception):
    """An answer to the client: what is wrong with the request."""

    def __init__(self, status: int, what: str, *, got: object = None, expected: str = "", fix: str = "", headers: Mapping = {}):
        super().__init__(what)
        self.status, self.headers = status, dict(headers)
        parts = {"what": what, "got": got if got is None else str(got)[:200], "expected": expected, "fix": fix}
        self.content = {"error": {name: value for name, value in parts.items() if value}}


def is_loopback(host: str) -> bool:
    name = host.strip("[]").lower()
    try:
        return name == "localhost" or ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


class Guard:
    """Middleware of ASGI.

    Args:
        local: only this machine asks: other names for it than its own are refused, which a page of another site would use that
            had its own name resolved to this machine.
        token: that every request has to bear but those of PROBES; "" for none.
        draining: whether connections are to end with the answer that is given.
        on_answer: (path, status, seconds from the head of the request) of each answer that begins.
    """

    def __init__(
        self,
        app: Callable,
        *,
        limits: Limits,
        local: bool,
        token: str,
        draining: Callable[[], bool],
        on_answer: Callable[[str, int, float], None],
    ):
        self.app, self.limits, self.local, self.token = app, limits, local, token
        self.draining, self.on_answer, self.inside = draining, on_answer, 0

    async def __call__(self, scope, receive, send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        self.inside += 1
        try:
            await self._guarded(scope, receive, send)
        finally:
            self.inside -= 1

    async def _guarded(self, scope, receive, send) -> None:
        started, begin = False, time.perf_counter()

        async def answer(message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                self.on_answer(scope["path"], message["status"], time.perf_counter() - begin)
                closing = [(b"connection", b"close")] if self.draining() else []
                message = message | {"headers": [*message.get("headers", ()), *HEADERS, *closing]}
            async with asyncio.timeout(self.limits.seconds):
                await send(message)

        try:
            self._check(scope)
            body = await self._body(scope, receive)
            if body is not None:
                await self.app(scope, _replayed(body, receive), answer)
        except Refused as refused:
            await _refuse(refused, answer)
        except TimeoutError:
            if not started:  # else the client does not take its answer, and uvicorn ends the connection
                late = f"within {self.limits.seconds:g} seconds"
                await _refuse(Refused(408, "the request did not come in time", expected=late, headers=CLOSE), answer)

    def _check(self, scope) -> None:
        headers = _headers(scope)
        if self.inside > self.limits.requests and scope["path"] not in PROBES:
            raise Refused(429, "too many are asking", fix="ask again in 1 s", headers=CLOSE | {"Retry-After": "1"})
        if self.local and not is_loopback(_name_of(headers.get("host", ""))):
            raise Refused(421, "this server is asked under another name", got=headers.get("host", ""), expected="localhost")
        origin = headers.get("origin")
        if origin is not None and origin != f"{scope['scheme']}://{headers.get('host', '')}":
            raise Refused(403, "pages of other sites may not ask", got=origin)
        site, follows_link = headers.get("sec-fetch-site", "none"), (scope["method"], scope["path"]) == ("GET", PAGE)
        if site not in ("none", "same-origin") and not follows_link:
            raise Refused(403, "pages of other sites may not ask", got=f"Sec-Fetch-Site: {site}")
        if self.token and scope["path"] not in PROBES:
            scheme, _, given = headers.get("authorization", "").partition(" ")
            if scheme.lower() != "bearer" or not hmac.compare_digest(given.strip().encode(), self.token.encode()):
                wanted = {"WWW-Authenticate": "Bearer"}
                raise Refused(401, "the token is missing or wrong", expected="Authorization: Bearer TOKEN", headers=wanted)
        kind = headers.get("content-type", "none")
        if scope["method"] == "POST" and kind.partition(";")[0].strip().lower() != JSON:  # of no form: a browser asks before
            raise Refused(415, "the body is of another kind", got=kind, expected=JSON)

    async def _body(self, scope, receive) -> bytes | None:
        """All of it, in memory only as long as it is not too large; None where the client went away."""
        announced = _headers(scope).get("content-length", "0")
        large = Refused(413, "the body is too large", expected=f"at most {self.limits.body:,} bytes", headers=CLOSE)
        if not announced.isdecimal() or int(announced[:20]) > self.limits.body:
            raise large
        body, more = bytearray(), True
        async with asyncio.timeout(self.limits.seconds):
            while more:
                message = await receive()
                if message["type"] == "http.disconnect":
                    return None
                body += message.get("body", b"")
                more = message.get("more_body", False)
                if len(body) > self.limits.body:
                    raise large
        if too_deep(body, self.limits.depth):
            raise Refused(400, "the JSON is too deep", expected=f"at most {self.limits.depth} levels")
        return bytes(body)


def too_deep(body: bytes, most: int) -> bool:
    """Whether brackets are open in more than so many levels; those in strings are none."""
    depth = 0
    for bracket in BRACKET.findall(STRING.sub(b"", body)):
        depth += 1 if bracket in b"[{" else -1
        if depth > most:
            return True
    return False


def _headers(scope) -> dict[str, str]:
    return {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}


def _name_of(host: str) -> str:
    """Without the port."""
    return host.partition("]")[0] + "]" if host.startswith("[") else host.rpartition(":")[0] or host


def _replayed(body: bytes, receive: Callable) -> Callable:
    given = False

    async def again():
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again


async def _refuse(refused: Refused, send: Callable) -> None:
    content = json.dumps(refused.content).encode()
    headers = {"content-type": JSON, "content-length": str(len(content))} | refused.headers
    pairs = [(name.encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": refused.status, "headers": pairs})
    await send({"type": "http.response.body", "body": content})
