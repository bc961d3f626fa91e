"""The server under load, in a process of its own; this one asks, over loopback, and knows every answer beforehand."""

import asyncio
import gc
import json
import random
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np

from bert_jax import config as configs
from bert_jax import inputs
from bert_jax import workdir as workdirs
from bert_jax.build import build_objective, build_optimizer
from bert_jax.checkpoint import Checkpoints
from bert_jax.parallel.step import init_state
from bert_jax.tasks import benchmarks
from experiments.proofs.commands import ROOT, data, timed
from experiments.proofs.finetuning import brought_in

SENTENCES = 2000
SIZES, AT_ONCE = (8, 32, 1), (1, 8)  # texts of a batch, questions of a request
CONNECTIONS = 48  # of who asks again as soon as it has an answer: more than a batch
ROOM = 512  # texts that may wait, where all of CONNECTIONS ask the largest of AT_ONCE
SMALL = {"model.num_hidden_layers": 4, "model.hidden_size": 256, "model.num_attention_heads": 4, "model.intermediate_size": 1024}


class Reply(NamedTuple):
    """Attributes: late: seconds from when it was to be asked; right: None where it has no answer."""

    status: int
    at: float
    late: float
    right: bool | None


def serve_load(scratch: Path, seconds: float = 600.0) -> dict:
    """
    Args:
        seconds: how long it is asked at half of the rate that saturates it; the other parts are a tenth of it, or less.
    """
    texts = sentences()
    models = {"minilm": brought_in(scratch), "4x256": untrained(scratch / "small", scratch / "text.txt", texts)}
    singles = [{"text": text} for text in texts]
    pairs = [{"text": first, "text_pair": second} for first, second in zip(texts, texts[1:])]
    asked = {"minilm, pairs": ("minilm", pairs), "minilm, texts": ("minilm", singles), "4x256, texts": ("4x256", singles)}
    figures = {
        name: batched_or_not(models[model], questions, scratch, seconds / 40) for name, (model, questions) in asked.items()
    }
    return figures | {"under_load": under_load(models["minilm"], singles, scratch, seconds)}


def sentences(count: int = SENTENCES) -> list[str]:
    """Different ones, of the training set of SST-2."""
    task = benchmarks.TASKS["sst2"]
    return list(dict.fromkeys(example.texts[0].strip() for example in task.read(data() / task.files["train"])))[:count]


def untrained(workdir: Path, corpus: Path, texts: Sequence[str]) -> Path:
    """A small encoder with weights as they are drawn: they cost as much as any."""
    corpus.write_text("\n\n".join(texts), encoding="utf-8")
    settings = SMALL | {"data.input_file": corpus, "text.vocab_size": 4000}
    overrides = [f"--config.{key}={value}" for key, value in settings.items()]
    config = configs.load(str(ROOT / "configs/quickstart.py"), overrides)
    workdirs.make_folder(workdir)
    tokenizer, text = inputs.open_data(config, workdir, say=str)
    workdirs.write_config(config, workdir, {})
    objective = build_objective(config, tokenizer.size)
    checkpoints = Checkpoints(workdir / "checkpoints", keep=1)
    state = init_state(objective, build_optimizer(config)[0], config.seed)
    checkpoints.save(1, state, {"vocabulary": tokenizer.content_hash, "store": text.content_hash})
    checkpoints.wait()
    checkpoints.close()
    return workdir


class Server(NamedTuple):
    """A server that is ready."""

    process: subprocess.Popen
    port: int
    path: str
    expected: dict[str, dict]  # question as JSON -> what predict answers

    def metric(self, name: str) -> float:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=30) as answer:
            return float(re.search(rf"^bert_jax_{name} (\S+)$", answer.read().decode(), re.M)[1])

    def megabytes(self) -> float:
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+)", status)[1]) / 1024


