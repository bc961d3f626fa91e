"""The process: mistakes end in one message before it listens, a signal in its end, and no client can keep it waiting."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from bert_jax.__main__ import main
from bert_jax.errors import EXIT_DONE, EXIT_USER_ERROR
from tests import tiny


def refused(capsys, *arguments) -> str:
    assert main(["serve", *map(str, arguments)]) == EXIT_USER_ERROR
    said = capsys.readouterr().err
    assert said.startswith("error: ") and "Traceback" not in said
    return said


def test_what_cannot_be_served_is_told(folder, collection, capsys, tmp_path, monkeypatch):
    monkeypatch.delenv("BERT_JAX_TOKEN", raising=False)
    words, vectors = (f"--workdir={folder(name)}" for name in ("words", "vectors"))
    (tmp_path / "token").write_text("short")
    told = {
        "no trained model": (f"--workdir={tmp_path}", "--port=0"),
        "makes vectors": (words, f"--collection={collection}", "--port=0"),
        "made by another encoder": (vectors, f"--collection={collection}", "--pooling=max", "--port=0"),
        "there is no collection": (vectors, f"--collection={tmp_path}", "--port=0"),
        "others could ask": (words, "--host=0.0.0.0"),
        "too short": (words, f"--token_file={tmp_path / 'token'}"),
        "cannot be read": (words, f"--token_file={tmp_path / 'none'}"),
        "a name of its own": (words, words),
        "no bucket": ("--workdir=gs://a/b",),
        "serve.port is out of range": (words, "--port=65536"),
        "serve.timeout is out of range": (words, "--timeout=nan"),
        "batch_size is out of range": (words, "--batch_size=0", "--port=0"),
    }
    for message, arguments in told.items():
        assert message in refused(capsys, *arguments), message
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert "cannot listen there" in refused(capsys, words, f"--port={taken.getsockname()[1]}")


def test_without_its_packages_the_way_to_them_is_told(monkeypatch, capsys):
    for name in [name for name in sys.modules if name.startswith("bert_jax.serve")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    assert "pip install -e '.[serve]'" in refused(capsys, "--workdir=any")


@pytest.fixture
def process(folder):
    """(the process, its address) of a server that is ready, and gives clients two seconds."""
    settings = ["--port=0", "--timeout=2", "--cache=0", "--pooling=mean"]
    command = [sys.executable, "-m", "bert_jax", "serve", f"--workdir={folder('vectors')}", *settings]
    with subprocess.Popen(command, cwd=tiny.ROOT, stderr=subprocess.PIPE, text=True) as process:
        address = re.match(r"(\S+) begins", process.stderr.readline())[1]
        assert process.stderr.readline() == "ready\n"
        yield process, address
        process.kill()


def raw(address: str, content: bytes, wait: float = 60) -> bytes:
    """What comes back for bytes after which nothing more is sent, until the other side ends the connection."""
    host, port = address.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=wait) as connection:
        connection.sendall(content)
        found = b""
        try:
            while some := connection.recv(65536):
                found += some
        except ConnectionResetError:
            pass
        return found


PAGES = 600  # more than the buffers of two machines hold
HEAD = b"POST /v1/models/vectors/embed HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
SLOW = {  # what a client sends before it falls silent -> what it is told
    "nothing": (b"", b""),
    "half a header": (HEAD[:30], b""),
    "half a body": (HEAD + b"Content-Length: 50\r\n\r\n{", b"408"),
    "half a chunk": (HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\n{", b"408"),
}


def sockets(pid: int) -> int:
    return sum(os.readlink(path).startswith("socket:") for path in Path(f"/proc/{pid}/fd").iterdir())


def sockets_with_one_that_takes_nothing(address: str, pid: int) -> int:
    """How many the server has six seconds after a client asked for the page PAGES times."""
    host, port = address.removeprefix("http://").split(":")
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect((host, int(port)))
        connection.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n" * PAGES)
        time.sleep(6)
        return sockets(pid)


def test_no_client_keeps_it_waiting_and_on_a_signal_all_that_it_took_on_is_answered(process):
    running, address = process
    before = sockets(running.pid)
    with ThreadPoolExecutor(1 + len(SLOW)) as slow:
        unread = slow.submit(sockets_with_one_that_takes_nothing, address, running.pid)
        told = dict(zip(SLOW, slow.map(lambda sent: raw(address, sent), [sent for sent, _ in SLOW.values()])))
    for name, (_, status) in SLOW.items():
        assert (status in told[name].split(b"\r\n")[0]) if status else told[name] == b"", name
    assert unread.result() == before

    answers, lost = [], []

    def ask(number: int) -> None:
        """Until the server says that the connection ends with this answer, or takes no more connections."""
        with httpx.Client(base_url=address, timeout=60) as client:
            for place in range(100_000):
                try:
                    answer = client.post("/v1/models/vectors/embed", json={"inputs": [{"text": f"cat {number} {place}"}]})
                except httpx.ConnectError:
                    return
                except httpx.HTTPError as error:
                    lost.append(repr(error))
                    return
                answers.append(answer.status_code)
                if answer.headers.get("connection") == "close":
                    return

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    while len(answers) < 30 and not lost:
        time.sleep(0.01)
    running.send_signal(signal.SIGTERM)
    for thread in threads:
        thread.join()
    assert lost == [] and set(answers) == {200}
    assert running.wait(60) == EXIT_DONE and running.stderr.read() == ""
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{address}/health")


def test_a_token_is_asked_for_where_others_can_ask(folder, tmp_path):
    (tmp_path / "token").write_text("0123456789abcdef\n")
    command = [sys.executable, "-m", "bert_jax", "serve", f"--workdir=m={folder('vectors')}", "--host=0.0.0.0", "--port=0"]
    with subprocess.Popen(
        [*command, f"--token_file={tmp_path / 'token'}"], cwd=tiny.ROOT, stderr=subprocess.PIPE, text=True
    ) as process:
        port = re.search(r":(\d+) begins", process.stderr.readline())[1]
        get = lambda path, **headers: httpx.get(f"http://127.0.0.1:{port}{path}", headers=headers).status_code  # noqa: E731
        assert get("/health") == 200 and get("/v1/models") == 401 and get("/") == 401
        assert get("/v1/models", Authorization="Bearer 0123456789abcdef", Host="a.example") == 200
        process.send_signal(signal.SIGTERM)  # while it compiles
        assert process.wait(60) == EXIT_DONE
        assert json.dumps(process.stderr.read()) in ('""', '"ready\\n"')
