"""Files of tagged words: what is read, what is refused, and by which line."""

import lzma

import pytest

from bert_jax.data.tagging import TaggedExample
from bert_jax.errors import UserError
from bert_jax.tasks.tag_files import reader

CONLL = (
    "-DOCSTART- -X- O O\n\nEU NNP I-NP I-ORG\nsays VBZ I-VP O\n\nNew NNP I-NP I-LOC\nYork NNP I-NP I-LOC\nCity NNP I-NP B-LOC\n"
)
MORE = "\n-DOCSTART- -X- O O\n\nBonn NNP I-NP I-LOC\n"


def written(tmp_path, content: str, name: str = "eng.train"):
    path = tmp_path / name
    path.write_text(content, encoding="utf-8")
    return path


def pairs(examples: list[TaggedExample]) -> list[list[tuple[str, str]]]:
    return [list(zip(example.words, example.tags, strict=True)) for example in examples]


def test_columns_with_documents(tmp_path):
    examples = reader("IOB1")(written(tmp_path, CONLL + MORE))
    assert pairs(examples) == [
        [("EU", "B-ORG"), ("says", "O")],
        [("New", "B-LOC"), ("York", "I-LOC"), ("City", "B-LOC")],
        [("Bonn", "B-LOC")],
    ]
    assert [example.id.rpartition(" ")[2] for example in examples] == ["3", "6", "12"]
    assert [example.place for example in examples] == [0, 1, 0]
    assert list(examples[0].document) == list(examples[1].document) == [("EU", "says"), ("New", "York", "City")]
    assert list(examples[2].document) == [("Bonn",)]


@pytest.mark.parametrize(
    ("name", "content", "settings"),
    [
        ("a.txt", "New\tB-LOC\nYork\tI-LOC\n\n\nin\tO\n", {"scheme": "IOB2"}),
        ("a.txt", "\ufeffNew  x B-LOC\r\nYork x  I-LOC\r\n \t\r\nin x O", {"scheme": "IOB2"}),
        ("a.bmes", "New B-LOC\nYork E-LOC\n\nin O\n", {"scheme": "BMES"}),
        ("a.conllu", "# a remark\n0\tNew\tB-LOC\n1\tYork\tE-LOC\n\n0\tin\tO\n", {"scheme": "BIOES", "indexed": True}),
        ("a.tsv", "text_a\tlabel\nNew York\tB-LOC I-LOC\nin\tO\n", {"scheme": "IOB2"}),
        ("a.jsonl", '{"w": "New York", "t": "I-LOC I-LOC"}\n{"w": "in", "t": "O"}\n', {"scheme": "IOB1", "columns": ("w", "t")}),
    ],
)
def test_every_kind_of_file_gives_the_same_sentences(tmp_path, name, content, settings):
    examples = reader(types=("LOC",), **settings)(written(tmp_path, content, name))
    assert pairs(examples) == [[("New", "B-LOC"), ("York", "I-LOC")], [("in", "O")]]
    assert all(example.document == () and example.place == 0 for example in examples)
    inner = reader(target="BIOES", **settings)(written(tmp_path, content, name))
    assert pairs(inner)[0] == [("New", "B-LOC"), ("York", "E-LOC")]


def test_a_word_may_be_any_character_but_a_separator(tmp_path):
    assert pairs(reader("IOB2")(written(tmp_path, "\u3000 O\n\x85 B-X\n\n\u2028 O\n"))) == [
        [("\u3000", "O"), ("\x85", "B-X")],
        [("\u2028", "O")],
    ]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("f.txt", "a B-PER\nb\n\nc O\n", r"no tag\n.*f\.txt, line 2: 1 columns\n.*2 columns"),
        ("f.txt", "a x O\nb O\n\nc x O\n", r"more or fewer columns than the first\n.*f\.txt, line 2: 2 columns\n.*3"),
        ("f.txt", "a\tO\n\tO\n\nc\tO\n", r"lacks its word or its tag\n.*line 2"),
        ("f.txt", "a\tO\nb\t\n\nc\tO\n", r"lacks its word or its tag\n.*line 2"),
        ("f.txt", "a O\nb S-PER\n\nc O\n", r"not of the scheme IOB2\n.*line 2: 'S-PER'"),
        ("f.txt", "a O\nb PER\n\nc O\n", r"not of the scheme IOB2\n.*line 2: 'PER'"),
        ("f.txt", "a O\nb B-CAR\n\nc O\n", r"unknown type\n.*line 2: 'B-CAR'\n.*LOC or PER"),
        ("f.tsv", "text_a\tlabel\na b\tO\nc\tO\n", r"differ in number\n.*f\.tsv, line 2: 2 and 1"),
        ("f.tsv", "text_a\tlabel\na  b\tO O O\nc\tO\n", r"word is empty\n.*line 2"),
        ("f.tsv", "text_a\tlabel\na\nc\tO\n", r"ragged\n.*line 2"),
        ("f.tsv", "text_a\tlabel\na\tI-CAR\nc\tO\n", r"unknown type\n.*f\.tsv, line 2"),
    ],
)
def test_bad_sentences_are_named_by_file_and_line_or_left_out_and_counted(tmp_path, name, content, message):
    read, path = reader("IOB2", types=("LOC", "PER")), written(tmp_path, content, name)
    with pytest.raises(UserError, match=message):
        read(path)
    skipped = []
    assert pairs(read(path, skipped)) == [[("c", "O")]]
    assert len(skipped) == 1 and "line 2" in skipped[0]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [("f.txt", "\n\n", "holds no sentence"), ("f.tsv", "a\tb\n", "lacks the column 'text_a'")],
)
def test_files_without_sentences_are_refused(tmp_path, name, content, message):
    with pytest.raises(UserError, match=message):
        reader("IOB2")(written(tmp_path, content, name))


def test_absent_files_are_named_without_their_part(tmp_path):
    with pytest.raises(UserError, match=r"absent\n.*no .*gone\.txt, compressed or not"):
        reader("IOB2")(tmp_path / "gone.txt:0-90%")


def test_parts_of_a_file_are_apart_and_together_all_of_it(tmp_path):
    path = tmp_path / "all.txt.xz"
    path.write_bytes(lzma.compress("\n\n".join(f"w{number} O" for number in range(11)).encode()))
    first, last = (pairs(reader("IOB2")(tmp_path / f"all.txt:{part}%")) for part in ("0-90", "90-100"))
    assert (len(first), len(last)) == (9, 2) and first + last == [[(f"w{number}", "O")] for number in range(11)]


def test_a_file_without_ends_of_sentences_is_cut_behind_full_stops_or_where_it_must_be(tmp_path):
    words = ["a", "b", ".", "c", ".", "d", "e", "f", "g", "h", "i", ".", "j"]
    tags = ["O"] * 9 + ["I-X"] * 2 + ["O"] * 2
    lines = "".join(f"{word} {tag}\n" for word, tag in zip(words, tags))
    examples = reader("IOB1", window=5)(written(tmp_path, lines))
    assert [(example.tags[0], example.tags[-1]) for example in examples[1:]] == [("O", "B-X"), ("B-X", "O")]  # cut, two
    assert [" ".join(example.words) for example in examples] == ["a b . c .", "d e f g h", "i . j"]
    assert [example.id.rpartition(" ")[2] for example in examples] == ["1", "6", "11"]
    assert [example.place for example in examples] == [0, 1, 2] and list(examples[2].document)[0] == ("a", "b", ".", "c", ".")
