"""The routes: questions as JSON to answers as JSON, and the page that asks them."""

import asyncio
import base64
import hashlib
import json
import re
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse, Response
from prometheus_client import CONTENT_TYPE_LATEST
from pydantic import BaseModel, ConfigDict, Field, model_validator
from starlette.exceptions import HTTPException

from bert_jax.errors import UserError
from bert_jax.serve.batching import Batcher, Full
from bert_jax.serve.cache import Cache
from bert_jax.serve.guard import JSON, Guard, Limits, Refused
from bert_jax.serve.metrics import Metrics
from bert_jax.serve.services import EMBED, FILL, SEARCH, Model, Service
from bert_jax.tasks.form import Answer

PAGE = Path(__file__).with_name("page.html")
MOST_FOUND = 50
MOST_NAMES = 16  # of a JSON object
GONE = 499  # in metrics, as nginx has it; nobody reads the answer


class Closed(BaseModel):
    """JSON without further names, whose values are of the type that is written here."""

    model_config = ConfigDict(extra="forbid", strict=True)

    @model_validator(mode="before")
    @classmethod
    def few(cls, value):
        """Each name too many would become a message of its own, before the first is told."""
        if isinstance(value, dict) and len(value) > MOST_NAMES:
            raise ValueError("there are too many names")
        return value


class Text(Closed):
    text: str


class Texts(Closed):
    text: str
    text_pair: str | None = None


class Question(Closed):
    question: str
    paragraph: str


def _asking(name: str, question: type[Closed]) -> type[Closed]:
    return type(name, (Closed,), {"__annotations__": {"inputs": Annotated[list[question], Field(min_length=1, fail_fast=True)]}})


class Searched(Closed):
    inputs: Annotated[list[Text], Field(min_length=1, fail_fast=True)]
    top_k: Annotated[int, Field(ge=1, le=MOST_FOUND)] = 5
    threshold: Annotated[float | None, Field(ge=0, lt=1, allow_inf_nan=False)] = None


BODIES = {  # task -> what is asked
    FILL: _asking("FillMask", Text),
    "classify": _asking("Classify", Texts),
    "score": _asking("Score", Texts),
    "tag": _asking("Tag", Text),
    "answer": _asking("Answer", Question),
    EMBED: _asking("Embed", Texts),
    SEARCH: Searched,
}


class State:
    """What the routes share.

    Args:
        room: how many examples may wait.
        cache: bytes.

    Attributes:
        ready: all is compiled.
        draining: it is about to end.
    """

    def __init__(self, models: Mapping[str, Model], limits: Limits, room: int, cache: int):
        self.models, self.limits = models, limits
        self.metrics = Metrics(lambda: self.batcher.waiting, BODIES)
        self.batcher = Batcher(room, self.metrics.on_batch)
        self.cache = Cache(cache)
        self.ready = self.draining = False

    @property
    def services(self) -> list[Service]:
        return [service for model in self.models.values() for service in model.services.values()]


def make_app(
    state: State, *, local: bool = True, token: str = "", compiled: Callable[[BaseException | None], None] = lambda fault: None
) -> FastAPI:
    """
    Args:
        local, token: of Guard.
        compiled: called when it is ready, or with what went wrong before.
    """

    def then(fault: BaseException | None) -> None:
        state.ready = fault is None
        compiled(fault)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        state.metrics.listen()
        state.batcher.start(state.services, then)
        yield
        await state.batcher.close()
        state.metrics.listen_no_more()

    app = FastAPI(title="bert_jax", lifespan=lifespan, docs_url=None, redoc_url=None, redirect_slashes=False)
    _add_routes(app, state)
    for task, body in BODIES.items():
        _add_task(app, state, task, body)
    for kind in (Refused, RequestValidationError, HTTPException, UserError, Exception):
        app.add_exception_handler(kind, _answer_error)
    guarded = {"limits": state.limits, "draining": lambda: state.draining, "on_answer": state.metrics.on_answer}
    app.add_middleware(Guard, local=local, token=token, **guarded)
    return app


