import pytest

from bert_jax.data import docs
from bert_jax.data.sources import Report, documents

MODULE = '''# A licence.

"""Tools for the weather. They tell when it will rain, and how much of it to expect.

    >>> rain(3)
    The answer is what you would expect from it.

Parameters
----------
days : int
    The number of days to look ahead. It must be positive or the forecast is empty.

Notes
-----
The ``forecast`` of :class:`~weather.Model` is only as good as the model that it comes from.

==== =====
This is a table that must be left out of it.
"""

NOT_A_DOC = """This is data and not the documentation of anything in the module."""


class Model:
    \'\'\'A model of the weather that is as simple as it can be.\'\'\'

    def run(self):  # a comment
        """Tools for the weather. They tell when it will rain, and how much of it to expect."""
        raise SystemExit("importing or running this module would end the test")
'''


@pytest.fixture
def installation(tmp_path, monkeypatch):
    def install(files: dict[str, str | bytes]) -> None:
        for name, content in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content.encode() if isinstance(content, str) else content)
        paths = {"stdlib": tmp_path / "lib", "purelib": tmp_path / "lib/site-packages", "platlib": tmp_path / "lib/site-packages"}
        monkeypatch.setattr(docs.sysconfig, "get_paths", lambda: {name: str(path) for name, path in paths.items()})

    return install


def test_prose_is_kept_and_code_tables_and_repetitions_are_not(installation):
    installation({"lib/weather.py": MODULE})
    report = Report()
    assert list(documents("", "auto", report)) == [
        [
            "Tools for the weather.",
            "They tell when it will rain, and how much of it to expect.",
            "The number of days to look ahead.",
            "It must be positive or the forecast is empty.",
            "The forecast of weather.Model is only as good as the model that it comes from.",
            "A model of the weather that is as simple as it can be.",
        ]
    ]
    assert report.notes["repeated paragraphs"] == 1


def test_modules_come_in_the_order_of_their_paths_packages_last_and_once(installation):
    text = '"""The module number {} is here to say nothing of any interest."""\n'
    folders = [f"lib/{letter}/x.py" for letter in "qwertyuiop"]
    names = [*folders, "lib/z.py", "lib/site-packages/a.py", "lib/e/b.py", "lib/__pycache__/c.py"]
    installation({name: text.format(number) for number, name in enumerate(names)})
    order = [names[int(document[0].split()[3])] for document in docs.documents(Report())]
    in_folders = sorted([*folders, "lib/e/b.py"])
    assert order == ["lib/z.py", *in_folders, "lib/site-packages/a.py"]


def test_what_cannot_be_decoded_is_counted_and_broken_syntax_does_no_harm(installation):
    installation(
        {
            "lib/latin.py": '"""Caf\xe9 is the word that cannot be read in this module."""'.encode("latin-1"),
            "lib/broken.py": '"""This module is broken but its text is as good as any."""\ndef (:\n',
            "lib/open.py": '"""This text never ends and so it is not to be had.',
        }
    )
    report = Report()
    assert list(docs.documents(report)) == [["This module is broken but its text is as good as any."]]
    assert report.notes["unreadable modules"] == 1 and report.files == 3
    assert "1 unreadable modules, first in " in report.describe() and "latin.py" in report.describe()


@pytest.mark.parametrize(
    "paragraph",
    [
        "x = compute(a, b) and the_result[is] = that.",
        ">>> This is the first of the lines that are not for us.",
        ":param x: The value that is to be added to the sum of it.",
        "- This is an item of the list that is not a paragraph.",
        "| This is | the row | of a table | in it |.",
        "this starts in the middle of a sentence that is not here.",
        "This one has no end and the rest of it is not here",
        "Short one.",
    ],
)
def test_what_is_not_prose_is_left_out(paragraph):
    assert list(docs.prose(paragraph)) == []


def test_the_packages_of_this_python_hold_a_corpus():
    report = Report()
    for number, document in enumerate(docs.documents(report)):
        report.add(document)
        if number == 300:
            break
    assert report.documents == 301 and report.characters > 100_000
    assert "repeated paragraphs, first in " in report.describe()
