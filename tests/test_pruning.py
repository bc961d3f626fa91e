"""From a fine-tuned workdir to a smaller one that every command opens, on a task made for the test."""

import json
import shutil

import numpy as np
import pytest

from bert_jax import config as configs
from bert_jax import convert, finetune, pruning
from bert_jax import workdir as workdirs
from bert_jax.__main__ import main
from bert_jax.errors import EXIT_DONE, EXIT_USER_ERROR, UserError
from bert_jax.interop import huggingface
from bert_jax.models.encoder import EncoderConfig
from bert_jax.trained import open_trained
from tests import tiny
from tests.test_finetune import data, load, overrides, pretrained  # noqa: F401

CONFIG = str(tiny.ROOT / "configs" / "prune.py")


def prune_config(start, data, row="mrpc", **changes):  # noqa: F811
    return configs.load(f"{CONFIG}:{row}", overrides(start, data, **{"prune__examples": 8} | changes))


@pytest.fixture(scope="module")
def tuned(pretrained, data, tmp_path_factory):  # noqa: F811
    workdir = tmp_path_factory.mktemp("tuned") / "W"
    assert finetune.finetune(load(pretrained, data), workdir, quiet=True, say=str)
    return workdir


@pytest.fixture(scope="module")
def pruned(tuned, data, tmp_path_factory):  # noqa: F811
    """(workdir, result, what was said): killed when the second round was to be tuned, and gone on with."""
    workdir, said = tmp_path_factory.mktemp("pruned") / "W", []
    run = lambda: pruning.prune(prune_config(tuned, data), workdir, quiet=True, say=said.append)  # noqa: E731
    tune = finetune.finetune

    def killed_in_the_second_round(config, folder, **options):
        if folder == workdir:
            raise KeyboardInterrupt
        return tune(config, folder, **options)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(finetune, "finetune", killed_in_the_second_round)
        with pytest.raises(KeyboardInterrupt):
            run()
    return workdir, run(), said


def test_two_rounds_leave_half_of_each_layer_and_go_on_with_the_head(pruned, tuned):
    workdir, result, said = pruned
    assert result["status"] == "done" and "accuracy" in result["metrics"]
    before, after = open_trained(tuned, say=str), open_trained(workdir, say=str)
    assert (after.encoder.num_attention_heads, after.encoder.head_width, after.encoder.intermediate_size) == (1, 8, 12)
    assert (before.encoder.num_attention_heads, before.encoder.head_width, before.encoder.intermediate_size) == (2, 8, 24)
    first, second = [line for line in said if line.startswith("round")]  # what was cut before it was killed is not cut again
    assert first.startswith("round 1 of 2: each layer keeps 2 of 2 heads and 18 of 24 neurons; all layers have ")
    assert second.startswith("round 2 of 2: each layer keeps 1 of 2 heads and 12 of 18 neurons; all layers have ")
    assert sum("loaded: classifier, encoder; drawn from the seed: nothing" in line for line in said) == 2
    first = open_trained(workdir / "rounds" / "1-cut", say=str)
    assert first.step == 0
    for name, leaf in first.params["classifier"]["dense"].items():
        np.testing.assert_array_equal(leaf, before.params["classifier"]["dense"][name])


def test_a_finished_one_is_not_pruned_again_and_another_config_is_refused(pruned, tuned, data):  # noqa: F811
    workdir, result, _ = pruned
    assert pruning.prune(prune_config(tuned, data), workdir, quiet=True) == result
    with pytest.raises(UserError, match=r"prune\.keep: 0\.5 -> 0\.25"):
        pruning.prune(prune_config(tuned, data, prune__keep=0.25), workdir, quiet=True)


def test_a_moved_one_is_the_same(pruned, tuned, data, tmp_path):  # noqa: F811
    workdir, result, _ = pruned
    shutil.copytree(workdir, tmp_path / "moved")
    assert pruning.prune(prune_config(tuned, data), tmp_path / "moved", quiet=True, say=str) == result


