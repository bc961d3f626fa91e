"""A user's mistake gives one clear message and exit code 2, never a traceback, and nothing that was there is lost."""

import gzip
import lzma
import os
import subprocess
import sys
from pathlib import Path

import pytest

from bert_jax import workdir as workdirs
from bert_jax.__main__ import main
from tests import tiny


def run_command(verb: str, workdir: Path, *arguments: str, config="quickstart.py") -> int:
    return main([verb, f"--config={tiny.ROOT}/configs/{config}", f"--workdir={workdir}", *arguments])


@pytest.fixture
def fails(tmp_path, capsys):
    """Runs a command that must fail with exit code 2; returns its message."""

    def check(verb, *arguments, workdir=tmp_path / "W", config="quickstart.py") -> str:
        assert run_command(verb, workdir, *arguments, config=config) == 2
        message = capsys.readouterr().err
        assert message.startswith("error: ") and "Traceback" not in message and len(message.splitlines()) <= 5
        return message

    return check


@pytest.fixture
def corpus(tmp_path):
    return tiny.write_corpus(tmp_path / "text.txt")


def text(path: Path, content: bytes) -> list[str]:
    path.write_bytes(content)
    return tiny.arguments(path)


def test_an_empty_file(fails, tmp_path):
    assert "no text in the input" in fails("train", *text(tmp_path / "empty.txt", b""))


def test_a_file_without_documents(fails, tmp_path):
    assert "no text in the input" in fails("train", *text(tmp_path / "blank.txt", b"\n \n\n\t\n"))


def test_a_single_document(fails, tmp_path):
    message = fails(
        "train", *text(tmp_path / "one.txt", b"One sentence here.\nAnd another one.\n"), "--config.text.vocab_size=60"
    )
    assert "at least two different documents" in message


def test_a_file_that_is_not_there(fails, tmp_path):
    assert "matches no file" in fails("train", *tiny.arguments(tmp_path / "absent-*.txt"))


def test_invalid_utf8_is_named_by_file_line_and_byte(fails, tmp_path):
    message = fails("train", *text(tmp_path / "latin.txt", b"good line\n\nbad caf\xe9 line\n"))
    assert "latin.txt, line 3: byte 0xe9" in message and "iconv" in message


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("a.jsonl", b'{"body": "One."}\n', "records without a field 'text' that is a string"),
        ("b.jsonl", b"One.\n", "lines that are not JSON"),
        ("a.txt.xz", lzma.compress(b"One.\n" * 99)[:-9], "files that cannot be read to their end"),
        ("a.txt.gz", gzip.compress(b"One.\n" * 99, mtime=0)[:-9], "files that cannot be read to their end"),
        ("a.parquet", b"PAR1", "files that cannot be read to their end"),
        ("a.txt", b"\xff\xfe\n", "lines that are not UTF-8"),
    ],
)
def test_bad_input_stops_or_is_skipped_and_counted(fails, tmp_path, corpus, capsys, name, content, reason):
    (tmp_path / name).write_bytes(content)
    both = tiny.arguments(f"{corpus},{tmp_path / name}")
    assert reason in fails("vocab", *both)
    assert run_command("vocab", tmp_path / "W", *tiny.arguments(corpus)) == 0
    message = fails("prepare", *both)
    assert reason in message and str(tmp_path / name) in message and "data.on_bad_input=skip" in message
    assert run_command("prepare", tmp_path / "W", *both, "--config.data.on_bad_input=skip") == 0
    assert f"1 {reason}, first in {tmp_path / name}" in capsys.readouterr().out


def test_an_edited_shard(fails, tmp_path, corpus):
    assert run_command("vocab", tmp_path / "W", *tiny.arguments(corpus)) == 0
    assert run_command("prepare", tmp_path / "W", *tiny.arguments(corpus)) == 0
    shard = tmp_path / "W/store/train/word_starts-00000.npy"
    shard.write_bytes(shard.read_bytes()[:-1] + b"\7")
    assert f"damaged: {shard}" in fails("train", *tiny.arguments(corpus))


def test_a_store_with_copies_where_they_are_to_be_dropped(fails, tmp_path, corpus):
    assert run_command("vocab", tmp_path / "W", *tiny.arguments(corpus)) == 0
    assert run_command("prepare", tmp_path / "W", *tiny.arguments(corpus)) == 0
    assert "holds all" in fails("train", *tiny.arguments(corpus), "--config.data.drop_duplicates=True")


