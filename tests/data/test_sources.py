import functools
import gzip
import json
import lzma
import sys
import tracemalloc
from collections import Counter
from itertools import accumulate
from pathlib import Path
from unittest import mock

import pyarrow
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from bert_jax.data import parse, units
from bert_jax.data.report import Progress, Report
from bert_jax.data.sources import documents, find_files, read_units
from bert_jax.errors import UserError
from tests.paths import DATA, needs_data

WIKI = (
    '<doc id="1" url="u" title="Rain">\nRain\n\nRain falls. It is wet.\n\nMore rain.\n\n</doc>\n'
    '<doc id="2" url="u" title="Empty">\nEmpty\n\n</doc>\n'
    '<doc id="3" url="u" title="Sun">\nSun\n\nThe sun shines.\n</doc>\n'
)


def read(path: Path | str, input_format: str = "auto", on_bad_input: str = "stop") -> tuple[list[list[str]], Report]:
    report = Report(on_bad_input)
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
        ("\ufeff" + WIKI, "wiki"),
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
    assert find_files([str(b), f"{tmp_path}/*.txt"]) == [a, b]
    assert read(f"{b},{tmp_path}/*.txt", "sentences")[0] == [["A."], ["B."]]


def test_a_file_whose_name_looks_like_a_pattern_is_found(tmp_path):
    path = write(tmp_path / "[1].txt", "A.")
    assert find_files([str(path)]) == [path]


COMPRESSORS = {
    ".gz": gzip.compress,
    ".xz": lzma.compress,
    ".zst": lambda content: pyarrow.compress(content, "zstd", asbytes=True),
}


@pytest.mark.parametrize("suffix", COMPRESSORS)
def test_compressed_files_read_like_plain_ones(tmp_path, suffix):
    packed = COMPRESSORS[suffix](WIKI.encode())
    write(tmp_path / f"a.txt{suffix}", packed)
    write(tmp_path / f"b.jsonl{suffix}", COMPRESSORS[suffix](b'{"text": "In here. It is."}'))
    assert read(tmp_path / f"a.txt{suffix}")[0] == read(write(tmp_path / "plain", WIKI))[0]
    assert read(tmp_path / f"b.jsonl{suffix}")[0] == [["In here.", "It is."]]


def test_a_json_line_is_a_document_and_its_lines_are_paragraphs(tmp_path):
    lines = ['{"id": 1, "text": "One is. Two is.\\n\\nThree is."}', "", '{"text": "caf\u00e9 \\ud800"}', '{"text": " "}']
    found, report = read(write(tmp_path / "a.jsonl", "\n".join(lines)))
    assert found == [["One is.", "Two is.", "Three is."], ["caf\u00e9 ?"]]
    assert report.notes == {"records whose text is empty": 1} and report.places.popitem()[1].endswith("a.jsonl, line 4")


@pytest.mark.parametrize(
    "line, message",
    [
        ("{oops", "not JSON\n.*line 2\n"),
        ("[" * 100_000, "not JSON\n.*line 2\n"),
        ('{"body": "x", "id": 1}', "without a field 'text'.*\n.*line 2: 'body', 'id'"),
        ('{"text": 5}', "without a field 'text' that is a string"),
        ('["text"]', "without a field 'text'.*\n.*line 2: list"),
    ],
)
def test_a_bad_json_line_is_named_or_skipped_and_counted(tmp_path, line, message):
    path = write(tmp_path / "a.jsonl", f'{{"text": "One."}}\n{line}\n{{"text": "Two."}}\n')
    with pytest.raises(UserError, match=message):
        read(path)
    found, report = read(path, on_bad_input="skip")
    assert found == [["One."], ["Two."]] and sum(report.notes.values()) == 1
    assert all(f"{path}, line 2" in place for place in report.places.values())


