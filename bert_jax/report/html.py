"""A page that is one file: no script, no network, readable on a phone, in the dark and on paper. All text is escaped."""

import base64
import os
from collections.abc import Sequence
from html import escape
from pathlib import Path

STYLE = """
:root { color-scheme: light dark; --ink: #1b1f24; --paper: #ffffff; --dim: #59636e; --line: #d1d9e0; --band: #f6f8fa;
  --link: #0b57d0; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6edf3; --paper: #14181d; --dim: #9aa4ae; --line: #3a424b; --band: #1d232a; --link: #8ab4f8; }
}
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1rem clamp(0.8rem, 3vw, 2rem) 3rem; max-width: 72rem; color: var(--ink); background: var(--paper);
  font: 1rem/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif; overflow-wrap: break-word; }
h1 { font-size: 1.6rem; line-height: 1.25; margin: 0.5rem 0; }
h2 { font-size: 1.2rem; margin: 2.2rem 0 0.6rem; padding-top: 0.6rem; border-top: 1px solid var(--line); }
p { margin: 0.5rem 0; max-width: 48rem; }
nav { margin: 0.8rem 0; }
nav a { display: inline-block; margin: 0 1rem 0.3rem 0; }
a { color: var(--link); }
.dim { color: var(--dim); }
.scroll { overflow-x: auto; margin: 0.8rem 0; }
table { min-width: min(26rem, 100%); border-collapse: collapse; font-variant-numeric: tabular-nums; }
caption { text-align: left; color: var(--dim); padding-bottom: 0.4rem; }
th, td { padding: 0.35rem 0.8rem 0.35rem 0; border-bottom: 1px solid var(--line); text-align: left; vertical-align: top; }
td.number, th.number { text-align: right; white-space: nowrap; }
tr.sum { background: var(--band); font-weight: 600; }
.figures { display: flex; flex-wrap: wrap; gap: 1rem; align-items: flex-start; }
figure { margin: 0.6rem 0; max-width: 100%; }
figure img { display: block; max-width: 100%; height: auto; background: #ffffff; border: 1px solid var(--line);
  border-radius: 6px; }
figure.large .scroll { margin: 0; }
figure.large img { min-width: min(100%, 20rem); }
figcaption { color: var(--dim); font-size: 0.9rem; max-width: 44rem; margin-top: 0.3rem; }
.figures figure { flex: 1 1 20rem; max-width: 34rem; }
.text { unicode-bidi: isolate; white-space: pre-wrap; overflow-wrap: anywhere; line-height: 1.6; }
.cards td, .cards th { max-width: 36rem; min-width: 4.5rem; }
.long { max-height: 12rem; overflow-y: auto; }
.name { color: var(--dim); margin-inline-end: 0.4rem; }
@media (max-width: 44rem) {
  figure.large img { min-width: 44rem; max-width: none; }
  .cards thead { position: absolute; left: -100vw; }
  .cards, .cards caption, .cards tbody, .cards tr, .cards td, .cards th { display: block; max-width: none; }
  .cards td > div:only-child:not(.long) { display: inline; }
  .cards tr { border-bottom: 2px solid var(--line); padding: 0.6rem 0; }
  .cards td, .cards th { border: 0; padding: 0.15rem 0; text-align: start; white-space: normal; }
  .cards [data-name]::before { content: attr(data-name) ": "; color: var(--dim); font-weight: 400; }
}
@media print {
  :root { color-scheme: light; --ink: #000000; --paper: #ffffff; --dim: #444444; --line: #bbbbbb; --band: #eeeeee; }
  nav { display: none; }
  figure, tr { break-inside: avoid; }
  h2 { break-after: avoid; }
  .scroll { overflow: visible; }
  .long { max-height: none; }
  figure.large img { min-width: 0; max-width: 100%; }
}
"""
# No browser loads anything for this page, nor runs anything in it, whatever a text of the data holds.
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


