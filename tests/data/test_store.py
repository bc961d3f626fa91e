import hashlib
import json
import os
import resource
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from unittest import mock

import numpy as np
import pytest

from bert_jax.data.encode import Encoder
from bert_jax.data.shards import COPIES
from bert_jax.data.store import open_store
from bert_jax.data.units import Unit
from bert_jax.errors import UserError
from bert_jax.text.wordpiece import SPECIAL_PIECES, WordPiece
from tests.data import small
from tests.data.small import TWELVE, make_store, many_documents
from tests.paths import ROOT


def texts_of(split) -> list[list[str]]:
    """The documents of a split, back from the store."""
    starts, bounds = split.sentence_offsets, split.document_offsets
    sentences = [TWELVE.decode(split.tokens(np.arange(a, b))) for a, b in zip(starts, starts[1:])]
    return [sentences[a:b] for a, b in zip(bounds, bounds[1:])]


def bytes_of(folder) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_a_store_holds_what_was_put_in(tmp_path):
    store = make_store(tmp_path / "store", [["a b", "c d g", ""], ["e f"]])
    both = [(store.train, texts_of(store.train)), (store.held_out, texts_of(store.held_out))]
    assert sorted(document for _, documents in both for document in documents) == [["a b", "c d [UNK]"], ["e f"]]
    split, _ = next(pair for pair in both if len(pair[1][0]) == 2)
    assert (split.num_documents, split.num_sentences, split.num_tokens) == (1, 2, 5)
    assert split.sentence_lengths.tolist() == [2, 3]
    assert split.tokens(np.array([[0, 1], [4, 2]])).tolist() == [[5, 6], [1, 7]]
    assert split.tokens(np.array([0])).dtype == np.int32


def test_no_document_is_in_both_splits_and_copies_stay_together(tmp_path):
    documents = many_documents(60)
    store = make_store(tmp_path / "store", documents + documents[::-1] + documents[:7])
    train, held_out = (["|".join(document) for document in texts_of(split)] for split in (store.train, store.held_out))
    assert set(train) & set(held_out) == set()
    assert sorted(train + held_out) == sorted("|".join(d) for d in documents + documents[::-1] + documents[:7])
    assert 0 < len(held_out) < len(train)


def test_the_split_does_not_depend_on_the_order_of_the_documents(tmp_path):
    documents = many_documents(60)
    fraction = 0.3
    one = make_store(tmp_path / "1", documents, fraction)
    # The first two documents settle that no side is empty, so they keep their places.
    other = make_store(tmp_path / "2", documents[:2] + documents[:1:-1], fraction)
    assert sorted(texts_of(one.held_out)) == sorted(texts_of(other.held_out))
    assert 0.1 < one.held_out.num_documents / 60 < 0.5


@pytest.mark.parametrize("fraction", [1e-9, 1 - 1e-9])
def test_neither_side_is_ever_empty(tmp_path, fraction):
    store = make_store(tmp_path / "store", [["a"], ["a"], ["b"], ["c"]], fraction)
    assert store.train.num_documents >= 1 and store.held_out.num_documents >= 1


@pytest.mark.parametrize("fraction", [1e-9, 1 - 1e-9])
def test_later_copies_follow_the_two_documents_that_settle_the_sides(tmp_path, fraction):
    store = make_store(tmp_path / "store", [["a"], ["b"], ["a"], ["b"], ["a"]], fraction)
    sides = [{document[0] for document in texts_of(split)} for split in (store.train, store.held_out)]
    assert sides in ([{"a"}, {"b"}], [{"b"}, {"a"}])


@pytest.mark.parametrize("documents", [[], [["a", "b"]], [["a"], ["a"]], [["a"], [" "]]])
def test_fewer_than_two_different_documents_are_refused(tmp_path, documents):
    with pytest.raises(UserError, match="at least two different documents.*\n.*empty line"):
        make_store(tmp_path / "store", documents)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("fraction", [0, 1, -0.1, 2])
def test_a_held_out_fraction_out_of_range_is_refused(tmp_path, fraction):
    with pytest.raises(UserError, match="held_out_fraction"):
        make_store(tmp_path / "store", held_out_fraction=fraction)


