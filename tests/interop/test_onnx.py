"""Trained models as ONNX: ONNX Runtime, which nobody here wrote, gives what ours give, for any number and length of rows."""

import json
import subprocess
import sys

import numpy as np
import pytest

from bert_jax import convert
from bert_jax.__main__ import main
from bert_jax.errors import EXIT_DONE, EXIT_USER_ERROR, UserError
from bert_jax.interop import onnx
from tests.interop import peers

pytest.importorskip("onnxscript", reason="the extra onnx is not installed")
onnxruntime = pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")
OUTPUTS = {
    "BertForPreTraining": {"masked_lm", "next_sentence"},
    "BertModel": {"pooled", "hidden"},
    "DistilBertModel": {"hidden"},
    "RobertaForTokenClassification": {"token_classifier"},
    "DistilBertForQuestionAnswering": {"answer_start", "answer_end"},
    "ModernBertForSequenceClassification": {"classifier"},
}


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    """(kind) -> a workdir made of a model of this class."""

    def made(kind: str):
        folder = tmp_path_factory.mktemp(kind)
        peers.save(kind, folder / "hf")
        convert.bring_in(folder / "hf", folder / "W", num_strings=20, say=str)
        return folder / "W"

    return made


@pytest.mark.parametrize("kind", OUTPUTS)
def test_onnx_runtime_gives_what_ours_gives(kind, workdir, tmp_path):
    convert.take_out(workdir(kind), tmp_path / "onnx", num_strings=20, form="onnx", say=str)
    certificate = json.loads((tmp_path / "onnx" / "certificate.json").read_text())
    assert certificate["largest_differences"].keys() == OUTPUTS[kind]
    assert all(0 <= value < 1e-4 for value in certificate["largest_differences"].values())
    assert {"model.onnx", "README.md", "tokenizer.json"} <= certificate["files"].keys()
    session = onnxruntime.InferenceSession(tmp_path / "onnx" / "model.onnx")
    assert [each.shape for each in session.get_inputs()] == [["rows", "length"]] * len(session.get_inputs())
    assert len(session.get_inputs()) == (3 if kind.startswith("Bert") else 2)


def test_a_file_that_computes_something_else_is_refused(workdir, tmp_path, monkeypatch):
    """As if the weights of another model had been written."""
    heads = onnx.head_outputs
    monkeypatch.setattr(onnx, "head_outputs", lambda *given: {name: array + 0.01 for name, array in heads(*given).items()})
    with pytest.raises(UserError, match="classifier is not what ONNX Runtime computes"):
        convert.take_out(workdir("BertForSequenceClassification"), tmp_path / "onnx", num_strings=20, form="onnx", say=str)
    assert not (tmp_path / "onnx").exists()


def test_in_int8_it_is_small_and_near_and_the_difference_is_told(workdir, tmp_path, capsys):
    folder = workdir("BertForSequenceClassification")
    for name, flags in (("whole", ()), ("int8", ("--int8",))):
        given = ["convert", f"--workdir={folder}", f"--to={tmp_path}/{name}", "--format=onnx", *flags]
        assert main(given) == EXIT_DONE
    said = capsys.readouterr().out
    assert "BertForSequenceClassification ->" in said and "ONNX in int8" in said
    kinds = [json.loads((tmp_path / name / "certificate.json").read_text()) for name in ("whole", "int8")]
    apart = [kind["largest_differences"]["classifier"] for kind in kinds]
    assert apart[0] < 1e-4 < apart[1] < 2.0 and [kind["form"] for kind in kinds] == ["ONNX", "ONNX in int8"]
    weights = onnx_weights(tmp_path / "int8" / "model.onnx")
    tables = [array for array in weights if array.ndim == 2 and array.size > 1000]
    assert len(tables) >= 20 and all(array.dtype.itemsize == 1 for array in tables)


def onnx_weights(path) -> list[np.ndarray]:
    import onnx as format_

    return [format_.numpy_helper.to_array(each) for each in format_.load(path).graph.initializer]


def test_a_generator_as_stablehlo_is_refused(tmp_path, capsys):
    given = ["convert", f"--workdir={tmp_path}", f"--to={tmp_path}/out", "--format=stablehlo", "--part=generator"]
    assert main(given) == EXIT_USER_ERROR and "the generator beside the encoder" in capsys.readouterr().err


def test_int8_of_another_format_is_refused(tmp_path, capsys):
    given = ["convert", f"--workdir={tmp_path}", f"--to={tmp_path}/out", "--format=hf", "--int8"]
    assert main(given) == EXIT_USER_ERROR and "--int8 is of ONNX alone" in capsys.readouterr().err


def test_the_command_names_what_is_not_installed(workdir, tmp_path, monkeypatch, capsys):
    for form, extra in (("onnx", "onnx"), ("stablehlo", "export")):
        monkeypatch.setitem(convert.PACKAGES, form, ("json", "no_such_package"))
        given = ["convert", f"--workdir={tmp_path}", f"--to={tmp_path}/out", f"--format={form}"]
        assert main(given) == EXIT_USER_ERROR
        assert f"no_such_package is not installed\n  do:       pip install -e '.[{extra}]'" in capsys.readouterr().err


def test_the_command_writes_stablehlo_that_jax_reads(workdir, tmp_path, capsys):
    pytest.importorskip("flatbuffers", reason="no flatbuffers: pip install -e '.[export]'")
    folder = workdir("BertForTokenClassification")
    assert main(["convert", f"--workdir={folder}", f"--to={tmp_path}/out", "--format=stablehlo"]) == EXIT_DONE
    assert "logits_BLC: at most" in capsys.readouterr().out
    certificate = json.loads((tmp_path / "out" / "certificate.json").read_text())
    assert certificate["largest_differences"].keys() == {"logits_BLC"} and certificate["form"] == "StableHLO"
    code = (tmp_path / "out" / "README.md").read_text().split("```")[1].removeprefix("python\n")
    rows = "import numpy\nids, mask = numpy.int32([[2, 5, 6, 3]]), numpy.int32([[1, 1, 1, 1]])\nsegments = 0 * mask\n"
    check = "\nassert outputs['logits_BLC'].shape == (1, 4, 3)"
    subprocess.run([sys.executable, "-c", rows + code + check], cwd=tmp_path / "out", check=True)
