"""Models of transformers into workdirs and out again: the same tensors bit for bit, the same logits, the same pieces."""

import json

import jax
import numpy as np
import pytest

from bert_jax import config as configs
from bert_jax import convert
from bert_jax.__main__ import main
from bert_jax.build import build_objective, encoder_config
from bert_jax.errors import UserError
from bert_jax.interop import certificate, huggingface, vocabulary
from bert_jax.predict.fill_mask import fill_mask, masked_row
from bert_jax.trained import open_trained
from bert_jax.transfer import transfer
from tests import tiny
from tests.interop import peers
from tests.test_finetune import objective_of

STRINGS = 300
KEPT = (
    "model_type",
    "architectures",
    "vocab_size",
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "pad_token_id",
    "id2label",
)
HEADS = {"QuestionAnswering": 2}  # begin and end are compared each by itself
TEXTS = ["the whole test suite", "Interrupt it or kill it: the same command continues."]


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    """(their directory, the workdir made of it), of BertForPreTraining."""
    folder = tmp_path_factory.mktemp("bert")
    peers.save("BertForPreTraining", folder / "hf")
    convert.bring_in(folder / "hf", folder / "W", num_strings=STRINGS, say=str)
    return folder / "hf", folder / "W"


@pytest.mark.parametrize("kind", peers.CLASSES)
def test_a_model_comes_in_and_goes_out_bit_for_bit(kind, tmp_path):
    """The certificate compares what they compute: each layer and each head."""
    model = peers.save(kind, tmp_path / "hf")
    read = huggingface.read(tmp_path / "hf")
    tokenizer = vocabulary.read(tmp_path / "hf", tmp_path).tokenizer
    config = convert.saved_config(read, "", tokenizer)
    encoder = encoder_config(dict(config.model), tokenizer.size)
    like = jax.eval_shape(build_objective(config, tokenizer.size).init, jax.random.key(0))
    params = huggingface.params_of(read, like)
    differences = certificate.compare_outputs(tmp_path / "hf", kind, encoder, params, tokenizer.pad_id)
    heads = HEADS.get(kind.partition("For")[2], max(len(read.heads), encoder.pooler))
    assert len(differences) == 1 + encoder.num_hidden_layers + heads
    assert max(differences.values()) < 1e-4  # whatever the size of the values, for which the certificate makes allowance
    (tmp_path / "out").mkdir()
    huggingface.write(tmp_path / "out", encoder, params, read.labels, tokenizer)
    again, loading = type(model).from_pretrained(tmp_path / "out", output_loading_info=True)
    assert not any(loading.values()), loading
    expected, found = peers.tensors(model), peers.tensors(again)
    assert expected.keys() == found.keys()
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array, err_msg=name)
    back = huggingface.params_of(huggingface.read(tmp_path / "out"), like)
    jax.tree.map(np.testing.assert_array_equal, back, params)
    assert {key: getattr(again.config, key) for key in KEPT} == {key: getattr(model.config, key) for key in KEPT}


@pytest.mark.parametrize(
    "kind",
    ["BertForPreTraining", "ElectraForPreTraining", "ElectraForSequenceClassification", "DistilBertForSequenceClassification"],
)
def test_the_objective_gives_the_logits_of_the_class(kind, tmp_path):
    torch = pytest.importorskip("torch", reason="the parity extra is not installed")
    model = peers.save(kind, tmp_path / "hf")
    convert.bring_in(tmp_path / "hf", tmp_path / "W", num_strings=STRINGS, say=str)
    trained = open_trained(tmp_path / "W")
    batch = encoded(trained.tokenizer)
    inputs = {"input_ids": batch["input_ids"], "attention_mask": batch["input_mask"]}
    with torch.no_grad():
        out = model(**{name: torch.from_numpy(array).long() for name, array in inputs.items()}).to_tuple()
    found = jax.jit(trained.objective.predict)(trained.params, batch)
    if "logits_BPV" in found:
        picked = np.take_along_axis(out[0].numpy(), batch["masked_lm_positions"][:, :, None], axis=1)
        np.testing.assert_allclose(found["logits_BPV"], picked, atol=1e-4, rtol=0)
    if "logits_BL" in found:
        real = batch["input_mask"] > 0
        np.testing.assert_allclose(found["logits_BL"][real], out[0].numpy()[real], atol=1e-4, rtol=0)
    else:
        np.testing.assert_allclose(found["logits_BC"], out[-1].numpy(), atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    ("kind", "predicted"),
    [
        ("ModernBertForTokenClassification", ["logits_BLC"]),
        ("RobertaForQuestionAnswering", ["end_logits_BL", "start_logits_BL"]),
        ("ElectraForMultipleChoice", ["logits_BC"]),
    ],
)
def test_a_workdir_with_a_new_head_predicts_and_goes_out_again(kind, predicted, tmp_path):
    peers.save(kind, tmp_path / "hf")
    convert.bring_in(tmp_path / "hf", tmp_path / "W", num_strings=STRINGS, say=str)
    trained = open_trained(tmp_path / "W")
    batch = encoded(trained.tokenizer)
    if kind.endswith("Choice"):
        batch = {name: array[None] for name, array in batch.items()}
    found = jax.eval_shape(trained.objective.predict, trained.params, batch)
    assert sorted(found) == predicted and len(trained.config.labels) == (3 if "Classification" in kind else 0)
    with pytest.raises(UserError, match=r"was not trained to fill in \[MASK\]"):
        fill_mask(trained.objective, trained.params, trained.tokenizer, ["the [MASK] ."], max_seq_length=16)
    convert.take_out(tmp_path / "W", tmp_path / "out", num_strings=STRINGS, say=str)
    assert huggingface.read(tmp_path / "out").kind == kind


