"""The parts of the page: each is HTML, and empty where it does not apply."""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from bert_jax.report import drawing, figures, html, measures, runs
from bert_jax.report.hardest import MEASURES, hardest
from bert_jax.report.html import Cell, Number
from bert_jax.report.inside import Inside
from bert_jax.report.runs import Run

HARDEST = 20
MOST_T_SNE = 500  # points: half a minute for a thousand on one core
SHORT_TEXT = 600  # characters, after which a text in the table is scrolled
SMALL = 4  # fewer vectors than this are not drawn
POOLED = {"cls": "vectors of [CLS]", "mean": "mean vectors of the pieces", "max": "largest values of the pieces"}


def words(metric: str) -> str:
    return metric.replace("_", " ")


class Pictures:
    """The files of the report: those of an earlier page that this one does not have are removed."""

    NAMES = "training_loss held_out confusion calibration scores pca t_sne attention_layers attention_heads".split()

    def __init__(self, folder: Path):
        self._folder, self._made = folder, set()

    def add(self, name: str, drawn, alt: str, caption: str = "", *, large: bool = False) -> str:
        self._made.add(name)
        return html.picture(drawing.write(drawn, self._folder / f"{name}.png"), alt, caption, large=large)

    def remove_old(self) -> None:
        for name in {*self.NAMES} - self._made:
            (self._folder / f"{name}.png").unlink(missing_ok=True)


def curves(pictures: Pictures, found: Sequence[Run], metric: str, unit: str) -> str:
    drawn = []
    held_out = (
        metric if any(metric in record for run in found for record in run.records if record["kind"] == "held_out") else "loss"
    )
    for name, kind, shown, title in (
        ("training_loss", "train", "loss", "Loss in training"),
        ("held_out", "held_out", held_out, f"{words(held_out).capitalize()} on the dev set"),
    ):
        series = {number: points for number, run in enumerate(found) if (points := _points(run, kind, shown))}
        done = [found[number].state == runs.DONE for number in series]
        curves = measures.curves([tuple(zip(*points)) for points in series.values()], done)
        if not any(len(steps) for steps, _ in (*curves.runs, *curves.failed)):
            continue
        last = f", at the end {curves.mean[-1]:.4f} on average" if len(curves.steps) else ""
        figure = figures.learning_curves(curves, f"{words(shown)} ({unit if shown == 'loss' else 'fraction of 1'})", title)
        drawn.append(pictures.add(name, figure, f"{title} against the training step, {len(curves.runs)} runs{last}"))
    return html.side_by_side(drawn)


def _points(run: Run, kind: str, metric: str) -> list[tuple[int, float]]:
    return [(record["step"], record[metric]) for record in run.records if record["kind"] == kind and metric in record]


def of_predictions(
    pictures: Pictures, form: str, predictions: Sequence[dict], shown: Run, inside: Inside | None, answer_f1
) -> list[tuple[str, str, str]]:
    """(anchor, title, HTML) of what can be said of predictions of this form."""
    labelled = [each for each in predictions if each.get("gold") is not None]
    sections = []
    if labelled and form in ("classification", "tagging"):
        sections.append(("confusion", "Confusion matrix", _confusion(pictures, form, labelled, shown.labels)))
    if labelled and form == "regression":
        sections.append(("scores", "Scores", _scores(pictures, labelled, shown)))
    if labelled and form in ("classification", "choice"):
        sections.append(("calibration", "Calibration", _calibration(pictures, form, labelled)))
    if labelled:
        sections.append(("hardest", "Hardest examples", _hardest(form, predictions, answer_f1)))
    if inside is not None:
        sections.append(("embeddings", "Embeddings", _embeddings(pictures, form, predictions, inside)))
        sections.append(("attention", "Attention", _attention(pictures, predictions, inside)))
    return sections


def _confusion(pictures: Pictures, form: str, labelled: Sequence[dict], labels: Sequence[str]) -> str:
    if form == "tagging":
        what, labels = "words by the type of their entity", ()
        sides = [[tag.partition("-")[2] or tag for each in labelled for tag in each[side]] for side in ("gold", "tags")]
    else:
        what, sides = "examples", [[str(each[side]) for each in labelled] for side in ("gold", "label")]
    counts_CC, names = measures.confusion(*sides, labels)
    right = np.trace(counts_CC) / max(counts_CC.sum(), 1)
    alt = f"Confusion matrix of {counts_CC.sum():,} {what} in {len(names)} classes; {right:.1%} lie on the diagonal"
    caption = f"{counts_CC.sum():,} {what}. Rows: what is right; columns: what the model said; the shade is the share of the row."
    return pictures.add("confusion", figures.confusion(counts_CC, names), alt, caption, large=len(names) > figures.SPACIOUS)


