"""What every picture must have: names at its axes, a legend that hides nothing, letters as they are in the data."""

import warnings

import numpy as np
import pytest

from bert_jax.report import drawing, figures, measures

RNG = np.random.default_rng(0)
NO_FORMULA, NO_LETTER = "$x^$", "\ue123"  # the first stops whoever reads it as mathematics; no font has the second
NAMES = [NO_FORMULA, "中文" + NO_LETTER, "a rather long name of a class", "d"]


def _curves():
    runs = [(np.arange(5), RNG.random(5)) for _ in range(3)] + [(np.arange(2), np.array([1.0, np.nan]))]
    return measures.curves(runs, [True] * 4)


def _attention(*shape):
    return RNG.dirichlet(np.ones(shape[-1]), shape[:-1]).astype(np.float32)


def _points(names):
    return [names[number % len(names)] for number in range(60)]


PLANE = measures.Plane(RNG.normal(size=(60, 2)), ("component 1 (60.0% of the variance)", "component 2 (9.0% of the variance)"))
MANY = [f"class {number}" for number in range(20)]
DRAWN = {
    "confusion": lambda: figures.confusion(RNG.integers(0, 9, (4, 4)), NAMES),
    "confusion of many": lambda: figures.confusion(RNG.integers(0, 9, (20, 20)), MANY),
    "curves": lambda: figures.learning_curves(_curves(), "accuracy (fraction of 1)", "Accuracy"),
    "one curve": lambda: figures.learning_curves(measures.curves([((1, 2), (3.0, 4.0))], [True]), "loss (nats)", "Loss"),
    "calibration": lambda: figures.calibration(measures.calibration(RNG.random(50), RNG.random(50) < 0.5)),
    "scores": lambda: figures.scores(RNG.random(30) * 5, RNG.random(30) * 5, "30 examples"),
    "classes": lambda: figures.points(PLANE, _points(NAMES), "PCA"),
    "many classes": lambda: figures.points(PLANE, _points(MANY), "PCA"),
    "scored points": lambda: figures.points(PLANE, RNG.random(60), "PCA"),
    "few labels": lambda: figures.few_labels([100, 500, 1000], [[0.5, 0.6, None], [0.7, 0.75], [0.8]], "accuracy"),
    "layers": lambda: figures.attention_overview(_attention(3, 2, 5, 5)),
    "heads": lambda: figures.attention_heads(_attention(4, 5, 5), ["[CLS]", NO_FORMULA, NO_LETTER, "中", "[SEP]"], 3),
}


@pytest.mark.parametrize("name", DRAWN)
def test_it_is_drawn_with_named_axes_and_a_legend_outside_of_the_plot(name, tmp_path):
    drawn = DRAWN[name]()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        path = drawing.write(drawn, tmp_path / "figure.png")
    assert path.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    axes = [each for each in drawn.axes if each.get_visible()]
    assert any([drawn.get_supxlabel(), *(each.get_xlabel() for each in axes)])
    assert any([drawn.get_supylabel(), *(each.get_ylabel() for each in axes)])
    for legend in drawn.legends:
        box = legend.get_window_extent()
        assert not any(box.overlaps(each.get_window_extent()) for each in axes)


def test_classes_are_named_and_every_cell_has_its_count_and_share():
    drawn = figures.confusion(np.array([[3, 1], [0, 1000]]), ["no", "yes"])
    axes = drawn.axes[0]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["no", "yes"]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["no  (4)", "yes  (1,000)"]
    assert [text.get_text() for text in axes.texts] == ["3\n75%", "1\n25%", "1,000\n100%"]


def test_a_share_is_never_rounded_to_none_or_all():
    texts = [text.get_text() for text in figures.confusion(np.array([[999, 1], [0, 1]]), ["no", "yes"]).axes[0].texts]
    assert texts[:2] == ["999\n>99%", "1\n<1%"]


def test_the_error_of_calibration_stands_in_the_title():
    found = measures.calibration(np.array([0.6, 0.6, 0.95]), np.array([True, False, True]))
    assert figures.calibration(found).axes[0].get_title() == "expected calibration error 0.083, 3 examples"


def test_failed_runs_are_counted_in_the_picture():
    _, labels = figures.learning_curves(_curves(), "y", "").axes[0].get_legend_handles_labels()
    assert {"each of 3 runs", "1 failed or not finished", "mean", "mean ± standard deviation"} == {*labels}
    axes = DRAWN["few labels"]().axes[0]
    assert axes.get_title() == "failed runs, left out: 1" and axes.get_xscale() == "log"
    assert [label.get_text() for label in axes.get_xticklabels()] == ["100", "500", "1,000"]
    mean = next(line for line in axes.lines if line.get_label() == "mean")
    np.testing.assert_allclose(mean.get_ydata(), [0.55, 0.725, 0.8])


def test_colours_and_shapes_tell_twenty_classes_apart():
    axes = DRAWN["many classes"]().axes[0]
    looks = {(each.get_facecolor().tobytes(), each.get_paths()[0].vertices.tobytes()) for each in axes.collections}
    assert len(looks) == 20