def test_copies_are_dropped_wherever_they_stand_and_the_first_alone_is_kept(tmp_path):
    different = many_documents(30)
    rng = np.random.default_rng(0)
    copies = [different[number] for number in rng.integers(0, 30, 50)]
    documents = [*different[:20], *copies[:25], *different[20:], *copies[25:], [" ".join(different[3])]]
    once = list(map(list, dict.fromkeys(map(tuple, documents))))
    for shard_bytes in (100, 10**6):
        store = make_store(tmp_path / f"one-{shard_bytes}", documents, drop_duplicates=True, shard_bytes=shard_bytes)
        same = make_store(tmp_path / f"two-{shard_bytes}", once, shard_bytes=shard_bytes)
        assert texts_of(store.train) == texts_of(same.train) and texts_of(store.held_out) == texts_of(same.held_out)
        assert np.array_equal(store.unigram_counts, same.unigram_counts)
        assert store.manifest["report"]["notes"] == {COPIES: len(documents) - len(once)}
        assert store.manifest["report"]["documents"] == 81


def test_shards_read_like_one_file(tmp_path):
    one = make_store(tmp_path / "one")
    many = make_store(tmp_path / "many", shard_bytes=50)
    assert len(one.train.shards) == 1 and len(many.train.shards) > 5
    for split, other in ((one.train, many.train), (one.held_out, many.held_out)):
        places = np.arange(split.num_tokens).reshape(-1, 1)[::-1]
        assert np.array_equal(split.tokens(places), other.tokens(places))
        assert np.array_equal(split.side("word_starts", places), other.side("word_starts", places))
        assert np.array_equal(split.sentence_offsets, other.sentence_offsets)
        assert np.array_equal(split.document_offsets, other.document_offsets)
    assert np.array_equal(one.unigram_counts, many.unigram_counts)


def test_word_starts_are_the_first_pieces_of_words_and_of_sentences(tmp_path):
    store = make_store(tmp_path / "store", [["a b", "ag a", "##g ag"], ["cg"]])
    split = max((store.train, store.held_out), key=lambda split: split.num_documents and split.num_tokens)
    places = np.arange(split.num_tokens)
    assert TWELVE.pieces_of(split.tokens(places)) == ["a", "b", "a", "##g", "a", "[UNK]", "[UNK]", "[UNK]", "a", "##g"]
    assert split.side("word_starts", places).tolist() == [1, 1, 1, 0, 1, 1, 1, 1, 1, 0]
    assert split.side_names == ("word_starts",) and split.side("word_starts", places).dtype == np.uint8
    assert store.manifest["side_arrays"] == {"word_starts": "uint8"}


CHINESE = WordPiece((*SPECIAL_PIECES, *"今天很好气雨t3月恤", "##x", "。"), True)


@pytest.mark.parametrize(
    ("segmenter", "sentence", "starts"),
    [
        ("", "今天很好 tx。", [1, 1, 1, 1, 1, 0, 1]),
        ("presegmented", "今天 很 好 tx 。", [1, 0, 1, 1, 1, 0, 1]),
        ("presegmented", "t恤 今天", [1, 0, 1, 0]),
        ("jieba", "今天很好tx。", [1, 0, 1, 1, 1, 0, 1]),
    ],
)
def test_a_segmenter_tells_where_chinese_words_begin_and_changes_no_piece(tmp_path, segmenter, sentence, starts):
    if segmenter == "jieba":
        pytest.importorskip("jieba")
    documents = [[sentence, sentence], ["雨"]]
    store = make_store(tmp_path / "store", documents, tokenizer=CHINESE, segmenter=segmenter)
    split = max((store.train, store.held_out), key=lambda split: split.num_tokens)
    places = np.arange(split.num_tokens)
    assert split.tokens(places).tolist() == 2 * CHINESE.encode([sentence])[0]
    assert split.side("word_starts", places).tolist() == 2 * starts
    assert store.manifest["segmenter"] == segmenter
    assert store.manifest["source"]["cjk_characters"] == 2 * sum(c in "今天很好恤" for c in sentence) + 1


