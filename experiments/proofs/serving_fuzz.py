"""Ten thousand requests that no friend sends: by the description of the server, and made by hand."""

import json
import random
import re
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path

from bert_jax.errors import UserError
from experiments.proofs.commands import ROOT
from experiments.proofs.finetuning import brought_in

PATIENCE = 3  # seconds that the server gives a client
SLOW = 20  # clients at a time that fall silent
# The server, with the name of every file that it opens behind standard error's "ready", and what it starts.
WATCHED = """
import sys
opened = open(sys.argv.pop(1), "a", buffering=1)
def hook(event, arguments):
    if event in ("open", "os.listdir", "os.scandir", "subprocess.Popen", "os.system"):
        opened.write(f"{event} {arguments[0]!r}\\n")
from bert_jax.__main__ import main
sys.addaudithook(hook)
sys.exit(main())
"""


def serve_fuzz(scratch: Path, requests: int = 10_000) -> dict:
    """Half of them by schemathesis, from /openapi.json."""
    try:
        import schemathesis  # noqa: F401
    except ImportError:
        raise UserError("schemathesis is not installed", fix="pip install schemathesis") from None
    workdir, log = brought_in(scratch), scratch / "opened.txt"
    command = [sys.executable, "-c", WATCHED, log, "serve", f"--workdir=m={workdir}", "--pooling=mean", "--port=0"]
    command.append(f"--timeout={PATIENCE}")
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True) as process:
        try:
            port = int(process.stderr.readline().split(":")[2].split()[0])
            process.stderr.readline()  # ready
            before = len(log.read_text().splitlines())
            quiet = ThreadPoolExecutor(1).submit(_silent, port)
            statuses = {"by_hand": _by_hand(port, requests // 2), "schemathesis": _by_description(port, requests - requests // 2)}
            quiet.result()
            alive = _status(_sent(port, b"GET /ready HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"))
            process.terminate()
            code, said = process.wait(60), process.stderr.read()
        finally:
            process.kill()
    opened = [line for line in log.read_text().splitlines()[before:] if str(workdir) not in line]
    code_of_ours = re.compile(rf"open '({re.escape(sys.prefix)}|{re.escape(str(ROOT / 'bert_jax'))})/.*\.pyc?'")
    return {
        "requests": {name: found.total() for name, found in statuses.items()},
        "statuses": {name: dict(sorted(found.items())) for name, found in statuses.items()},
        "of_500_and_more": sum(count for found in statuses.values() for status, count in found.items() if int(status) >= 500),
        "ready_after": alive == 200,
        "opened_beside_model_and_code": sorted({line for line in opened if not code_of_ours.match(line)}),
        "said": said,
        "exit_code": code,
    }


def _by_description(port: int, requests: int) -> Counter:
    """Shared by all operations, in rounds, as some have little that can be asked."""
    import schemathesis

    base, found = f"http://127.0.0.1:{port}", Counter()
    operations = [each.ok() for each in schemathesis.openapi.from_url(f"{base}/openapi.json").get_all_operations()]
    modes = schemathesis.GenerationMode
    kinds = [(operation, mode) for operation in operations for mode in (modes.POSITIVE, modes.NEGATIVE)]
    for number in count():
        each = -(-(requests - found.total()) // len(kinds))
        kinds = [(operation, mode) for operation, mode in kinds if _asked(operation, mode, base, each, number, found)]
        if found.total() >= requests:
            return found


def _asked(operation, mode, base: str, requests: int, number: int, found: Counter) -> bool:
    """Asks and counts; False where there is nothing to ask: without a parameter or a body nothing can be wrong."""
    from hypothesis import HealthCheck, Phase, given, seed, settings
    from hypothesis import strategies as st
    from hypothesis.errors import Unsatisfiable

    @seed(number)
    @settings(
        max_examples=requests, deadline=None, database=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck)
    )
    @given(case=operation.as_strategy(generation_mode=mode), known=st.booleans())
    def ask(case, known):
        if known and "model" in (case.path_parameters or {}):
            case.path_parameters["model"] = "m"
        answer = case.call(base_url=base, timeout=30)
        found[str(answer.status_code)] += 1
        assert "Traceback" not in answer.text

    try:
        ask()
    except Unsatisfiable:
        return False
    return True


def _by_hand(port: int, requests: int) -> Counter:
    """Each on a connection of its own, that ends with the answer."""
    drawn, found = random.Random(0), Counter()
    for number in range(requests):
        make = HOSTILE[number % len(HOSTILE)]
        answer = _sent(port, make(drawn))
        if b"Traceback" in answer:
            raise RuntimeError(f"a traceback in the answer to {make.__name__}")
        found[str(_status(answer))] += 1
    return found


def _status(answer: bytes) -> int:
    """0 where the connection was ended without a word."""
    answer = answer.removeprefix(b"HTTP/1.1 100 Continue\r\n\r\n").removeprefix(b"HTTP/1.1 100 \r\n\r\n")
    return int(answer[9:12]) if answer.startswith(b"HTTP/1.1 ") else 0


def _sent(port: int, content: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:  # a server that hangs ends the proof
        found = b""
        try:
            connection.sendall(content)
            while some := connection.recv(65536):
                found += some
        except (ConnectionResetError, BrokenPipeError):  # of a body that is too large not all is read
            pass
        return found


def _silent(port: int) -> None:
    """Clients that begin a request and fall silent, beside the others."""
    for content in (
        b"",
        b"POST /v1/mod",
        _request(b"{}")[:-1],
        _request(b"{}").replace(b"Content-Length: 2", b"Content-Length: 9"),
    ):
        connections = [socket.create_connection(("127.0.0.1", port), timeout=60) for _ in range(SLOW)]
        before = time.time()
        for connection in connections:
            connection.sendall(content)
        for connection in connections:
            while connection.recv(65536):
                pass
            connection.close()
        if time.time() - before > 10 * PATIENCE:
            raise RuntimeError(f"clients that sent {content[:40]} were kept for {time.time() - before:.0f} s")


def _request(
    body: bytes, path: bytes = b"/v1/models/m/embed", *further: bytes, method: bytes = b"POST", length: bytes | None = None
):
    lines = [method + b" " + path + b" HTTP/1.1", b"Host: localhost", b"Content-Type: application/json", b"Connection: close"]
    lines.append(b"Content-Length: " + (str(len(body)).encode() if length is None else length))
    return b"\r\n".join([*lines, *further]) + b"\r\n\r\n" + body


def _question(text: str) -> bytes:
    return json.dumps({"inputs": [{"text": text}]}).encode()


def huge(drawn: random.Random) -> bytes:
    return _request(b" " * drawn.choice([2**20 + 1, 2**21]))


def announced(drawn: random.Random) -> bytes:
    return _request(b"{}", length=drawn.choice([b"-1", b"1e3", b"99999999999999999999", b"0x2", b"", b"2, 3", b"+2"]))


def deep(drawn: random.Random) -> bytes:
    opening = drawn.choice([b"[", b'{"inputs":', b'{"a":['])
    return _request(opening * drawn.choice([9, 1000, 50_000]))


def no_number(drawn: random.Random) -> bytes:
    value = drawn.choice(["NaN", "Infinity", "-Infinity", "1e999", "9" * 5000, "-0", "1" * 400])
    return _request(f'{{"inputs": [{{"text": {value}}}], "threshold": {value}}}'.encode())


def no_text(drawn: random.Random) -> bytes:
    return _request(b'{"inputs": [{"text": "' + bytes(drawn.randrange(128, 256) for _ in range(9)) + b'"}]}')


def strange_text(drawn: random.Random) -> bytes:
    text = drawn.choice(
        ["\x00", "\ud800", "\u202e" * 50, "a\u0300" * 999, "", " ", "a" * 30_000, "😀" * 5000, "[MASK]", "\ufffe"]
    )
    return _request(_question(text))


def path_as_name(drawn: random.Random) -> bytes:
    name = drawn.choice(
        [b"../../../etc/passwd", b"%2e%2e%2f%2e%2e%2fetc%2fpasswd", b"..", b"/etc/passwd", b"m%00.txt", b"~root", b"m/../m"]
    )
    return _request(_question("a"), b"/v1/models/" + name + b"/embed")


def path_alone(drawn: random.Random) -> bytes:
    path = drawn.choice(
        [
            b"/../../etc/passwd",
            b"//etc/passwd",
            b"/%2e%2e/pyproject.toml",
            b"/page.html",
            b"/static/../app.py",
            b"*",
            b"/?a=" + b"b" * 9000,
        ]
    )
    return _request(b"", path, method=b"GET")


def headers(drawn: random.Random) -> bytes:
    some = [
        b"Transfer-Encoding: chunked",
        b"Host: evil.com",
        b"Content-Length: 5",
        b"Origin: http://evil.com",
        b"X: " + b"a" * 70_000,
        b" folded: x",
    ]
    some += [
        b"Authorization: Bearer \xff",
        b"Content-Encoding: gzip",
        b"Expect: 100-continue",
        b"Upgrade: websocket",
        b"X-Forwarded-Host: evil.com",
    ]
    return _request(_question("a"), b"/v1/models/m/embed", *drawn.sample(some, drawn.randrange(1, 4)))


def method(drawn: random.Random) -> bytes:
    return _request(
        b"{}", method=drawn.choice([b"GET", b"PUT", b"DELETE", b"TRACE", b"OPTIONS", b"CONNECT", b"PRI", b"po\x00st"])
    )


def noise(drawn: random.Random) -> bytes:
    return bytes(drawn.randrange(256) for _ in range(drawn.randrange(1, 300))) + b"\r\n\r\n"


def chunks(drawn: random.Random) -> bytes:
    head = _request(b"", b"/v1/models/m/embed", b"Transfer-Encoding: chunked").replace(b"Content-Length: 0\r\n", b"")
    return head + drawn.choice(
        [b"zz\r\n{}\r\n0\r\n\r\n", b"-2\r\n{}\r\n", b"fffffffffffffffff\r\n{", b"2;" + b"a" * 70_000, b"0\r\n\r\n"]
    )


def good(drawn: random.Random) -> bytes:
    return _request(_question(f"a sentence of number {drawn.randrange(10**6)}"))


HOSTILE: tuple[Callable[[random.Random], bytes], ...] = (
    huge,
    announced,
    deep,
    no_number,
    no_text,
    strange_text,
    path_as_name,
    path_alone,
    headers,
    method,
    noise,
    chunks,
    good,
)