def _add_routes(app: FastAPI, state: State) -> None:
    page, policy = _page()

    @app.get("/", response_class=HTMLResponse)
    async def try_it() -> HTMLResponse:
        return HTMLResponse(page, headers={"Content-Security-Policy": policy})

    @app.get("/health")
    async def health() -> dict:
        """Whether the process lives."""
        return {"status": "alive"}

    @app.get("/ready")
    async def ready() -> JSONResponse:
        """Whether questions are answered: everything is compiled, and the server is not about to end."""
        return JSONResponse({"ready": state.ready and not state.draining}, 200 if state.ready and not state.draining else 503)

    @app.get("/metrics")
    async def metrics() -> Response:
        return Response(state.metrics.text(), media_type=CONTENT_TYPE_LATEST)

    @app.get("/v1/models")
    async def models() -> dict:
        """What is served, and what each can be asked."""
        about = [
            {"name": name, "tasks": list(model.services), "texts": model.texts, "labels": list(model.labels)}
            for name, model in state.models.items()
        ]
        return {"models": about, "limits": state.limits._asdict()}


def _add_task(app: FastAPI, state: State, task: str, body_type: type[Closed]) -> None:
    errors = {status: {"description": what} for status, what in ERRORS.items()}

    @app.post(f"/v1/models/{{model}}/{task}", name=task, responses=errors)
    async def ask(model: str, body: body_type, request: Request) -> Response:
        try:
            outputs = b",".join(await _answers(state, model, task, body, request.receive))
            head = f'{{"model":{json.dumps(model)},"task":{json.dumps(task)},"outputs":['.encode()
            return Response(head + outputs + b"]}", media_type=JSON)
        except Refused:
            raise
        except Exception as error:  # told here, or it would leave by a way around Guard
            return _fault(request, error)


ERRORS = {
    400: "What is asked cannot be read.",
    401: "The token is missing or wrong.",
    404: "There is no such model, or it has not learned this task.",
    413: "There is too much of it.",
    422: "What is asked cannot be answered.",
    429: "Too many are waiting; Retry-After says when to ask again.",
    503: "The server begins or ends.",
    504: "The answer took too long.",
}


