"""Pictures of a fine-tuned model, from plain arrays. Each function returns a matplotlib figure; drawing.write makes it a file."""

from collections.abc import Sequence

import numpy as np

from bert_jax.metrics.statistics import finite, summarise
from bert_jax.report import drawing
from bert_jax.report.drawing import BAD, COLOURS, FAINT, MAIN, MARKERS, SHADES
from bert_jax.report.measures import Calibration, Curves, Plane

FEW = 8  # classes, whose names a legend of two columns takes
SPACIOUS = 10  # classes, up to which counts and shares have room side by side with large digits


def confusion(counts_CC: np.ndarray, names: Sequence[str]):
    """A cell holds its count and the share of its row, the gold class, which is also its shade."""
    size, roomy = len(names), len(names) <= SPACIOUS
    side = max(size * (0.8 if roomy else 0.56), 2.4)
    drawn = drawing.figure(side + 2.6, side + 1.7)
    axes = drawn.subplots()
    totals_C = counts_CC.sum(axis=1)
    shares_CC = counts_CC / np.maximum(totals_C, 1)[:, None]
    image = axes.imshow(shares_CC, cmap=SHADES, vmin=0, vmax=1)
    for row, column in zip(*np.nonzero(counts_CC)):
        share, colour = shares_CC[row, column], "white" if shares_CC[row, column] > 0.55 else "black"
        words = f"{counts_CC[row, column]:,}\n{_percent(share)}"
        axes.text(column, row, words, ha="center", va="center", color=colour, fontsize=10 if roomy else 7.5, linespacing=1.3)
    shown = [drawing.short(name) for name in names]
    rows = [f"{name}  ({total:,})" for name, total in zip(shown, totals_C)]
    level = max(map(len, shown)) <= 9 and size <= 4
    turned = {} if level else {"rotation": 45, "ha": "right", "rotation_mode": "anchor"}
    axes.set_xticks(range(size), shown, **turned, **drawing.letters())
    axes.set_yticks(range(size), rows, **drawing.letters())
    axes.set(xlabel="predicted class", ylabel="gold class (examples)")
    axes.set_xticks(np.arange(size - 1) + 0.5, minor=True)
    axes.set_yticks(np.arange(size - 1) + 0.5, minor=True)
    axes.grid(which="minor", color="0.85", linewidth=0.8)
    axes.tick_params(which="both", length=0)
    drawn.colorbar(image, ax=axes, shrink=0.8, label="share of the gold class", format=lambda share, _: f"{share:.0%}")
    return drawn


def _percent(share: float) -> str:
    return "<1%" if share < 0.005 else ">99%" if 0.995 <= share < 1 else f"{share:.0%}"


def learning_curves(found: Curves, ylabel: str, title: str):
    """Each run thin, their mean thick, one standard deviation around it as a band."""
    drawn, axes = drawing.plot()
    several, marks = len(found.runs) > 1, {"marker": "o", "markersize": 4} if len(found.steps) <= 20 else {}
    for number, (steps, values) in enumerate(found.runs if several else ()):
        axes.plot(
            steps, values, color=MAIN, alpha=0.4, linewidth=0.9, label=None if number else f"each of {len(found.runs)} runs"
        )
    for number, (steps, values) in enumerate(found.failed):
        label = None if number else f"{len(found.failed)} failed or not finished"
        axes.plot(steps, values, color=BAD, linestyle="--", linewidth=1.2, label=label, **marks)
    if len(found.steps):
        axes.plot(found.steps, found.mean, color=MAIN, linewidth=2.4, label="mean" if several else "one run", **marks)
    if several and len(found.steps):
        low, high = found.mean - found.deviation, found.mean + found.deviation
        label = "mean ± standard deviation"
        axes.fill_between(found.steps, low, high, color=MAIN, alpha=0.2, linewidth=0, label=label)
    axes.set(xlabel="training step (batches)", ylabel=ylabel, title=title)
    axes.margins(x=0.03)
    drawing.legend(drawn, several or len(found.failed))
    return drawn


