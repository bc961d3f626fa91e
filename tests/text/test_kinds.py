"""Laws of every kind of tokeniser, on vocabularies learned here from the README and some Chinese."""

import json
import os
import shutil
import subprocess
import sys
import unicodedata

import numpy as np
import pytest
import sentencepiece

from bert_jax.errors import UserError
from bert_jax.text import kinds
from bert_jax.text.byte_level import BLANK, MERGES_FILE
from bert_jax.text.sentence_piece import WORD_MARK
from tests.paths import ROOT
from tests.text import full_tokenizer, hostile

TEXTS = [
    *(ROOT / "README.md").read_text(encoding="utf-8").split("\n"),
    "去年今日此門中，人面桃花相映紅。",
    "Ünïcödé ΑΣ straße",
] * 3
SIZE = {"wordpiece": 500, "unigram": 400, "bpe": 500, "bytelevel": 500}
KINDS = [kind for kind in kinds.KINDS if kind != "items"]  # those of words; items have test_items.py
BOTH_CASES = [(kind, lower) for kind in KINDS for lower in (True, False)]
LEARN = """
import sys
from pathlib import Path
from bert_jax.text import kinds
texts = Path(sys.argv[2]).read_text(encoding="utf-8").split("\\n")
kinds.learn_vocabulary(sys.argv[1], texts, Path(sys.argv[3]), vocab_size=500, do_lower_case=True)
"""
every_kind = pytest.mark.parametrize("kind", KINDS)
every_tokenizer = pytest.mark.parametrize("tokenizer", BOTH_CASES, indirect=True, ids=str)


@pytest.fixture(scope="module")
def learned(tmp_path_factory):
    """(kind, do_lower_case) -> file, report; learned once."""
    folder = tmp_path_factory.mktemp("vocabularies")
    found = {}
    for kind, lower in BOTH_CASES:
        path = folder / f"{kind}-{lower}" / kinds.KINDS[kind].file_name
        path.parent.mkdir()
        found[kind, lower] = path, kinds.learn_vocabulary(kind, TEXTS, path, vocab_size=SIZE[kind], do_lower_case=lower)
    return found


@pytest.fixture
def tokenizer(learned, request):
    kind, lower = request.param
    return kinds.load(kind, learned[kind, lower][0], lower)


@every_kind
def test_a_copied_vocabulary_is_the_same_whatever_its_file_was_called(learned, kind, tmp_path):
    for file in learned[kind, True][0].parent.iterdir():
        shutil.copy(file, tmp_path)
    named = (tmp_path / kinds.KINDS[kind].file_name).rename(tmp_path / "mine")
    (tmp_path / "to").mkdir()
    kinds.copy(kind, named, tmp_path / "to")
    copied = kinds.load(kind, tmp_path / "to" / kinds.KINDS[kind].file_name, True)
    assert copied.content_hash == kinds.load(kind, learned[kind, True][0], True).content_hash


@every_tokenizer
def test_offsets_come_with_the_ids_of_encode(tokenizer):
    texts = hostile.strings(300) + TEXTS[:60]
    for text, ids, encoded in zip(texts, tokenizer.encode(texts), tokenizer.encode_with_offsets(texts), strict=True):
        assert encoded.ids == ids, ascii(text)
        assert encoded.word_starts == [place == 0 or bool(tokenizer.starts_word[i]) for place, i in enumerate(ids)]


@every_tokenizer
def test_the_span_of_a_piece_spells_the_piece(tokenizer):
    texts = [text.replace("Σ", "") for text in hostile.strings(300, seed=1) + TEXTS[:60]]  # its lower case is not in its span
    compared = 0
    for text, (ids, offsets, _) in zip(texts, tokenizer.encode_with_offsets(texts), strict=True):
        ends = [0, *(end for _, end in offsets)]
        assert all(0 <= start <= end <= len(text) for start, end in offsets)
        for number, (i, (start, end)) in enumerate(zip(ids, offsets)):
            shared = start < ends[number] or (number + 1 < len(ids) and offsets[number + 1][0] < end)
            if i == tokenizer.unk_id:
                continue
            wanted, found = spelled(tokenizer, tokenizer.pieces[i]), normal(tokenizer, text[start:end])
            assert wanted in found if shared else wanted == found, (ascii(text), start, end)
            compared += 1
    assert compared > 3000


def spelled(tokenizer, piece: str) -> str:
    """What a piece stands for, without the marks of its kind."""
    match tokenizer.settings["kind"]:
        case "wordpiece":
            return piece.removeprefix("##")
        case "sentencepiece":
            return piece.replace(WORD_MARK, "")
    return piece.lstrip(BLANK)


