"""A model that grows: new words and more positions, in params alone and through runs that start from another."""

from dataclasses import replace

import jax
import numpy as np
import pytest

from bert_jax import inputs, run
from bert_jax import workdir as workdirs
from bert_jax.__main__ import main
from bert_jax.build import build_objective, build_optimizer
from bert_jax.checkpoint import Checkpoints
from bert_jax.errors import EXIT_DONE, UserError
from bert_jax.extend import extend, with_more_positions
from bert_jax.models.encoder import EncoderConfig
from bert_jax.models.features import Feature
from bert_jax.objectives.electra import electra
from bert_jax.objectives.pretrain import bert
from bert_jax.objectives.spanbert import spanbert
from bert_jax.parallel.step import init_state
from bert_jax.train.watch import read_metrics
from bert_jax.trained import _otherwise, initial_params, open_trained
from tests import tiny

OLD, CUTS, UNK = 12, [(7, 8, 8), (9,), (1,)], 1
SIZES = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8, "max_position_embeddings": 6}
OBJECTIVES = {  # name -> objective of a vocabulary, and its tensors that have a row for each piece
    "bert": (bert, ["encoder/embeddings/word/embedding", "masked_lm/bias"]),
    "a feature called word": (
        lambda config: bert(replace(config, features=(Feature("word", "ids", 4),))),
        ["encoder/embeddings/word/embedding", "masked_lm/bias"],
    ),
    "electra": (
        lambda config: electra(config, generator_size=0.5, encoder_weight=50.0, learns="replaced"),
        ["encoder/embeddings/word/embedding", "generator/masked_lm/bias"],
    ),
    "all_tokens_mlm": (
        lambda config: electra(config, generator_size=0.5, encoder_weight=1.0, learns="all_tokens_mlm"),
        ["encoder/embeddings/word/embedding", "generator/masked_lm/bias", "masked_lm/bias"],
    ),
    "spanbert": (
        lambda config: spanbert(config, max_span_pieces=2),
        ["encoder/embeddings/word/embedding", "masked_lm/bias", "span_boundary/bias"],
    ),
}


def leaves(params) -> dict[str, np.ndarray]:
    paths = jax.tree_util.tree_leaves_with_path(params)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): np.asarray(leaf) for path, leaf in paths}


def drawn(make, vocab_size: int) -> dict:
    """Params with nothing but noise in them, biases too."""
    shapes = jax.eval_shape(make(EncoderConfig(vocab_size, **SIZES)).init, jax.random.key(0))
    rng = np.random.default_rng(0)
    return jax.tree.map(lambda leaf: rng.standard_normal(leaf.shape).astype(np.float32), shapes)


def grown(params, cuts=CUTS, positions=6, offset=0):
    return extend(params, cuts, unk_id=UNK, max_position_embeddings=positions, position_offset=offset)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_all_that_has_a_row_for_each_piece_grows_by_means_and_nothing_else_changes(name):
    make, expected = OBJECTIVES[name]
    before = drawn(make, OLD)
    found = grown(before)
    after, wanted = leaves(found.params), leaves(drawn(make, OLD + len(CUTS)))
    assert {path: leaf.shape for path, leaf in after.items()} == {path: leaf.shape for path, leaf in wanted.items()}
    assert (
        all(path in found.said[0] for path in expected) and "by 3 pieces" in found.said[0] and "1 of them [UNK]" in found.said[0]
    )
    for path, leaf in leaves(before).items():
        np.testing.assert_array_equal(after[path][: len(leaf)], leaf)
        if path in expected:
            means = [sum(leaf[list(cut)].astype(np.float64)) / len(cut) for cut in CUTS]
            np.testing.assert_allclose(after[path][OLD:], means, rtol=1e-6)
    assert {path for path, leaf in after.items() if leaf.shape != leaves(before)[path].shape} == set(expected)


def test_the_logit_of_a_new_piece_is_the_mean_of_those_of_its_pieces():
    objective, params = bert(EncoderConfig(OLD, **SIZES)), drawn(bert, OLD)
    ids = np.array([[2, 7, 8, 9, 3, 0]], np.int32)
    batch = {"input_ids": ids, "input_mask": (ids > 0).astype(np.int32), "segment_ids": 0 * ids}
    batch["masked_lm_positions"] = np.array([[1, 3]], np.int32)
    before = np.asarray(jax.jit(objective.predict)(params, batch)["logits_BPV"])
    larger = bert(EncoderConfig(OLD + len(CUTS), **SIZES))
    after = np.asarray(jax.jit(larger.predict)(grown(params).params, batch)["logits_BPV"])
    np.testing.assert_allclose(after[..., :OLD], before, rtol=1e-5, atol=1e-5)
    for number, cut in enumerate(CUTS):
        np.testing.assert_allclose(after[..., OLD + number], before[..., list(cut)].mean(-1), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("offset", "rows"), [(0, 512), (0, 700), (2, 1030), (2, 2000)])
