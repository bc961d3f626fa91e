"""The page: one file without a network, every text as it is, only what there is."""

import base64
import json
import math
import shutil
from html.parser import HTMLParser

import numpy as np
import pytest

from bert_jax.errors import UserError
from bert_jax.report import page, runs
from bert_jax.report.inside import Inside

EVIL = '<script>alert("x")</script> & <img src=x>'
ARABIC, CHINESE = "هذا الفيلم رائع", "这部电影非常好看"
PAIRS = [{"texts": ["a man & a dog", EVIL], "gold": 4.0, "score": 1.0}, {"texts": ["a", "b"], "gold": 1.0, "score": 2.0}]
PREDICTIONS = {
    "classification": [
        {"texts": [EVIL], "gold": "no", "label": "yes", "probabilities": {"no": 0.1, "yes": 0.9}},
        {"texts": [ARABIC], "gold": "yes", "label": "yes", "probabilities": {"no": 0.3, "yes": 0.7}},
        {"texts": [CHINESE], "gold": "no", "label": "no", "probabilities": {"no": 0.8, "yes": 0.2}},
    ]
    * 2,
    "regression": PAIRS,
    "tagging": [{"words": [EVIL, "Rome"], "gold": ["O", "B-LOC"], "tags": ["O", "O"], "entities": []}],
    "answering": [
        {"question": EVIL, "paragraph": "Rome. " * 200, "gold": ["Rome"], "answer": "Paris", "score": 2.0, "null_odds": 0.0}
    ],
    "choice": [{"texts": [EVIL, "b"], "gold": 0, "choice": 1, "probabilities": [0.4, 0.6]}],
}
SECTIONS = {
    "classification": ["metrics", "curves", "confusion", "calibration", "hardest"],
    "regression": ["metrics", "curves", "scores", "hardest"],
    "tagging": ["metrics", "curves", "confusion", "hardest"],
    "answering": ["metrics", "curves", "hardest"],
    "choice": ["metrics", "curves", "calibration", "hardest"],
}


def make(folder, *, seed=0, accuracy=0.75, state="done", form="classification", last_loss=0.5):
    folder.mkdir(parents=True)
    write = lambda name, value: (folder / name).write_text(json.dumps(value), encoding="utf-8")  # noqa: E731
    write("config.json", {"seed": seed, "task": "reviews"})
    write("status.json", {"state": state, "seed": seed})
    records = [{"kind": "train", "step": step, "loss": 1 / step} for step in (1, 2, 3)]
    records += [{"kind": "held_out", "step": step, "loss": 0.4, "accuracy": 0.2 * step} for step in (2, 3)]
    records += [{"kind": "train", "step": 4, "loss": last_loss}]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    if state == "done":
        metrics = {"accuracy": accuracy, "loss": 0.4, "majority_accuracy": 0.5}
        write("result.json", {"status": "done", "step": 4, "metrics": metrics, "num_examples": {"train": 1234, "dev": 6}})
        lines = [json.dumps({"id": f"e{number}", **each}) + "\n" for number, each in enumerate(PREDICTIONS[form])]
        (folder / "predictions.jsonl").write_text("".join(lines), encoding="utf-8")
    return folder


class Read(HTMLParser):
    """The tags of a page and its text, and that every tag is closed."""

    EMPTY = {"meta", "img", "br", "input", "link"}

    def __init__(self, path):
        super().__init__()
        self.tags, self.texts, self._open = [], [], []
        self.feed(path.read_text(encoding="utf-8"))
        assert self._open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in self.EMPTY:
            self._open.append(tag)

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)

    def all(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]

    @property
    def text(self):
        return " ".join(" ".join(self.texts).split())


