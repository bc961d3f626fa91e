import hashlib
import threading
from dataclasses import replace

import numpy as np
import pytest

from bert_jax import batch as contract
from bert_jax.data.features import Wanted
from bert_jax.data.loader import (
    Loader,
    LoaderConfig,
    Phase,
    batch_shapes,
    evaluation_batches,
    majority_baseline,
    unigram_baseline,
)
from bert_jax.data.masking import MaskRule
from bert_jax.data.plans import MODES
from bert_jax.errors import UserError
from tests.data.small import TWELVE, make_store, split_of

PHASE = Phase(first_step=0, max_seq_length=16, max_predictions_per_seq=3, batch_size=8)
CONFIG = LoaderConfig((PHASE,), short_seq_prob=0.1, dupe_factor=2, seed=0)


def shaped(**changes) -> LoaderConfig:
    return replace(CONFIG, phases=(PHASE._replace(**changes),))


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return make_store(tmp_path_factory.mktemp("data") / "store")


@pytest.fixture
def loader(store, tmp_path):
    return Loader(store.train, TWELVE, CONFIG, tmp_path)


def digest(batch) -> str:
    return hashlib.sha256(b"".join(name.encode() + batch[name].tobytes() for name in sorted(batch))).hexdigest()


def originals(batch) -> list[bytes]:
    """The rows as they were before masking."""
    ids = batch["input_ids"].copy()
    row, slot = np.nonzero(batch["masked_lm_weights"])
    ids[row, batch["masked_lm_positions"][row, slot]] = batch["masked_lm_ids"][row, slot]
    return [line.tobytes() for line in ids]


def test_a_batch_keeps_the_contract(loader):
    batch = loader.batch(0)
    contract.check(batch)
    packed_only = {"sequence_ids", "position_ids", "cls_positions"}
    of_tasks = {"label_ids", "label_values", "label_weights", "word_ids", "start_positions", "end_positions"}
    assert set(batch) == set(contract.FIELDS) - of_tasks - packed_only
    assert batch["input_ids"].shape == (8, 16) and batch["masked_lm_ids"].shape == (8, 3)
    assert (batch["next_sentence_weights"] == 1).all()


@pytest.mark.parametrize(
    "settings",
    [{}, {"rows": "sentences"}, {"max_examples_per_row": 3}, {"rows": "sentences", "max_examples_per_row": 3}]
    + [{"features": (Wanted("word_place", 5),)}],
    ids=str,
)
def test_the_shapes_of_a_batch_are_known_without_text(settings, store, tmp_path):
    config = replace(CONFIG, short_seq_prob=0.0, **settings)
    found = Loader(store.train, TWELVE, config, tmp_path).batch(0)
    assert batch_shapes(config, PHASE) == {name: (array.shape, str(array.dtype)) for name, array in found.items()}


def test_rows_are_built_as_bert_builds_them(loader):
    for step in range(5):
        batch = loader.batch(step)
        real = batch["input_mask"] == 1
        assert (batch["input_ids"][:, 0] == TWELVE.cls_id).all()
        assert (batch["input_ids"][~real] == TWELVE.pad_id).all()
        assert (np.diff(batch["input_mask"]) <= 0).all()
        row, slot = np.nonzero(batch["masked_lm_weights"])
        assert not np.isin(batch["masked_lm_ids"][row, slot], [TWELVE.pad_id, TWELVE.cls_id, TWELVE.sep_id]).any()
        for original, length in zip(originals(batch), real.sum(axis=1)):
            ids = np.frombuffer(original, np.int32)
            assert (ids == TWELVE.sep_id).sum() == 2 and ids[length - 1] == TWELVE.sep_id
        ends_a = np.array([np.flatnonzero(np.frombuffer(o, np.int32) == TWELVE.sep_id)[0] for o in originals(batch)])
        expected = (np.arange(16) > ends_a[:, None]) & real
        assert np.array_equal(batch["segment_ids"], expected)


