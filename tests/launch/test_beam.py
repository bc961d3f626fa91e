"""Text tokenised by many workers: they write what one machine writes, in whichever order they come, and faults are told."""

import gzip
import hashlib
import importlib.util
import json
import lzma
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from bert_jax import config as configs
from bert_jax import inputs
from bert_jax.data import shards, store
from bert_jax.errors import EXIT_USER_ERROR, UserError
from bert_jax.text import kinds
from launch import beam, beam_parts
from tests import tiny
from tests.data.small import TWELVE, many_documents

SHARD_BYTES = 1500


def write_text(folder: Path) -> str:
    """Three files, two of them compressed; the first two documents of the text are the same."""
    documents = ["".join(f"{sentence}\n" for sentence in document) for document in many_documents(120)]
    folder.mkdir()
    parts = ["\n".join(part) for part in ([documents[0], *documents[:40]], documents[40:70], documents[70:])]
    (folder / "a.txt").write_text(parts[0])
    (folder / "b.txt.gz").write_bytes(gzip.compress(parts[1].encode(), mtime=0))
    (folder / "c.txt.xz").write_bytes(lzma.compress(parts[2].encode()))
    return f"{folder}/*"


def in_turn(names, job, order: Callable = list) -> None:
    """What a runner does, in one process."""
    surveys = [beam_parts.survey(numbered, job) for numbered in order(list(enumerate(names)))]
    for part in order(beam_parts.parts(surveys, job.given["shard_bytes"])):
        beam_parts.write(part, job)


def backwards(names, job) -> None:
    in_turn(names, job, lambda items: items[::-1])


def twice(names, job) -> None:
    """As a runner that loses answers."""
    in_turn(names, job, lambda items: items * 2 if items and isinstance(items[0], beam_parts.Part) else items)


@pytest.fixture
def config(tmp_path, monkeypatch):
    monkeypatch.setattr(beam_parts.units, "UNIT_BYTES", 500)
    vocabulary = tmp_path / "vocab.txt"
    vocabulary.write_text("".join(f"{piece}\n" for piece in TWELVE.pieces))
    text = write_text(tmp_path / "text")
    values = {
        "data.input_file": text,
        "data.input_format": "sentences",
        "data.held_out_fraction": 0.2,
        "data.num_workers": 1,
        "text.vocab_file": vocabulary,
    }
    return configs.load(f"{tiny.ROOT}/configs/bert.py:tiny", [f"{key}={value}" for key, value in values.items()])


def by_one_machine(config, workdir: Path) -> dict[str, str]:
    return contents(inputs.prepare_store(config, workdir, shard_bytes=SHARD_BYTES))


def contents(folder: Path) -> dict[str, str]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def by_workers(config, workdir, run=in_turn) -> dict[str, str]:
    beam.prepare(config, str(workdir), SHARD_BYTES, run)
    return contents(workdir / "store")


@pytest.mark.parametrize("run", [in_turn, backwards, twice])
def test_the_store_is_that_of_one_machine_byte_for_byte(config, tmp_path, run):
    made = by_workers(config, tmp_path / "W", run)
    assert made == by_one_machine(config, tmp_path / "one")
    assert len([name for name in made if name.startswith("train/ids-")]) > 3
    assert inputs.open_store(config, tmp_path / "W", inputs.open_vocabulary(config, tmp_path / "W")).manifest
    assert [path.name for path in (tmp_path / "W").iterdir()] == ["store"]


def test_bad_input_is_skipped_and_counted_as_by_one_machine(config, tmp_path):
    (tmp_path / "text/d.txt").write_bytes(b"a b\n\n\xff\xfe c\n\nd e\n")
    (tmp_path / "text/e.txt.gz").write_bytes(gzip.compress(b"a\n\nb\n" * 400)[:-20])
    (tmp_path / "text/f.txt").write_bytes(b"")
    config.data.on_bad_input = "skip"
    assert by_workers(config, tmp_path / "W") == by_one_machine(config, tmp_path / "one")