def test_positions_are_repeated_as_longformer_does(offset, rows):
    """Its released loop, over and over from the first row that is used."""
    table = np.random.default_rng(0).standard_normal((512 + offset, 3)).astype(np.float32)
    expected, step = np.full((rows, 3), np.nan, np.float32), 512
    expected[:offset] = table[:offset]
    for start in range(offset, rows, step):
        expected[start : start + step] = table[offset:][: rows - start]
    np.testing.assert_array_equal(with_more_positions(table, rows, offset), expected)


def test_more_positions_are_said_and_fewer_are_left_to_be_refused():
    before = drawn(bert, OLD)
    assert grown(before, (), 9).said == ("positions 6 -> 9, repeated",)
    for same in (6, 5):
        found = grown(before, (), same)
        assert found.said == ()
        jax.tree.map(np.testing.assert_array_equal, found.params, before)
    without = jax.tree.map(np.asarray, before)
    del without["encoder"]["embeddings"]["position"]  # as in encoders with rotary positions
    assert grown(without, (), 9).said == ()


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return tiny.write_corpus(tmp_path_factory.mktemp("corpus") / "text.txt")


@pytest.fixture(scope="module")
def start(corpus, tmp_path_factory):
    """The workdir of a run on everyday text; tests/test_finetune.py starts from the same, which is compiled once."""
    workdir = tmp_path_factory.mktemp("start") / "P"
    config = tiny.config(corpus, train__num_train_steps=1, train__eval_every_steps=1, model__num_hidden_layers=1)
    assert run.train(config, workdir, quiet=True)
    return workdir


@pytest.fixture(scope="module")
def domain(corpus, tmp_path_factory):
    """A text full of moonlight and dogwood, and a list of words to add."""
    folder = tmp_path_factory.mktemp("domain")
    text = corpus.read_text(encoding="utf-8").replace("the moon", "moonlight").replace("a dog", "a Dogwood")
    (folder / "text.txt").write_text(text, encoding="utf-8")
    (folder / "words.txt").write_text("moonlight\nDogwood\n\ndogwood\nthe\n", encoding="utf-8")
    return folder


def config(domain, start, **changes):
    values = {"init_checkpoint": start, "text__new_words": domain / "words.txt", "model__num_hidden_layers": 1}
    values |= {"model__max_position_embeddings": 40, "data__max_seq_length": 32, "train__num_train_steps": 3}
    values |= {"train__log_every_steps": 1, "train__save_every_steps": 1, "train__keep_checkpoints": 3}
    values |= {"optim__learning_rate": 1e-30, "optim__num_warmup_steps": 4}  # the parameters stay what they begin as
    return tiny.config(domain / "text.txt", **values | changes)


@pytest.fixture(scope="module")
def extended(domain, start, tmp_path_factory):
    """(workdir, what was said)."""
    workdir, said = tmp_path_factory.mktemp("extended") / "W", []
    assert run.train(config(domain, start), workdir, quiet=True, say=said.append)
    return workdir, said


def test_a_run_extends_the_vocabulary_and_the_positions_of_another_and_says_so(extended, domain, start):
    workdir, said = extended
    before, after = open_trained(start), open_trained(workdir)
    assert after.tokenizer.pieces == (*before.tokenizer.pieces, "moonlight", "dogwood")
    size = before.tokenizer.size
    assert f"vocabulary of {size} pieces extended by 2 words; 2 were known" in said
    told = next(line for line in said if line.startswith(f"from {start}, step 1"))
    assert "loaded: encoder, masked_lm, next_sentence; drawn from the seed: nothing; left over: nothing" in told
    assert "extended by 2 pieces" in told and "0 of them [UNK] alone" in told and "positions 24 -> 40, repeated" in told
    read = inputs.open_store(config(domain, start), workdir, after.tokenizer).unigram_counts
    assert all(read[size:] > 20)
    for path in ("encoder/embeddings/word/embedding", "masked_lm/bias"):
        old, new = leaves(before.params)[path], leaves(after.params)[path]
        means = [old[before.tokenizer.encode([word])[0]].mean(0) for word in ("moonlight", "dogwood")]
        np.testing.assert_allclose(new, np.concatenate([old, means]), rtol=1e-6, atol=1e-9)
    old, new = (leaves(each.params)["encoder/embeddings/position/embedding"] for each in (before, after))
    np.testing.assert_allclose(new, np.concatenate([old, old])[:40], rtol=1e-6)


