"""What the config says about rows and masks reaches training, and settings that do not go together are refused by name."""

import jax
import pytest

from bert_jax import batch as contract
from bert_jax import config as configs
from bert_jax import inputs, show
from bert_jax.batch import Context
from bert_jax.build import build_objective, loader_config
from bert_jax.data.loader import Phase
from bert_jax.errors import UserError
from tests import tiny


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return tiny.write_corpus(tmp_path_factory.mktemp("corpus") / "text.txt")


def test_packed_sentence_order_in_two_phases_reaches_the_objective(corpus, tmp_path):
    changes = {"data__rows": "sop", "data__max_examples_per_row": 2, "data__masks": "static", "data__mask_unit": "span"}
    changes |= {"data__later_phases": "((0.5, 16, 3, 16),)", "data__num_loader_threads": 2}
    config = tiny.config(corpus, **changes, train__num_train_steps=4)
    batches, tokenizer = inputs.open_batches(config, tmp_path)
    assert batches.config.phases == (Phase(0, 24, 4, 8), Phase(2, 16, 3, 16))
    objective = build_objective(config, tokenizer.size)
    params = jax.eval_shape(objective.init, jax.random.key(0))
    for step, shape in ((1, (8, 24)), (2, (16, 16))):
        batch = batches.batch(step)
        contract.check(batch)
        assert batch["input_ids"].shape == shape and batch["next_sentence_labels"].shape == (shape[0], 2)
        assert set(jax.eval_shape(lambda p, rows: objective.sums(p, rows, Context(jax.random.key(0))), params, batch)) == set(
            objective.terms
        )


@pytest.mark.parametrize(
    "changes",
    [
        {"data__rows": "full_sentences", "data__short_seq_prob": 0.0, "objective__next_sentence": False},
        {"data__rows": "segments", "data__max_examples_per_row": 3, "objective__next_sentence": False},
        {"data__rows": "pairs"},
        {"data__rows": "sop", "data__max_examples_per_row": 2, "data__short_seq_prob": 1.0},
    ],
)
def test_rows_of_every_kind_can_be_shown(corpus, tmp_path, capsys, changes):
    batches, tokenizer = inputs.open_batches(tiny.config(corpus, **changes), tmp_path)
    batch = batches.batch(0)
    show.print_rows(batch, tokenizer, rows=range(8))
    shown = capsys.readouterr().out
    labels = batch["next_sentence_weights"].sum() if "next_sentence_weights" in batch else 0
    assert "row 7" in shown and shown.count("next_sentence_label=") == labels


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"data__rows": "full_sentences"}, "objective.next_sentence needs rows in pairs"),
        ({"data__later_phases": "((0.5, 512, 77, 8),)"}, "longer than the positions"),
        ({"data__later_phases": "((0.5, 16, 3, 8), (0.2, 24, 3, 8))"}, "data.later_phases is out of range"),
        ({"data__later_phases": "(0.9, 16, 3, 8)"}, "got:      0.9"),
        ({"data__later_phases": "((0.9, 16, 3),)"}, "four numbers each"),
        ({"data__later_phases": "((1e999, 16, 3, 8),)"}, "four numbers each"),
        ({"data__rows": "sentence"}, "expected: pairs or sop"),
        ({"data__mask_unit": "words"}, "expected: token or whole_word"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(corpus, changes, message):
    with pytest.raises(UserError) as error:
        loader_config(tiny.config(corpus, **changes))
    assert message in str(error.value)


def test_a_causal_model_is_shown_the_pieces_themselves():
    config = configs.load(f"{tiny.ROOT}/configs/bert.py:tiny-ltr", ["data.random_token_prob=0.1"])
    with pytest.raises(UserError, match="must not be hidden\n.*random_token_prob=0.1"):
        loader_config(config)
