"""Leave-one-out evaluation: what is asked, of whom, among what."""

import jax.numpy as jnp
import numpy as np
import pytest

from bert_jax.data import parse, units
from bert_jax.data.report import Report
from bert_jax.objectives.objective import Objective
from bert_jax.tasks.next_item import evaluate, read_histories
from bert_jax.text.items import Items
from bert_jax.text.tokenizer import BERT

ITEMS = [f"i{number}" for number in range(130)]
TOKENIZER = Items((*BERT, *ITEMS), False)
LENGTH = 8


def model(scores_of_row):
    """Logits at the first slot from the piece before it."""

    def predict(params, batch):
        before = jnp.take_along_axis(batch["input_ids"], batch["masked_lm_positions"] - 1, axis=1)
        at_mask = jnp.take_along_axis(batch["input_ids"], batch["masked_lm_positions"], axis=1)
        return {"logits_BPV": jnp.where((at_mask == TOKENIZER.mask_id)[..., None], scores_of_row(before), jnp.nan)}

    return Objective(None, None, None, {}, predict)


def next_one(before_BP):
    return jnp.where(jnp.arange(TOKENIZER.size)[None, None] == before_BP[..., None] + 1, 1.0, 0.0)


def histories(users=300):
    """Each goes up by one; in the end, of every fourth user, by two."""
    for user in range(users):
        first = user * 7 % 110
        yield [f"i{first + step}" for step in range(3 + user % 9)] + [f"i{first + 3 + user % 9 + (user % 4 == 0)}"]


def evaluated(objective, popularity=None, of=None):
    popularity = np.ones(TOKENIZER.size) if popularity is None else popularity
    return evaluate(objective, {}, TOKENIZER, list(of or histories()), popularity, max_seq_length=LENGTH, seed=0)


def test_the_item_after_the_last_one_is_asked_for():
    found = evaluated(model(next_one))
    assert found["hr@1"] == found["full_hr@1"] == found["full_ndcg@5"] == 0.75  # the others are not told by the last item


def test_popularity_that_knows_nothing_is_chance():
    found = evaluated(model(next_one))
    assert found["popularity_hr@10"] == 0.0 and found["popularity_mrr"] == pytest.approx(1 / 51)  # all alike: place 51 of 101


def test_popularity_finds_what_is_popular():
    counts = np.ones(TOKENIZER.size)
    counts[TOKENIZER.id_of["i7"]] = 50
    found = evaluated(model(next_one), counts, [["i1", "i2", "i7"], ["i3", "i4", "i5"]])
    assert found["popularity_full_hr@1"] == 0.5


def test_items_of_the_history_and_special_pieces_are_no_candidates():
    best = np.zeros(TOKENIZER.size)
    best[[*range(5), TOKENIZER.id_of["i1"], TOKENIZER.id_of["i2"]]] = 9
    best[TOKENIZER.id_of["i3"]] = 5
    found = evaluated(model(lambda before: jnp.broadcast_to(best, (*before.shape, len(best)))), of=[["i1", "i2", "i3"]])
    assert found["hr@1"] == found["full_hr@1"] == 1.0


def test_a_user_who_had_nearly_everything_changes_nothing_for_the_others():
    usual = [["i1", "i2", "i4"], ["i3", "i4", "i9"]]  # not the next one: among a hundred others they are no hits
    everything = [*ITEMS[:20], *ITEMS[21:], "i20"]
    assert evaluated(model(next_one), of=[*usual, everything])["hr@10"] == pytest.approx(1 / 3)


def test_an_item_that_training_never_saw_is_a_miss():
    found = evaluated(model(next_one), of=[["i1", "i2", "new"]])
    assert found["full_hr@10"] == found["hr@10"] == 0.0


def test_negatives_are_drawn_by_popularity():
    """65 items of weight 9, 65 of weight 1: of 100 drawn about 36 are light (by even chances 50), each before the right one."""
    counts = np.r_[np.zeros(5), np.full(65, 9.0), np.full(65, 1.0)]
    likes = np.r_[np.zeros(70), np.ones(65)]
    likes[TOKENIZER.id_of["i1"]] = 0.5
    found = evaluated(model(lambda before: jnp.broadcast_to(likes, (*before.shape, 135))), counts, [["i120", "i121", "i1"]] * 64)
    assert 33 < 1 / found["mrr"] < 42


def test_training_never_sees_the_last_two(tmp_path):
    path = tmp_path / "log.txt"
    path.write_text("a b c d\ne f\n\ng h i\n", encoding="utf-8")
    report = Report()
    seen = [document for unit in units.of_file(path, "histories", report) for document in parse.documents(unit, report)]
    assert seen == [["a b"], ["g"]] and report.notes == {"histories of 2 items or fewer": 1}
    assert list(read_histories(str(path), "stop")) == [["a", "b", "c", "d"], ["g", "h", "i"]]