@pytest.mark.parametrize("form", PREDICTIONS)
def test_it_is_one_file_with_the_sections_of_its_form(form, tmp_path):
    path = page.write(make(tmp_path / "W", form=form))
    read = Read(path)
    assert path == tmp_path / "W" / "report" / "index.html"
    assert [section["id"] for section in read.all("section")] == SECTIONS[form]
    assert [link["href"] for link in read.all("a")] == [f"#{anchor}" for anchor in SECTIONS[form]]
    assert not read.all("script") and not read.all("link")
    for image in read.all("img"):
        kind, _, data = image["src"].partition(",")
        assert kind == "data:image/png;base64" and len(image["alt"]) > 20
        assert any(base64.b64decode(data) == file.read_bytes() for file in path.parent.glob("*.png"))
    assert len(read.all("img")) == len([*path.parent.glob("*.png")])
    urls = [value for _, attributes in read.tags for name, value in attributes.items() if name in ("src", "href")]
    assert all(url.startswith(("#", "data:image/png;")) for url in urls) and "url(" not in path.read_text(encoding="utf-8")
    assert EVIL in read.text


def test_texts_say_that_their_language_and_direction_are_their_own(tmp_path):
    read = Read(page.write(make(tmp_path / "W")))
    assert read.all("html") == [{"lang": "en"}]
    assert ARABIC in read.text and CHINESE in read.text
    texts = [attributes for attributes in read.all("span") if attributes.get("class") == "text"]
    assert texts and all(attributes == {"class": "text", "lang": "", "dir": "auto"} for attributes in texts)
    policy = next(meta["content"] for meta in read.all("meta") if "http-equiv" in meta)
    assert policy.startswith("default-src 'none'")


def test_a_baseline_stands_beside_its_metric(tmp_path):
    read = Read(page.write(make(tmp_path / "W")))
    assert "accuracy 0.7500 0.5000 always the commonest class loss 0.4000" in read.text
    assert "majority accuracy" not in read.text
    assert "1,234 train examples and 6 dev examples; 4 training steps" in read.text


def seeds(tmp_path):
    """Figures 0.7, 0.8, 0.9; one that diverged, one whose figure is NaN, one that is running, one not begun."""
    folders = [make(tmp_path / f"s{seed}", seed=seed, accuracy=0.9 - seed / 10) for seed in range(3)]
    folders.append(make(tmp_path / "s3", seed=3, state="diverged", last_loss=math.nan))
    folders.append(make(tmp_path / "s4", seed=4, accuracy=math.nan))
    return [*folders, *(make(tmp_path / f"s{seed}", seed=seed, state=state) for seed, state in ((5, "running"), (6, "queued")))]


def test_runs_have_mean_deviation_and_interval_and_failed_ones_are_counted(tmp_path):
    """Of 0.7, 0.8, 0.9: sd 0.1, and Student's t of two degrees of freedom is 4.3027: 0.8 ± 0.2484."""
    folders = seeds(tmp_path)
    read = Read(page.write(tmp_path / "sweep", folders))
    assert "mean 3 runs 0.8000" in read.text and "standard deviation 0.1000" in read.text
    assert "95% interval of the mean 0.5516 to 1.0484" in read.text
    assert "2 failed, 2 not finished." in read.text
    assert "seed 3 diverged –" in read.text and "seed 6 not run –" in read.text
    assert "the one of median accuracy: seed 1." in read.text
    assert page.shown_run(folders) == folders[1]


def test_a_run_that_says_it_failed_has_no_figure_whatever_it_wrote(tmp_path):
    folder = make(tmp_path / "W")
    result = json.loads((folder / "result.json").read_text()) | {"status": "failed"}
    (folder / "result.json").write_text(json.dumps(result))
    run = runs.read(folder)
    assert math.isnan(runs.figure(run, "accuracy")) and runs.failed(run, "accuracy")


def test_without_a_finished_run_there_are_curves_and_no_figure(tmp_path):
    read = Read(page.write(make(tmp_path / "W", state="running")))
    assert [section["id"] for section in read.all("section")] == ["metrics", "curves"]
    assert "No run has come to an end" in read.text and page.shown_run([tmp_path / "W"]) is None


