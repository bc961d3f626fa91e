"""Saved is saved: what comes back is verified, and a damaged checkpoint is passed over for the one before."""

import hashlib
import json
import os
import shutil
from types import SimpleNamespace

import numpy as np
import pytest

from bert_jax.checkpoint import Checkpoints, checksums
from bert_jax.errors import UserError

VALUES = np.arange(5000, dtype=np.float32)


def tree(step):
    return {"w": VALUES + step, "step": np.int32(step)}


@pytest.fixture
def saved(tmp_path):
    """Steps 1 and 2, closed."""
    checkpoints = Checkpoints(tmp_path / "c", keep=5)
    for step in (1, 2):
        checkpoints.save(step, tree(step), {"vocabulary": "v", "rows_consumed": 8 * step})
    checkpoints.wait()
    checkpoints.close()
    return tmp_path / "c"


def restore(folder, like=None, **options):
    said = []
    checkpoints = Checkpoints(folder, keep=5)
    try:
        return checkpoints.restore(like or tree(0), say=said.append, **options), said
    finally:
        checkpoints.close()


def array_files(folder):
    paths = [os.path.join(root, name) for root, _, names in os.walk(folder / "state") for name in names]
    return sorted(paths, key=os.path.getsize)


def test_the_newest_comes_back_whole(saved):
    (step, state, facts), said = restore(saved)
    assert (step, facts, said) == (2, {"vocabulary": "v", "rows_consumed": 16, "step": 2}, [])
    np.testing.assert_array_equal(state["w"], VALUES + 2)


def test_an_empty_folder_gives_nothing(tmp_path):
    assert restore(tmp_path / "none") == (None, [])