@contextmanager
def served(workdir: Path, questions: Sequence[dict], scratch: Path, batch_size: int, *options: str) -> Iterator[Server]:
    asked = [json.dumps(question) for question in questions]
    (scratch / "asked.jsonl").write_text("".join(f"{question}\n" for question in asked))
    settings = ["--pooling=mean", f"--batch_size={batch_size}"]
    predict = [sys.executable, "-m", "bert_jax", "predict", f"--workdir={workdir}", *settings]
    timed([*predict, f"--file={scratch / 'asked.jsonl'}", f"--to={scratch / 'answers.jsonl'}"])
    lines = (scratch / "answers.jsonl").read_text("utf-8").splitlines()
    expected = dict(zip(asked, map(json.loads, lines), strict=True))
    command = [sys.executable, "-m", "bert_jax", "serve", f"--workdir=m={workdir}", *settings, "--port=0", "--cache=0"]
    with subprocess.Popen([*command, *options], cwd=ROOT, stderr=subprocess.PIPE, text=True) as process:
        try:
            port = int(re.search(r":(\d+) begins", process.stderr.readline())[1])
            process.stderr.readline()  # ready
            yield Server(process, port, "/v1/models/m/embed", expected)
        finally:
            process.kill()


def batched_or_not(workdir: Path, questions: Sequence[dict], scratch: Path, seconds: float) -> dict:
    """Questions a second of a server that puts them together, and of one that reads each text by itself; asked one in a request,
    where HTTP costs both the same, and several."""
    figures = {}
    for size in SIZES:
        with served(workdir, questions, scratch, size, f"--queue={ROOM}") as server:
            for at_once in AT_ONCE:
                asyncio.run(closed(server, questions, seconds / 5, at_once))
                found = at_once * rate(asyncio.run(closed(server, questions, seconds, at_once)), seconds)
                figures[f"{at_once} in a request, batches of {size}"] = round(found, 1)
    ratios = {
        f"{at_once} in a request": round(
            max(figures[f"{at_once} in a request, batches of {size}"] for size in SIZES)
            / figures[f"{at_once} in a request, batches of 1"],
            2,
        )
        for at_once in AT_ONCE
    }
    return {"questions_per_second": figures, "times_as_many": ratios}


def under_load(workdir: Path, questions: Sequence[dict], scratch: Path, seconds: float) -> dict:
    """What it does at half of the rate that saturates it, at three times that, after, and on SIGTERM while it is asked."""
    short = seconds / 10
    with served(workdir, questions, scratch, 8) as server:
        compiled = server.metric("compilations_total")
        saturated = rate(asyncio.run(closed(server, questions, short)), short)
        asyncio.run(opened(server, questions, [(saturated / 2, short)]))  # memory grows until all that it needs was needed once
        before = server.megabytes()
        (half,) = asyncio.run(opened(server, questions, [(saturated / 2, seconds)]))
        memory = [round(before, 1), round(server.megabytes(), 1)]
        over, after = asyncio.run(opened(server, questions, [(3 * saturated, short), (saturated / 2, max(10.0, short))]))
        compiled = server.metric("compilations_total") - compiled
        last = asyncio.run(closed(server, questions, 2.0, then=lambda: server.process.send_signal(signal.SIGTERM)))
        code = server.process.wait(60)
    return {
        "seconds": seconds,
        "saturated_per_second": round(saturated, 1),
        "at_half": described(half),
        "memory_MB": memory,
        "at_three_times": described(over) | {"answers_per_second": round(rate(over, short), 1)},
        "most_in_time_and_none_refused_after_seconds": recovered(after, described(half)["p99_ms"] / 1000),
        "after": described(after),
        "compilations_after_the_start": compiled,
        "at_the_end": described(last) | {"exit_code": code},
    }


def rate(replies: Sequence[Reply], seconds: float) -> float:
    return sum(reply.status == 200 for reply in replies) / seconds


def described(replies: Sequence[Reply]) -> dict:
    """How many answers had each status, 0 where the connection was lost; how many were wrong; and how late they were."""
    late, refused = ([1000 * reply.late for reply in replies if reply.status == status] or [0.0] for status in (200, 429))
    p50, p99 = (float(value) for value in np.percentile(late, (50, 99)))
    statuses = sorted({reply.status for reply in replies})
    return {
        "asked": len(replies),
        "statuses": {str(status): sum(reply.status == status for reply in replies) for status in statuses},
        "wrong": sum(reply.right is False for reply in replies),
        "p50_ms": round(p50, 1),
        "p99_ms": round(p99, 1),
        "p99_ms_of_refusals": round(float(np.percentile(refused, 99)), 1),
        "p99_over_p50": round(p99 / max(p50, 1e-9), 2),
    }