def test_a_mixture_by_weights_whose_copies_are_to_be_dropped(fails, tmp_path, corpus):
    assert "again and again" in fails("prepare", *tiny.arguments(f"{corpus}=1"), "--config.data.drop_duplicates=True")


def test_another_segmenter_than_that_of_the_store(fails, tmp_path, corpus):
    assert run_command("vocab", tmp_path / "W", *tiny.arguments(corpus)) == 0
    assert run_command("prepare", tmp_path / "W", *tiny.arguments(corpus)) == 0
    assert "another segmenter" in fails("train", *tiny.arguments(corpus, data__segmenter="presegmented"))


def test_a_number_of_workers_out_of_range(fails, corpus):
    assert "data.num_workers is out of range" in fails("prepare", *tiny.arguments(corpus, data__num_workers=-1))


def test_a_line_of_50_megabytes_is_cut_and_counted(tmp_path, capsys):
    path = tmp_path / "long.txt"
    path.write_text(f"a cat sees a dog. {'x' * (50 * 2**20)}\n\nthe other document is short.\n", encoding="utf-8")
    assert run_command("vocab", tmp_path / "W", *tiny.arguments(path)) == 0
    assert "left out or changed:" in capsys.readouterr().out


def test_a_vocabulary_without_mask(fails, tmp_path, corpus):
    (tmp_path / "v.txt").write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\nthe\na\n")
    message = fails("train", *tiny.arguments(corpus, text__vocab_file=tmp_path / "v.txt"))
    assert "[MASK]" in message and "v.txt" in message


def test_another_size_than_that_of_the_vocabulary(fails, tmp_path, corpus):
    arguments = tiny.arguments(corpus)
    assert run_command("vocab", tmp_path / "W", *arguments) == 0
    message = fails("train", *arguments, "--config.text.vocab_size=77")
    assert "another text.vocab_size" in message and "got:      77" in message


def test_a_vocabulary_that_does_not_match_the_store(fails, tmp_path, corpus):
    workdir = tmp_path / "W"
    assert run_command("vocab", workdir, *tiny.arguments(corpus)) == 0
    assert run_command("prepare", workdir, *tiny.arguments(corpus)) == 0
    vocabulary = workdir / "vocab.txt"
    vocabulary.write_text(vocabulary.read_text() + "zebra\n")
    assert "made with another vocabulary" in fails("train", *tiny.arguments(corpus), workdir=workdir)
    assert (workdir / "store" / "manifest.json").exists()


def test_a_store_of_other_text(fails, tmp_path, corpus):
    workdir = tmp_path / "W"
    assert run_command("vocab", workdir, *tiny.arguments(corpus)) == 0
    assert run_command("prepare", workdir, *tiny.arguments(corpus)) == 0
    other = tiny.write_corpus(tmp_path / "other.txt")
    assert "made from other text" in fails("train", *tiny.arguments(other), workdir=workdir)


def test_a_named_store_that_is_not_there(fails, tmp_path, corpus):
    assert "no finished token store" in fails("train", *tiny.arguments(corpus, data__store=tmp_path / "absent"))


def test_a_batch_that_does_not_divide(fails, corpus):
    message = fails("train", *tiny.arguments(corpus, train__train_batch_size=12))
    assert "12 rows on 8 devices" in message and "8 or 16" in message


def test_a_sequence_longer_than_the_positions(fails, corpus):
    assert "model.max_position_embeddings=24" in fails("train", *tiny.arguments(corpus, data__max_seq_length=32))


def test_an_unknown_key_names_the_nearest(fails, corpus):
    message = fails("train", *tiny.arguments(corpus), "--config.optim.learning_rte=1")
    assert "optim.learning_rate" in message


def test_an_unknown_argument(fails, corpus):
    assert "unknown argument" in fails("train", *tiny.arguments(corpus), "--learning_rate=1")


def test_a_config_that_is_not_there(fails):
    assert "does not exist" in fails("train", config="absent.py")


def test_a_value_out_of_range(fails, corpus):
    assert "train.num_train_steps is too small" in fails("train", *tiny.arguments(corpus, train__num_train_steps=0))