def test_a_json_line_over_the_limit_is_named_or_skipped_and_the_next_ones_are_read(tmp_path, monkeypatch):
    monkeypatch.setattr(units, "UNIT_BYTES", 8)
    monkeypatch.setattr(units, "MAX_RECORD_BYTES", 40)
    lines = [json.dumps({"text": text}) for text in ("One.", "long " * 30, "Two.", "Three.", "Four.")]
    path = write(tmp_path / "a.jsonl", "\n".join(lines))
    with pytest.raises(UserError, match="records over"):
        read(path)
    found, report = read(path, on_bad_input="skip")
    assert found == [["One."], ["Two."], ["Three."], ["Four."]]
    assert report.notes == {"records over 0 MiB": 1, "lines that are not JSON": 1}


def test_an_endless_document_in_a_json_line_is_cut(tmp_path, monkeypatch):
    monkeypatch.setattr(parse, "MAX_DOCUMENT_BYTES", 10)
    found, report = read(write(tmp_path / "a.jsonl", json.dumps({"text": "12345\n" * 5})))
    assert found == [["12345"] * 2, ["12345"] * 2, ["12345"]] and report.notes == {units.CUT_DOCUMENTS: 2}


@pytest.mark.parametrize(
    ("kind", "content", "lines"),
    [
        ("sentences", "\n\nOne.\nTwo.\n\nThree.", [[3, 4], [6]]),
        ("paragraphs", "One. Two.\nThree.\n\nFour.", [[1, 1, 2], [4]]),
        ("wiki", WIKI, [[4, 4, 6], [16]]),
        ("jsonl", '{"text": "One. Two.\\nThree."}\n\n{"text": "Four."}\n', [[1, 1, 1], [3]]),
        ("histories", "a b c\na b c d\n", [[1], [2]]),
    ],
)
def test_each_sentence_has_the_line_that_it_stands_in(tmp_path, kind, content, lines):
    units_of_file = units.of_file(write(tmp_path / "a", content), kind, Report())
    assert [document.lines for unit in units_of_file for document in parse.placed(unit, Report())] == lines


def test_lines_are_counted_through_over_units_and_bad_ones(tmp_path, monkeypatch):
    monkeypatch.setattr(units, "UNIT_BYTES", 64)
    content = b"".join(b"sentence %d\n%s\n" % (n, b"\n" if n % 3 else b"bad \xff\n") for n in range(100))
    path = write(tmp_path / "a.txt", content)
    found = [unit for unit in units.of_file(path, "sentences", Report())]
    stands = content.split(b"\n")
    placed = [document for unit in found for document in parse.placed(unit, Report("skip"))]
    assert len(found) > 10 and sum(len(document.lines) for document in placed) == 100
    for document in placed:
        assert [stands[line - 1].decode() for line in document.lines] == document.sentences


def write_parquet(path: Path, **columns) -> Path:
    parquet.write_table(pyarrow.table(columns), path)
    return path


def test_a_parquet_row_is_a_document(tmp_path):
    path = write_parquet(tmp_path / "a.parquet", text=["One is. Two is.\nThree is.", "", "Four is."], id=[1, 2, 3])
    found, report = read(path)
    assert found == [["One is.", "Two is.", "Three is."], ["Four is."]] and report.notes["records whose text is empty"] == 1


def test_parquet_without_text_or_with_bad_rows_is_named_or_skipped(tmp_path):
    path = write_parquet(tmp_path / "a.parquet", body=["x"])
    with pytest.raises(UserError, match="without a column 'text'\n.*a.parquet: body"):
        read(path)
    bad = write_parquet(tmp_path / "b.parquet", text=[b"Good.", b"caf\xe9", None])
    with pytest.raises(UserError, match="rows that are not UTF-8\n.*b.parquet, row 2"):
        read(bad)
    write(tmp_path / "c.parquet", bad.read_bytes()[:-20])
    found, report = read(tmp_path / "*.parquet", on_bad_input="skip")
    assert found == [["Good."]] and sum(report.notes.values()) == 4
    assert {reason.split()[0] for reason in report.notes} == {"Parquet", "rows", "records", "files"}


def shares(found: list[list[str]]) -> dict[str, int]:
    return Counter(document[0][0] for document in found)


