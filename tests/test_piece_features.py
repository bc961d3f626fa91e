"""A model that is told of its pieces by files: pretrained from a config, and of use without the files."""

import json
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest

from bert_jax import config as configs
from bert_jax import convert, finetune, inputs, run
from bert_jax import workdir as workdirs
from bert_jax.__main__ import main
from bert_jax.errors import UserError
from bert_jax.trained import open_trained
from tests import tiny
from tests.test_finetune import data, load  # noqa: F401  the task that is fine-tuned on

CONFIG = """
import runpy
from ml_collections import ConfigDict

def get_config(arg=None):
    config = runpy.run_path({quickstart!r})["get_config"]()
    config.model.features = ConfigDict({{
        "glyph": {{"kind": "vector", "size": 3, "file": {folder!r} + "/glyphs.txt"}},
        "pinyin": {{"kind": "ids", "size": 9, "file": {folder!r} + "/pinyin.tsv"}},
    }})
    return config
"""
SMALL = {"model.num_hidden_layers": 1, "train.num_train_steps": 4, "train.save_every_steps": 2, "optim.weight_decay": 0.5}


class Files:
    """A corpus, a vocabulary, and what two files say of a third of its pieces."""

    def __init__(self, folder: Path):
        self.folder = folder
        quickstart = str(tiny.ROOT / "configs" / "quickstart.py")
        (folder / "config.py").write_text(CONFIG.format(quickstart=quickstart, folder=str(folder)))
        self.corpus = tiny.write_corpus(folder / "text.txt")
        plain = tiny.config(self.corpus)
        inputs.make_vocabulary(plain, folder, say=str)
        self.vocab = folder / "vocab.txt"
        self.pieces = inputs.open_vocabulary(plain, folder).pieces
        self.pinyin, self.glyphs = np.zeros(len(self.pieces)), np.zeros((len(self.pieces), 3))
        known = range(5, len(self.pieces), 3)
        for number in known:
            self.pinyin[number], self.glyphs[number] = number % 9, (number, -0.5, 1 / number)
        self.write(folder)
        lines = [f"{self.pieces[number]} {number} -0.5 {1 / number!r}\n" for number in known]
        (folder / "glyphs.txt").write_text(f"{len(lines)} 3\n" + "".join(lines))

    def write(self, folder: Path) -> None:
        lines = [f"{piece}\t{int(number)}\n" for piece, number in zip(self.pieces, self.pinyin) if number]
        (folder / "pinyin.tsv").write_text("".join(lines))

    def arguments(self, **changes) -> list[str]:
        changes = SMALL | {"text.vocab_file": self.vocab} | changes
        return [*tiny.arguments(self.corpus), *(f"--config.{key}={value}" for key, value in changes.items())]

    def config(self, **changes):
        return configs.load(str(self.folder / "config.py"), self.arguments(**changes))


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return Files(tmp_path_factory.mktemp("files"))