@pytest.mark.parametrize("heads", [1, 2, 4, 12])
@pytest.mark.parametrize("rounds", [1, 2, 3, 8, 24])
def test_any_number_of_rounds_leaves_the_share_that_is_kept(heads, rounds):
    whole = EncoderConfig(vocab_size=9, num_attention_heads=heads, hidden_size=4 * heads, intermediate_size=100)
    counts = [pruning.left_of(whole, 0.5, rounds, number) for number in range(rounds + 1)]
    assert counts[0] == (heads, 100) and counts[-1] == (max(1, heads // 2), 50)
    assert counts == sorted(counts, reverse=True)


def test_every_command_opens_it(pruned, tmp_path, capsys):
    workdir, result, _ = pruned
    assert main(["evaluate", f"--workdir={workdir}"]) == EXIT_DONE
    assert f"accuracy                   {result['metrics']['accuracy']:.4f}" in capsys.readouterr().out
    assert main(["predict", f"--workdir={workdir}", "--text=the cat sees a fish.", "--text_pair=a dog."]) == EXIT_DONE
    assert json.loads(capsys.readouterr().out)["label"] in ("0", "1")
    assert main(["convert", f"--workdir={workdir}", f"--to={tmp_path}/hf"]) == EXIT_USER_ERROR
    message = capsys.readouterr().err
    assert "1 heads of size 8 at a width of 16" in message and "--format=onnx or --format=stablehlo" in message
    assert not (tmp_path / "hf").exists()


def test_onnx_runtime_gives_what_the_pruned_model_gives(pruned, tmp_path):
    pytest.importorskip("onnxscript", reason="the extra onnx is not installed")
    pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")
    convert.take_out(pruned[0], tmp_path / "onnx", num_strings=20, form="onnx", say=str)
    assert json.loads((tmp_path / "onnx" / "certificate.json").read_text())["largest_differences"]["classifier"] < 1e-4


def test_random_parts_are_drawn_by_the_seed(tuned, data, tmp_path):  # noqa: F811
    kernels = {}
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        config = prune_config(tuned, data, prune__by="random", prune__rounds=1, seed=seed)
        pruning._cut(config, tuned, tmp_path / name, 1, str)
        kernels[name] = open_trained(tmp_path / name, say=str).params["encoder"]["layers"]["intermediate"]["kernel"]
    assert np.array_equal(kernels["a"], kernels["b"]) and not np.array_equal(kernels["a"], kernels["c"])


def test_what_matters_is_the_same_where_the_whole_model_teaches(tuned, data):  # noqa: F811
    """It has nothing to learn from itself: by its teacher's loss nothing would matter."""
    trained = open_trained(tuned, say=str)
    taught = prune_config(tuned, data, row="mrpc-taught", objective__teacher=tuned)
    plain, other = (pruning._scores(config, trained, 1)["layers"] for config in (prune_config(tuned, data), taught))
    np.testing.assert_array_equal(plain.neurons_NF, other.neurons_NF)
    assert (plain.heads_NH > 0).all()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"prune__keep": 0.0}, r"prune\.keep is out of range\n  got:      0\.0\n  expected: more than 0, less than 1"),
        ({"prune__keep": 1.0}, r"prune\.keep is out of range\n  got:      1\.0\n"),
        ({"prune__rounds": 0}, r"prune\.rounds is out of range"),
        ({"prune__by": "size"}, r"prune\.by is unknown\n  got:      size\n  expected: importance or random"),
        ({"init_checkpoint": ""}, r"init_checkpoint is empty"),
        ({"row": "cola"}, r"not fine-tuned on this task\n  got:      .*fine-tuned on mrpc\n"),
    ],
)
def test_what_cannot_be_pruned_is_refused(tuned, data, tmp_path, changes, message):  # noqa: F811
    with pytest.raises(UserError, match=message):
        pruning.prune(prune_config(tuned, data, **changes), tmp_path / "W", quiet=True, say=str)
    assert not (tmp_path / "W" / "rounds" / "config.json").exists()  # so that what was wrong can be put right


def test_a_model_without_weights_or_without_the_task_is_refused(pretrained, tuned, data, tmp_path, capsys):  # noqa: F811
    """By the command: one message, exit code 2."""
    empty = tmp_path / "empty"
    empty.mkdir()
    unfinished = tmp_path / "unfinished"
    shutil.copytree(tuned, unfinished, ignore=shutil.ignore_patterns("checkpoints"))
    for start, message in (
        (empty, "there is no trained model here"),
        (unfinished, "the run has no checkpoint yet"),
        (pretrained, "was not fine-tuned on this task"),
    ):
        given = overrides(start, data)
        assert main(["prune", f"--config={CONFIG}:mrpc", f"--workdir={tmp_path}/{start.name}-W", *given]) == EXIT_USER_ERROR
        error = capsys.readouterr().err
        assert message in error and "Traceback" not in error


def test_some_layers_of_the_start_are_taken(pretrained, data, tmp_path):  # noqa: F811
    with pytest.raises(UserError, match=r"train\.take_layers is out of range\n.*\n.*numbers from 0 to 0"):
        finetune.finetune(load(pretrained, data, row="mrpc-short", train__take_layers=(1,)), tmp_path / "W", quiet=True, say=str)
    start = open_trained(pretrained, say=str)
    kernel = start.params["encoder"]["layers"]["output"]["kernel"]
    params = start.params | {
        "encoder": start.params["encoder"] | {"layers": {"output": {"kernel": np.stack([kernel[0], -kernel[0]])}}}
    }
    two = start._replace(params=params)
    two.config.model.num_hidden_layers = 2
    taken = finetune._with_layers(two, (1,))["encoder"]["layers"]["output"]["kernel"]
    np.testing.assert_array_equal(taken, -np.asarray(kernel))


def test_a_model_of_whole_heads_is_still_expressed():
    assert huggingface._what_is_computed(tiny_encoder()) == huggingface._what_is_computed(tiny_encoder(head_size=8))


def tiny_encoder(**sizes):
    from bert_jax.models.encoder import EncoderConfig

    return EncoderConfig(20, hidden_size=16, num_attention_heads=2, **sizes)


def test_weights_become_zero_while_a_task_is_learned(pretrained, data, tmp_path):  # noqa: F811
    config = load(pretrained, data, row="mrpc-sparse", optim__magnitude__end_step=2)
    assert finetune.finetune(config, tmp_path / "W", quiet=True, say=str)
    layers = open_trained(tmp_path / "W", say=str).params["encoder"]["layers"]
    assert (np.asarray(layers["output"]["kernel"]) == 0).mean() == 0.5
    assert workdirs.finished(tmp_path / "W")["step"] == 2
