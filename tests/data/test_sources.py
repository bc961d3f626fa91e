import gzip
import lzma
import tracemalloc
from pathlib import Path

import pytest

from bert_jax.data import sources
from bert_jax.data.sources import Report, documents, find_files
from bert_jax.errors import UserError
from tests.paths import DATA, needs_data

WIKI = (
    '<doc id="1" url="u" title="Rain">\nRain\n\nRain falls. It is wet.\n\nMore rain.\n\n</doc>\n'
    '<doc id="2" url="u" title="Empty">\nEmpty\n\n</doc>\n'
    '<doc id="3" url="u" title="Sun">\nSun\n\nThe sun shines.\n</doc>\n'
)


def read(path: Path | str, input_format: str = "auto") -> tuple[list[list[str]], Report]:
    report = Report()
    return list(documents(str(path), input_format, report)), report


def write(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def test_one_sentence_per_line_with_empty_lines_between_documents(tmp_path):
    found, report = read(write(tmp_path / "a.txt", "\n\nOne. Still one.\nTwo.\n\n \nThree."), "sentences")
    assert found == [["One. Still one.", "Two."], ["Three."]]
    assert (report.files, report.documents, report.sentences) == (1, 2, 3)


def test_paragraphs_are_cut_into_sentences(tmp_path):
    found, _ = read(write(tmp_path / "a.txt", "One is. Two is.\nThree is.\n\nFour is."), "paragraphs")
    assert found == [["One is.", "Two is.", "Three is."], ["Four is."]]


def test_wiki_documents_lose_their_titles_and_empty_ones_are_gone(tmp_path):
    assert read(write(tmp_path / "a", WIKI))[0] == [["Rain falls.", "It is wet.", "More rain."], ["The sun shines."]]


def test_a_wiki_document_without_its_end_stops_at_the_next_one(tmp_path):
    found, report = read(write(tmp_path / "a", "<doc>\nTitle\nText.\n<doc>\nTitle\nMore.\n</doc>\nstray"), "wiki")
    assert found == [["Text."], ["More."]] and report.notes["lines outside of <doc>"] == 1


@pytest.mark.parametrize(
    "content, expected",
    [
        (WIKI, "wiki"),
        ("One here. Two here.\nThree.\n", "paragraphs"),
        ("One here.\nTwo here.\n\nThree here.\n", "sentences"),
        ("One.\n" * 9 + "Odd one. Out.\n", "sentences"),
    ],
)
def test_auto_decides_by_the_first_lines(tmp_path, content, expected):
    path = write(tmp_path / "a", content)
    assert read(path) == read(path, expected)


def test_auto_decides_for_each_file(tmp_path):
    write(tmp_path / "1.txt", WIKI)
    write(tmp_path / "2.txt", "One here.\nTwo here.\n")
    assert [len(document) for document in read(tmp_path / "*.txt")[0]] == [3, 1, 2]


def test_files_are_sorted_taken_once_and_never_joined_into_one_document(tmp_path):
    b, a = write(tmp_path / "b.txt", "B.\n"), write(tmp_path / "a.txt", "A.\n")
    assert find_files(f"{b}, {tmp_path}/*.txt") == [a, b]
    assert read(f"{b},{tmp_path}/*.txt", "sentences")[0] == [["A."], ["B."]]


def test_a_file_whose_name_looks_like_a_pattern_is_found(tmp_path):
    path = write(tmp_path / "[1].txt", "A.")
    assert find_files(str(path)) == [path]


def test_compressed_files_read_like_plain_ones(tmp_path):
    write(tmp_path / "a.txt.gz", gzip.compress(WIKI.encode()))
    write(tmp_path / "a.txt.xz", lzma.compress(WIKI.encode()))
    plain = read(write(tmp_path / "plain", WIKI))[0]
    assert read(tmp_path / "a.txt.gz")[0] == read(tmp_path / "a.txt.xz")[0] == plain


def test_byte_order_mark_carriage_returns_and_nul_characters_are_dropped(tmp_path):
    found, report = read(write(tmp_path / "a", b"\xef\xbb\xbfOne\0.\r\nTwo.\r\n\r\nThree.\r\n"), "sentences")
    assert found == [["One.", "Two."], ["Three."]] and report.notes["NUL characters"] == 1


def test_a_fifty_megabyte_line_is_cut_between_words_in_little_memory(tmp_path):
    path = tmp_path / "long.txt"
    with open(path, "w") as file:
        for _ in range(50):
            file.write("word " * 200_000)
    tracemalloc.start()
    report = Report()
    count = sum(sentence.count("word") for document in documents(str(path), "sentences", report) for sentence in document)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count == 10_000_000 and report.notes["lines over 1 MiB cut"] == 1
    assert peak < 40e6


@pytest.mark.parametrize("unit", ["雨", "a", "ß", "\U0001f327"])
def test_a_line_without_blanks_is_cut_between_characters(tmp_path, monkeypatch, unit):
    monkeypatch.setattr(sources, "MAX_LINE_BYTES", 16)
    found, _ = read(write(tmp_path / "a", unit * 50), "sentences")
    assert "".join(found[0]) == unit * 50 and max(len(part.encode()) for part in found[0]) <= 16


def test_a_line_over_the_limit_is_cut_after_a_sentence_if_it_can_be(tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "MAX_LINE_BYTES", 24)
    assert read(write(tmp_path / "a", "It was wet. So it was. All day long."), "sentences")[0] == [
        ["It was wet. So it was.", "All day long."]
    ]


def test_an_endless_document_is_cut(tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "MAX_DOCUMENT_CHARS", 10)
    found, report = read(write(tmp_path / "a", "12345\n" * 5), "sentences")
    assert found == [["12345", "12345"], ["12345", "12345"], ["12345"]]
    assert sum(report.notes.values()) == 2


@pytest.mark.parametrize("head", ["", "\ufeff"])
def test_invalid_utf8_is_one_message_with_file_line_and_byte(tmp_path, head):
    start = head.encode() + b"Good.\nBad "
    path = write(tmp_path / "a.txt", start + b"\xe9t\xe9.\n")
    with pytest.raises(UserError, match=rf"not UTF-8\n.*a\.txt, line 2: byte 0xe9 at byte {len(start)} of the file"):
        read(path, "sentences")


@pytest.mark.parametrize(
    "name, content, message",
    [
        ("empty.txt", b"", "no text"),
        ("blank.txt", b"\n \n\n", "no text"),
        ("title_only", b"<doc>\nTitle\n\n</doc>\n", "no text"),
        ("broken.gz", gzip.compress(b"One.\n" * 1000)[:-9], "cannot be read"),
        ("broken.xz", lzma.compress(b"One.\n" * 1000)[:-9], "cannot be read"),
        ("not.xz", b"One.\n", "cannot be read"),
    ],
)
def test_a_file_without_text_or_a_broken_one_is_one_message_that_names_it(tmp_path, name, content, message):
    path = write(tmp_path / name, content)
    with pytest.raises(UserError, match=message) as error:
        read(path)
    assert str(path) in str(error.value)


def test_a_pattern_without_a_file_is_refused(tmp_path):
    with pytest.raises(UserError, match="matches no file.*\n.*nothing"):
        read(tmp_path / "nothing*.txt")
    with pytest.raises(UserError, match=r"for the files in a folder: .*/\*"):
        read(tmp_path)


def test_an_unknown_format_is_refused():
    with pytest.raises(UserError, match="input_format.*\n.*prose.*\n.*paragraphs"):
        read("x", "prose")


def test_the_report_says_what_was_left_out(tmp_path):
    _, report = read(write(tmp_path / "a", "stray\n" + WIKI), "wiki")
    assert report.describe() == (
        "1 files, 2 documents, 4 sentences, 0.0 M characters\nleft out or changed: 1 lines outside of <doc>"
    )


@needs_data
def test_real_files_read_as_what_they_are():
    sample, _ = read(DATA / "text/sample_text.txt")
    assert [len(document) for document in sample] == [3, 6, 14, 2][: len(sample)] or sum(map(len, sample)) == 31
    wiki, report = read(DATA / "text/wiki_en/sample_1mb.txt")
    assert report.documents == 48 and wiki[0][0].startswith("Alaska () (; ; ) is a U.S. state located")