@pytest.fixture(scope="module")
def trained(files, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("trained")
    assert run.train(files.config(), workdir, quiet=True)
    return workdir


@pytest.fixture
def copied(trained, tmp_path):
    return shutil.copytree(trained, tmp_path / "W")


def features_of(workdir: Path) -> dict:
    return open_trained(workdir).params["encoder"]["embeddings"]["features"]


def test_what_the_files_say_is_taken_along_and_neither_learned_nor_decayed(files, trained):
    found = features_of(trained)
    np.testing.assert_array_equal(found["pinyin_of_piece"]["given"], files.pinyin.astype(np.float32))
    np.testing.assert_array_equal(found["glyph_of_piece"]["given"], files.glyphs.astype(np.float32))
    assert set(found) == {"glyph", "glyph_of_piece", "pinyin", "pinyin_of_piece"}


def test_a_resumed_run_ends_as_one_that_was_not_interrupted_though_the_files_moved(files, trained, copied, tmp_path):
    shutil.rmtree(copied / "checkpoints" / "4")
    moved = shutil.copyfile(files.folder / "pinyin.tsv", tmp_path / "moved.tsv")
    assert run.train(files.config(**{"model.features.pinyin.file": moved}), copied, quiet=True)
    jax.tree.map(np.testing.assert_array_equal, open_trained(copied).params, open_trained(trained).params)


def test_a_changed_file_is_refused(files, copied, tmp_path, capsys):
    changed = tmp_path / "changed.tsv"
    changed.write_text((files.folder / "pinyin.tsv").read_text().replace("\t5\n", "\t4\n", 1))
    more = files.arguments(**{"train.num_train_steps": 6, "model.features.pinyin.file": changed})
    assert main(["train", f"--config={files.folder}/config.py", f"--workdir={copied}", *more]) == 2
    assert "the files of model.features do not say what the checkpoint was trained with" in capsys.readouterr().err


def test_a_file_where_there_was_none_is_refused_and_the_other_way_round():
    for facts, now in (({"features": "ab" * 32}, {}), ({}, {"features": "ab" * 32})):
        with pytest.raises(UserError, match="content none"):
            workdirs.same_features(facts, now)
    workdirs.same_features({}, {})


def test_a_wrong_file_ends_with_exit_code_2_before_anything_is_trained(files, tmp_path, capsys):
    (tmp_path / "wrong.tsv").write_text("the\t1\nno such piece\t2\n")
    wrong = files.arguments(**{"model.features.pinyin.file": tmp_path / "wrong.tsv"})
    assert main(["train", f"--config={files.folder}/config.py", f"--workdir={tmp_path}/W", *wrong]) == 2
    assert f"{tmp_path}/wrong.tsv, line 2, says nothing of a piece" in capsys.readouterr().err
    assert not (tmp_path / "W" / "checkpoints").exists()


def test_the_workdir_is_of_use_when_the_files_are_gone(files, copied, data, tmp_path, capsys):  # noqa: F811
    away = tmp_path / "away"
    away.mkdir()
    names = ("pinyin.tsv", "glyphs.txt")
    for name in names:
        (files.folder / name).rename(away / name)
    try:
        assert main(["predict", f"--workdir={copied}", "--text=the cat sees [MASK] fish ."]) == 0
        assert [len(mask) for mask in json.loads(capsys.readouterr().out)["masks"]] == [5]
        assert main(["evaluate", f"--workdir={copied}"]) == 0
        assert main(["replay", f"--workdir={copied}", "--step=4", "--rows=1"]) == 0
        assert finetune.finetune(load(copied, data), tmp_path / "F", quiet=True)["status"] == "done"
    finally:
        for name in names:
            (away / name).rename(files.folder / name)
    tuned, before = features_of(tmp_path / "F"), features_of(copied)
    for name in ("pinyin_of_piece", "glyph_of_piece"):
        np.testing.assert_array_equal(tuned[name]["given"], before[name]["given"])
    assert (tuned["pinyin"]["embedding"] != before["pinyin"]["embedding"]).any()
    with pytest.raises(UserError, match="no class of transformers computes what this model does"):
        convert.take_out(copied, tmp_path / "out", num_strings=10, say=str)


def test_a_run_that_starts_from_it_with_more_pieces_reads_the_files_anew(files, trained, tmp_path):
    (tmp_path / "words.txt").write_text("zebrafish\n")
    pinyin = shutil.copyfile(files.folder / "pinyin.tsv", tmp_path / "pinyin.tsv")
    with open(pinyin, "a") as file:
        file.write("zebrafish\t8\n")
    changes = {"text.vocab_file": "", "init_checkpoint": trained, "text.new_words": tmp_path / "words.txt"}
    config = files.config(**changes, **{"model.features.pinyin.file": pinyin, "train.num_train_steps": 1})
    assert run.train(config, tmp_path / "W", quiet=True)
    found = features_of(tmp_path / "W")
    assert found["pinyin_of_piece"]["given"].tolist() == [*files.pinyin, 8]
    assert (found["glyph_of_piece"]["given"][-1] == 0).all()


def test_a_run_whose_model_knows_nothing_of_pieces_does_not_go_on_as_one_that_does(files, copied):
    with pytest.raises(UserError, match="holds a run with another config"):
        run.train(tiny.config(files.corpus), copied, quiet=True)