def test_a_mixture_keeps_its_shares_and_reads_small_inputs_again(tmp_path, monkeypatch):
    monkeypatch.setattr(units, "UNIT_BYTES", 16)
    write(tmp_path / "a.txt", "\n\n".join(f"a{i:06}" for i in range(300)))
    write(tmp_path / "b.txt", "\n\n".join(f"b{i:06}" for i in range(20)))
    found, report = read(f"{tmp_path}/a.txt=0.75, {tmp_path}/b.txt=.25", "sentences")
    assert {document[0] for document in found} == {f"a{i:06}" for i in range(300)} | {f"b{i:06}" for i in range(20)}
    assert shares(found)["a"] == 300 and abs(shares(found)["b"] - 100) <= 5
    assert abs(shares(found[:80])["b"] - 20) <= 5
    assert report.files == 2 and report.notes == {"more passes over inputs of the mixture": 5}
    assert read(f"{tmp_path}/a.txt=3, {tmp_path}/b.txt=1", "sentences")[0] == found


@pytest.mark.parametrize(
    "inputs, message", [("a=1, b", "have none\n.*b"), ("a=1, b=-2", "range\n.*b=-2"), ("a=nan,b=1", "range\n.*a=nan")]
)
def test_wrong_weights_are_refused(inputs, message):
    with pytest.raises(UserError, match=message):
        read(inputs)


def test_an_empty_input_of_a_mixture_is_refused(tmp_path):
    a, b = write(tmp_path / "a", "One.\n"), write(tmp_path / "b", "")
    with pytest.raises(UserError, match="no text in an input of the mixture\n.*b"):
        read(f"{a}=1,{b}=1")


@pytest.fixture(scope="module")
def tfds_folder(tmp_path_factory):
    import tensorflow_datasets as tfds

    class TinyText(tfds.core.GeneratorBasedBuilder):
        VERSION = tfds.core.Version("1.0.0")
        name = "tiny_text"

        def _info(self):
            features = tfds.features.FeaturesDict({"text": tfds.features.Text()})
            return tfds.core.DatasetInfo(builder=self, features=features, disable_shuffling=True)

        def _split_generators(self, dl_manager):
            return {"train": self._generate_examples()}

        def _generate_examples(self):
            yield from enumerate({"text": f"Rain {i} fell.\nIt was wet."} for i in range(3))

    folder = tmp_path_factory.mktemp("tfds")
    TinyText(data_dir=folder, file_format="array_record").download_and_prepare()
    return folder


def test_a_tfds_name_or_folder_is_read_without_tensorflow(tfds_folder, monkeypatch):
    import tensorflow_datasets as tfds

    rows = [[f"Rain {i} fell.", "It was wet."] for i in range(3)]
    assert read(f"tfds:{tfds_folder}/tiny_text/1.0.0/train")[0] == rows
    monkeypatch.setattr(tfds, "data_source", functools.partial(tfds.data_source, data_dir=tfds_folder))
    assert read("tfds:tiny_text/train")[0] == read("tfds:tiny_text:1.0.0/train")[0] == rows
    assert "tensorflow" not in sys.modules
    for name in ("tiny_text/absent", "tiny_text:9.0.0/train", "no_such_data/train", "train"):
        with pytest.raises(UserError, match=f"cannot be read\n.*{name}.*\n.*text.*\n.*download_and_prepare"):
            read(f"tfds:{name}")


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
    assert count == 10_000_000
    assert report.notes == {"lines over 1,048,576 characters cut": 1, units.CUT_DOCUMENTS: 1}
    assert peak < 60e6


@pytest.mark.parametrize("unit", ["雨", "a", "ß", "\U0001f327"])
def test_a_line_without_blanks_is_cut_between_characters(tmp_path, monkeypatch, unit):
    monkeypatch.setattr(units, "UNIT_BYTES", 7)
    monkeypatch.setattr(units, "MAX_DOCUMENT_BYTES", 17)
    monkeypatch.setattr(parse, "MAX_LINE_CHARS", 3)
    found, _ = read(write(tmp_path / "a", unit * 50), "sentences")
    assert "".join(sentence for document in found for sentence in document) == unit * 50
    assert max(len(sentence) for document in found for sentence in document) <= 3