def test_a_segmenter_that_is_not_there_is_one_message(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "jieba", None)
    with pytest.raises(UserError, match=r"pip install -e '\.\[chinese\]'"):
        make_store(tmp_path / "store", segmenter="jieba")
    with pytest.raises(UserError, match="unknown data.segmenter.*\n.*words"):
        make_store(tmp_path / "store", segmenter="words")


def test_a_large_vocabulary_takes_wider_numbers(tmp_path):
    tokenizer = WordPiece((*TWELVE.pieces, *(f"x{i}" for i in range(2**16))), True)
    store = make_store(tmp_path / "store", [["a x65000"], ["x65535 b"]], 0.5, tokenizer=tokenizer)
    pieces = [split.tokens(np.arange(2)).tolist() for split in (store.train, store.held_out)]
    assert sorted(pieces) == [[5, 12 + 65000], [12 + 65535, 6]]


def test_unigram_counts_are_those_of_the_train_split(tmp_path):
    store = make_store(tmp_path / "store")
    tokens = store.train.tokens(np.arange(store.train.num_tokens))
    assert np.array_equal(store.unigram_counts, np.bincount(tokens, minlength=12))


def test_any_number_of_workers_gives_the_same_bytes(tmp_path):
    for number in (1, 2, 3):
        make_store(tmp_path / str(number), shard_bytes=300, num_workers=number)
    assert bytes_of(tmp_path / "1") == bytes_of(tmp_path / "2") == bytes_of(tmp_path / "3")


def test_the_manifest_tells_the_text_apart(tmp_path):
    stores = [make_store(tmp_path / str(i), documents) for i, documents in enumerate([many_documents(40), many_documents(41)])]
    assert len({store.manifest["source"]["text_sha256"] for store in stores}) == 2
    assert stores[0].content_hash != stores[1].content_hash
    assert stores[0].content_hash == hashlib.sha256((tmp_path / "0" / "manifest.json").read_bytes()).hexdigest()


def test_another_vocabulary_is_refused_and_both_hashes_are_named(tmp_path):
    make_store(tmp_path / "store")
    other = WordPiece(TWELVE.pieces, do_lower_case=False)
    with pytest.raises(UserError, match="another vocabulary") as error:
        open_store(tmp_path / "store", other)
    assert other.content_hash in str(error.value) and TWELVE.content_hash in str(error.value)


def test_any_edited_byte_is_refused_and_the_file_is_named(tmp_path):
    make_store(tmp_path / "store", shard_bytes=300)
    paths = [path for path in sorted((tmp_path / "store").rglob("*")) if path.suffix == ".npy"]
    assert len(paths) > 12
    for path in paths:
        content = path.read_bytes()
        path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        with pytest.raises(UserError, match="SHA-256") as error:
            open_store(tmp_path / "store", TWELVE)
        assert str(path) in str(error.value)
        path.write_bytes(content)
    open_store(tmp_path / "store", TWELVE)


@pytest.mark.parametrize("verify", [True, False])
def test_a_truncated_or_absent_file_is_refused(tmp_path, verify):
    make_store(tmp_path / "store")
    path = tmp_path / "store/train/ids-00000.npy"
    path.write_bytes(path.read_bytes()[:-2])
    with pytest.raises(UserError, match=r"ids-00000\.npy\n.*bytes\n.*bytes"):
        open_store(tmp_path / "store", TWELVE, verify=verify)
    path.unlink()
    with pytest.raises(UserError, match="no such file"):
        open_store(tmp_path / "store", TWELVE, verify=verify)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"format": 1}'])
def test_a_damaged_manifest_is_refused(tmp_path, content):
    make_store(tmp_path / "store")
    (tmp_path / "store/manifest.json").write_bytes(content)
    with pytest.raises(UserError, match="manifest .* is damaged"):
        open_store(tmp_path / "store", TWELVE)


def test_another_format_version_is_refused(tmp_path):
    make_store(tmp_path / "store")
    path = tmp_path / "store/manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "format_version": 99}))
    with pytest.raises(UserError, match="version 99.*\n.*version 2"):
        open_store(tmp_path / "store", TWELVE)


