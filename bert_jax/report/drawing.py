"""What all pictures have in common: size, colours, letters."""

import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

DPI = 120
# Okabe and Ito, "Color universal design", 2008: told apart by people of every colour vision. Beyond them the shape changes.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#999999")
MAIN, BAD, FAINT = COLOURS[0], COLOURS[1], "0.45"
MARKERS = ("o", "^", "s", "D", "v", "P")
SHADES = "Blues"  # from white to dark: told apart in grey, too
# The first that is installed draws what the others of its script lack; DejaVu Sans comes with matplotlib.
FAMILIES = ("DejaVu Sans", "Noto Sans CJK SC", "Noto Sans CJK JP", "Source Han Sans CN", "WenQuanYi Zen Hei", "PingFang SC")
LONGEST_NAME = 22  # characters


def figure(width: float, height: float):
    """An empty figure of so many inches, by itself: no window, and nothing to close."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), dpi=DPI, layout="constrained")


def plot(width: float = 5.6, height: float = 4.2):
    """(figure, its one plot): small enough to be read on a phone."""
    drawn = figure(width, height)
    axes = drawn.subplots()
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.3)
    axes.set_axisbelow(True)
    return drawn, axes


def letters() -> dict:
    """For text that comes from data: the fonts that are there, and no "$" that begins a formula."""
    from matplotlib import font_manager

    installed = {font.name for font in font_manager.fontManager.ttflist}
    return {"parse_math": False, "fontfamily": [family for family in FAMILIES if family in installed]}


def short(name: str, longest: int = LONGEST_NAME) -> str:
    return name if len(name) <= longest else name[: longest - 1] + "…"


def legend(drawn, entries: int, columns: int = 2, names: Sequence[str] = ()) -> None:
    """Below the plot, where it hides nothing."""
    axes = drawn.axes[0]
    handles, texts = axes.get_legend_handles_labels()
    if entries:
        box = drawn.legend(handles, texts, loc="outside lower center", ncols=columns, frameon=False, fontsize=9, markerscale=1.5)
        for handle, text, name in zip(box.legend_handles, box.get_texts(), names):
            handle.set_alpha(1)
            text.set(text=name, **letters())


def write(drawn, path: Path) -> Path:
    """The figure as a PNG. A letter that no font has becomes a box: the page has the text beside the picture."""
    with _without_talk_of_fonts():
        drawn.savefig(path, dpi=DPI, facecolor="white", bbox_inches="tight", pad_inches=0.08)
    return path


@contextmanager
def _without_talk_of_fonts() -> Iterator[None]:
    """Of boxes for letters, and of families that have no normal weight."""
    log = logging.getLogger("matplotlib.font_manager")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Glyph .* missing from")
            yield
    finally:
        log.setLevel(level)
