"""Filling masks, with a made-up model whose answer is known: it says the piece whose number is the place of the mask."""

import shutil
from dataclasses import replace
from types import SimpleNamespace

import jax.numpy as jnp
import numpy as np
import pytest

from bert_jax.errors import UserError
from bert_jax.predict import examples
from bert_jax.predict.fill_mask import Guess, fill_mask, masked_row
from bert_jax.text import kinds, wordpiece
from tests.paths import DATA, needs_data

PIECES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "cat", "sat", "down", "##s", "."]


@pytest.fixture
def tokenizer(tmp_path):
    wordpiece.save_vocab(PIECES, tmp_path / "vocab.txt")
    return wordpiece.load(tmp_path / "vocab.txt", do_lower_case=True)


def place_model(params, batch):
    scores_BPV = jnp.where(jnp.arange(len(PIECES))[None, None, :] == batch["masked_lm_positions"][:, :, None], 5.0, 0.0)
    real = batch["input_mask"].sum(axis=1)[:, None, None] == params["length"]  # or every guess is piece 0
    return {"logits_BPV": jnp.where(real, scores_BPV, 0.0)}


def test_each_mask_is_answered_at_its_place(tokenizer):
    """[CLS] the [MASK] ... : the mask stands at place 2 and, in the second text, at 1 and 3."""
    model = SimpleNamespace(predict=place_model)
    one, two = fill_mask(model, {"length": 6}, tokenizer, ["the [MASK] sat .", "[MASK] cat [MASK] ."], max_seq_length=8, top_k=2)
    assert [mask[0].piece for mask in one] == ["[CLS]"]
    assert [mask[0].piece for mask in two] == ["[UNK]", "[SEP]"]
    sure = np.exp(5) / (np.exp(5) + len(PIECES) - 1)
    assert one[0][0].probability == pytest.approx(sure) and len(one[0]) == 2


def test_from_left_to_right_a_mask_has_something_before_it_and_cls_behind_it(tokenizer):
    model, tokenizer = SimpleNamespace(predict=place_model), replace(tokenizer, cls_last=True)
    assert masked_row(tokenizer, "the [MASK] .", 8) == ([5, 4, 10, 3, 2], [1])
    with pytest.raises(UserError, match="nothing before"):
        fill_mask(model, {"length": 5}, tokenizer, ["[MASK] cat ."], max_seq_length=8)


def test_a_text_without_mask_or_too_long_is_refused(tokenizer):
    model = SimpleNamespace(predict=place_model)
    with pytest.raises(UserError, match=r"no \[MASK\]"):
        fill_mask(model, {"length": 0}, tokenizer, ["the cat"], max_seq_length=8)
    with pytest.raises(UserError, match="too long"):
        fill_mask(model, {"length": 0}, tokenizer, ["the cat sat down [MASK] the cat ."], max_seq_length=8)


def test_examples_are_sure_right_guesses_of_different_words_and_sentences(tokenizer, monkeypatch):
    ids = [5, 6, 7, 8, 5, 6, 7, 8, 10]  # "the cat sat down the cat sat down ."
    split = SimpleNamespace(
        sentence_lengths=np.array([9, 9, 3]),
        sentence_offsets=np.array([0, 9, 18, 21]),
        tokens=lambda places: np.array(ids * 2 + ids[:3])[places],
    )
    hidden = examples._hidden_words(split, tokenizer, max_seq_length=32)
    assert [(sentence, PIECES[piece]) for sentence, _, piece in hidden] == [
        (sentence, word) for sentence in (0, 1) for word in ("sat", "down", "the", "cat")
    ]
    assert hidden[0][1] == "the cat [MASK] down the cat sat down."

    says = {"sat": Guess("sat", 0.9), "down": Guess("down", 0.3), "the": Guess("cat", 1.0), "cat": Guess("cat", 0.1)}
    monkeypatch.setattr(examples, "fill_mask", lambda *args, **options: [[[says[PIECES[piece]]]] for _, _, piece in hidden])
    found = examples.telling_examples(None, None, tokenizer, split, np.zeros(len(PIECES)), max_seq_length=32, count=2)
    assert [(example.truth, example.guesses[0].probability) for example in found] == [("sat", 0.9), ("down", 0.3)]


SENTENCES = [
    "The old king draws a red hat near the big river of the north",
    "Nobody likes the long walk to the grey house by the sea",
]


@needs_data
@pytest.mark.parametrize(
    ("kind", "file"),
    [
        ("wordpiece", "bert-base-uncased-vocab.txt"),
        ("unigram", "xlnet-base-cased-spiece.model"),
        ("bytelevel", "roberta-base-vocab.json"),
    ],
)
def test_an_example_of_any_kind_of_pieces_reads_back_as_its_sentence(kind, file, tmp_path):
    vocabulary = DATA / "vocab" / file
    if kind == "bytelevel":  # its merges are expected beside it under the name of the release
        for name in ("vocab.json", "merges.txt"):
            shutil.copy(DATA / "vocab" / f"roberta-base-{name}", tmp_path / name)
        vocabulary = tmp_path / "vocab.json"
    tokenizer = kinds.load(kind, vocabulary, kind == "wordpiece")
    encoded = tokenizer.encode(SENTENCES)
    offsets = np.cumsum([0, *map(len, encoded)])
    pieces = np.array([piece for ids in encoded for piece in ids])
    split = SimpleNamespace(sentence_lengths=np.diff(offsets), sentence_offsets=offsets, tokens=lambda places: pieces[places])
    hidden = examples._hidden_words(split, tokenizer, max_seq_length=32)
    assert len(hidden) >= 6
    for number, text, truth in hidden:
        ids, (place,) = masked_row(tokenizer, text, 32)
        ids[place] = truth
        assert ids[1:-1] == encoded[number]