async def _answers(state: State, name: str, task: str, body: Closed, receive: Callable) -> list[bytes]:
    """Those that are kept, and those that are computed, each as JSON.

    Raises:
        Refused.
    """
    service, limits = _service(state, name, task), state.limits
    if not state.ready:
        raise Refused(503, "the server is not ready", fix="ask again when /ready says so", headers={"Retry-After": "1"})
    asked = body.model_dump(exclude_none=True)
    inputs = asked.pop("inputs")
    most = min(limits.texts, state.batcher.room)
    if len(inputs) > most:
        raise Refused(413, "there are too many inputs", got=len(inputs), expected=f"at most {most}")
    for number, value in enumerate(inputs):
        for key, text in value.items():
            if len(text) > limits.characters:
                said = {"got": f"{len(text):,} characters", "expected": f"at most {limits.characters:,}"}
                raise Refused(413, f"inputs[{number}].{key} is too long", **said)
    keys = [_key(service, value, asked) for value in inputs]
    found = [state.cache.get(key) for key in keys]
    for answer in found:
        state.metrics.cached.labels("no" if answer is None else "yes").inc()
    missing = [number for number, answer in enumerate(found) if answer is None]
    try:
        state.batcher.require_room(len(missing))  # before their texts are read, which takes longer
        examples = [service.asked(inputs[number], f"inputs[{number}]") for number in missing]
    except Full as full:
        headers = {"Retry-After": str(full.seconds)}
        raise Refused(429, "too many are waiting", fix=f"ask again in {full.seconds} s", headers=headers) from None
    except UserError as error:
        raise _refused(error) from None
    for number, answer in zip(missing, await _computed(state, service, examples, asked, receive), strict=True):
        found[number] = json.dumps(answer, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
        state.cache.put(keys[number], found[number])
    return found


def _service(state: State, name: str, task: str) -> Service:
    if name not in state.models:
        raise Refused(404, "there is no such model", got=name, expected=" or ".join(state.models))
    services = state.models[name].services
    if task not in services:
        raise Refused(404, "the model has not learned this", got=task, expected=" or ".join(services))
    return services[task]


def _key(service: Service, value: dict, settings: dict) -> bytes:
    parts = json.dumps([service.key, value, settings], sort_keys=True)  # half a surrogate pair is escaped
    return hashlib.sha256(parts.encode()).digest()


async def _computed(state: State, service: Service, examples: list, settings: dict, receive: Callable) -> list[Answer]:
    """What nobody waits for any more, because it came too late or the client went away, is not computed."""
    answers = asyncio.gather(*state.batcher.submit(service, examples, settings))
    gone = asyncio.ensure_future(_gone(receive))
    try:
        await asyncio.wait({answers, gone}, timeout=state.limits.seconds, return_when=asyncio.FIRST_COMPLETED)
        if answers.done():
            return answers.result()
    except UserError as error:  # the client has no part in it, and it may name files
        raise RuntimeError(str(error)) from error
    finally:
        answers.cancel()
        gone.cancel()
    if gone.done() and not gone.cancelled():
        raise Refused(GONE, "the client went away")
    raise Refused(504, "the answer took too long", expected=f"within {state.limits.seconds:g} seconds")


async def _gone(receive: Callable) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _refused(error: UserError) -> Refused:
    return Refused(422, **error.parts)


async def _answer_error(request: Request, error: Exception) -> JSONResponse:
    """A message of the agreed form, never a traceback; what nobody expected goes to standard error by its name."""
    match error:
        case Refused():
            refused = error
        case UserError():
            refused = _refused(error)
        case RequestValidationError():
            refused = _invalid(error)
        case HTTPException():
            what = {404: "there is nothing here", 405: "this cannot be done here"}.get(error.status_code, str(error.detail))
            got = f"{request.method} {request.url.path}"
            refused = Refused(error.status_code, what, got=got, headers=dict(error.headers or {}))
        case _:
            return _fault(request, error)
    return JSONResponse(refused.content, refused.status, refused.headers)


def _fault(request: Request, error: Exception) -> JSONResponse:
    print(f"error: {type(error).__name__} at {request.url.path}", file=sys.stderr)
    return JSONResponse(Refused(500, "the server has a fault", fix="report it").content, 500)


def _invalid(error: RequestValidationError) -> Refused:
    first = error.errors()[0]
    place = ".".join(map(str, first["loc"][1:])) or "the body"
    if first["type"] == "json_invalid":
        return Refused(400, "the body is not JSON", got=first.get("ctx", {}).get("error", ""))
    return Refused(422, f"{place[:200]}: {first['msg']}", got=_readable(first.get("input")))


def _readable(value) -> str:
    return json.dumps(value, default=str)[:60]


def _page() -> tuple[str, str]:
    """(HTML, the policy that lets a browser run its own script and style and nothing else)."""
    text = PAGE.read_text(encoding="utf-8")

    def hashes(tag: str) -> str:
        inner = re.findall(rf"<{tag}>(.*?)</{tag}>", text, re.DOTALL)
        return " ".join(f"'sha256-{base64.b64encode(hashlib.sha256(each.encode()).digest()).decode()}'" for each in inner)

    rules = {
        "default-src": "'none'",
        "script-src": hashes("script"),
        "style-src": hashes("style"),
        "img-src": "data:",
        "connect-src": "'self'",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
    }
    return text, "; ".join(f"{name} {value}" for name, value in rules.items())