def test_label_zero_is_the_true_next_sentence(store, tmp_path):
    loader = Loader(store.train, TWELVE, shaped(max_seq_length=40), tmp_path)
    text = store.train.tokens(np.arange(store.train.num_tokens)).tolist()
    joined = ",".join(map(str, text)) + ","
    checked = 0
    for step in range(20):
        batch = loader.batch(step)
        for original, label, length in zip(originals(batch), batch["next_sentence_labels"], batch["input_mask"].sum(axis=1)):
            ids = np.frombuffer(original, np.int32)[:length].tolist()
            middle = ids.index(TWELVE.sep_id)
            if label == 0 and length < 40:  # nothing was cut off, so B follows A in the text
                assert ",".join(map(str, ids[1:middle] + ids[middle + 1 : -1])) + "," in joined
                checked += 1
    assert checked > 20


def test_an_epoch_holds_each_row_once_and_its_order_is_shuffled(loader):
    steps = [loader.batch(step) for step in range(loader.num_rows // 8)]
    seen = [row for batch in steps for row in originals(batch)]
    everything = [row for batch in evaluation(loader, 10**6) for row in originals(batch)][: loader.num_rows]
    assert len(seen) > 50 and sorted(seen) != seen
    missing = list(everything)
    for row in seen:
        missing.remove(row)  # fails if a row comes more often than the plan has it
    assert len(missing) == loader.num_rows % 8


def evaluation(loader, num_rows, process=(0, 1), **changes):
    config = replace(loader.config, phases=(PHASE._replace(**changes),))
    where = {"process_index": process[0], "process_count": process[1]}
    return evaluation_batches(loader.split, TWELVE, config, loader.plans_folder, num_rows, **where)


def test_a_batch_may_straddle_two_epochs(loader):
    wide = Loader(loader.split, TWELVE, shaped(batch_size=loader.num_rows + 3), loader.plans_folder)
    narrow = Loader(loader.split, TWELVE, shaped(batch_size=1), loader.plans_folder)
    batch = wide.batch(0)
    for place in (0, loader.num_rows - 1, loader.num_rows, loader.num_rows + 2):
        single = narrow.batch(place)
        assert all(np.array_equal(batch[name][place : place + 1], single[name]) for name in batch)


def test_masks_change_from_epoch_to_epoch_though_the_pairing_returns(loader):
    one = replace(shaped(batch_size=loader.num_rows), dupe_factor=1)
    first, second = (Loader(loader.split, TWELVE, one, loader.plans_folder).batch(step) for step in (0, 1))
    assert sorted(originals(first)) == sorted(originals(second))
    assert originals(first) != originals(second)
    assert sorted(row.tobytes() for row in first["input_ids"]) != sorted(row.tobytes() for row in second["input_ids"])


def test_epochs_go_round_the_pairings(loader):
    sizes = [loader._plan(0, duplicate).num_rows for duplicate in (0, 1)]
    assert not np.array_equal(loader._plan(0, 0).stretches, loader._plan(0, 1).stretches)
    total = sum(sizes)
    places = [0, sizes[0] - 1, sizes[0], total - 1, total, total + sizes[0], 5 * total + 1]
    assert [loader._locate(0, place) for place in places] == [
        (0, 0), (0, sizes[0] - 1), (1, 0), (1, sizes[1] - 1), (2, 0), (3, 0), (10, 1),
    ]  # fmt: skip


def test_the_documents_of_a_batch_hold_its_text(store, loader):
    split = store.train
    pieces = split.tokens(np.arange(split.num_tokens))
    bounds = split.sentence_offsets[split.document_offsets]
    for step in (0, 1, 40):
        documents = loader.documents(step)
        assert documents == sorted(set(documents)) and 1 < len(documents) <= 2 * CONFIG.phases[0].batch_size
        texts = [pieces[bounds[document] : bounds[document + 1]].tobytes() for document in documents]
        batch = loader.batch(step)
        for row, original in enumerate(originals(batch)):
            ids = np.frombuffer(original, np.int32)
            for segment in (0, 1):
                side = ids[(batch["segment_ids"][row] == segment) & (batch["input_mask"][row] == 1)]
                side = side[~np.isin(side, [TWELVE.cls_id, TWELVE.sep_id])]
                assert any(side.tobytes() in text for text in texts)


def test_the_rows_of_the_processes_are_disjoint_and_together_those_of_the_batch(loader):
    for step in (0, 3, 39):
        whole, batch = loader.rows(step), loader.batch(step)
        assert len(set(whole)) == len(whole) and [row for _, row in whole] == batch["example_id"].tolist()
        assert sum([loader.rows(step, index, 4) for index in range(4)], []) == whole
    epochs = [epoch for step in range(200) for epoch, _ in loader.rows(step)]
    assert epochs == sorted(epochs) and epochs[-1] > 2


def test_seeking_gives_what_reading_on_gives(store, tmp_path):
    reading = Loader(store.train, TWELVE, CONFIG, tmp_path / "a")
    digests = [digest(reading.batch(step)) for step in range(40)]
    for step in (0, 7, 39, 20):
        assert digest(Loader(store.train, TWELVE, CONFIG, tmp_path / "b").batch(step)) == digests[step]
    assert len(set(digests)) == 40


def test_iterating_gives_the_batches_from_the_start_step_on(loader):
    batches = loader.iterate(5)
    assert [digest(next(batches)) for _ in range(4)] == [digest(loader.batch(step)) for step in range(5, 9)]
    batches.close()


def test_closing_the_iterator_ends_its_thread(loader):
    before = threading.active_count()
    batches = loader.iterate(prefetch=1)
    next(batches)
    assert threading.active_count() == before + 1
    batches.close()
    assert threading.active_count() == before


def test_an_error_in_the_thread_is_raised_in_the_caller(loader):
    batches = loader.iterate(process_count=3)
    with pytest.raises(UserError, match="does not divide"):
        next(batches)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("batches")]


@pytest.mark.parametrize("count", [1, 2, 4, 8])
def test_any_number_of_processes_sees_the_same_rows(loader, count):
    for step in (0, 11):
        whole = loader.batch(step)
        parts = [loader.batch(step, index, count) for index in range(count)]
        assert digest({name: np.concatenate([part[name] for part in parts]) for name in whole}) == digest(whole)
        parts = [list(evaluation(loader, 13, process=(index, count))) for index in range(count)]
        joined = [{name: np.concatenate([part[name] for part in slices]) for name in slices[0]} for slices in zip(*parts)]
        assert [digest(batch) for batch in joined] == [digest(batch) for batch in evaluation(loader, 13)]


def test_a_batch_that_does_not_divide_is_refused(loader):
    with pytest.raises(UserError, match="8 rows over 3 processes"):
        loader.batch(0, 0, 3)
    with pytest.raises(UserError, match="8 rows over 3 processes"):
        list(evaluation(loader, 13, process=(0, 3)))


def test_seeds_draw_other_rows(loader):
    other = Loader(loader.split, TWELVE, replace(CONFIG, seed=1), loader.plans_folder)
    assert originals(other.batch(0)) != originals(loader.batch(0))


def test_evaluation_rows_and_masks_are_fixed_and_the_last_batch_is_filled_with_weight_zero(loader):
    batches = list(evaluation(loader, 13))
    assert [digest(batch) for batch in batches] == [digest(batch) for batch in evaluation(loader, 13)]
    for batch in batches:
        contract.check(batch)
    assert [batch["next_sentence_weights"].tolist() for batch in batches] == [[1] * 8, [1] * 5 + [0] * 3]
    assert not batches[1]["input_mask"][5:].any() and batches[1]["input_mask"][:5, 0].all()
    assert not batches[1]["masked_lm_weights"][5:].any() and batches[1]["masked_lm_weights"][:5].any(axis=1).all()


def test_evaluation_does_not_depend_on_the_batch_size(loader):
    def rows(batch_size: int) -> list[bytes]:
        batches = list(evaluation(loader, 13, batch_size=batch_size))
        return [b["input_ids"][i].tobytes() for b in batches for i in np.flatnonzero(b["next_sentence_weights"])]

    assert len(rows(8)) == 13 and rows(8) == rows(3) == rows(13)


def test_evaluation_takes_every_row_once_where_there_are_fewer_than_asked_for(loader):
    weights = [batch["next_sentence_weights"].sum() for batch in evaluation(loader, 10**6)]
    assert sum(weights) == loader.num_rows


def test_the_unigram_baseline_by_hand():
    counts = np.array([0, 2, 5, 1])  # with one added: 1, 3, 6, 2 of 12
    batch = {"masked_lm_ids": np.array([[2, 0, 0], [1, 0, 3]]), "masked_lm_weights": np.array([[1, 1, 0], [1, 0, 0]])}
    expected = -(np.log(6 / 12) + np.log(1 / 12) + np.log(3 / 12)) / 3  # piece 0 is a target, unused slots are not
    assert unigram_baseline(counts, [batch]) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    "name, value",
    [
        ("short_seq_prob", -0.1),
        ("dupe_factor", 0),
        ("max_examples_per_row", 0),
        ("num_loader_threads", 0),
        ("rows", "lines"),
        ("masks", "frozen"),
    ],
)
def test_settings_out_of_range_are_refused_by_name(name, value):
    with pytest.raises(UserError, match=rf"{name}.*\n.*{value}"):
        replace(CONFIG, **{name: value})