def test_the_rate_warms_up_again_and_the_moments_begin_at_nothing(extended, domain, start):
    """After one update from nothing Adam's moments are (1 - b1) g and (1 - b2) g^2, g the gradient clipped to length 1."""
    workdir, _ = extended
    steps = [record for record in read_metrics(workdir) if record["kind"] == "train"]
    assert [record["step"] for record in steps] == [1, 2, 3]
    np.testing.assert_allclose([record["learning_rate"] for record in steps], [0, 0.25e-30, 0.5e-30], rtol=1e-6)
    this = config(domain, start)
    objective = build_objective(this, open_trained(workdir).tokenizer.size)
    like = jax.eval_shape(lambda: init_state(objective, build_optimizer(this)[0], 0))
    checkpoints = Checkpoints(workdir / "checkpoints", keep=3, read_only=True)
    step, state, _ = checkpoints.restore(like, say=print, accept=lambda facts: None, at_most=1)
    checkpoints.close()
    assert step == state.step == state.updates == 1
    found = leaves(state.opt_state)
    mean, square = ([leaf for path, leaf in found.items() if f"/{name}/" in path] for name in ("mean", "square"))
    length = min(steps[0]["grad_norm"], 1.0)
    assert sum((leaf**2).sum() for leaf in mean) == pytest.approx((0.1 * length) ** 2, rel=1e-4)
    assert sum(leaf.sum() for leaf in square) == pytest.approx(0.001 * length**2, rel=1e-4)


def test_an_extended_run_stands_alone_and_is_a_start_itself(extended, domain, start, tmp_path):
    workdir, _ = extended
    start.rename(tmp_path / "away")
    try:
        assert main(["predict", f"--workdir={workdir}", "--text=the [MASK] sees moonlight."]) == EXIT_DONE
        again = config(domain, workdir, text__new_words="")
        tokenizer, _ = inputs.open_data(again, tmp_path / "next", say=lambda line: None)
    finally:
        (tmp_path / "away").rename(start)
    assert tokenizer.content_hash == open_trained(workdir).tokenizer.content_hash
    assert not (tmp_path / "next" / "vocab.txt").exists()


def begun(this, workdir) -> tuple[dict, list[str]]:
    """What a run with this config begins as, and what it says."""
    said = []
    tokenizer, _ = inputs.open_data(this, workdir, say=said.append)
    (params,) = initial_params(this, workdir, build_objective(this, tokenizer.size), tokenizer, said.append)
    return params, said


def test_a_larger_vocabulary_file_that_begins_with_the_old_one_gives_the_same(extended, domain, start, tmp_path):
    larger = config(domain, start, text__new_words="", text__vocab_file=extended[0] / "vocab.txt")
    params, said = begun(larger, tmp_path)
    assert "extended by 2 pieces" in said[-1]
    expected = leaves(open_trained(extended[0]).params)
    for path, leaf in leaves(params).items():
        np.testing.assert_allclose(leaf, expected[path], rtol=1e-6, atol=1e-9)


def test_tables_as_wide_as_the_layers_compute_the_same_however_that_is_said():
    zero, as_wide, narrow = (EncoderConfig(9, **SIZES, embedding_size=size) for size in (0, SIZES["hidden_size"], 4))
    assert _otherwise(zero, as_wide) == [] and "embedding_size 8 -> 4" in _otherwise(zero, narrow)[0]


def test_what_the_start_computes_otherwise_is_said(domain, start, tmp_path):
    same, other = (config(domain, start, text__new_words="", model__num_attention_heads=heads) for heads in (2, 1))
    assert "otherwise" not in begun(same, tmp_path / "same")[1][-1]
    assert begun(other, tmp_path / "other")[1][-1].endswith("computed otherwise than there: num_attention_heads 2 -> 1")


