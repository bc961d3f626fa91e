"""Whatever is sent: a mistake of the client is told in the agreed form, none is a fault of the server."""

import json
import math

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bert_jax.serve.app import BODIES
from tests.serve.fakes import Slow, fixed, running, state

STATUSES = {200, 400, 401, 403, 404, 405, 408, 413, 415, 421, 422}


@pytest.fixture(scope="module")
def ask():
    """(method, path, body, headers) -> the answer of a server of one model that has learned everything."""
    slow = Slow()
    served = state({"m": fixed("tag", dict)._replace(services=dict.fromkeys(BODIES, slow.service))}, cache=2000)
    with running(served) as (run, client):
        yield lambda method, path, body, headers: run(client.request(method, path, content=body, headers=headers))


HOSTILE = st.sampled_from(
    ["", " ", "\x00", "\ud800", "[MASK]", "../../etc/passwd", "%2e%2e%2f", "a" * 20_001, "\u202e", "{{7*7}}", "no", "NaN"]
)
TEXT = st.text() | HOSTILE
LEAF = st.none() | st.booleans() | st.integers() | st.floats() | TEXT | st.just(10**400) | st.just(math.inf)
JSON = st.recursive(LEAF, lambda inner: st.lists(inner) | st.dictionaries(TEXT, inner), max_leaves=12)
QUESTION = st.dictionaries(st.sampled_from(["text", "text_pair", "question", "paragraph", "id"]), LEAF | JSON, max_size=3)
GOOD = st.fixed_dictionaries({"text": st.text(min_size=1, max_size=20)})
BODY = st.fixed_dictionaries(
    {"inputs": st.lists(GOOD | QUESTION, max_size=5) | JSON}, optional={"top_k": LEAF, "threshold": LEAF, "x": JSON}
)
CONTENT = st.binary(max_size=200) | JSON.map(json.dumps).map(str.encode) | BODY.map(json.dumps).map(str.encode)
NAMES = st.sampled_from(["m", "m", "m", "..", "%2e%2e", "..%2f..%2fetc", "m%00", "é", "m/", "", "m;x", "~root"])
HEADERS = st.dictionaries(
    st.sampled_from(
        ["content-length", "transfer-encoding", "origin", "host", "authorization", "content-encoding", "accept", "x-a"]
    ),
    st.sampled_from(["", "0", "-1", "chunked", "null", "gzip", "a" * 5000, "localhost", "evil.com", "[::1", "Bearer"]),
    max_size=2,
)


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    method=st.sampled_from(["POST"] * 6 + ["GET", "PUT", "DELETE", "OPTIONS", "HEAD", "TRACE"]),
    name=NAMES,
    task=st.sampled_from([*BODIES, "nothing", ""]),
    content=CONTENT,
    headers=HEADERS,
)
def test_no_request_is_a_fault_of_the_server(ask, method, name, task, content, headers):
    answer = ask(method, f"/v1/models/{name}/{task}", content, {"content-type": "application/json"} | headers)
    assert answer.status_code in STATUSES, answer.text
    assert "Traceback" not in answer.text and "bert_jax/" not in answer.text
    if answer.status_code == 200:
        assert len(answer.json()["outputs"]) == len(json.loads(content)["inputs"])
    elif method != "HEAD" and answer.content:
        assert answer.json()["error"]["what"]
