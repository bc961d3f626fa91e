from dataclasses import replace

import numpy as np
import pytest

from bert_jax.data import plans
from bert_jax.data.plans import MODES, PlanConfig, RowMode, build_plan
from tests.data.small import split_of

CONFIG = PlanConfig(rows="pairs", max_seq_length=16, short_seq_prob=0.1, max_examples_per_row=1, seed=0, duplicate=0)
SPLIT = split_of([[3, 4, 5, 6, 2] * 4, [7, 1, 2] * 9, [4] * 20])


def test_files_are_used_again_and_every_setting_makes_another_plan(tmp_path):
    first = build_plan(SPLIT, CONFIG, tmp_path)
    files = sorted(tmp_path.iterdir())
    again = build_plan(SPLIT, CONFIG, tmp_path)
    assert sorted(tmp_path.iterdir()) == files and len(files) == 3
    assert all(np.array_equal(one, other) for one, other in zip(first, again))
    for change in ({"duplicate": 1}, {"seed": 1}, {"max_seq_length": 20}, {"short_seq_prob": 1.0}, {"rows": "sop"}):
        assert not np.array_equal(build_plan(SPLIT, replace(CONFIG, **change), tmp_path).stretches, first.stretches)
    packed = build_plan(SPLIT, replace(CONFIG, max_examples_per_row=4, max_seq_length=40), tmp_path)
    assert np.diff(first.row_offsets).max() == 2 < np.diff(packed.row_offsets).max()


def test_where_nothing_is_drawn_all_duplicates_share_one_plan(tmp_path):
    for duplicate in range(3):
        build_plan(SPLIT, replace(CONFIG, rows="doc_sentences", short_seq_prob=0.0, duplicate=duplicate), tmp_path)
    assert len(list(tmp_path.iterdir())) == 3


@pytest.mark.parametrize("part", ["stretches.npy", "rows.npy", ".sha256"])
@pytest.mark.parametrize("damage", ["flip", "cut", "delete"])
def test_a_plan_that_is_not_as_it_was_written_is_built_anew(part, damage, tmp_path):
    build_plan(SPLIT, CONFIG, tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    (path,) = (path for path in tmp_path.iterdir() if path.name.endswith(part))
    content = path.read_bytes()
    path.unlink()
    if damage == "flip":
        path.write_bytes(content[:-9] + bytes([content[-9] ^ 1]) + content[-8:])
    elif damage == "cut":
        path.write_bytes(content[:-8])
    build_plan(SPLIT, CONFIG, tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize("most", [1, 3])
@pytest.mark.parametrize("mode", MODES)
def test_the_rows_of_a_plan_are_whole_examples(mode, most, tmp_path):
    config = replace(CONFIG, rows=mode, short_seq_prob=0.0, max_seq_length=40, max_examples_per_row=most)
    stretches, offsets = build_plan(SPLIT, config, tmp_path)
    assert offsets[0] == 0 and offsets[-1] == len(stretches) and (np.diff(offsets) > 0).all()
    opens = stretches[:, 2] & 1
    assert opens[offsets[:-1]].all() and np.add.reduceat(opens, offsets[:-1]).max() <= most
    assert (np.add.reduceat(stretches[:, 1] + 1 + opens, offsets[:-1]) <= 40).all()


def test_a_plan_that_fails_leaves_no_file(tmp_path, monkeypatch):
    def fail(*_):
        yield np.array([[0, 2, 1]])
        raise KeyboardInterrupt

    monkeypatch.setitem(plans.MODES, "pairs", RowMode(fail, True))
    with pytest.raises(KeyboardInterrupt):
        build_plan(SPLIT, CONFIG, tmp_path)
    assert list(tmp_path.iterdir()) == []