@pytest.mark.filterwarnings("ignore:the split holds a single document")
def test_a_split_without_any_pair_is_refused(tmp_path):
    store = make_store(tmp_path / "store", [["a b c"], ["d"]])
    with pytest.raises(UserError, match="no row for data.rows=pairs"):
        list(evaluation_batches(store.held_out, TWELVE, CONFIG, tmp_path, 10))
    with pytest.raises(UserError, match="no row for data.rows=pairs"):
        Loader(store.train, TWELVE, CONFIG, tmp_path).batch(0)


@pytest.mark.parametrize("name, value", [("max_seq_length", 7), ("max_predictions_per_seq", 0), ("batch_size", 0)])
def test_phases_out_of_range_are_refused_by_name(name, value):
    with pytest.raises(UserError, match=rf"{name}.*\n.*{value}"):
        shaped(**{name: value})


@pytest.mark.parametrize("first_steps", [(1,), (0, 5, 5), (0, 9, 3)])
def test_phases_out_of_order_are_refused(first_steps):
    with pytest.raises(UserError, match="later_phases"):
        replace(CONFIG, phases=tuple(PHASE._replace(first_step=step) for step in first_steps))


def test_the_majority_baseline_counts_real_rows_only():
    batches = [
        {"next_sentence_labels": np.array([1, 1, 0], np.int32), "next_sentence_weights": np.array([1, 1, 1], np.float32)},
        {"next_sentence_labels": np.array([1, 0, 0], np.int32), "next_sentence_weights": np.array([1, 0, 0], np.float32)},
    ]
    assert majority_baseline(batches) == 0.75


