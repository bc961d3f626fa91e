"""Batches spoiled in one way each: the audit names it. Batches as they should be: it finds nothing."""

from dataclasses import replace
from itertools import islice

import numpy as np
import pytest

from bert_jax.data import audit, loader
from bert_jax.data.audit import Audit
from bert_jax.data.loader import Loader, LoaderConfig, Phase
from bert_jax.data.masking import MaskRule, mask_rows
from bert_jax.data.rows import read_rows
from tests.data.small import TWELVE, make_store

STEPS = 60
PHASE = Phase(first_step=0, max_seq_length=24, max_predictions_per_seq=4, batch_size=16)
CONFIG = LoaderConfig((PHASE,), short_seq_prob=0.1, dupe_factor=2, seed=0)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    rng = np.random.default_rng(3)
    documents = [
        [" ".join(rng.choice(list("abcdef"), rng.integers(2, 12))) for _ in range(rng.integers(2, 13))] for _ in range(200)
    ]
    return make_store(tmp_path_factory.mktemp("data") / "store", documents)


def found(store, folder, config: LoaderConfig = CONFIG, steps: int = STEPS) -> list[str]:
    """What the audit of so many batches says is wrong."""
    batches = Loader(store.train, TWELVE, config, folder)
    audited = Audit(batches)
    for _ in islice(audited.watched(batches.iterate(), 0), steps):
        pass
    for finding in audited.findings():
        assert all(finding) and finding.line().startswith(finding.what)
    return [finding.what for finding in audited.findings()]


@pytest.mark.parametrize(
    "changes",
    [
        *({"seed": seed} for seed in range(5)),
        {"rows": "sop"},
        {"rows": "segments", "max_examples_per_row": 3},
        {"rows": "full_sentences", "short_seq_prob": 0.0},
        {"rows": "sentences", "short_seq_prob": 0.0},
        {"max_examples_per_row": 4, "mask": MaskRule(mask_unit="whole_word")},
        {"mask": MaskRule(mask_unit="span"), "masks": "static"},
        {"mask": MaskRule(mask_unit="ngram", masked_lm_prob=0.3, mask_token_prob=0.5, random_token_prob=0.5)},
        {"phases": (Phase(0, 12, 2, 8), Phase(20, 24, 6, 32))},
        {"mask": MaskRule(masked_lm_prob=1.0, mask_token_prob=0.0, random_token_prob=0.0)},  # left to right
    ],
    ids=str,
)
def test_nothing_is_found_where_nothing_is_wrong(store, tmp_path, changes):
    assert found(store, tmp_path, replace(CONFIG, **changes)) == []


def test_the_share_of_a_process_is_looked_at_as_well(store, tmp_path):
    batches = Loader(store.train, TWELVE, CONFIG, tmp_path)
    place = {"process_index": 1, "process_count": 4}
    audited = Audit(batches)
    for _ in islice(audited.watched(batches.iterate(**place), 0, **place), STEPS):
        pass
    assert audited.findings() == [] and audited._seen["rows"] == 4 * (audit.AT_START + 1)


def of_rows(change):
    return "read_rows", lambda *arguments: change(read_rows(*arguments))


def of_masks(change):
    """change: (function, arguments, named arguments) -> masked rows."""
    return "mask_rows", lambda *arguments, **named: change(*arguments, **named)


def with_specials(input_ids, candidates, begins_word, lengths, *others, **named):
    candidates = np.arange(input_ids.shape[1]) < lengths[:, None]
    return mask_rows(input_ids, candidates, begins_word, lengths, *others, **named)


def by_rule(**changes):
    def masked(ids, candidates, begins_word, lengths, rows, key, rule, **named):
        return mask_rows(ids, candidates, begins_word, lengths, rows, key, replace(rule, **changes), **named)

    return masked


def with_other_labels(*arguments, **named):
    right = mask_rows(*arguments, **named)
    return right._replace(masked_lm_ids=np.where(right.masked_lm_weights > 0, right.masked_lm_ids % 6 + 5, 0).astype(np.int32))


def filled_with(piece: int):
    return lambda rows: rows._replace(input_ids=np.where(rows.input_mask > 0, rows.input_ids, piece).astype(np.int32))


def with_other_text(rows):
    return rows._replace(input_ids=np.where(rows.is_text & (rows.input_ids == 6), 7, rows.input_ids).astype(np.int32))


SPOILED = {
    "padding and input_mask disagree": [
        of_rows(filled_with(7)),
        of_rows(lambda rows: rows._replace(input_mask=np.ones_like(rows.input_mask))),
    ],
    "special pieces are masked": [of_masks(with_specials)],
    "another share of the pieces is masked than data.masked_lm_prob": [
        of_masks(by_rule(masked_lm_prob=0.05)),
        of_masks(by_rule(masked_lm_prob=0.25)),
    ],
    "another share of the masked pieces than asked for become [MASK]": [
        of_masks(by_rule(mask_token_prob=0.6, random_token_prob=0.3))
    ],
    "another share of the masked pieces than asked for stay as they are": [of_masks(by_rule(random_token_prob=0.2))],
    "what is to be predicted is not what was hidden": [of_masks(with_other_labels)],
    "rows are not the text of the store": [of_rows(with_other_text)],
    "labels of pairs are inverted": [of_rows(lambda rows: rows._replace(labels=1 - rows.labels))],
    "labels of pairs are wrong": [of_rows(lambda rows: rows._replace(labels=np.ones_like(rows.labels)))],
}


@pytest.mark.parametrize(("what", "function", "spoiled"), [(what, *way) for what, ways in SPOILED.items() for way in ways])
def test_a_spoiled_batch_is_named(store, tmp_path, monkeypatch, what, function, spoiled):
    monkeypatch.setattr(loader, function, spoiled)
    assert what in found(store, tmp_path)


def test_rows_in_the_order_of_the_text_are_named(store, tmp_path, monkeypatch):
    monkeypatch.setattr(loader.keyed, "permute", lambda index, size, key: index)
    assert found(store, tmp_path) == ["rows are not shuffled"]


def test_rows_shuffled_in_a_small_buffer_are_named(store, tmp_path, monkeypatch):
    """As a stream is shuffled that does not fit into memory: 64 rows at a time."""
    monkeypatch.setattr(loader.keyed, "permute", lambda index, size, key: np.minimum(index ^ (index * 37 % 64), size - 1))
    assert found(store, tmp_path) == ["rows are not shuffled"]


def test_a_line_again_and_again_is_named(tmp_path):
    store = make_store(tmp_path / "store", [["a b c d e f a c e b d f a"] * lines for lines in range(2, 40)])
    assert "the text repeats itself" in found(store, tmp_path)


def test_pairs_that_are_nearly_all_random_are_named(tmp_path):
    rng = np.random.default_rng(0)
    store = make_store(tmp_path / "store", [[" ".join(rng.choice(list("abcdef"), 9))] for _ in range(900)])
    wide = replace(CONFIG, phases=(PHASE._replace(batch_size=64),))
    assert found(store, tmp_path, wide) == ["the labels of pairs are out of balance"]


def test_the_bound_on_rows_near_together_holds():
    """Two of ten rows are neighbours in 18 of 90 ways; three lie within three places in 48 of 720."""
    for rows, share in ((np.array([4, 5]), 18 / 90), (np.array([4, 6, 5]), 48 / 720)):
        assert share <= audit._order(0, rows, 10).chance <= 2.3 * share
