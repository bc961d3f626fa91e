"""The page in a browser: what models and people say is text in it, whatever it looks like; it is used by keys, and on a phone."""

import asyncio
import os
import shutil
import threading
import time
from pathlib import Path

import pytest
import uvicorn

from bert_jax.serve.app import make_app
from tests.serve.fakes import fixed, state

EVIL = "<img src=x onerror=alert(1)> <script>alert(2)</script> 😀 שלום"


def entities(value: dict) -> dict:
    """The first word, and what stands in capitals."""
    text = value["text"]
    spans = [(text.index(word), word) for word in text.split() if word[0].isupper()]
    return {
        "tags": [],
        "words": text.split(),
        "entities": [
            {"type": ("PER", "LOC")[number % 2], "text": word, "begin": begin, "end": begin + len(word), "score": 0.9}
            for number, (begin, word) in enumerate(spans)
        ],
    }


def answer(value: dict) -> dict:
    begin = value.get("paragraph", "").find("northern")
    found = (
        {"answer": "northern sea", "begin": begin, "end": begin + 12}
        if begin >= 0
        else {"answer": "", "begin": None, "end": None}
    )
    others = [found | {"probability": 0.8}, {"answer": EVIL, "begin": 0, "end": 3, "probability": 0.2}]
    return found | {"score": 3.0, "null_odds": -1.0, "n_best": others}


def masks(value: dict) -> dict:
    guesses = [("cat", 0.61), ("dog", 0.2), (EVIL, 0.1), ("##s", 0.01)]
    mask = [{"piece": piece, "probability": probability} for piece, probability in guesses]
    return {"text": value["text"], "masks": [mask] * value["text"].count("[MASK]")}


def compared(value: dict) -> dict:
    return {"similarity": 0.83} if "text_pair" in value else {"embedding": [((7 * n) % 13 - 6) / 6 for n in range(64)]}


def found(value: dict) -> dict:
    near = [
        {"text": "Ways of payment are listed below.", "cosine": 0.71, "answer": EVIL, "number": 3},
        {"text": EVIL, "cosine": 0.4},
    ]
    return {"text": value["text"], "found": [] if "nothing" in value["text"] else near}


def classes(value: dict) -> dict:
    return {"label": EVIL, "probabilities": {"negative": 0.08, EVIL: 0.92}}


MODELS = {
    "words": fixed("fill-mask", masks),
    "films": fixed("classify", classes, ("negative", EVIL), texts=1),
    "similar": fixed("score", lambda value: {"score": 3.87}, texts=2),
    "names": fixed("tag", entities),
    "reader": fixed("answer", answer),
    "sentences": fixed("embed", compared)._replace(services=fixed("embed", compared).services | fixed("search", found).services),
}


@pytest.fixture(scope="module")
def address():
    served = state(MODELS)
    server = uvicorn.Server(uvicorn.Config(make_app(served), port=0, log_level="critical"))
    thread = threading.Thread(target=lambda: asyncio.run(server.serve()))
    thread.start()
    while not (server.started and served.ready):
        time.sleep(0.01)
    yield f"http://localhost:{server.servers[0].sockets[0].getsockname()[1]}/"
    server.should_exit = True
    thread.join()


@pytest.fixture(params=[("light", 1280), ("dark", 390)], ids=["desk", "phone"])
def page(request, address):
    """The page, as it came; without network but for its own requests, and without a word on the console in the end."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("no browser is installed")
    scheme, width = request.param
    with sync_api.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page, asked, said = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme), [], []
        page.on("request", lambda request: asked.append(request.url))
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("dialog", lambda dialog: said.append(dialog.message))
        page.goto(address)
        page.wait_for_selector("#text")
        yield page
        browser.close()
    said = [words for words in said if "status of 413" not in words]  # of a text that was too long on purpose
    assert said == [] and {url for url in asked if not url.startswith((address, "data:"))} == set()


def test_each_task_is_asked_by_keys_and_what_is_said_is_text(page):
    shown = {}
    for number in range(len(MODELS) + 1):
        page.focus(".choice input:checked")
        if number:
            page.keyboard.press("ArrowRight")
        task = page.locator(".choice:has(input:checked)").inner_text().split()[0]
        page.keyboard.press("Tab")
        page.keyboard.press("Control+End")
        page.keyboard.type(f" {EVIL}")
        page.keyboard.press("Control+Enter")
        page.wait_for_selector("#result > *")
        shown[task] = page.inner_text("#result")
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
        assert page.evaluate("document.querySelectorAll('#result script, #result img').length") == 0
        if folder := os.environ.get("BERT_JAX_SHOTS"):
            page.screenshot(path=Path(folder) / f"{page.viewport_size['width']}-{number}.png", full_page=True)
    assert list(shown) == ["Fill", "Classify", "Score", "Find", "Answer", "Compare", "Search"]
    for task in ("Fill", "Classify", "Find", "Search"):
        assert "<script>alert(2)</script> 😀 שלום" in shown[task]
    assert "61 %" in shown["Fill"] and "92 %" in shown["Classify"] and "0.830" in shown["Compare"] and "3.870" in shown["Score"]


def test_marks_stand_at_characters_and_nothing_near_is_not_known(page):
    page.get_by_role("radio", name="Find names").check(force=True)
    page.fill("#text", "😀 Ada met Grace")
    page.click("#ask")
    page.wait_for_selector("mark")
    assert page.locator("mark").all_inner_texts() == ["AdaPER", "GraceLOC"]
    page.get_by_role("radio", name="Answer").check(force=True)
    page.fill("#paragraph", "😀 at the northern sea")
    page.click("#ask")
    page.wait_for_selector("mark")
    assert page.locator("mark").all_inner_texts() == ["northern sea"] and "northern sea" in page.inner_text(".said")
    page.get_by_role("radio", name="Search").check(force=True)
    page.fill("#text", "nothing")
    page.click("#ask")
    page.wait_for_selector(".said")
    assert page.inner_text(".said") == "I do not know."
    page.fill("#text", "a" * 20_001)
    page.click("#ask")
    page.wait_for_selector("#status.bad")
    assert "too long" in page.inner_text("#status") and page.inner_text("#result") == ""
