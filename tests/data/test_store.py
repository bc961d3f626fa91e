import hashlib
import json
import os
import resource
import signal
import subprocess
import sys

import numpy as np
import pytest

from bert_jax.data.prepare import prepare
from bert_jax.data.store import open_store
from bert_jax.errors import UserError
from bert_jax.text.wordpiece import WordPiece
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


def test_shards_read_like_one_file(tmp_path):
    one = make_store(tmp_path / "one", shard_tokens=2**24)
    many = make_store(tmp_path / "many", shard_tokens=50)
    assert len(one.train.shards) == 1 and len(many.train.shards) > 5
    assert {len(shard) for shard in many.train.shards[:-1]} == {50}
    places = np.arange(one.train.num_tokens).reshape(-1, 1)[::-1]
    assert np.array_equal(one.train.tokens(places), many.train.tokens(places))


def test_a_large_vocabulary_takes_wider_numbers(tmp_path):
    tokenizer = WordPiece((*TWELVE.pieces, *(f"x{i}" for i in range(2**16))), True)
    prepare([["a x65000"], ["x65535 b"]], tokenizer, tmp_path / "store", held_out_fraction=0.5, source="")
    store = open_store(tmp_path / "store", tokenizer)
    pieces = [split.tokens(np.arange(2)).tolist() for split in (store.train, store.held_out)]
    assert sorted(pieces) == [[5, 12 + 65000], [12 + 65535, 6]]


def test_unigram_counts_are_those_of_the_train_split(tmp_path):
    store = make_store(tmp_path / "store")
    tokens = store.train.tokens(np.arange(store.train.num_tokens))
    assert np.array_equal(store.unigram_counts, np.bincount(tokens, minlength=12))


def test_the_same_documents_give_the_same_bytes(tmp_path):
    make_store(tmp_path / "1", shard_tokens=100)
    make_store(tmp_path / "2", iter(many_documents()), shard_tokens=100)
    assert bytes_of(tmp_path / "1") == bytes_of(tmp_path / "2")


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
    make_store(tmp_path / "store", shard_tokens=100)
    paths = [path for path in sorted((tmp_path / "store").rglob("*")) if path.suffix == ".npy"]
    assert len(paths) > 6
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
    with pytest.raises(UserError, match="version 99.*\n.*version 1"):
        open_store(tmp_path / "store", TWELVE)


def test_no_store_is_one_message(tmp_path):
    with pytest.raises(UserError, match="no finished token store.*\n.*No such file"):
        open_store(tmp_path / "store", TWELVE)


def test_an_error_midway_leaves_nothing(tmp_path):
    def broken():
        yield from many_documents()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make_store(tmp_path / "store", broken())
    assert list(tmp_path.iterdir()) == []


KILLED = """
import os, signal, sys
from bert_jax.data import prepare
from tests.data.small import make_store, many_documents

prepare.BATCH_CHARS = 100
def documents():
    yield from many_documents(100)
    os.kill(os.getpid(), signal.SIGKILL)
make_store(sys.argv[1], documents())
"""


def test_a_killed_prepare_leaves_no_store_and_the_next_one_is_whole(tmp_path):
    command = [sys.executable, "-c", KILLED, str(tmp_path / "store")]
    killed = subprocess.run(command, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert [path.name for path in tmp_path.iterdir()] == [".store.tmp"]
    with pytest.raises(UserError, match="no finished token store"):
        open_store(tmp_path / "store", TWELVE)
    make_store(tmp_path / "store")
    make_store(tmp_path / "fresh")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["fresh", "store"]
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