def test_a_vocabulary_is_never_learned_into_the_model_to_start_from(domain, tmp_path):
    """A fine-tuned one keeps its vocabulary under the name that its kind has."""
    workdirs.write(tmp_path / "config.json", {"task": "mrpc"})
    this = config(domain, tmp_path, text__new_words="", text__kind="bytelevel")
    with pytest.raises(UserError, match="vocabulary file cannot be read"):
        inputs.make_vocabulary(this, tmp_path / "W")
    assert [path.name for path in tmp_path.iterdir()] == ["config.json"]


def refused(this, workdir, match: str) -> None:
    with pytest.raises(UserError, match=match):
        begun(this, workdir)


def test_another_vocabulary_or_fewer_positions_are_refused(extended, domain, start, tmp_path):
    *first, last = (extended[0] / "vocab.txt").read_text(encoding="utf-8").splitlines()
    (tmp_path / "vocab.txt").write_text("\n".join([*first[:5], last, *first[5:]]), encoding="utf-8")
    swapped = config(domain, start, text__new_words="", text__vocab_file=tmp_path / "vocab.txt")
    refused(swapped, tmp_path / "A", r"(?s)another vocabulary.*whose first pieces are those")
    cased = config(domain, start, text__do_lower_case=False)
    refused(cased, tmp_path / "C", "(?s)reads text otherwise.*--config.text.do_lower_case=True")
    fewer = config(domain, start, text__new_words="", model__max_position_embeddings=16, data__max_seq_length=16)
    refused(fewer, tmp_path / "B", r"(?s)encoder/embeddings/position/embedding .* has another shape.*\[24, 16\].*\[16, 16\]")


@pytest.mark.parametrize(
    ("words", "changes", "message"),
    [
        ("the cat\n", {}, r"(?s)words that are never looked up.*words.txt, line 1: the cat.*on_bad_input=skip"),
        ("non-fish\n", {}, r"(?s)never looked up.*line 1: non-fish.*punctuation"),
        ("the\n\n", {}, r"(?s)no word that is new.*words.txt: 1 known"),
        ("moonlight\n", {"text__kind": "items", "text__do_lower_case": False}, r"(?s)text otherwise.*kind=items.*wordpiece"),
        ("moonlight\n", {"text__kind": "bpe"}, r"(?s)text otherwise.*kind=bpe.*wordpiece"),
        ("moonlight\n", {"text__vocab_file": "vocab.txt"}, r"(?s)of the run to start from.*text.vocab_file empty"),
        ("moonlight\n", {"init_checkpoint": ""}, r"(?s)of the run to start from.*init_checkpoint=FOLDER"),
    ],
)
def test_words_that_would_do_nothing_are_refused(domain, start, tmp_path, words, changes, message):
    (tmp_path / "words.txt").write_text(words, encoding="utf-8")
    refused(config(domain, start, **{"text__new_words": tmp_path / "words.txt"} | changes), tmp_path / "W", message)
    assert not (tmp_path / "W" / "vocab.txt").exists()


def test_words_that_are_never_looked_up_are_left_out_and_counted_on_wish(domain, start, tmp_path):
    (tmp_path / "words.txt").write_text("moonlight\nnon-fish\na b\n", encoding="utf-8")
    changes = {"text__new_words": tmp_path / "words.txt", "data__on_bad_input": "skip"}
    said = []
    path = inputs.make_vocabulary(config(domain, start, **changes), tmp_path / "W", say=said.append)
    assert path.read_text(encoding="utf-8").splitlines()[-1] == "moonlight"
    assert said[0].endswith(f"; 2 words that are never looked up left out, first in {tmp_path}/words.txt, line 2: non-fish")


def test_words_added_after_the_vocabulary_was_made_are_not_passed_over(domain, start, tmp_path):
    (tmp_path / "words.txt").write_text("moonlight\n", encoding="utf-8")
    this = config(domain, start, text__new_words=tmp_path / "words.txt")
    made = inputs.make_vocabulary(this, tmp_path / "W", say=lambda line: None)
    assert inputs.make_vocabulary(this, tmp_path / "W") == made
    (tmp_path / "words.txt").write_text("moonlight\ndogwood\nmoondog\n", encoding="utf-8")
    with pytest.raises(UserError, match="(?s)without some of text.new_words.*2 words, first 'dogwood'"):
        inputs.make_vocabulary(this, tmp_path / "W")
    (tmp_path / "words.txt").unlink()
    assert inputs.make_vocabulary(this, tmp_path / "W") == made
