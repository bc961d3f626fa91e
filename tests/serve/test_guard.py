"""Who may ask and how much, before anything is parsed: middleware around an application that says what it was sent."""

import asyncio
import json

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bert_jax.serve.guard import Guard, Limits, is_loopback, too_deep

JSON = {"content-type": "application/json"}


async def echo(scope, receive, send) -> None:
    body = (await receive())["body"]
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": body})


def ask(method="POST", path="/v1", *, host="localhost:8000", headers=JSON, content=b"{}", local=True, token="", **limits):
    told = {"draining": lambda: False, "on_answer": lambda path, status, seconds: None}
    guard = Guard(echo, limits=Limits(**limits), local=local, token=token, **told)

    async def whole():
        async with httpx.AsyncClient(transport=httpx.ASGITransport(guard), base_url=f"http://{host}") as client:
            return await client.request(method, path, headers=headers, content=content)

    return asyncio.run(whole())


@pytest.mark.parametrize("host", ["localhost", "localhost:80", "127.0.0.1:8000", "[::1]:8000", "127.3.2.1"])
def test_this_machine_asks_itself(host):
    answer = ask(host=host)
    assert answer.status_code == 200 and answer.content == b"{}"
    assert answer.headers["x-content-type-options"] == "nosniff" and "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize(
    "host", ["evil.com", "evil.com:8000", "127.0.0.1.evil.com", "localhost.evil.com", "10.0.0.1", "[::2]:8000"]
)
@pytest.mark.parametrize("path", ["/", "/v1", "/health"])
def test_a_name_that_others_resolve_to_this_machine_is_refused(host, path):
    assert ask(host=host, path=path).status_code == 421
    assert ask(host=host, path=path, local=False).status_code == 200


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"origin": "http://localhost:8000"}, 200),
        ({"origin": "http://evil.com"}, 403),
        ({"origin": "http://localhost:8001"}, 403),
        ({"origin": "https://localhost:8000"}, 403),
        ({"origin": "null"}, 403),
        ({"sec-fetch-site": "same-origin"}, 200),
        ({"sec-fetch-site": "cross-site"}, 403),
        ({"sec-fetch-site": "same-site"}, 403),
        ({"content-type": "text/plain"}, 415),
        ({"content-type": "application/x-www-form-urlencoded"}, 415),
        ({"content-type": "application/json; charset=utf-8"}, 200),
    ],
)
def test_pages_of_other_sites_may_not_ask(headers, status):
    assert ask(headers=JSON | headers).status_code == status


def test_a_link_elsewhere_leads_to_the_page():
    headers = {"sec-fetch-site": "cross-site"}
    assert ask("GET", "/", headers=headers).status_code == 200
    assert ask("GET", "/metrics", headers=headers).status_code == 403


TOKEN = "0123456789abcdef"


@pytest.mark.parametrize(
    ("given", "status"),
    [
        ("", 401),
        (f"Bearer {TOKEN}", 200),
        (f"bearer {TOKEN}", 200),
        (f"Bearer {TOKEN}0", 401),
        (f"Basic {TOKEN}", 401),
        ("Bearer é", 401),
    ],
)
def test_the_token_is_asked_for_everywhere_but_by_probes(given, status):
    headers = JSON | ({"authorization": given.encode()} if given else {})
    for path in ("/", "/v1", "/metrics", "/health/x"):
        answer = ask(path=path, token=TOKEN, local=False, headers=headers)
        assert answer.status_code == status
        assert status != 401 or answer.headers["www-authenticate"] == "Bearer"
    assert ask("GET", "/health", token=TOKEN, local=False, headers={}, content=b"").status_code == 200


async def _pieces(count: int, size: int):
    for _ in range(count):
        yield b" " * size


def test_a_body_has_its_size_announced_or_not():
    assert ask(content=b" " * 100, body=100).status_code == 200
    for content in (b" " * 101, _pieces(11, 10)):
        answer = ask(content=content, body=100)
        assert answer.status_code == 413 and answer.json()["error"]["expected"] == "at most 100 bytes"
    for announced in ("-1", "1e9", "9" * 5000, "²"):
        assert ask(headers=JSON | {"content-length": announced.encode()}).status_code == 413


def test_more_requests_than_may_be_inside_are_told_to_come_again_and_probes_are_answered():
    go = asyncio.Event()

    async def waits(scope, receive, send) -> None:
        await go.wait()
        await echo(scope, receive, send)

    told = {"draining": lambda: False, "on_answer": lambda path, status, seconds: None}
    guard = Guard(waits, limits=Limits(requests=2), local=True, token="", **told)

    async def conversation():
        async with httpx.AsyncClient(transport=httpx.ASGITransport(guard), base_url="http://localhost") as client:
            first = [asyncio.ensure_future(client.post("/v1", json={})) for _ in range(2)]
            await asyncio.sleep(0.05)
            third, probe = await asyncio.wait_for(client.post("/v1", json={}), 10), asyncio.ensure_future(client.get("/health"))
            await asyncio.sleep(0.05)
            go.set()
            return third, [answer.status_code for answer in [*await asyncio.gather(*first), await probe, await client.get("/")]]

    refused, others = asyncio.run(conversation())
    assert refused.status_code == 429 and refused.headers["retry-after"] == "1" and refused.headers["connection"] == "close"
    assert others == [200] * 4


def test_who_is_too_slow_is_told():
    async def slowly():
        yield b"{"
        await asyncio.sleep(60)

    answer = ask(content=slowly(), seconds=0.05)
    assert answer.status_code == 408 and answer.headers["connection"] == "close"


def test_json_has_so_many_levels():
    assert ask(content=b"[" * 8 + b"]" * 8).status_code == 200
    assert ask(content=b"[" * 9 + b"]" * 9).status_code == 400
    assert ask(content=b'{"a":' * 100_000).status_code == 400
    assert not too_deep(b'"' + b'\\"[' * 300_000, 8)  # in time that grows with the size alone


def depth_of(value) -> int:
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    return 0 if parts is None else 1 + max(map(depth_of, parts), default=0)


@given(
    st.recursive(st.none() | st.text('[]{}"\\a'), lambda inner: st.lists(inner) | st.dictionaries(st.text('[]{}"\\a'), inner)),
    st.integers(0, 5),
)
def test_levels_are_counted_as_a_parser_has_them(value, most):
    assert too_deep(json.dumps(value).encode(), most) == (depth_of(value) > most)


def test_what_is_this_machine():
    assert all(map(is_loopback, ["127.0.0.1", "::1", "[::1]", "localhost", "LOCALHOST"]))
    assert not any(map(is_loopback, ["0.0.0.0", "::", "", "10.0.0.1", "example.com"]))