@pytest.mark.parametrize(
    ("config", "key", "value", "message"),
    [
        ("quickstart.py", "optim__name", "adma", "optim.name is unknown"),
        ("quickstart.py", "optim__learning_rate", -1.0, "optim.learning_rate is out of range"),
        ("quickstart.py", "model__hidden_dropout_prob", 1.0, "model.hidden_dropout_prob is out of range"),
        ("electra.py:tiny", "objective__generator_size", 1.5, "objective.generator_size is out of range"),
        ("spanbert.py:tiny", "objective__max_span_pieces", 0, "objective.max_span_pieces is out of range"),
        ("distill.py:tiny", "objective__weights__hidden", -1.0, "objective.weights do not say"),
        ("distill.py:tiny", "objective__teacher", "", "objective.teacher is empty"),
    ],
)
def test_a_wrong_setting_is_said_before_the_text_is_read(config, key, value, message, fails, corpus, tmp_path):
    settings = {key: value}
    if config.startswith("distill") and key != "objective__teacher":
        settings |= {"objective__teacher": tmp_path / "T", "objective__teacher_layers": "()"}
        workdirs.make_folder(tmp_path / "T")
        workdirs.write(tmp_path / "T" / "config.json", tiny.config(corpus).to_dict())
    assert message in fails("train", *tiny.arguments(corpus, **settings), config=config)
    assert not list((tmp_path / "W").glob("*vocab*"))


@pytest.mark.parametrize("verb", ["vocab", "prepare", "show"])
def test_a_wrong_model_is_said_before_the_text_is_read(verb, fails, corpus, tmp_path):
    assert "model.hidden_size does not divide" in fails(verb, *tiny.arguments(corpus, model__hidden_size=17))
    assert not (tmp_path / "W").exists()


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            "config.model.num_layer = 3",
            "nothing reads the key model.num_layer\n  expected: perhaps model.num_lstm_layers or model.num_hidden_layers",
        ),
        (
            "config.model.features = {'a': {'kind': 'ids', 'siz': 3}}",
            "the key model.features.a.siz\n  expected: perhaps model.features.a.size",
        ),
        ("config.model.features = {'a': {'kind': 'ids'}}", "model.features.a lacks size"),
    ],
)
def test_an_unknown_key_in_a_file_of_ones_own_names_the_nearest(line, message, corpus, tmp_path, capsys):
    quickstart = tiny.ROOT / "configs" / "quickstart.py"
    lines = ["import runpy", "def get_config(arg=None):", f"    config = runpy.run_path({str(quickstart)!r})['get_config']()"]
    (tmp_path / "own.py").write_text("\n".join([*lines, f"    {line}", "    return config"]))
    assert main(["train", f"--config={tmp_path}/own.py", f"--workdir={tmp_path}/W", *tiny.arguments(corpus)]) == 2
    assert message in capsys.readouterr().err


def test_a_workdir_that_cannot_be_made(fails, tmp_path, corpus):
    (tmp_path / "file").write_text("in the way")
    assert "cannot make the folder" in fails("train", *tiny.arguments(corpus), workdir=tmp_path / "file" / "W")


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 256 KiB; needs the right to mount."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", folder], capture_output=True)
    if mounted.returncode:
        pytest.skip("no right to mount a small file system")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


def test_a_workdir_without_room(fails, small_disk, corpus):
    (small_disk / "filler").write_bytes(bytes(240 * 1024))
    assert "No space left" in fails("train", *tiny.arguments(corpus), workdir=small_disk / "W")


def test_a_read_only_workdir(fails, small_disk, corpus):
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    assert "Read-only file system" in fails("train", *tiny.arguments(corpus), workdir=small_disk / "W")


def test_predict_without_a_model_and_without_a_mask(tmp_path, capsys):
    assert main(["predict", f"--workdir={tmp_path}", "--text=a [MASK]"]) == 2
    assert "no trained model" in capsys.readouterr().err


def test_help_answers_without_jax():
    code = (
        "import sys; from bert_jax.__main__ import main\ntry: main(['--help'])\nexcept SystemExit: sys.exit('jax' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tiny.ROOT, capture_output=True, text=True, env=os.environ)
    assert done.returncode == 0 and "pretrain" in done.stdout


def test_a_second_run_in_one_workdir_is_refused_while_the_first_one_lives(fails, corpus, tmp_path):
    config = tiny.config(corpus)
    with workdirs.opened(config, tmp_path / "W"):
        assert "being trained by another process" in fails("train", *tiny.arguments(corpus))
    with workdirs.opened(config, tmp_path / "W"):
        assert not list((tmp_path / "W").iterdir())