def encoded(tokenizer) -> dict[str, np.ndarray]:
    rows = [[tokenizer.cls_id, *ids, tokenizer.sep_id] for ids in tokenizer.encode(TEXTS)]
    length = max(map(len, rows))
    ids = np.array([row + [tokenizer.pad_id] * (length - len(row)) for row in rows], np.int32)
    mask = np.array([[1] * len(row) + [0] * (length - len(row)) for row in rows], np.int32)
    return {
        "input_ids": ids,
        "input_mask": mask,
        "segment_ids": np.zeros_like(ids),
        "masked_lm_positions": np.array([[1, 2, 3], [3, 4, 5]], np.int32),
    }


@pytest.mark.parametrize("family", peers.OPTIONS)
def test_auto_tokenizer_reads_what_went_out(family, tmp_path):
    kind = next(kind for kind in peers.CLASSES if kind.lower().startswith(family) and kind.endswith("MaskedLM"))
    peers.save(kind, tmp_path / "hf")
    convert.bring_in(tmp_path / "hf", tmp_path / "W", num_strings=STRINGS, say=str)
    convert.take_out(tmp_path / "W", tmp_path / "out", num_strings=STRINGS, say=str)
    import transformers

    theirs, ours = transformers.AutoTokenizer.from_pretrained(tmp_path / "out"), open_trained(tmp_path / "W").tokenizer
    one, two = ours.encode(TEXTS)
    cls, sep = ours.cls_id, ours.sep_id
    assert theirs(TEXTS)["input_ids"] == [[cls, *one, sep], [cls, *two, sep]]
    assert theirs(*TEXTS)["input_ids"] == [cls, *one, sep, *two, sep]
    assert ("token_type_ids" in theirs(TEXTS[0])) == (family in ("bert", "albert", "electra"))
    assert [theirs.pad_token_id, theirs.mask_token_id, theirs.unk_token_id] == [ours.pad_id, ours.mask_id, ours.unk_id]
    assert theirs(f"the {ours.special.mask} suite")["input_ids"] == masked_row(ours, "the [MASK] suite", 40)[0]
    theirs(TEXTS, return_tensors="pt", padding=True)


def test_the_rules_of_a_vocabulary_go_in_and_out_and_in(tmp_path):
    transformers = pytest.importorskip("transformers", reason="the parity extra is not installed")
    peers.save("ModernBertForMaskedLM", tmp_path / "hf", local_attention=128)  # as released: more than the rows compared have
    convert.bring_in(tmp_path / "hf", tmp_path / "W", num_strings=STRINGS, say=str)
    convert.take_out(tmp_path / "W", tmp_path / "out", num_strings=STRINGS, say=str)
    convert.bring_in(tmp_path / "out", tmp_path / "again", num_strings=STRINGS, say=str)
    first, last = (open_trained(tmp_path / name).tokenizer for name in ("W", "again"))
    assert first == last and first.rules.nfc and len(first.rules.literals) > 20
    texts = ["a   cafe\u0301\t \u1112\u1161\u11ab", "to |||EMAIL_ADDRESS|||, [unused0]  \u0301"]
    for name in ("hf", "out"):
        theirs = transformers.AutoTokenizer.from_pretrained(tmp_path / name)
        assert theirs(texts, add_special_tokens=False)["input_ids"] == first.encode(texts)
        assert [theirs.decode(ids) for ids in first.encode(texts)] == list(map(first.decode, first.encode(texts)))


@pytest.mark.parametrize(
    ("name", "pad_id", "kind"),
    [
        ("quickstart.py", 0, "BertForPreTraining"),
        ("bert.py:large-cased-wwm", 0, "BertForPreTraining"),
        ("roberta.py:base", 1, "RobertaForMaskedLM"),
        ("albert.py:xlarge", 0, "AlbertForPreTraining"),
    ],
)
def test_what_a_config_trains_is_a_class_of_transformers(name, pad_id, kind):
    config = configs.load(f"{tiny.ROOT}/configs/{name}")
    params = jax.eval_shape(build_objective(config, 1000).init, jax.random.key(0))
    assert huggingface.expressed(encoder_config(dict(config.model), 1000), params, pad_id)[1] == kind


def test_what_came_in_fills_masks(bert, capsys):
    assert main(["predict", f"--workdir={bert[1]}", "--text=the [MASK] of text"]) == 0
    assert [len(mask) for mask in json.loads(capsys.readouterr().out)["masks"]] == [5]


def test_what_came_in_is_what_fine_tuning_starts_from(bert):
    config = configs.load(f"{tiny.ROOT}/configs/finetune_glue.py:sst2", [f"init_checkpoint={bert[1]}"])
    trained = open_trained(bert[1])
    wanted = jax.eval_shape(objective_of(config, trained).init, jax.random.key(0))
    assert transfer(trained.params, wanted, source=bert[1]).new == ["classifier"]


def test_an_encoder_without_a_head_is_fine_for_tuning_and_says_so_elsewhere(tmp_path, capsys):
    peers.save("BertModel", tmp_path / "hf")
    assert main(["convert", f"--from={tmp_path / 'hf'}", f"--workdir={tmp_path / 'W'}", f"--num_strings={STRINGS}"]) == 0
    assert "BertModel" in capsys.readouterr().out
    assert main(["predict", f"--workdir={tmp_path / 'W'}", "--text=the [MASK]"]) == 2
    assert "not trained to fill in [MASK]" in capsys.readouterr().err
    assert main(["evaluate", f"--workdir={tmp_path / 'W'}"]) == 2
    assert "no held-out text" in capsys.readouterr().err
    assert main(["replay", f"--workdir={tmp_path / 'W'}", "--step=1"]) == 2