@pytest.mark.parametrize("most", [1, 3])
@pytest.mark.parametrize("mode", MODES)
def test_batches_of_every_mode_keep_the_contract(store, tmp_path, mode, most):
    short = 0.1 if MODES[mode].in_pairs else 0.0
    config = replace(shaped(max_seq_length=32), rows=mode, max_examples_per_row=most, short_seq_prob=short)
    batch = Loader(store.train, TWELVE, config, tmp_path).batch(3)
    contract.check(batch)
    assert ("next_sentence_labels" in batch) == MODES[mode].in_pairs and ("sequence_ids" in batch) == (most > 1)
    row, slot = np.nonzero(batch["masked_lm_weights"])
    assert not np.isin(batch["masked_lm_ids"][row, slot], [TWELVE.pad_id, TWELVE.cls_id, TWELVE.sep_id]).any()
    if most > 1 and MODES[mode].in_pairs:
        assert batch["next_sentence_labels"].shape == (8, most)
        assert np.array_equal(batch["next_sentence_weights"].sum(axis=1), batch["sequence_ids"].max(axis=1))


@pytest.mark.parametrize("most", [1, 3])
def test_where_cls_stands_last_all_of_the_text_but_its_first_piece_can_be_predicted(store, tmp_path, most):
    config = replace(shaped(max_predictions_per_seq=16), max_examples_per_row=most, mask=MaskRule("token", 1.0, 0.0, 0.0))
    tokenizer = replace(TWELVE, cls_last=True)
    batch = Loader(store.train, tokenizer, config, tmp_path).batch(0)
    contract.check(batch)
    ids, length = batch["input_ids"], batch["input_mask"].sum(axis=1)
    assert (ids[np.arange(8), length - 1] == TWELVE.cls_id).all()
    predicted = np.zeros(ids.shape, bool)
    row, slot = np.nonzero(batch["masked_lm_weights"])
    predicted[row, batch["masked_lm_positions"][row, slot]] = True
    begins = ~np.roll(ids, 1, axis=1).astype(bool) | (np.roll(ids, 1, axis=1) == TWELVE.cls_id)
    begins[:, 0] = True
    assert np.array_equal(predicted, ~np.isin(ids, [TWELVE.pad_id, TWELVE.cls_id, TWELVE.sep_id]) & ~begins)
    assert np.array_equal(ids[predicted], batch["masked_lm_ids"][row, slot])  # nothing is hidden