@pytest.mark.parametrize("run", [in_turn, backwards])
def test_copies_are_dropped_as_by_one_machine(config, tmp_path, run):
    """In one file, over files and over shards; and a document without a piece."""
    text = tmp_path / "text"
    (text / "d.txt").write_text(f"\u200b\n\n{(text / 'a.txt').read_text()}\n\n\u200b\n")
    config.data.drop_duplicates = True
    made = by_workers(config, tmp_path / "W", run)
    assert made == by_one_machine(config, tmp_path / "one")
    report = json.loads((tmp_path / "W/store" / store.MANIFEST).read_text())["report"]
    assert report["notes"][shards.COPIES] == 1 + 41


def test_the_sides_are_settled_where_the_second_document_comes_late(config, tmp_path):
    (tmp_path / "text/a.txt").write_text("a b c\n\n" * 2000)
    assert by_workers(config, tmp_path / "W") == by_one_machine(config, tmp_path / "one")


def test_bad_input_stops_the_work_with_file_and_line_and_leaves_no_store(config, tmp_path):
    (tmp_path / "text/a.txt").write_bytes(b"a b\n\nc d\n\n" * 300 + b"\xff\xfe c\n")
    (tmp_path / "text/d.txt.gz").write_bytes(gzip.compress(b"a\n\nb\n" * 400)[:-20])
    with pytest.raises(UserError, match="d.txt.gz"):
        by_workers(config, tmp_path / "W")
    (tmp_path / "text/d.txt.gz").unlink()
    with pytest.raises(UserError, match=r"a\.txt, line 1201"):
        by_workers(config, tmp_path / "W")
    assert not list((tmp_path / "W").iterdir())


def test_a_shard_that_fails_leaves_nothing_and_is_named(config, tmp_path, monkeypatch):
    """A worker dies between the files of a shard and its record; nobody tries it again."""

    def dies(names, job):
        surveys = [beam_parts.survey(numbered, job) for numbered in enumerate(names)]
        first, second, *_ = beam_parts.parts(surveys, SHARD_BYTES)
        beam_parts.write(first, job)
        before = contents(Path(job.folder))
        with monkeypatch.context() as patch, pytest.raises(RuntimeError):
            patch.setattr(shards.ShardWriter, "close", lambda *_: (_ for _ in ()).throw(RuntimeError("killed")))
            beam_parts.write(second, job)
        assert contents(Path(job.folder)) == before

    with pytest.raises(UserError, match=r"shards were never done(.|\n)*shard-00001"):
        by_workers(config, tmp_path / "W", dies)
    assert not (tmp_path / "W/store").exists()
    assert by_workers(config, tmp_path / "W") == by_one_machine(config, tmp_path / "one")


def test_a_file_that_changes_meanwhile_is_named(config, tmp_path):
    def changed(names, job):
        surveys = [beam_parts.survey(numbered, job) for numbered in enumerate(names)]
        (tmp_path / "text/a.txt").write_text("d e f\n\n" + (tmp_path / "text/a.txt").read_text())
        for part in beam_parts.parts(surveys, SHARD_BYTES):
            beam_parts.write(part, job)

    with pytest.raises(UserError, match=r"changed while it was read\n.*a\.txt"):
        by_workers(config, tmp_path / "W", changed)


