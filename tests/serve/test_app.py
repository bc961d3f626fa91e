"""Questions over HTTP have the answers of `predict` and `search`, whatever else is asked at the same time."""

import asyncio
import json

import pytest
from pydantic import ValidationError

from bert_jax.__main__ import main
from bert_jax.serve.app import BODIES, GONE
from bert_jax.serve.cache import ENTRY
from bert_jax.serve.services import open_models
from tests.serve.fakes import Slow, fixed, running, state, talk
from tests.test_predicting import ASKED, words

SIZE = 4  # of a batch
POOLED = {"vectors": ["--pooling=mean"]}
TASKS = {
    "words": ("fill-mask", ASKED["pretrained"]),
    "sst2": ("classify", lambda n: {"text": words(n, 30)}),
    "msra": ("tag", lambda n: {"text": words(n, 12)}),
    "squad2": ("answer", ASKED["squad2"]),
    "vectors": ("embed", lambda n: {"text": words(n, 15)} | ({"text_pair": words(n + 9)} if n % 3 == 0 else {})),
}


@pytest.fixture(scope="module")
def server(folder, collection):
    """(what runs a coroutine, client, state) of all models."""
    models = open_models({name: folder(name) for name in TASKS}, collection, top_k=5, pooling="", batch_size=SIZE, say=str)
    served = state(models, room=1000, cache=2**20, texts=100)
    with running(served) as (run, client):
        yield run, client, served


def path(model: str) -> str:
    return f"/v1/models/{model}/{TASKS[model][0]}"


async def outputs(client, where: str, *inputs: dict, **settings) -> list[dict]:
    answer = await client.post(where, json={"inputs": inputs, **settings})
    assert answer.status_code == 200, answer.text
    return answer.json()["outputs"]


def offline(capsys, verb: str, *arguments) -> list[dict]:
    capsys.readouterr()
    assert main([verb, *arguments]) == 0
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def count(served, name: str, **labels) -> float:
    return served.metrics.registry.get_sample_value(f"bert_jax_{name}", labels) or 0.0


def test_every_answer_is_that_of_predict_bit_for_bit_and_nothing_is_compiled(server, folder, capsys, tmp_path):
    """Asked at once: of all models, one text in a request or several, of all lengths."""
    run, client, served = server
    questions = {name: [asked(number) for number in range(21)] for name, (_, asked) in TASKS.items()}

    async def together():
        asking = []
        for name, values in questions.items():
            cuts = [0, 1, 2, 3, 5, 8, 13, 21]
            asking += [outputs(client, path(name), *values[begin:end]) for begin, end in zip(cuts, cuts[1:])]
        return await asyncio.gather(*asking)

    before = count(served, "compilations_total")
    found = run(together())
    assert count(served, "compilations_total") == before > 0
    assert count(served, "batch_examples_count") < 0.75 * 21 * len(TASKS)  # they were put together
    for place, (name, values) in enumerate(questions.items()):
        mine = [answer for each in found[7 * place : 7 * place + 7] for answer in each]
        (tmp_path / "asked.jsonl").write_text("".join(json.dumps(value) + "\n" for value in values))
        arguments = (*POOLED.get(name, ()), f"--file={tmp_path / 'asked.jsonl'}", f"--batch_size={SIZE}")
        assert mine == offline(capsys, "predict", f"--workdir={folder(name)}", *arguments), name


def test_what_is_found_is_that_of_search_and_far_from_all_nothing_is(server, folder, collection, capsys):
    run, client, _ = server
    where, texts = "/v1/models/vectors/search", [words(number) for number in range(50, 56)]

    async def alone():
        asking = [outputs(client, where, {"text": text}, top_k=3, threshold=0.5) for text in texts]
        return [answer for (answer,) in await asyncio.gather(*asking)]

    found = run(alone())
    arguments = [f"--workdir={folder('vectors')}", f"--collection={collection}", "--top_k=3", "--threshold=0.5"]
    theirs = offline(capsys, "search", *arguments, *(f"--text={text}" for text in texts))
    for ours, its in zip(found, theirs, strict=True):  # a product of another number of questions has other low bits
        assert [each["number"] for each in ours["found"]] == [each["number"] for each in its["found"]]
        for one, other in zip(ours["found"], its["found"], strict=True):
            assert one["cosine"] == pytest.approx(other["cosine"], abs=2e-6) and one["text"] == other["text"]
    assert any(each["found"] for each in found)
    (far,) = run(outputs(client, where, {"text": texts[0]}, threshold=0.9999))
    assert far == {"text": texts[0], "found": []}


