import json

import numpy as np
import pytest

from bert_jax import batch as contract
from bert_jax.data.finetune import evaluation_batches
from bert_jax.errors import UserError
from bert_jax.metrics.classification import accuracy
from bert_jax.tasks import choices
from bert_jax.tasks.choices import CHOICES, Choice
from tests.data.small import TWELVE
from tests.paths import DATA, needs_data

CLS, SEP, PAD = TWELVE.cls_id, TWELVE.sep_id, TWELVE.pad_id
A, B, C, D = TWELVE.encode(["a b c d"])[0]
TWO = Choice("a b", "c", ("d", "a"), 1, "first")
THREE = Choice("a", "", ("b", "c", "d"), 2)


def test_each_option_is_a_pair_with_the_context():
    rows = CHOICES.encode([TWO, THREE], labels=(), tokenizer=TWELVE, max_seq_length=7)
    batch = next(batch for _, batch in evaluation_batches(rows, 2, 7))
    contract.check(batch)
    assert batch["input_ids"].tolist() == [
        [[CLS, A, B, SEP, C, D, SEP], [CLS, A, B, SEP, C, A, SEP], [CLS, A, B, SEP, SEP, PAD, PAD]],  # the last only fills
        [[CLS, A, SEP, B, SEP, PAD, PAD], [CLS, A, SEP, C, SEP, PAD, PAD], [CLS, A, SEP, D, SEP, PAD, PAD]],
    ]
    assert batch["segment_ids"][0].tolist() == [[0, 0, 0, 0, 1, 1, 1], [0, 0, 0, 0, 1, 1, 1], [0, 0, 0, 0, 1, 0, 0]]
    assert batch["label_ids"].tolist() == [1, 2] and batch["label_weights"].tolist() == [1, 1]


def test_only_the_options_that_there_are_can_be_chosen():
    logits = np.array([[0.0, 1.0, 9.0], [0.0, np.log(2.0), np.log(5.0)]], np.float32)
    said = CHOICES.answers([TWO, THREE], (), None, [{"logits_BC": row} for row in logits])
    assert [(answer["choice"], answer["text"]) for answer in said] == [(1, "a"), (2, "d")]
    assert said[0]["probabilities"] == pytest.approx([1 / (1 + np.e), np.e / (1 + np.e)])
    assert said[1]["probabilities"] == pytest.approx([1 / 8, 2 / 8, 5 / 8])
    gold, predicted = CHOICES.compared([TWO, THREE], said, ())
    assert accuracy(gold, predicted) == 1.0
    assert json.dumps(said)


def test_guesses_read_nothing():
    found = CHOICES.baseline([TWO, THREE, THREE], [TWO, THREE], ())
    assert found == {"chance_accuracy": pytest.approx(5 / 12), "majority_accuracy": 0.5}
    assert CHOICES.shown(THREE) == {"context": "a", "texts": ["b", "c", "d"], "gold": 2}
    assert "gold" not in CHOICES.shown(TWO._replace(label=None))


def test_tables_by_hand(tmp_path):
    (tmp_path / "train.csv").write_text(
        "video-id,fold-ind,startphrase,sent1,sent2,gold-source,ending0,ending1,ending2,ending3,label\n"
        'x,1,"A, b. He",A b.,He,gold,"runs, fast",sits,eats,sleeps,2\n'
    )
    (found,) = choices.read_swag(tmp_path / "train.csv")
    assert found == Choice("A b.", "He", ("runs, fast", "sits", "eats", "sleeps"), 2, f"{tmp_path / 'train.csv'}, line 2")
    (tmp_path / "bad.tsv").write_text('o\tA "b. He\tsits\truns\teats\tlies\t0\no\tHe\tsits\truns\teats\tlies\t4\no\tHe\tsits\n')
    with pytest.raises(UserError, match="number of an option\n.*bad.tsv, line 2: '4'"):
        choices.read_codah(tmp_path / "bad.tsv")
    skipped = []
    assert [each.context for each in choices.read_codah(tmp_path / "bad.tsv", skipped)] == ['A "b. He'] and len(skipped) == 2
    (tmp_path / "empty.tsv").write_text("")
    with pytest.raises(UserError, match="holds no choice"):
        choices.read_codah(tmp_path / "empty.tsv")
    unlabelled = choices.table_reader(1, None, (2, 3), None)
    (tmp_path / "test.tsv").write_text("o\tHe\tsits\truns\n")
    assert unlabelled(tmp_path / "test.tsv")[0].label is None


@pytest.mark.parametrize(
    "content, message",
    [
        ("{", "not JSON"),
        ("{}", "not a text with questions"),
        ('[[["a"], {}, "1"]]', r"not a text with questions\n.*\[0\]"),
        ('[[["a"], [{"question": "b", "choice": ["c", "d"], "answer": "e"}], "1"]]', r"agreed form\n.*\[0\]\[1\]\[0\]"),
        ('[[["a"], [{"question": "b", "choice": ["c"], "answer": "c"}], "1"]]', "agreed form"),
        ("[]", "holds no choice"),
    ],
)
def test_bad_files_of_c3_are_refused(tmp_path, content, message):
    (tmp_path / "dev.json").write_text(content)
    with pytest.raises(UserError, match=message):
        choices.read_c3(tmp_path / "dev.json")


@needs_data
def test_the_real_files_are_whole():
    train, dev = (choices.read_codah(DATA / choices.TASKS["codah"].files[split]) for split in ("train", "dev"))
    assert (len(train), len(dev)) == (1_665, 556)
    assert (dev[0].context, dev[0].options[dev[0].label]) == (
        "The driver pulled up to a gas station. He",
        "walked inside and bought a lotto ticket.",
    )
    swag = choices.read_swag(DATA / "multiple_choice/swag_sample_10.jsonl")
    assert len(swag) == 10 and swag[0].beginning == "A drum line" and swag[0].label == 0
    c3 = choices.read_c3(DATA / choices.TASKS["c3"].files["dev"])
    assert len(c3) == 3_816 and {len(each.options) for each in c3} == {2, 3, 4}
    assert c3[0].options[c3[0].label] == "\u5de5\u4f5c"