def recovered(after: Sequence[Reply], limit: float) -> int:
    """Seconds after the rush to the end of the last second in which one was refused, or half were later than `limit`."""
    first, seconds = min(reply.at for reply in after), defaultdict(list)
    for reply in after:
        seconds[int(reply.at - first)].append(reply)
    return max((second + 1 for second, replies in seconds.items() if _troubled(replies, limit)), default=0)


def _troubled(replies: Sequence[Reply], limit: float) -> bool:
    return any(reply.status != 200 for reply in replies) or 2 * sum(reply.late > limit for reply in replies) > len(replies)


class Connection:
    """HTTP/1.1 kept open; as little as it takes, so that the client leaves the machine to the server."""

    def __init__(self, server: Server):
        self.server, self.streams, self.refused = server, None, False

    async def ask(self, questions: Sequence[dict], asked_at: float) -> Reply:
        """Status 0: the connection was lost, or, which sets `refused`, none was to be had."""
        body = json.dumps({"inputs": questions}).encode()
        if self.streams and self.streams[0].at_eof():  # the server ends connections that nobody uses
            self.close()
        kind = "Host: localhost\r\nContent-Type: application/json"
        head = f"POST {self.server.path} HTTP/1.1\r\n{kind}\r\nContent-Length: {len(body)}"
        try:
            if self.streams is None:
                try:
                    self.streams = await asyncio.open_connection("127.0.0.1", self.server.port, limit=2**20)
                except ConnectionRefusedError:
                    self.refused = True
                    raise
            reader, writer = self.streams
            writer.write(head.encode() + b"\r\n\r\n" + body)
            answer = await reader.readuntil(b"\r\n\r\n")
            status, lower = int(answer[9:12]), answer.lower()
            content = await reader.readexactly(int(re.search(rb"content-length: (\d+)", lower)[1]))
            if b"connection: close" in lower:
                self.close()
        except (OSError, asyncio.IncompleteReadError):
            self.close()
            return Reply(0, asked_at, time.perf_counter() - asked_at, None)
        expected = [self.server.expected[json.dumps(question)] for question in questions]
        right = json.loads(content)["outputs"] == expected if status == 200 else None
        return Reply(status, asked_at, time.perf_counter() - asked_at, right)

    def close(self) -> None:
        if self.streams:
            self.streams[1].close()
        self.streams = None


async def closed(
    server: Server, questions: Sequence[dict], seconds: float, at_once: int = 1, then: Callable[[], None] | None = None
) -> list[Reply]:
    """Each of CONNECTIONS asks again as soon as it has its answer.

    Args:
        at_once: questions of a request.
        then: is done at the end of the time; they then go on until their connection ends with an answer, or is refused.
    """
    replies, end = [], time.perf_counter() + seconds

    async def one(number: int) -> None:
        drawn, connection = random.Random(number), Connection(server)
        while time.perf_counter() < end or then:
            reply = await connection.ask(drawn.sample(questions, at_once), time.perf_counter())
            if reply.status == 0 and connection.refused:
                return
            replies.append(reply)
            if then and connection.streams is None:
                return
        connection.close()

    if then:
        asyncio.get_running_loop().call_later(seconds, then)
    await asyncio.gather(*(one(number) for number in range(CONNECTIONS)))
    return replies


async def opened(server: Server, questions: Sequence[dict], parts: Sequence[tuple[float, float]]) -> list[list[Reply]]:
    """Questions come by chance, whether others are answered or not.

    Args:
        parts: (questions a second, seconds) of each part.
    """
    drawn, idle, tasks = random.Random(0), [], [[] for _ in parts]

    async def one(at: float) -> Reply:
        connection = idle.pop() if idle else Connection(server)
        reply = await connection.ask([drawn.choice(questions)], at)
        idle.append(connection)
        return reply

    gc.disable()  # the replies pile up, and to look through them would be taken for a late answer
    try:
        at = time.perf_counter()
        for mine, (rate, seconds) in zip(tasks, parts):
            end = at + seconds
            while (at := at + drawn.expovariate(rate)) < end:
                await asyncio.sleep(max(0.0, at - time.perf_counter()))
                mine.append(asyncio.ensure_future(one(at)))
            at = end
        found = [await asyncio.gather(*mine) for mine in tasks]
    finally:
        gc.enable()
    for connection in idle:
        connection.close()
    return found