def calibration(found: Calibration):
    """Reliability diagram (Guo et al. 2017, arXiv 1706.04599, figure 1) over the number of examples in each bin."""
    drawn = drawing.figure(5.6, 5.6)
    above, below = drawn.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    middles, width = (found.edges[1:] + found.edges[:-1]) / 2, np.diff(found.edges)
    filled = found.counts > 0
    above.bar(middles[filled], found.accuracy[filled], width[filled] * 0.94, color=MAIN, label="accuracy in the bin")
    above.plot([0, 1], [0, 1], color=FAINT, linestyle="--", label="as sure as right")
    confidence, accuracy = found.confidence[filled], found.accuracy[filled]
    above.vlines(confidence, accuracy, confidence, color=BAD, linewidth=3, label="gap to the mean confidence")
    error = f"expected calibration error {found.error:.3f}"
    above.set(ylabel="accuracy", ylim=(0, 1.02), title=f"{error}, {found.counts.sum():,} examples", xlim=(0, 1))
    below.bar(middles, found.counts, width * 0.94, color="0.65")
    for middle, count in zip(middles[filled], found.counts[filled]):
        below.annotate(f"{count:,}", (middle, count), (0, 2), textcoords="offset points", ha="center", fontsize=8)
    below.set(ylabel="examples", xlabel="confidence: probability of the predicted class", ylim=(0, found.counts.max() * 1.25))
    for axes in (above, below):
        axes.spines[["top", "right"]].set_visible(False)
    drawing.legend(drawn, 3)
    return drawn


def scores(gold: np.ndarray, predicted: np.ndarray, title: str):
    """What was predicted against what people said."""
    drawn, axes = drawing.plot(5.2, 5.2)
    ends = [min(gold.min(), predicted.min()), max(gold.max(), predicted.max())]
    axes.plot(ends, ends, color=FAINT, linestyle="--", label="as people said")
    alpha = float(np.clip(300 / len(gold), 0.15, 0.8))
    axes.scatter(gold, predicted, s=14, color=MAIN, alpha=alpha, linewidths=0, label="an example")
    axes.set(xlabel="gold score (as in the data)", ylabel="predicted score (as in the data)", title=title)
    drawing.legend(drawn, 2)
    return drawn