def page(title: str, head: str, sections: Sequence[tuple[str, str, str]]) -> str:
    """The page of these sections, each (anchor, title, HTML); those without HTML are left out."""
    shown = [section for section in sections if section[2]]
    links = "".join(f'<a href="#{anchor}">{escape(name)}</a>' for anchor, name, _ in shown)
    bodies = "\n".join(f'<section id="{anchor}"><h2>{escape(name)}</h2>\n{body}</section>' for anchor, name, body in shown)
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{POLICY}">
<title>{escape(title)}</title>
<style>{STYLE}</style>
</head>
<body>
<header><h1 dir="auto">{escape(title)}</h1>
{head}
<nav aria-label="Sections">{links}</nav></header>
<main>
{bodies}
</main>
</body>
</html>
"""


def paragraph(words: str, kind: str = "") -> str:
    return f"<p{_class(kind)}>{escape(words)}</p>\n" if words else ""


def text(words: str, name: str = "", long: bool = False) -> str:
    """A text of the data, of any language and direction."""
    before = f'<span class="name">{escape(name)}</span>' if name else ""
    focus = ' class="long" tabindex="0"' if long else ""
    return f'<div{focus}>{before}<span class="text" lang="" dir="auto">{escape(words)}</span></div>'


class Cell(str):
    """HTML that stands in a table as it is."""


class Number(str):
    """Words that stand at the right of a column."""


def table(head: Sequence[str], rows: Sequence[Sequence[str]], caption: str, *, sums: int = 0, kind: str = "") -> str:
    """Args: rows: the first cell of each names the row; sums: how many rows at the end stand out; kind: "cards", which are one
    below the other on a phone."""
    numbers = {place for row in rows for place, cell in enumerate(row) if isinstance(cell, Number)}
    lines = "".join(f'<th scope="col"{_number(place in numbers)}>{escape(name)}</th>' for place, name in enumerate(head))
    body = ""
    for number, row in enumerate(rows):
        first, *others = (_cell(cell, head[place], place) for place, cell in enumerate(row))
        body += f"<tr{_class('sum' if number >= len(rows) - sums else '')}>{first}{''.join(others)}</tr>\n"
    inner = f"<caption>{escape(caption)}</caption><thead><tr>{lines}</tr></thead>\n<tbody>\n{body}</tbody>"
    return _scrolled(f"<table{_class(kind)}>{inner}</table>", caption) + "\n"


def _scrolled(inner: str, name: str) -> str:
    """What may be wider than the window: it alone is moved to the side, by keys too."""
    return f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(name)}">{inner}</div>'


def _cell(cell: str, name: str, place: int) -> str:
    tag = "td" if place else 'th scope="row"'
    words = cell if isinstance(cell, Cell) else f"<bdi>{escape(cell)}</bdi>" if cell else ""
    return f'<{tag} data-name="{escape(name)}"{_number(isinstance(cell, Number))}>{words}</{tag[:2]}>'


def _number(is_number: bool) -> str:
    return _class("number" if is_number else "")


def _class(kind: str) -> str:
    return f' class="{kind}"' if kind else ""


def picture(path: Path, alt: str, caption: str = "", *, large: bool = False) -> str:
    """The PNG itself; a large one keeps its size on a phone, where it is moved to the side."""
    data = base64.b64encode(path.read_bytes()).decode("ascii")
    image = f'<img src="data:image/png;base64,{data}" alt="{escape(alt)}">'
    if large:
        image = _scrolled(image, alt)
    below = f"<figcaption>{escape(caption)}</figcaption>" if caption else ""
    return f"<figure{_class('large' if large else '')}>{image}{below}</figure>\n"


def side_by_side(pictures: Sequence[str]) -> str:
    shown = [each for each in pictures if each]
    return f'<div class="figures">{"".join(shown)}</div>\n' if shown else ""


def write(path: Path, content: str) -> Path:
    """So that a reader sees the old page or the new one, never a part."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(content, encoding="utf-8")
    os.replace(temporary, path)
    return path
