"""The command: its report, its files and its exit codes."""

import json
import random

import pytest

from bert_jax.__main__ import main
from bert_jax.doctor import check
from experiments import planted
from tests import tiny
from tests.paths import DATA, needs_data


@pytest.fixture
def doctor(tmp_path, capsys):
    """Documents and options -> (exit code, what is printed, what is an error)."""

    def run(documents, *options, **changes):
        planted.write(tmp_path / "text.txt", documents)
        vocab_file = planted.write_vocabulary(tmp_path / "vocab.txt")
        settings = {"data__input_format": "sentences", "text__vocab_file": vocab_file} | changes
        config = f"--config={tiny.ROOT}/configs/quickstart.py"
        arguments = tiny.arguments(tmp_path / "text.txt", **settings)
        code = main(["doctor", config, f"--workdir={tmp_path / 'W'}", *options, *arguments])
        return code, *capsys.readouterr()

    return run


def test_a_clean_corpus_on_one_host_ends_well(doctor, tmp_path):
    code, said, _ = doctor(planted.clean(random.Random(0), 50))
    assert code == 0 and "hosts: nothing found" in said and "corpus: nothing found" in said
    assert (tmp_path / "W" / "report" / "lengths.png").stat().st_size > 1000
    assert json.loads((tmp_path / "W" / "report" / "doctor.json").read_text()) == {"corpus": []}


def test_what_is_found_is_printed_written_down_and_the_exit_code(doctor, tmp_path):
    documents = planted.clean(random.Random(0), 50)
    code, said, _ = doctor([*documents, *documents[:5]], "--only=corpus")
    assert code == check.EXIT_FOUND and "corpus: faults of 1 kind" in said and "and 2 more" in said and "hosts" not in said
    (finding,) = json.loads((tmp_path / "W" / "report" / "doctor.json").read_text())["corpus"]
    assert finding["count"] == len(finding["examples"]) == 5 and finding["of"] == 55


def test_a_mesh_that_does_not_fit_is_found_before_the_corpus_is_read(doctor):
    code, said, _ = doctor(planted.clean(random.Random(0), 50), parallel__fsdp=3)
    assert code == check.EXIT_FOUND and "the devices do not divide" in said and "corpus" not in said


@pytest.mark.parametrize(
    ("option", "hint"),
    [
        ("--against=sst", "there is no such evaluation set\n  got:      sst\n  expected: a file, or sst2"),
        ("--against=absent.txt", "there is no such evaluation set"),
        ("--timeout=0", "--timeout is out of range"),
    ],
)
def test_a_wrong_option_is_explained(doctor, option, hint):
    code, _, error = doctor(planted.clean(random.Random(0), 5), option)
    assert code == 2 and hint in error and "Traceback" not in error


def test_a_config_of_a_task_is_refused(tmp_path, capsys):
    assert main(["doctor", f"--config={tiny.ROOT}/configs/finetune_glue.py:mrpc", f"--workdir={tmp_path}"]) == 2
    assert "doctor looks at pretraining runs" in capsys.readouterr().err


def test_a_vocabulary_is_learned_from_text_with_lines_that_cannot_be_read(doctor):
    documents = [*planted.clean(random.Random(0), 50), ["caf\udce9 lobe."]]
    code, said, _ = doctor(documents, "--only=corpus", text__vocab_file="")
    assert code == check.EXIT_FOUND and "lines that are not UTF-8, left out or changed: 1" in said


@needs_data
def test_texts_of_a_task_are_named_with_their_own_file_and_line(doctor, monkeypatch):
    monkeypatch.setenv("BERT_JAX_DATA", str(DATA))
    line = (DATA / "glue" / "MRPC" / "dev.tsv").read_text(encoding="utf-8-sig").split("\n")[7].split("\t")[3]
    documents = [*planted.clean(random.Random(0), 5), [line.upper(), "another one."]]
    code, said, _ = doctor(documents, "--only=corpus", "--against=mrpc,sst2")
    assert code == check.EXIT_FOUND and "texts of mrpc dev that stand in the corpus" in said and "texts of sst2" not in said
    assert f"{DATA / 'glue' / 'MRPC' / 'dev.tsv'}, line 8, 100%" in said


def test_a_file_of_texts_is_looked_for(doctor, tmp_path):
    documents = planted.clean(random.Random(0), 5)
    (tmp_path / "eval.jsonl").write_text(json.dumps({"question": "no", "options": [documents[3][1], "x"]}) + "\n")
    code, said, _ = doctor(documents, "--only=corpus", f"--against={tmp_path / 'eval.jsonl'}")
    assert code == check.EXIT_FOUND and f"{tmp_path / 'eval.jsonl'}, line 1, 100%: {documents[3][1][:20]}" in said