def points(plane: Plane, labels: Sequence[str] | np.ndarray, title: str):
    """Points coloured by their label, or by their score where the labels are numbers."""
    scored = isinstance(labels, np.ndarray) and labels.dtype.kind == "f"
    names = [] if scored else sorted({*labels})
    drawn, axes = drawing.plot(5.6 if len(names) <= FEW else 7.4, 5.2)
    x, y = plane.points_N2.T
    look = {"s": 16, "alpha": float(np.clip(600 / len(x), 0.4, 0.85)), "linewidths": 0}
    if scored:
        drawn.colorbar(axes.scatter(x, y, c=labels, cmap="cividis", **look), ax=axes, label="gold score (as in the data)")
    else:
        mine = np.array(labels)
        for number, name in enumerate(names):
            colour, marker = COLOURS[number % len(COLOURS)], MARKERS[number // len(COLOURS) % len(MARKERS)]
            here = mine == name
            on_top = 1 + len(names) - number
            axes.scatter(x[here], y[here], color=colour, marker=marker, label=f"class {number}", zorder=on_top, **look)
    axes.set(xlabel=plane.axes[0], ylabel=plane.axes[1], title=title)
    drawing.legend(drawn, len(names), 2 if len(names) <= FEW else 3, [drawing.short(name) for name in names])
    return drawn


def few_labels(sizes: Sequence[int], values: Sequence[Sequence[float | None]], ylabel: str):
    """A metric against the number of training examples: each run a dot, their mean a line, its 95% interval a band.

    Args:
        values: of each size, those of its runs; None or NaN of a failed one, which is counted and not averaged.
    """
    drawn, axes = drawing.plot()
    summaries = [summarise(of_size) for of_size in values]
    low, mean, high = (np.array([getattr(summary, name) for summary in summaries]) for name in ("low", "mean", "high"))
    if np.isfinite(low).any():
        axes.fill_between(sizes, low, high, color=MAIN, alpha=0.2, linewidth=0, label="95% interval of the mean")
    axes.plot(sizes, mean, color=MAIN, linewidth=2.4, marker="o", markersize=4, label="mean")
    figures = [finite(of_size)[0] for of_size in values]
    x, y = np.repeat(sizes, [len(of_size) for of_size in figures]), np.concatenate(figures)
    axes.scatter(x, y, s=18, color="black", alpha=0.6, linewidths=0, zorder=3, label=f"each of {len(y)} runs")
    axes.set_xscale("log")
    axes.set_xticks(sizes, [f"{size:,}" for size in sizes])
    axes.set_xticks([], minor=True)
    failed = sum(summary.failed for summary in summaries)
    axes.set(xlabel="training examples (log scale)", ylabel=ylabel, title=f"failed runs, left out: {failed}" if failed else "")
    drawing.legend(drawn, 3)
    return drawn


def attention_overview(probabilities_NHLL: np.ndarray):
    """All heads of all layers as small maps: a row of maps for each layer, a column for each head."""
    layers, heads, length, _ = probabilities_NHLL.shape
    gap = max(1, length // 8)
    mosaic = np.full((layers * (length + gap) - gap, heads * (length + gap) - gap), np.nan)
    for layer in range(layers):
        for head in range(heads):
            top, left = layer * (length + gap), head * (length + gap)
            mosaic[top : top + length, left : left + length] = probabilities_NHLL[layer, head]
    each = min(1.6, 9.0 / heads)
    drawn = drawing.figure(max(heads * each + 1.7, 4.6), max(layers * each + 1.2, 2.6))
    axes = drawn.subplots()
    _attention_bar(drawn, axes, axes.imshow(mosaic, interpolation="nearest", **_attention_colours()))
    places = np.arange(max(layers, heads)) * (length + gap) + (length - 1) / 2
    axes.set_xticks(places[:heads], range(1, heads + 1))
    axes.set_yticks(places[:layers], range(1, layers + 1))
    axes.set(xlabel="head; in each map: attended to, left to right", ylabel="layer; in each map: attending, top to bottom")
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    return drawn


def attention_heads(probabilities_HLL: np.ndarray, pieces: Sequence[str], layer: int):
    """The heads of one layer, counted from 1, with the pieces of the sentence beside each map."""
    heads = len(probabilities_HLL)
    columns = min(heads, 3)
    rows = -(-heads // columns)
    side = max(len(pieces) * 0.125, 1.8)
    drawn = drawing.figure(columns * side + 2.2, rows * (side + 0.25) + 1.4)
    grid = drawn.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    shown = [drawing.short(piece, 14) for piece in pieces]
    for number, axes in enumerate(grid.flat):
        if number >= heads:
            axes.set_visible(False)
            continue
        image = axes.imshow(probabilities_HLL[number], interpolation="nearest", **_attention_colours())
        axes.set_title(f"head {number + 1}", fontsize=9, pad=3)
        axes.set_xticks(range(len(pieces)), shown, rotation=90, fontsize=7, **drawing.letters())
        axes.set_yticks(range(len(pieces)), shown, fontsize=7, **drawing.letters())
        axes.tick_params(length=0)
        axes.tick_params(labelbottom=number + columns >= heads)
    drawn.supylabel("attending piece", fontsize=10)
    drawn.supxlabel("piece attended to", fontsize=10)
    drawn.suptitle(f"layer {layer}", fontsize=11)
    _attention_bar(drawn, [axes for axes in grid.flat if axes.get_visible()], image)
    return drawn


def _attention_colours() -> dict:
    from matplotlib.colors import PowerNorm

    return {"cmap": SHADES, "norm": PowerNorm(0.5, 0, 1)}  # most are small: a square root tells them apart


def _attention_bar(drawn, axes, image) -> None:
    bar = drawn.colorbar(image, ax=axes, shrink=0.7, ticks=(0, 0.05, 0.25, 0.5, 1), label="attention probability")
    bar.ax.set_yticklabels(["0", "5%", "25%", "50%", "100%"])
