"""The `docs` source: the English that every Python installation brings along, for a first run without any download.

The docstrings of the standard library and of the installed packages are read as text. Nothing is imported or executed, and
nothing is parsed either: syntax trees of a whole installation take minutes, finding the strings that open a block takes seconds.
A module is a document. Kept are paragraphs of real sentences; code, doctests, tables, lists of parameters and fields, and
paragraphs met before (packages carry copies of each other) are left out.
"""

import os
import re
import sysconfig
from collections.abc import Iterator
from pathlib import Path

from bert_jax.data import sentences
from bert_jax.data.report import Report

SKIPPED_FOLDERS = {"__pycache__", "site-packages", "dist-packages"}  # the packages are roots of their own
STRING = re.compile(rb"(\"\"\"|''')(.*?)\1", re.DOTALL)
COMMENTS_ONLY = re.compile(rb"(?:[ \t]*(?:#[^\n]*)?\r?\n)*[rRuU]?")
BLOCK_OPENS = re.compile(rb":[ \t]*(?:#[^\n]*)?\r?\n\s*[rRuU]?\Z")
EMPTY_LINE = re.compile(r"\n[ \t]*(?:\n[ \t]*)+")
MARKUP = re.compile(r":[\w:+-]+:(?=`)|`~?(?=\w)|[`*]+|(?<=\w)`?_(?!\w)|<[^<> ]+>(?=`)")
RULER = re.compile(r"[-=~^\"'*#+]{3,}")  # underlines a heading
# Opens a list item; a line of a table, a doctest or a decorator; a field; a directive; a footnote.
ITEM = re.compile(r"[-*+•] |\(?(?:\d+|[A-Za-z])[.)] |[|@#>=+]|:\w[^:]*:(?!`)|\.\. |\[\w+\]")
CODE = re.compile(r"[{}=\\|<>~^@$%]|::|\w\(|\w_\w|\.\w+\.|--|__")
WORD = re.compile(r"[A-Za-z][a-z]*(?:['’-][a-z]+)*")
COMMON_WORDS = frozenset(
    "the a an of to and in is are be for that this with by on as it or not can will if from when which".split()
)
MIN_WORDS = 6
MIN_LETTER_SHARE = 0.7
MAX_CODE_SHARE = 0.12  # code-like places per word
MIN_COMMON_SHARE = 0.15


def documents(report: Report) -> Iterator[list[str]]:
    """One document per module that has prose, in the order of the paths under each root."""
    seen: set[str] = set()
    for path in _modules():
        report.files += 1
        document = []
        try:
            source = path.read_bytes()
            paragraphs = [paragraph for text in docstrings(source) for paragraph in prose(text.decode())]
        except (OSError, UnicodeDecodeError):
            report.note("unreadable modules", str(path))
            continue
        for paragraph in paragraphs:
            if paragraph in seen:
                report.note("repeated paragraphs", str(path))
            else:
                seen.add(paragraph)
                document += sentences.split(paragraph)
        if document:
            yield document


def _modules() -> Iterator[Path]:
    paths = sysconfig.get_paths()
    for root in dict.fromkeys(os.path.realpath(paths[name]) for name in ("stdlib", "purelib", "platlib")):
        for folder, subfolders, files in os.walk(root):
            subfolders[:] = sorted(name for name in subfolders if name not in SKIPPED_FOLDERS)
            yield from (Path(folder, name) for name in sorted(files) if name.endswith(".py"))


def docstrings(source: bytes) -> Iterator[bytes]:
    """The triple-quoted strings that open a module or a block.

    Strings are told from code by their quotes alone. Where that goes wrong (quotes in a comment) code is taken for text, and
    `prose` finds no sentences in it."""
    for number, string in enumerate(STRING.finditer(source)):
        start = string.start()
        opens_module = number == 0 and COMMENTS_ONLY.fullmatch(source, 0, start)
        if opens_module or BLOCK_OPENS.search(source, max(0, start - 200), start):
            yield string[2]


def prose(docstring: str) -> Iterator[str]:
    """The paragraphs of a docstring that are English sentences, each on one line and without markup."""
    for block in EMPTY_LINE.split(docstring.strip()):
        for lines in _runs(block.split("\n")):
            if _is_closed(lines) and not any(ITEM.match(line) for line in lines):
                paragraph = MARKUP.sub("", " ".join(lines))
                if _is_english(paragraph):
                    yield paragraph


def _runs(lines: list[str]) -> Iterator[list[str]]:
    """Neighbouring lines of equal indentation, stripped: the name of a parameter apart from its description, a heading apart
    from its text."""
    run: list[str] = []
    indentation = None
    for i, line in enumerate(lines):
        stripped = line.strip()
        heading_ends = RULER.fullmatch(stripped)
        # The first line follows the quotes, so its own indentation says nothing.
        indent = len(line) - len(line.lstrip()) if i else indentation
        if run and (heading_ends or (i > 1 and indent != indentation)):
            yield run
            run = []
        if not heading_ends:
            run.append(stripped)
        indentation = indent
    if run:
        yield run


def _is_closed(lines: list[str]) -> bool:
    return lines[0][:1].isupper() and lines[-1].rstrip("\"')]”’").endswith((".", "!", "?"))


def _is_english(paragraph: str) -> bool:
    words = WORD.findall(paragraph)
    if len(words) < MIN_WORDS or sum(map(len, words)) < MIN_LETTER_SHARE * len(paragraph):
        return False
    common = sum(word in COMMON_WORDS for word in words)
    return common >= MIN_COMMON_SHARE * len(words) and len(CODE.findall(paragraph)) <= MAX_CODE_SHARE * len(words)