def test_a_line_over_the_limit_is_cut_after_a_sentence_if_it_can_be(tmp_path, monkeypatch):
    monkeypatch.setattr(parse, "MAX_LINE_CHARS", 24)
    assert read(write(tmp_path / "a", "It was wet. So it was. All day long."), "sentences")[0] == [
        ["It was wet. So it was.", "All day long."]
    ]


@pytest.mark.parametrize("before", ["", "x\n\n", "word\nword\n\n", "x" * 23 + "\n\n"])
@pytest.mark.parametrize("unit_bytes", [1, 5, 16, 26])
def test_an_endless_document_is_cut_at_the_same_places_wherever_it_stands(tmp_path, monkeypatch, before, unit_bytes):
    monkeypatch.setattr(units, "UNIT_BYTES", unit_bytes)
    monkeypatch.setattr(units, "MAX_DOCUMENT_BYTES", 26)
    found, report = read(write(tmp_path / "a", before + "12345\n" * 10 + "\nend\n"), "sentences")
    assert found[len(before.split()) > 0 :] == [["12345"] * 4, ["12345"] * 4, ["12345"] * 2, ["end"]]
    assert report.notes == {units.CUT_DOCUMENTS: 1}


@pytest.mark.parametrize("unit_bytes", [1, 5, 16, 26])
def test_documents_as_long_as_may_be_stay_whole(tmp_path, monkeypatch, unit_bytes):
    monkeypatch.setattr(units, "UNIT_BYTES", unit_bytes)
    monkeypatch.setattr(units, "MAX_DOCUMENT_BYTES", 26)
    found, report = read(write(tmp_path / "a", ("1234\n" * 5 + "\n") * 6), "sentences")
    assert found == [["1234"] * 5] * 6 and not report.notes


def test_a_wiki_document_that_is_cut_loses_its_title_once_and_no_line(tmp_path, monkeypatch):
    monkeypatch.setattr(units, "UNIT_BYTES", 8)
    monkeypatch.setattr(units, "MAX_DOCUMENT_BYTES", 40)
    text = "<doc>\nTitle\n" + "".join(f"Line {i}.\n" for i in range(10)) + "</doc>\n<doc>\nTitle\nEnd.\n</doc>\n"
    found, report = read(write(tmp_path / "a", text), "wiki")
    assert [line for document in found for line in document] == [*(f"Line {i}." for i in range(10)), "End."]
    assert found[-1] == ["End."] and len(found) > 3 and report.notes == {units.CUT_DOCUMENTS: 1}


@pytest.mark.parametrize("kind, text", [("wiki", WIKI * 3), ("sentences", "a\nb\n\nc\n \t\nd\r\n\r\ne\n" * 4), ("jsonl", None)])
@given(unit_bytes=st.integers(1, 200))
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_documents_are_the_same_however_the_text_is_cut_into_units(tmp_path, kind, text, unit_bytes):
    text = text or "".join(f'{{"text": "number {i}"}}\n' for i in range(20))
    path = write(tmp_path / "a", text)
    whole = read(path, kind)
    with mock.patch.object(units, "UNIT_BYTES", unit_bytes):
        assert read(path, kind) == whole
        pieces = list(read_units(str(path), kind, Report()))
    assert b"".join(unit.raw for unit in pieces) == text.encode() and pieces[-1].share == 1
    assert [unit.offset for unit in pieces] == list(accumulate((len(unit.raw) for unit in pieces[:-1]), initial=0))


@pytest.mark.parametrize("head", ["", "\ufeff"])
def test_invalid_utf8_is_one_message_with_file_line_and_byte(tmp_path, head):
    start = head.encode() + b"Good.\nBad "
    path = write(tmp_path / "a.txt", start + b"\xe9t\xe9.\n")
    with pytest.raises(UserError, match=rf"not UTF-8\n.*a\.txt, line 2: byte 0xe9 at byte {len(start)} of the file"):
        read(path, "sentences")
    found, report = read(path, "sentences", on_bad_input="skip")
    assert found == [["Good."]] and report.notes == {"lines that are not UTF-8": 1}