def _scores(pictures: Pictures, labelled: Sequence[dict], shown: Run) -> str:
    gold, predicted = (np.array([each[side] for each in labelled], np.float64) for side in ("gold", "score"))
    told = [f"{words(name)} {value:.3f}" for name, value in shown.metrics.items() if name in ("pearson", "spearman")]
    title = ", ".join([*told, f"{len(gold):,} examples"])
    return pictures.add("scores", figures.scores(gold, predicted, title), f"Predicted against gold scores; {title}")


def _calibration(pictures: Pictures, form: str, labelled: Sequence[dict]) -> str:
    answer = "label" if form == "classification" else "choice"
    confidence = np.array([each["probabilities"][each[answer]] for each in labelled], np.float64)
    right = np.array([str(each[answer]) == str(each["gold"]) for each in labelled])
    found = measures.calibration(confidence, right)
    alt = f"Reliability diagram of {len(right):,} examples in {measures.BINS} bins; expected calibration error {found.error:.3f}"
    caption = "A model that is right as often as it is sure has every bar end at the dashed line; below it, it is too sure."
    return pictures.add("calibration", figures.calibration(found), alt, caption)


def _hardest(form: str, predictions: Sequence[dict], answer_f1) -> str:
    found = hardest(form, predictions, HARDEST, answer_f1)
    if not found:
        return html.paragraph("There is none: every example is as it should be.")
    sure = any(hard.probability is not None for hard in found)
    head = ["id", "example", "gold", "predicted", *(["probability"] if sure else []), "hardness"]
    rows = []
    for hard in found:
        texts = Cell("".join(html.text(words, name, len(words) > SHORT_TEXT) for name, words in hard.texts))
        sides = [Cell(html.text(side)) for side in (hard.gold, hard.predicted)]
        probability = [Number("" if hard.probability is None else f"{hard.probability:.3f}")] if sure else []
        hardness = "∞" if hard.hardness == math.inf else str(int(hard.hardness)) if form == "tagging" else f"{hard.hardness:.3f}"
        rows.append([hard.id, texts, *sides, *probability, Number(hardness)])
    caption = f"The {len(found)} hardest of {len(predictions):,}. Hardness: {MEASURES[form]}; probability: of what was predicted."
    return html.table(head, rows, caption if sure else caption.partition("; probability")[0] + ".", kind="cards")


def _embeddings(pictures: Pictures, form: str, predictions: Sequence[dict], inside: Inside) -> str:
    """Coloured by the gold label, of forms that have one for a text."""
    if form not in ("classification", "regression") or len(inside.vectors_ND) < SMALL:
        return ""
    gold = [predictions[number].get("gold") for number in inside.examples]
    kept = np.array([label is not None for label in gold])
    scored = form == "regression"
    labels = np.array(gold, np.float64)[kept] if scored else [str(label) for label in gold if label is not None]
    what = {"cls": "vectors of [CLS]", "mean": "mean vectors of the pieces", "max": "largest values of the pieces"}[
        inside.pooling
    ]
    vectors_ND = inside.vectors_ND[kept]
    if len(vectors_ND) < SMALL:
        return ""
    fewer = np.unique(np.linspace(0, len(vectors_ND) - 1, min(len(vectors_ND), MOST_T_SNE)).astype(int))
    some = np.array(labels)[fewer]
    drawn = []
    for name, title, plane, of in (
        ("pca", "PCA", measures.pca(vectors_ND), labels),
        ("t_sne", "t-SNE", measures.t_sne(vectors_ND[fewer]), some if scored else some.tolist()),
    ):
        if plane is not None:
            title = f"{title}: {what}, {len(of):,} examples"
            drawn.append(pictures.add(name, figures.points(plane, of, title), f"{title}, coloured by their gold label"))
    missing = "" if len(drawn) == 2 else "t-SNE is left out: scikit-learn is not installed (pip install scikit-learn)."
    said = "Vectors of the last layer, coloured by the gold label. Distances between far groups mean nothing in t-SNE."
    return html.side_by_side(drawn) + html.paragraph(missing or said, "dim")


def _attention(pictures: Pictures, predictions: Sequence[dict], inside: Inside) -> str:
    if inside.attention_NHLL is None:
        return html.paragraph(inside.without_attention)
    layers, heads, length, _ = inside.attention_NHLL.shape
    identity = predictions[inside.example]["id"] if inside.example < len(predictions) else inside.example
    which = html.paragraph(f"One example, {identity}, as its {length} pieces:") + html.text(" ".join(inside.pieces))
    alt = f"Attention of {heads} heads in {layers} layers over {length} pieces, a map for each"
    caption = f"{layers} layers from the input down, {heads} heads side by side; in each map, what a piece attends to is its row."
    overview = figures.attention_overview(inside.attention_NHLL)
    drawn = pictures.add("attention_layers", overview, alt, caption, large=heads > 4)
    last = figures.attention_heads(inside.attention_NHLL[-1], inside.pieces, layers)
    alt = f"Attention of the {heads} heads of layer {layers} between the {length} pieces"
    return which + drawn + pictures.add("attention_heads", last, alt, "The last layer.", large=heads > 2)