def test_what_was_asked_before_is_kept_for_this_model_and_these_settings(server):
    run, client, served = server
    hits = lambda: count(served, "cache_total", found="yes")  # noqa: E731
    where, value = path("sst2"), {"text": "the cat sees an old moon"}
    first = run(outputs(client, where, value))
    before, batches = hits(), count(served, "batch_examples_count")
    assert run(outputs(client, where, value, value | {"text_pair": None})) == first * 2
    assert hits() == before + 2 and count(served, "batch_examples_count") == batches
    run(outputs(client, path("msra"), value))
    search = "/v1/models/vectors/search"
    assert len(run(outputs(client, search, value, top_k=1))[0]["found"]) == 1
    assert len(run(outputs(client, search, value, top_k=2))[0]["found"]) == 2
    assert hits() == before + 2


def test_two_models_share_no_answer_and_the_oldest_goes():
    asked = [("/v1/models/one/tag", "a"), ("/v1/models/two/tag", "a"), ("/v1/models/one/tag", "b"), ("/v1/models/one/tag", "a")]
    served = state({name: fixed("tag", lambda value, name=name: {"by": name}) for name in ("one", "two")}, cache=2 * (ENTRY + 50))

    async def conversation(client):
        return [(await outputs(client, where, {"text": text}))[0]["by"] for where, text in asked]

    assert talk(served, conversation) == ["one", "two", "one", "one"]
    assert count(served, "cache_total", found="yes") == 0 and len(served.cache) == 2


BAD = [
    ("/v1/models/x/tag", {"inputs": [{"text": "a"}]}, 404, "there is no such model", "slow"),
    ("/v1/models/slow/answer", {"inputs": [{"question": "a", "paragraph": "b"}]}, 404, "has not learned this", "tag"),
    ("/v1/models/..%2f..%2fetc%2fpasswd/tag", {"inputs": [{"text": "a"}]}, 404, "there is nothing here", ""),
    ("/v1/models/%2e%2e/tag", {"inputs": [{"text": "a"}]}, 404, "there is no", ""),
    ("/v1/models/slow/tag", {"inputs": []}, 422, "at least 1 item", ""),
    ("/v1/models/slow/tag", {"inputs": [{"text": 3}]}, 422, "inputs.0.text", ""),
    ("/v1/models/slow/tag", {"inputs": [{"text": "a", "top": 1}]}, 422, "inputs.0.top", ""),
    ("/v1/models/slow/tag", {"inputs": [{"text": "a"}] * 65}, 413, "too many inputs", "at most 64"),
    ("/v1/models/slow/tag", {"inputs": [{"text": "a" * 20_001}]}, 413, "inputs[0].text is too long", "20,000"),
    ("/v1/models/slow/tag", {"inputs": [{"text": "a"}, {"text": "no"}]}, 422, "it says no", ""),
    ("/v1/models/slow/search", {"inputs": [{"text": "a"}], "top_k": 51}, 422, "top_k", ""),
    ("/v1/models/slow/search", '{"inputs": [{"text": "a"}], "threshold": NaN}', 422, "threshold", ""),
    ("/v1/models/slow/tag", '{"inputs": [{"text": "a"}', 400, "not JSON", ""),
    ("/v1/models/slow/tag", b'{"inputs": [{"text": "\xff"}]}', 400, "", ""),
    ("/v1/models/slow/tag", f'{{"inputs": {"9" * 5000}}}', 400, "", ""),
    ("/v1/models/slow/tag", "", 422, "", ""),
]


@pytest.mark.parametrize(("where", "body", "status", "what", "expected"), BAD)
def test_a_mistake_is_told_without_a_traceback(where, body, status, what, expected):
    slow = Slow()
    model = fixed("tag", dict)._replace(services={"tag": slow.service, "search": slow.service})
    content = json.dumps(body) if isinstance(body, dict) else body

    async def conversation(client):
        return await client.post(where, content=content, headers={"content-type": "application/json"})

    answer = talk(state({"slow": model}), conversation)
    error = answer.json()["error"]
    assert answer.status_code == status and what in error["what"] and expected in error.get("expected", "")
    assert "Traceback" not in answer.text and ".py" not in answer.text


def test_a_fault_of_ours_tells_nothing(capsys):
    slow = Slow()

    async def conversation(client):
        return await client.post("/v1/models/slow/tag", json={"inputs": [{"text": "fault"}]})

    answer = talk(state({"slow": fixed("tag", dict)._replace(services={"tag": slow.service})}), conversation)
    assert answer.status_code == 500 and answer.json()["error"]["what"] == "the server has a fault"
    assert "secret" not in answer.text and "ValueError" in capsys.readouterr().err
    assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("body", [{"inputs": [1] * 1000}, {"inputs": [{str(number): "" for number in range(1000)}]}])
def test_a_thousand_mistakes_are_one_message(body):
    for task in BODIES:
        with pytest.raises(ValidationError) as error:
            BODIES[task].model_validate(body)
        assert error.value.error_count() == 1