def test_what_is_no_store_is_not_deleted(config, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/thesis.txt").write_text("years of work")
    config.data.store = str(tmp_path / "mine")
    with pytest.raises(UserError, match="something else where the store would go\n.*thesis.txt"):
        by_workers(config, tmp_path / "W")
    fsspec = pytest.importorskip("fsspec", reason="no fsspec: pip install -e '.[gcs]'")
    files = fsspec.filesystem("memory")
    files.pipe_file("/bkt/mine/thesis.txt", b"years of work")
    config.data.store = "memory://bkt/mine"
    with pytest.raises(UserError, match="something else"):
        by_workers(config, tmp_path / "W")
    assert files.exists("/bkt/mine/thesis.txt") and (tmp_path / "mine/thesis.txt").exists()


def test_a_vocabulary_in_a_bucket_comes_with_the_files_beside_it(config, tmp_path):
    fsspec = pytest.importorskip("fsspec", reason="no fsspec: pip install -e '.[gcs]'")
    kinds.learn_vocabulary("bytelevel", ["a b c d"] * 9, tmp_path / "vocab.json", vocab_size=300, do_lower_case=False)
    files = fsspec.filesystem("memory")
    for path in tmp_path.glob("*.*"):
        files.put_file(str(path), f"/bkt/words/{path.name}")
    config.text.kind, config.text.do_lower_case, config.text.vocab_file = "bytelevel", False, "memory://bkt/words/vocab.json"
    ours = kinds.load("bytelevel", tmp_path / "vocab.json", False)
    assert beam._vocabulary(config, "W").content_hash == ours.content_hash


@pytest.mark.parametrize("pattern", ["nowhere://bkt/*.txt", "memory://bkt/none/*.txt"])
def test_places_that_cannot_be_read_are_named(pattern):
    pytest.importorskip("fsspec", reason="no fsspec: pip install -e '.[gcs]'")
    with pytest.raises(UserError, match=pattern.partition("*")[0]):
        beam.input_files(pattern)


def test_a_store_that_is_there_is_not_made_again(config, tmp_path, capsys):
    made = by_workers(config, tmp_path / "W")
    assert by_workers(config, tmp_path / "W", run=lambda *_: pytest.fail("ran")) == made


@pytest.mark.parametrize("given", ["", "a.txt=0.5,b.txt=0.5", "tfds:wikipedia/train"])
def test_what_is_not_files_is_refused(given):
    with pytest.raises(UserError, match="Beam reads files, each once"):
        beam.input_files(given)


def test_no_vocabulary_and_no_file_are_said(config, tmp_path):
    config.data.input_file = f"{tmp_path}/none/*.txt"
    with pytest.raises(UserError, match="matches no file"):
        by_workers(config, tmp_path / "W")
    config.text.vocab_file = ""
    config.data.input_file = f"{tmp_path}/text/*"
    with pytest.raises(UserError, match="needs a vocabulary that is there"):
        by_workers(config, tmp_path / "W")


def test_one_document_is_too_few(config, tmp_path):
    for path in (tmp_path / "text").iterdir():
        path.unlink()
    (tmp_path / "text/a.txt").write_text("a b c\n\n" * 9)
    with pytest.raises(UserError, match="at least two different documents"):
        by_workers(config, tmp_path / "W")


def test_text_and_store_in_a_bucket(config, tmp_path):
    """fsspec's file system in memory stands in for it."""
    fsspec = pytest.importorskip("fsspec", reason="no fsspec: pip install -e '.[gcs]'")
    files = fsspec.filesystem("memory")
    files.store.clear()
    files.put(f"{tmp_path}/text", "/bkt/text", recursive=True)
    files.put_file(config.text.vocab_file, "/bkt/vocab.txt")
    config.data.input_file, config.text.vocab_file = "memory://bkt/text/*", "memory://bkt/vocab.txt"
    files.pipe_file("/bkt/run/store/train/left_by_a_killed_one.npy", b"")
    files.pipe_file("/bkt/bad/a.txt", b"a b\n\nc d\n\n\xff\xfe c\n")
    files.pipe_file("/bkt/bad/b.txt.gz", gzip.compress(b"a\n\nb\n" * 400)[:-20])
    beam.prepare(config, "memory://bkt/run", SHARD_BYTES, backwards)
    files.get("/bkt/run/store", f"{tmp_path}/copied", recursive=True)
    made = contents(tmp_path / "copied")

    config.data.input_file, config.text.vocab_file = f"{tmp_path}/text/*", f"{tmp_path}/vocab.txt"
    wanted = by_one_machine(config, tmp_path / "one")
    assert made.keys() == wanted.keys()
    assert [name for name in made if made[name] != wanted[name]] == ["manifest.json"]  # says where the text came from

    config.data.input_file, config.data.on_bad_input = "memory://bkt/bad/*", "skip"
    beam.prepare(config, "memory://bkt/other", SHARD_BYTES, in_turn)
    places = json.loads(files.cat_file("/bkt/other/store/manifest.json"))["report"]["places"].values()
    assert len(places) >= 2 and all(place.startswith("memory://") for place in places)


@pytest.mark.skipif(bool(importlib.util.find_spec("apache_beam")), reason="Apache Beam is installed")
def test_without_beam_one_message_says_what_to_do(tmp_path):
    command = [sys.executable, "-m", "launch.beam", "--config=configs/bert.py:tiny", f"--workdir={tmp_path}"]
    done = subprocess.run(command, cwd=tiny.ROOT, capture_output=True, text=True)
    assert done.returncode == EXIT_USER_ERROR
    assert "Apache Beam is not installed" in done.stderr and "launch/README.md" in done.stderr