def flip(path):
    data = bytearray(open(path, "rb").read())
    data[len(data) // 2] ^= 1
    open(path, "wb").write(data)


def swap(first, second):
    os.rename(first, "swap")
    os.rename(second, first)
    os.rename("swap", second)


DAMAGES = {
    "one flipped bit": lambda folder: flip(array_files(folder)[-1]),
    "one flipped bit in the smallest file": lambda folder: flip(array_files(folder)[0]),
    "a truncated file": lambda folder: os.truncate(array_files(folder)[-1], 10),
    "a deleted file": lambda folder: os.remove(array_files(folder)[-1]),
    "a file of the step before": lambda folder: swap(folder / "facts" / "metadata", folder.parent / "1" / "facts" / "metadata"),
    "a seal that says something else": lambda folder: (folder / "seal.json").write_text('{"state/d": "0"}'),
    "a seal that is no JSON": lambda folder: (folder / "seal.json").write_bytes(b"\xff"),
    "an emptied folder": lambda folder: [os.rename(folder, f"{folder}-away"), os.mkdir(folder)],
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_newest_is_named_and_passed_over(saved, damage, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    if damage == "a file of the step before":
        shutil.copytree(saved / "1", saved / "0")
    DAMAGES[damage](saved / "2")
    (step, state, _), said = restore(saved)
    assert step == (0 if damage == "a file of the step before" else 1)
    np.testing.assert_array_equal(state["w"], VALUES + 1)
    assert len(said) == 2 - step and said[0].startswith("checkpoint step 2: ")


def test_a_save_that_was_not_sealed_does_not_count(saved):
    os.remove(saved / "2" / "seal.json")
    (step, _, _), said = restore(saved)
    assert (step, said) == (1, ["checkpoint step 2: it is not sealed: its save was not finished; trying the one before"])


def test_arrays_that_do_not_come_back_as_they_were_are_noticed_even_when_the_files_are_whole(saved):
    facts = saved / "2" / "facts" / "metadata"
    facts.write_text(facts.read_text().replace(checksums(tree(2))["['w']"], "0" * 64))
    seal = saved / "2" / "seal.json"
    sealed = json.loads(seal.read_text())
    seal.write_text(json.dumps(sealed | {"facts/metadata": hashlib.sha256(facts.read_bytes()).hexdigest()}))
    (step, _, _), said = restore(saved)
    assert step == 1 and "checksum of ['w']" in said[0]


def test_a_disk_without_room_is_refused_before_anything_is_written(saved, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda folder: SimpleNamespace(free=40_000))
    checkpoints = Checkpoints(saved, keep=5)
    with pytest.raises(UserError, match="No space left: 40,000 bytes free, 16,797,220 needed"):
        checkpoints.save(3, tree(3), {})
    checkpoints.close()
    assert sorted(os.listdir(saved)) == ["1", "2"]


def test_after_walking_back_the_damaged_step_can_be_saved_again(saved):
    flip(array_files(saved / "2")[-1])
    checkpoints = Checkpoints(saved, keep=5)
    checkpoints.restore(tree(0), say=lambda line: None)
    checkpoints.save(2, tree(2), {})
    checkpoints.wait()
    checkpoints.close()
    (step, _, _), said = restore(saved)
    assert (step, said) == (2, [])


def test_who_only_reads_deletes_nothing(saved):
    """Neither a damaged step nor the save that another process has under way."""
    flip(array_files(saved / "2")[-1])
    (saved / "6.orbax-checkpoint-tmp").mkdir()
    reader = Checkpoints(saved, keep=1, read_only=True)
    step, _, _ = reader.restore(tree(0), say=lambda line: None)
    reader.close()
    assert step == 1 and sorted(os.listdir(saved)) == ["1", "2", "6.orbax-checkpoint-tmp"]


def test_who_only_reads_makes_no_folder(tmp_path):
    reader = Checkpoints(tmp_path / "none", keep=1, read_only=True)
    assert reader.restore(tree(0), say=lambda line: None) is None and not list(tmp_path.iterdir())
    reader.close()


def test_the_best_is_still_known_to_a_process_that_goes_on(tmp_path):
    for steps in ({1: 3.0, 2: 1.0, 3: 2.0}, {4: 2.5, 5: None}):
        checkpoints = Checkpoints(tmp_path / "c", keep=1)
        for step, loss in steps.items():
            checkpoints.save(step, tree(step), {}, cost=loss)
        checkpoints.wait()
        checkpoints.close()
    assert sorted(os.listdir(tmp_path / "c")) == ["2", "5"]


def test_a_disk_that_does_not_give_a_checkpoint_out_costs_none(saved, monkeypatch):
    def refuse(path):
        raise PermissionError(13, "Permission denied", str(path))

    with monkeypatch.context() as patched:
        patched.setattr("bert_jax.checkpoint._file_hash", refuse)
        with pytest.raises(UserError, match="step 2 cannot be read"):
            restore(saved)
    (step, _, _), said = restore(saved)
    assert (step, said) == (2, [])


@pytest.mark.parametrize("keep", [1, 2])
def test_the_newest_and_the_best_are_kept(tmp_path, keep):
    checkpoints = Checkpoints(tmp_path / "c", keep=keep)
    for step, loss in enumerate((3.0, 1.0, None, 2.0, float("nan"), None), start=1):
        checkpoints.save(step, tree(step), {}, cost=loss)
    checkpoints.wait()
    checkpoints.close()
    assert sorted(os.listdir(tmp_path / "c")) == ["2", *"56"[-keep:]]
    (step, _, _), said = restore(tmp_path / "c", at_most=4)
    assert (step, said) == (2, [])


def test_a_damaged_newest_never_pushes_out_a_good_one(saved):
    flip(array_files(saved / "2")[-1])
    checkpoints = Checkpoints(saved, keep=1)
    checkpoints.restore(tree(0), say=lambda line: None)
    checkpoints.save(2, tree(2), {})
    checkpoints.close()
    (step, _, _), said = restore(saved)
    assert (step, said) == (2, [])


def test_when_nothing_is_usable_it_says_so_and_starts_nothing(saved):
    for step in "12":
        flip(array_files(saved / step)[-1])
    with pytest.raises(UserError, match="no checkpoint under .* can be restored"):
        restore(saved)


def test_another_model_is_refused(saved):
    with pytest.raises(UserError, match="no checkpoint"):
        restore(saved, like={"w": np.zeros(7, np.float32), "step": np.int32(0)})


def test_a_refusal_of_the_facts_reaches_the_user_and_deletes_nothing(saved):
    def accept(facts):
        raise UserError("another vocabulary")

    with pytest.raises(UserError, match="another vocabulary"):
        restore(saved, accept=accept)
    assert sorted(os.listdir(saved)) == ["1", "2"]


def test_checksums_tell_dtype_and_shape_apart():
    zeros = np.zeros(4, np.float32)
    found = {checksums({"a": array})["['a']"] for array in (zeros, zeros.view(np.int32), zeros.reshape(2, 2), zeros + 1)}
    assert len(found) == 4