def test_no_store_is_one_message(tmp_path):
    with pytest.raises(UserError, match="no finished token store.*\n.*No such file"):
        open_store(tmp_path / "store", TWELVE)


def test_swapped_shards_are_noticed(tmp_path):
    make_store(tmp_path / "store", shard_bytes=300)
    one, two = (tmp_path / f"store/train/ids-0000{number}.npy" for number in (0, 1))
    content = one.read_bytes(), two.read_bytes()
    one.write_bytes(content[1]), two.write_bytes(content[0])
    with pytest.raises(UserError, match="ids-0000[01].npy"):
        open_store(tmp_path / "store", TWELVE)


def test_a_tokenizer_that_cuts_in_another_way_is_noticed(tmp_path, monkeypatch):
    make_store(tmp_path / "store")
    monkeypatch.setattr(WordPiece, "encode", lambda self, texts: [[5]] * len(texts))
    with pytest.raises(UserError, match="cuts text in another way.*\n.*tokenizers.*\n.*tokenizers"):
        open_store(tmp_path / "store", TWELVE)


class Stop(Exception):
    pass


def interrupted(after: int, documents: list[list[str]] | None = None):
    for number, document in enumerate(documents or many_documents()):
        if number == after:
            raise Stop
        yield document


def make_interrupted(folder, after: int, documents: list[list[str]] | None = None, **settings) -> None:
    with pytest.raises(Stop):
        make_store(folder, interrupted(after, documents), **settings)


def test_an_error_before_the_first_shard_is_finished_leaves_nothing(tmp_path):
    make_interrupted(tmp_path / "store", 20)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("num_workers", [1, 2])
def test_an_interrupted_prepare_goes_on_from_its_finished_shards(tmp_path, monkeypatch, num_workers):
    encoded = []
    make_store(tmp_path / "fresh", shard_bytes=300)
    for after in (8, 15, 30):
        make_interrupted(tmp_path / "store", after, shard_bytes=300, num_workers=num_workers)
        assert [path.name for path in sorted(tmp_path.iterdir())] == [".store.tmp", "fresh"]
    monkeypatch.setattr(Encoder, "_ids", lambda self, pieces, ids=Encoder._ids: encoded.append(0) or ids(self, pieces))
    make_store(tmp_path / "store", shard_bytes=300)
    assert 0 < len(encoded) < 25
    assert bytes_of(tmp_path / "store") == bytes_of(tmp_path / "fresh")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["fresh", "store"]


def test_an_interrupted_prepare_knows_the_documents_of_its_finished_shards(tmp_path):
    documents = [*many_documents(), *many_documents()]
    make_interrupted(tmp_path / "store", 50, documents, shard_bytes=300, drop_duplicates=True)
    make_store(tmp_path / "store", documents, shard_bytes=300, drop_duplicates=True)
    make_store(tmp_path / "fresh", documents, shard_bytes=300, drop_duplicates=True)
    assert bytes_of(tmp_path / "store") == bytes_of(tmp_path / "fresh")


@pytest.mark.parametrize(
    ("documents", "settings"),
    [
        ([["f f"], *many_documents()[1:]], {}),
        (many_documents()[:8], {}),
        (many_documents(), {"held_out_fraction": 0.5}),
        (many_documents(), {"tokenizer": WordPiece(TWELVE.pieces, False)}),
    ],
    ids=["another text", "a shorter text", "another fraction", "another vocabulary"],
)
def test_shards_of_another_text_or_other_settings_are_not_used(tmp_path, documents, settings):
    make_interrupted(tmp_path / "store", 30, shard_bytes=300)
    make_store(tmp_path / "store", documents, shard_bytes=300, **settings)
    make_store(tmp_path / "fresh", documents, shard_bytes=300, **settings)
    assert bytes_of(tmp_path / "store") == bytes_of(tmp_path / "fresh")