@pytest.mark.parametrize(("unit", "expected"), [("whole_word", [2, 3]), ("span", [2, 3]), ("token", [1, 2, 3])])
def test_where_cls_stands_last_the_first_word_is_left_whole(tmp_path, unit, expected):
    """Rows f ##g a b [SEP] [CLS]: the rest of a word would else be hidden beside its beginning."""
    split = split_of([[5], [4]])  # the second document begins with f
    mask = MaskRule(unit, 1.0, 1.0, 0.0)
    config = replace(CONFIG, phases=(PHASE._replace(max_seq_length=8),), rows="segments", short_seq_prob=0.0, mask=mask)
    batch = Loader(split, replace(TWELVE, cls_last=True), config, tmp_path).batch(0)
    rows = [row for row, ids in enumerate(batch["input_ids"]) if ids[4] == TWELVE.sep_id]
    assert rows
    for row in rows:
        used = batch["masked_lm_weights"][row] > 0
        assert batch["masked_lm_positions"][row][used].tolist() == expected


def by_row(loader: Loader, epoch: int) -> dict[int, bytes]:
    """What stands at each row of the plan in this epoch, the batch being an epoch."""
    batch = loader.batch(epoch)
    return {int(row): ids.tobytes() for row, ids in zip(batch["example_id"], batch["input_ids"])}


def test_static_masks_return_with_their_pairing_and_dynamic_ones_do_not(store, tmp_path):
    config = replace(CONFIG, dupe_factor=1)
    size = Loader(store.train, TWELVE, config, tmp_path).num_rows
    dynamic, static = (
        Loader(store.train, TWELVE, replace(config, masks=masks, phases=(PHASE._replace(batch_size=size),)), tmp_path)
        for masks in ("dynamic", "static")
    )
    # The two differ in the masks alone: rows and order are the same, and so is the first epoch.
    assert digest(static.batch(0)) == digest(dynamic.batch(0))
    assert originals(static.batch(1)) == originals(dynamic.batch(1)) and digest(static.batch(1)) != digest(dynamic.batch(1))
    assert by_row(static, 0) == by_row(static, 1) == by_row(static, 2) and by_row(dynamic, 0) != by_row(dynamic, 1)


def test_static_masks_of_another_pairing_are_others(store, tmp_path):
    full = replace(CONFIG, rows="segments", short_seq_prob=0.0, masks="static")  # each pairing has the same rows
    size = Loader(store.train, TWELVE, full, tmp_path).num_rows
    loader = Loader(store.train, TWELVE, replace(full, phases=(PHASE._replace(batch_size=size),)), tmp_path)
    assert by_row(loader, 0) == by_row(loader, 2) and by_row(loader, 0).keys() == by_row(loader, 1).keys()
    assert by_row(loader, 0) != by_row(loader, 1)


def test_words_are_hidden_whole(store, tmp_path):
    continues = TWELVE.id_of["##g"]
    store = make_store(tmp_path / "store", [["ag bg c dgg e", "agg b cg"] * 4, ["fg", "a"], ["b"]], 0.3)
    split = max(store.train, store.held_out, key=lambda split: split.num_tokens)
    config = replace(CONFIG, rows="segments", short_seq_prob=0.0, mask=MaskRule(mask_unit="whole_word", masked_lm_prob=0.3))
    loader = Loader(split, TWELVE, config, tmp_path)
    for step in range(5):
        batch = loader.batch(step)
        ids = np.array([np.frombuffer(row, np.int32) for row in originals(batch)])
        hidden = np.zeros(batch["input_ids"].shape, bool)
        row, slot = np.nonzero(batch["masked_lm_weights"])
        hidden[row, batch["masked_lm_positions"][row, slot]] = True
        same_word = ids[:, 2:] == continues
        assert same_word.any() and (hidden[:, 2:] == hidden[:, 1:-1])[same_word].all()