def look(**changes):
    vectors_ND = np.random.default_rng(0).normal(size=(6, 5)).astype(np.float32)
    attention_NHLL = np.full((2, 2, 3, 3), 1 / 3, np.float32)
    return Inside(np.arange(6), vectors_ND, "cls", ("[CLS]", "中", "[SEP]"), 2, attention_NHLL)._replace(**changes)


def test_embeddings_and_attention_are_there_where_the_model_was_looked_into(tmp_path, monkeypatch):
    folder = make(tmp_path / "W")
    read = Read(page.write(folder, inside=look()))
    assert [section["id"] for section in read.all("section")][-2:] == ["embeddings", "attention"]
    assert "One example, e2, as its 3 pieces: [CLS] 中 [SEP]" in read.text
    names = {path.stem for path in (folder / "report").glob("*.png")}
    assert {"pca", "attention_layers", "attention_heads"} <= names

    monkeypatch.setattr("bert_jax.report.measures.t_sne", lambda vectors: None)
    without = look(attention_NHLL=None, without_attention="This encoder has layers of the kind pre_norm.")
    read = Read(page.write(folder, inside=without))
    assert "scikit-learn is not installed" in read.text and "layers of the kind pre_norm" in read.text
    names = {path.stem for path in (folder / "report").glob("*.png")}
    assert "pca" in names and not {"t_sne", "attention_layers", "attention_heads"} & names  # of the page before


def test_scores_colour_the_embeddings_of_a_regression(tmp_path):
    inside = look(examples=np.array([0, 1, 0, 1, 0, 1]))
    read = Read(page.write(make(tmp_path / "W", form="regression"), inside=inside))
    assert "embeddings" in [section["id"] for section in read.all("section")]


@pytest.mark.parametrize(
    ("line", "message"),
    [("{", "line 2: {"), ("[1]", "line 2"), ('{"id": "e", "guess": 1}', "no form that is known")],
)
def test_broken_predictions_are_named(tmp_path, line, message):
    folder = make(tmp_path / "W")
    lines = (folder / "predictions.jsonl").read_text(encoding="utf-8").splitlines()
    (folder / "predictions.jsonl").write_text("\n".join([lines[0], line]), encoding="utf-8")
    with pytest.raises(UserError, match=message):
        page.write(folder)


def test_a_line_separator_in_a_text_ends_no_prediction(tmp_path):
    folder = make(tmp_path / "W")
    each = {"id": "e", **PREDICTIONS["classification"][0], "texts": ["one\u2028two\x85three"]}
    (folder / "predictions.jsonl").write_text(json.dumps(each, ensure_ascii=False) + "\n", encoding="utf-8")
    assert len(runs.predictions(runs.read(folder))) == 1


def test_a_folder_without_a_run_is_refused(tmp_path):
    with pytest.raises(UserError, match="no fine-tuned model here"):
        page.write(tmp_path)


@pytest.mark.parametrize("width", [1280, 390])
def test_a_browser_shows_it_without_script_network_or_moving_it_to_the_side(width, tmp_path):
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("no browser is installed")
    make(tmp_path / "W")
    path = page.write(tmp_path / "sweep", [tmp_path / "W", *seeds(tmp_path)], inside=look())
    with sync_api.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        shown, asked, said = browser.new_page(viewport={"width": width, "height": 800}), [], []
        shown.on("request", lambda request: asked.append(request.url))
        shown.on("console", lambda message: said.append(message.text))
        shown.on("dialog", lambda dialog: said.append(dialog.message))
        shown.goto(path.as_uri())
        assert shown.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
        assert shown.evaluate("[...document.images].every(image => image.complete && image.naturalWidth > 100)")
        assert EVIL in shown.inner_text("#hardest")
        narrow = shown.evaluate("Math.min(...[...document.querySelectorAll('td, th')].map(cell => cell.clientWidth))")
        browser.close()
    assert [url for url in asked if not url.startswith("data:")] == [path.as_uri()] and said == []
    assert narrow == 0 or narrow > 40  # 0: the head of a table of cards