def normal(tokenizer, stretch: str) -> str:
    """The stretch of text by the rules of the kind, written independently."""
    lower = tokenizer.do_lower_case
    match tokenizer.settings["kind"]:
        case "wordpiece":
            return "".join(full_tokenizer.words(stretch, lower))
        case "sentencepiece":
            if lower:
                stretch = "".join(c for c in unicodedata.normalize("NFKD", stretch) if not unicodedata.combining(c)).lower()
            whole = tokenizer._processor.normalize(stretch.translate(NO_SURROGATES))
            return whole.replace(WORD_MARK, "")
    text = (stretch.lower() if lower else stretch).translate(NO_SURROGATES)
    return "".join(BYTE_NAMES[byte] for byte in text.encode())


NO_SURROGATES = dict.fromkeys(range(0xD800, 0xE000), "\ufffd")
# GPT-2 writes the bytes that print as themselves, and the others as the characters from U+0100 on.
PRINTED = [*range(33, 127), *range(161, 173), *range(174, 256)]
OTHERS = [byte for byte in range(256) if byte not in PRINTED]
BYTE_NAMES = {byte: chr(byte) for byte in PRINTED} | {byte: chr(256 + place) for place, byte in enumerate(OTHERS)}


@every_tokenizer
def test_no_text_spells_a_special_piece(tokenizer):
    special = {tokenizer.pad_id, tokenizer.cls_id, tokenizer.sep_id, tokenizer.mask_id}
    named = [*tokenizer.special, *(f"the {piece} of{piece}it" for piece in tokenizer.special), " ".join(tokenizer.special)]
    for ids in tokenizer.encode([*named, *hostile.strings(300)]):
        assert special.isdisjoint(ids)


@every_kind
def test_a_text_full_of_special_pieces_teaches_none(kind, tmp_path):
    texts = [f"the cat [MASK] sat <mask> on[MASK]it [CLS] <s> {word}" for word in ("a", "mat", "hat")] * 50
    path = tmp_path / kinds.KINDS[kind].file_name
    kinds.learn_vocabulary(kind, texts, path, vocab_size=300 if kind == "bytelevel" else 60, do_lower_case=False)
    tokenizer = kinds.load(kind, path, False)
    ids = {i for text in tokenizer.encode(texts) for i in text}
    assert ids.isdisjoint({tokenizer.pad_id, tokenizer.cls_id, tokenizer.sep_id, tokenizer.mask_id})
    assert len(set(tokenizer.pieces)) == tokenizer.size


@pytest.mark.parametrize("kind", ["unigram", "bpe"])
def test_other_programs_find_no_special_piece_in_a_text_either(kind, learned):
    library = sentencepiece.SentencePieceProcessor(model_file=str(learned[kind, False][0]))
    assert set(library.EncodeAsIds("a [MASK] b [CLS]")).isdisjoint({2, 3, 4})


@pytest.mark.parametrize("tokenizer", [("bytelevel", True)], indirect=True, ids=str)
def test_byte_level_words_are_learned_with_the_blank_before_them(tokenizer):
    assert f"{BLANK}the" in tokenizer.pieces


@every_tokenizer
def test_the_special_pieces_are_five_different_ones_that_stand_alone(tokenizer):
    ids = [tokenizer.pad_id, tokenizer.unk_id, tokenizer.cls_id, tokenizer.sep_id, tokenizer.mask_id]
    assert len(set(ids)) == 5 and tokenizer.pieces_of(ids) == [*tokenizer.special]
    assert tokenizer.starts_word.dtype == bool and tokenizer.starts_word.shape == (tokenizer.size,)
    assert np.all(tokenizer.starts_word[[tokenizer.pad_id, tokenizer.cls_id, tokenizer.sep_id, tokenizer.mask_id]])


@pytest.mark.parametrize("tokenizer", [(kind, True) for kind in KINDS], indirect=True, ids=str)
def test_word_starts_of_plain_words_are_read_from_the_table(tokenizer):
    ids = tokenizer.encode(["the training of vocabularies"])[0]
    starts = [place for place, i in enumerate(ids) if place == 0 or tokenizer.starts_word[i]]
    words = [tokenizer.decode(ids[start:end]).strip() for start, end in zip(starts, [*starts[1:], None])]
    assert words == ["the", "training", "of", "vocabularies"]


@every_tokenizer
def test_decoding_gives_plain_text_back(tokenizer):
    text = "the training of the command, on a machine"
    ids = tokenizer.encode([text])[0]
    assert tokenizer.decode(ids) == text
    with_special = tokenizer.decode([tokenizer.cls_id, *ids, tokenizer.sep_id, tokenizer.pad_id, tokenizer.pad_id])
    cls, sep = tokenizer.special.cls, tokenizer.special.sep
    assert with_special.replace(" ", "") == f"{cls}{text}{sep}".replace(" ", "")


@pytest.mark.parametrize("tokenizer", [("bytelevel", False)], indirect=True, ids=str)
def test_bytes_decode_to_the_very_text(tokenizer):
    texts = [text.translate(NO_SURROGATES) for text in hostile.strings(300)]
    assert [tokenizer.decode(ids) for ids in tokenizer.encode(texts)] == texts