def test_more_than_may_ever_wait_is_too_many():
    served = state({"slow": fixed("tag", dict)}, room=2, cache=0, texts=10)
    body = {"inputs": [{"text": text} for text in "abc"]}
    answer = talk(served, lambda client: client.post("/v1/models/slow/tag", json=body))
    assert answer.status_code == 413


def test_who_comes_when_all_places_are_taken_is_told_when_to_come_again():
    slow = Slow()
    served = state({"slow": fixed("tag", dict)._replace(services={"tag": slow.service})}, room=2, cache=0)

    async def conversation(client):
        ask = lambda text: asyncio.ensure_future(client.post("/v1/models/slow/tag", json={"inputs": [{"text": text}]}))  # noqa: E731
        slow.began.clear()
        slow.go.clear()
        first = ask("a")
        assert await asyncio.to_thread(slow.began.wait, 60)
        more = [ask(text) for text in "bcdefg"]
        refused = [each for each in [await asyncio.wait_for(each, 60) for each in more[2:]] if each.status_code == 429]
        slow.go.set()
        good = await asyncio.gather(first, *more[:2])
        again = await ask("h")
        return refused, [*good, again]

    refused, good = talk(served, conversation)
    assert len(refused) == 4 and all(1 <= int(answer.headers["retry-after"]) <= 60 for answer in refused)
    assert [answer.status_code for answer in good] == [200] * 4


def test_what_a_client_asked_that_went_away_is_not_computed():
    slow = Slow()
    served = state({"slow": fixed("tag", dict)._replace(services={"tag": slow.service})}, cache=0)
    body = json.dumps({"inputs": [{"text": "gone"}]}).encode()
    messages = [{"type": "http.disconnect"}, {"type": "http.request", "body": body, "more_body": False}]
    headers = [(b"host", b"localhost"), (b"content-type", b"application/json")]
    scope = {"type": "http", "method": "POST", "path": "/v1/models/slow/tag", "headers": headers, "scheme": "http"}
    scope |= {"query_string": b"", "http_version": "1.1", "root_path": ""}
    said = []

    async def receive() -> dict:
        return messages.pop()

    async def send(message: dict) -> None:
        said.append(message)

    async def conversation(client):
        slow.began.clear()
        slow.go.clear()
        ask = lambda text: client.post("/v1/models/slow/tag", json={"inputs": [{"text": text}]})  # noqa: E731
        first = asyncio.ensure_future(ask("first"))
        assert await asyncio.to_thread(slow.began.wait, 60)
        await asyncio.wait_for(client._transport.app(scope, receive, send), 60)
        slow.go.set()
        return [(await first).status_code, (await ask("last")).status_code]

    assert talk(served, conversation) == [200, 200] and said[0]["status"] == GONE
    assert [text for batch in slow.batches for text in batch] == ["a", "first", "last"]


def test_an_answer_that_takes_too_long_is_given_up():
    slow = Slow()
    served = state({"slow": fixed("tag", dict)._replace(services={"tag": slow.service})}, seconds=0.2)

    async def conversation(client):
        slow.go.clear()
        late = await client.post("/v1/models/slow/tag", json={"inputs": [{"text": "a"}]})
        slow.go.set()
        return late, await client.post("/v1/models/slow/tag", json={"inputs": [{"text": "b"}]})

    late, good = talk(served, conversation)
    assert late.status_code == 504 and good.status_code == 200 and good.json()["outputs"] == [{"said": "b"}]


def test_before_it_is_ready_and_while_it_ends_probes_say_so():
    slow = Slow()
    served = state({"slow": fixed("tag", dict)._replace(services={"tag": slow.service})})

    async def conversation(client):
        found = []
        for served.ready, served.draining in ((False, False), (True, False), (True, True)):
            asked = await client.post("/v1/models/slow/tag", json={"inputs": [{"text": "a"}]})
            live, ready = [await client.get(path) for path in ("/health", "/ready")]
            found.append((asked.status_code, live.status_code, ready.status_code, asked.headers.get("connection")))
        return found

    assert talk(served, conversation) == [(503, 200, 503, None), (200, 200, 200, None), (200, 200, 503, "close")]


def test_all_is_described_and_counted():
    served = state({"one": fixed("classify", lambda value: {"label": "a"}, ("a", "b"), texts=1)})

    async def conversation(client):
        await outputs(client, "/v1/models/one/classify", {"text": "a"})
        return [await client.get(path) for path in ("/openapi.json", "/metrics", "/v1/models", "/docs")]

    described, counted, models, docs = talk(served, conversation)
    assert "/v1/models/{model}/classify" in described.json()["paths"] and docs.status_code == 404
    assert 'bert_jax_requests_total{status="200",task="classify"} 1.0' in counted.text
    assert models.json()["models"] == [{"name": "one", "tasks": ["classify"], "texts": 1, "labels": ["a", "b"]}]
