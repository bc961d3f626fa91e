"""Models that answer at once, or when they are let, and know nothing of jax."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import httpx

from bert_jax.errors import UserError
from bert_jax.predict.asked import Reads
from bert_jax.predict.outputs import Shapes
from bert_jax.serve.app import State, make_app
from bert_jax.serve.guard import Limits
from bert_jax.serve.services import Model, Service

HOST = "http://localhost"


class Slow:
    """Says a text backwards, a batch at a time, after `go` is set; notes the batches."""

    def __init__(self, batch_size: int = 4):
        self.go, self.began, self.batches = threading.Event(), threading.Event(), []
        self.go.set()
        reads = Reads(Shapes(64, batch_size, True), lambda text: [len(text)], lambda text, size, length: None)
        self.service = Service(self._asked, self.answers, reads, {"text": "a"}, f"slow {id(self)}")

    @staticmethod
    def _asked(value: dict, place: str) -> str:
        if "no" in value["text"]:
            raise UserError("it says no", got=place)
        return value["text"]

    def answers(self, texts, **settings) -> list[dict]:
        self.batches.append(list(texts))
        self.began.set()
        assert self.go.wait(60)
        if "fault" in texts:
            raise ValueError("a secret of the server")
        return [{"said": text[::-1], **settings} for text in texts]


def fixed(task: str, answer: Callable[[dict], dict], labels: tuple[str, ...] = (), texts: int = 0) -> Model:
    """Answers a JSON object by a function of it."""
    reads = Reads(Shapes(16, 4, True), lambda value: [3], lambda value, size, length: None)
    service = Service(
        lambda value, place: value,
        lambda values, **settings: list(map(answer, values)),
        reads,
        {"text": "a"},
        f"{task} {id(answer)}",
    )
    return Model(texts, labels, {task: service})


def state(models: dict[str, Model], *, room: int = 64, cache: int = 4096, **limits) -> State:
    return State(models, Limits(**limits), room, cache)


@contextmanager
def running(state: State, **settings) -> Iterator[tuple[Callable, httpx.AsyncClient]]:
    """(what runs a coroutine, a client) of an app that is ready."""
    with asyncio.Runner() as runner:
        app = make_app(state, **settings)
        lifespan = app.router.lifespan_context(app)
        runner.run(lifespan.__aenter__())

        async def begin() -> httpx.AsyncClient:
            while not state.ready:
                await asyncio.sleep(0.01)
            return httpx.AsyncClient(transport=httpx.ASGITransport(app, raise_app_exceptions=False), base_url=HOST)

        client = runner.run(begin())
        yield runner.run, client
        runner.run(client.aclose())
        runner.run(lifespan.__aexit__(None, None, None))


def talk(state: State, conversation: Callable, **settings):
    """What the coroutine conversation(client) gives."""
    with running(state, **settings) as (run, client):
        return run(conversation(client))