@pytest.mark.parametrize("shards", [1, 2])
def test_a_text_that_now_ends_with_a_finished_shard_gives_the_bytes_of_a_fresh_start(tmp_path, shards):
    """Two shards are finished and a third is begun before the text loses all but its first one or two."""
    documents = [[letter * 9] * 10 for letter in "abcdef"]  # 100 bytes each
    make_interrupted(tmp_path / "store", 5, shard_bytes=200, documents=documents)
    make_store(tmp_path / "store", documents[: 2 * shards], shard_bytes=200)
    make_store(tmp_path / "fresh", documents[: 2 * shards], shard_bytes=200)
    assert bytes_of(tmp_path / "store") == bytes_of(tmp_path / "fresh")


def test_the_first_piece_of_a_sentence_begins_a_word_whatever_the_vocabulary_says():
    twelve = replace(TWELVE)
    vars(twelve)["starts_word"] = np.zeros(TWELVE.size, bool)
    encoded = Encoder(twelve, "", "stop")(Unit("sentences", b"a b c\nd\n\ne f\n", "test"))
    assert encoded.word_starts.tolist() == [1, 0, 0, 1, 1, 0]


def test_bad_input_in_a_worker_is_its_one_message(tmp_path):
    documents = [["a"]] * 9 + [["\udce9"]] + [["b"]] * 9
    with mock.patch.object(
        small, "units_of", lambda documents: (Unit("sentences", d[0].encode(errors="surrogateescape"), "x") for d in documents)
    ):
        for num_workers in (1, 2):
            with pytest.raises(UserError, match="not UTF-8\n.*x, line 1: byte 0xe9"):
                make_store(tmp_path / "store", documents, num_workers=num_workers)
        store = make_store(tmp_path / "store", documents, num_workers=2, on_bad_input="skip")
    assert store.manifest["report"]["notes"] == {"lines that are not UTF-8": 1}
    assert store.train.num_documents + store.held_out.num_documents == 18


SLOW = """
import sys, time
from tests.data import small

def documents():
    for document in small.many_documents(200):
        time.sleep(0.002)
        yield document

if __name__ == "__main__":
    store = small.make_store(sys.argv[1], documents(), shard_bytes=1000, num_workers=2)
"""


def children(pid: int) -> list[int]:
    return [int(child) for task in Path(f"/proc/{pid}/task").glob("*/children") for child in task.read_text().split()]


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="needs /proc")
def test_a_killed_prepare_leaves_no_process_and_the_next_one_gives_the_same_bytes(tmp_path):
    (tmp_path / "slow.py").write_text(SLOW)
    command = [sys.executable, tmp_path / "slow.py", tmp_path / "store"]
    finished = tmp_path / ".store.tmp" / "unfinished"
    for shards in (2, 6):
        process = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": str(ROOT)})
        while len(list(finished.glob("shard-*.json"))) < shards:
            assert process.poll() is None
            time.sleep(0.01)
        workers = children(process.pid)
        process.kill()
        process.wait()
        assert len(workers) >= 2
        while any(Path(f"/proc/{worker}/cmdline").exists() for worker in workers):
            time.sleep(0.01)  # for ever, if they do not die with it
        with pytest.raises(UserError, match="no finished token store"):
            open_store(tmp_path / "store", TWELVE)
    assert len(list(finished.glob("shard-*.json"))) >= 6
    make_store(tmp_path / "store", many_documents(200), shard_bytes=1000)
    make_store(tmp_path / "fresh", many_documents(200), shard_bytes=1000)
    assert bytes_of(tmp_path / "store") == bytes_of(tmp_path / "fresh")


def test_two_writers_of_one_store_do_not_meet(tmp_path):
    def documents():
        yield from many_documents()
        with pytest.raises(UserError, match="being written by another process"):
            make_store(tmp_path / "store")

    make_store(tmp_path / "store", documents())
    make_store(tmp_path / "fresh")
    assert bytes_of(tmp_path / "store") == bytes_of(tmp_path / "fresh")


def test_a_full_disk_is_one_message_and_leaves_nothing(tmp_path):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (500, hard))
        with pytest.raises(UserError, match="token store cannot be written.*\n.*store: File too large"):
            make_store(tmp_path / "store")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_is_one_message(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="token store cannot be written.*\n.*file/store"):
        make_store(tmp_path / "file" / "store")