@pytest.mark.parametrize(
    "name, content, message",
    [
        ("empty.txt", b"", "no text"),
        ("blank.txt", b"\n \n\n", "no text"),
        ("title_only", b"<doc>\nTitle\n\n</doc>\n", "no text"),
        ("broken.gz", gzip.compress(b"One.\n" * 1000, mtime=0)[:-9], "cannot be read"),
        ("broken.xz", lzma.compress(b"One.\n" * 1000)[:-9], "cannot be read"),
        ("not.xz", b"One.\n", "cannot be read"),
        ("broken.zst", pyarrow.compress(b"One.\n" * 1000, "zstd", asbytes=True)[:-9], "cannot be read"),
        ("not.zst", b"One.\n", "cannot be read"),
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


@pytest.mark.parametrize("suffix", [".gz", ".xz"])
def test_what_comes_before_the_damage_of_a_broken_file_is_kept_when_bad_input_is_skipped(tmp_path, monkeypatch, suffix):
    monkeypatch.setattr(units, "UNIT_BYTES", 100)
    content = "".join(f"{number**5}\n\n" for number in range(20_000)).encode()
    write(tmp_path / f"a{suffix}", COMPRESSORS[suffix](content)[:-9])
    write(tmp_path / "b", "last\n")
    found, report = read(tmp_path / "*", "sentences", on_bad_input="skip")
    assert found[0] == ["0"] and found[-1] == ["last"] and 1000 < len(found) <= 20_000
    assert report.notes == {"files that cannot be read to their end": 1} and report.files == 2


def test_empty_files_are_counted(tmp_path):
    write(tmp_path / "a", ""), write(tmp_path / "b", "One.\n")
    assert read(tmp_path / "*")[1].notes == {"empty files": 1}


def test_an_unknown_policy_is_refused():
    with pytest.raises(UserError, match="on_bad_input\n.*ignore\n.*stop or skip"):
        read("x", on_bad_input="ignore")


def test_the_report_says_what_was_left_out(tmp_path):
    path = write(tmp_path / "a", "stray\n" + WIKI)
    _, report = read(path, "wiki")
    assert report.describe() == (
        "1 files, 2 documents (1 of one sentence), 4 sentences, 0.0 M characters\n"
        f"left out or changed:\n  1 lines outside of <doc>, first in {path}, line 1"
    )
    assert Report(**json.loads(json.dumps(report.to_dict()))) == report


def test_reports_are_merged_in_order():
    first, second = Report(), Report()
    first.add(["One."]), second.add(["Two.", "Three."])
    first.note("x", "here"), second.note("x", "there", 2), second.note("y", "there")
    first.merge(second)
    assert first == Report(
        documents=2,
        sentences=3,
        characters=14,
        single_sentence_documents=1,
        notes={"x": 3, "y": 1},
        places={"x": "here", "y": "there"},
    )


def test_progress_tells_the_time_left_by_what_this_pass_has_done():
    told, seconds = [], iter([0, 100, 105, 110, 130])
    progress = Progress("reading", told.append, clock=lambda: next(seconds))
    report = Report(documents=1234, characters=5_600_000)
    for share in (0.5, 0.55, 0.6, 0.7):  # the first half was done by an earlier pass
        progress(report, share)
    assert told == [
        "reading: 1,234 documents, 5.6 M characters so far",
        "reading: 60%, about 40 s left, 1,234 documents, 5.6 M characters so far",
        "reading: 70%, about 45 s left, 1,234 documents, 5.6 M characters so far",
    ]


@needs_data
def test_real_files_read_as_what_they_are():
    sample, _ = read(DATA / "text/sample_text.txt")
    assert [len(document) for document in sample] == [3, 6, 14, 2][: len(sample)] or sum(map(len, sample)) == 31
    wiki, report = read(DATA / "text/wiki_en/sample_1mb.txt")
    assert report.documents == 48 and wiki[0][0].startswith("Alaska () (; ; ) is a U.S. state located")