@every_kind
def test_every_process_learns_the_same_bytes(kind, learned, tmp_path):
    """Rust hash maps and thread counts differ between processes; the files do not."""
    source = tmp_path / "text.txt"
    source.write_text("\n".join(TEXTS), encoding="utf-8")
    contents = []
    for threads in ("1", "4"):
        path = tmp_path / threads / kinds.KINDS[kind].file_name
        path.parent.mkdir()
        environment = {**os.environ, "RAYON_NUM_THREADS": threads, "PYTHONPATH": str(ROOT)}
        subprocess.run([sys.executable, "-c", LEARN, kind, source, path], env=environment, check=True)
        contents.append({file.name: file.read_bytes() for file in path.parent.iterdir()})
    assert contents[0] == contents[1] and kinds.KINDS[kind].file_name in contents[0]


def test_the_report_says_how_the_text_is_cut(tmp_path):
    path = tmp_path / "vocab.txt"
    report = kinds.learn_vocabulary("wordpiece", ["aa ab", "aa ab", "aa b"], path, vocab_size=12, do_lower_case=True)
    # Alphabet a ##a b ##b, merges aa (3) and ab (2): six words, each one piece.
    assert (report.pieces, report.pieces_per_word, report.unk_rate, report.sampled_words) == (11, 1.0, 0.0, 6)
    assert kinds.read_report(path) == report and json.loads((tmp_path / "vocab.txt.report.json").read_text())["pieces"] == 11
    assert "11 wordpiece pieces" in report.describe() and "1.00 pieces per word" in report.describe()
    assert kinds.read_report(tmp_path / "other.txt") is None


def test_the_report_counts_what_is_unknown_and_what_was_forgotten(tmp_path):
    texts = ["aa ab " * 20_000, "zz yy xx"]  # z, y and x are forgotten, and rarer than one character in 10,000
    report = kinds.learn_vocabulary("wordpiece", texts, tmp_path / "v", vocab_size=12, do_lower_case=True, max_words=4)
    assert report.words_forgotten == 3 and report.unk_rate == pytest.approx(3 / 40_003) and "3 rare words" in report.describe()


def test_the_hash_changes_with_all_that_changes_ids_and_with_nothing_else(learned):
    hashes = {}
    for (kind, lower), (path, _) in learned.items():
        hashes[kind, lower] = kinds.load(kind, path, lower).content_hash
        hashes[kind, lower, "other case"] = kinds.load(kind, path, not lower).content_hash
    path = learned["bytelevel", True][0]
    whole = (path.parent / MERGES_FILE).read_text(encoding="utf-8")
    used = kinds.load("bytelevel", path, True)
    used.encode(TEXTS)
    assert used.content_hash == hashes["bytelevel", True]
    (path.parent / MERGES_FILE).write_text("\n".join(whole.split("\n")[:-2]), encoding="utf-8")
    hashes["fewer merges"] = kinds.load("bytelevel", path, True).content_hash
    (path.parent / MERGES_FILE).write_text(whole, encoding="utf-8")
    assert len(set(hashes.values())) == len(hashes)


@every_kind
def test_a_text_without_words_teaches_nothing(kind, tmp_path):
    with pytest.raises(UserError, match="no words"):
        kinds.learn_vocabulary(kind, ["", " \n"], tmp_path / "v", vocab_size=100, do_lower_case=True)


@every_kind
def test_a_vocabulary_too_small_is_refused(kind, tmp_path):
    with pytest.raises(UserError, match="vocab_size 9"):
        kinds.learn_vocabulary(kind, TEXTS, tmp_path / "v", vocab_size=9, do_lower_case=True)


def test_an_unknown_kind_names_the_nearest(tmp_path):
    with pytest.raises(UserError, match="'wordpeace'.*\n.*perhaps wordpiece"):
        kinds.load("wordpeace", tmp_path / "v", True)


@every_kind
@pytest.mark.parametrize("content", [None, b"", b"\xff\xfe", b"[1, 2]", b'{"a": 0, "b": 7}', b"[PAD]\n[UNK]\n"])
def test_a_bad_file_is_one_message_that_names_it(kind, content, tmp_path):
    path = tmp_path / "v"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError) as error:
        kinds.load(kind, path, True)
    assert str(path) in str(error.value)


def test_a_model_of_the_other_type_is_refused(learned):
    with pytest.raises(UserError, match="not unigram.*\n.*bpe\n.*text.kind=bpe"):
        kinds.load("unigram", learned["bpe", True][0], True)


def test_merges_of_another_vocabulary_are_refused(learned, tmp_path):
    for file in learned["bytelevel", True][0].parent.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    with open(tmp_path / MERGES_FILE, "a", encoding="utf-8") as file:
        file.write("zz qq\n")
    with pytest.raises(UserError, match="do not belong.*\n.*'zz qq'"):
        kinds.load("bytelevel", tmp_path / "vocab.json", True)
