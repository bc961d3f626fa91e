"""SLURM: the batch script as it is read, and run by an imitation of the cluster's commands with a trainer that takes no time."""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from bert_jax.errors import UserError
from launch import __main__ as launch
from launch import sweep
from tests.launch.test_sweep import ROOT, Place

HOSTILE = 'a\'b $(x) ; `y` "z" é\n*'

# sbatch queues what it is given; squeue shows what is queued; the others record what they were asked for.
FAKES = {
    "sbatch": """
given = [word for word in sys.argv[1:] if not word.startswith("--")]
(script,) = [open(path).read() for path in given]
number = len(list(here.glob("*.job"))) + 1
(here / f"{number}.job").write_text(script)
array = re.search("^#SBATCH --array=0-([0-9]+)", script, re.MULTILINE)
indices = [f"_{index}" for index in range(int(array[1]) + 1)] if array else [""]
with open(here / "queue", "a") as queue:
    queue.writelines(f"{number}{index} PENDING\\n" for index in indices)
print(f"{number};cluster")
""",
    "squeue": """
print((here / "queue").read_text() if (here / "queue").exists() else "", end="")
""",
    "scontrol": "",
    "scancel": "",
    "srun": """
assert sys.argv[1] == "--wait=120"
os.execv(sys.argv[2], sys.argv[2:])
""",
}


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A sweep and a fake trainer, with the commands of a cluster on PATH."""
    commands = tmp_path / "bin"
    commands.mkdir()
    for name, text in FAKES.items():
        record = f"open(here / 'calls-{name}', 'a').write(json.dumps(sys.argv[1:]) + '\\n')"
        file = commands / name
        file.write_text(
            f"#!{sys.executable}\nimport json, os, pathlib, re, sys\nhere = pathlib.Path({str(tmp_path)!r})\n{record}\n{text}"
        )
        file.chmod(0o755)
    monkeypatch.setenv("PATH", f"{commands}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.chdir(ROOT)
    return Place(tmp_path, monkeypatch)


def calls(place, name: str) -> list[list[str]]:
    file = place.folder / f"calls-{name}"
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def start(place, job: int, index: int | None = None, **variables: str) -> int:
    """Runs a queued job as the cluster would: its exit code."""
    environment = os.environ | {"SLURM_JOB_ID": str(job), "SLURM_NTASKS": "1", **variables}
    if index is not None:
        environment["SLURM_ARRAY_TASK_ID"] = str(index)
    number = str(job) if index is None else f"{job}_{index}"
    queue = place.folder / "queue"
    queue.write_text("".join(line for line in queue.read_text().splitlines(True) if line.split()[0] != number))
    return subprocess.run(["bash", place.folder / f"{job}.job"], env=environment).returncode


def rendered(capsys, *flags: str) -> str:
    assert launch.main(["slurm", "submit", "--config=configs/quickstart.py", "--workdir=runs/x", "--dry-run", *flags]) == 0
    return capsys.readouterr().out


def test_the_script_of_one_run_is_exact(capsys, monkeypatch):
    monkeypatch.chdir(ROOT)
    flags = ["--nodes=2", "--gpus-per-node=8", "--cpus-per-task=6", "--time=24:00:00", "--partition=gpu", "--account=a-1"]
    python = shlex.quote(sys.executable)
    assert (
        rendered(capsys, *flags, "--sbatch=--mem=0 --comment='a b'")
        == f"""#!/bin/bash
#SBATCH --job-name=bert_jax
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=8
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=6
#SBATCH --time=24:00:00
#SBATCH --partition=gpu
#SBATCH --account=a-1
#SBATCH --open-mode=append
#SBATCH --mem=0
#SBATCH '--comment=a b'
#SBATCH --requeue
#SBATCH --signal=TERM@300
trap : TERM  # is for the trainer, and this script outlives it
export JAX_NUM_PROCESSES="$SLURM_NTASKS"
export SRUN_CPUS_PER_TASK="${{SLURM_CPUS_PER_TASK:-1}}"  # srun does not take it over from sbatch
case "${{SLURM_ARRAY_TASK_ID:-0}}" in
0) folder=runs/x
   trainer=({python} -m bert_jax train --config=configs/quickstart.py --workdir=runs/x) ;;
esac
{python} -m launch.attempt "$folder" 3 srun --wait=120 "${{trainer[@]}}"
code=$?
[ "$code" -eq 42 ] && scontrol requeue "$SLURM_JOB_ID"
exit "$code"

"""
    )


def test_a_sweep_is_an_array_with_so_many_at_once_after_its_vocabulary(place, capsys):
    assert place.run("--engine=slurm", "--at-once=2", "--dry-run") == 0
    out = capsys.readouterr().out
    assert "#SBATCH --array=0-3%2\n" in out and len(re.findall(r"^[0-3]\) folder=", out, re.MULTILINE)) == 4
    assert re.search(r" vocab .* \|\| exit\n.* prepare .* \|\| exit\n", out)
    assert not place.workdir.exists() and not calls(place, "sbatch") and not calls(place, "squeue")


def test_a_sweep_is_queued_run_and_only_what_is_missing_is_queued_again(place, capsys):
    place.plan(**{"0.001_0.2": [1, 1], "0.002_0.1": [42], "0.002_0.2": [3]})
    assert place.run("--engine=slurm", "--max-crashes=1") == 0
    first, second = calls(place, "sbatch")
    assert first[:2] == ["--parsable", f"--output={place.workdir}/slurm-prepare-%j.log"]
    assert second[1:4] == [f"--output={place.workdir}/slurm-runs-%j.log", "--dependency=afterok:1", "--kill-on-invalid-dep=yes"]
    assert start(place, 1) == 0 and len(place.calls("vocab")) == len(place.calls("prepare")) == 1
    assert [start(place, 2, index) for index in range(4)] == [0, 42, 42, 3]
    assert calls(place, "scontrol") == [["requeue", "2"]] * 2  # the crash, once, and the one that asked for it
    assert [start(place, 2, index) for index in (1, 2)] == [1, 0]
    assert [place.status(cell)["state"] for cell in ("lr0.001-mask0.1", "lr0.001-mask0.2", "lr0.002-mask0.1")] == [
        "done", "failed", "done"
    ]  # fmt: skip
    capsys.readouterr()
    assert place.resume() == 0
    assert "4 runs, 1 to make" in capsys.readouterr().out
    assert "#SBATCH --array" not in (place.folder / "4.job").read_text() and start(place, 4) == 0
    sweep.show([f"--workdir={place.workdir}"])
    assert len(re.findall(r"\| 1 (?:done|diverged) ", capsys.readouterr().out)) == 4 and len(place.calls()) == 7


def test_what_waits_in_the_queue_is_not_queued_twice(place, capsys):
    assert place.run("--engine=slurm") == 0
    assert place.resume() == 0
    assert "4 to make, 4 of these already with slurm" in capsys.readouterr().out and len(calls(place, "sbatch")) == 2
    assert launch.main(["slurm", "status", f"--workdir={place.workdir}"]) == 0
    assert capsys.readouterr().out.count("queued; job 2_") == 4


def test_one_run_is_queued_once_and_ends_in_its_own_folder(place, capsys):
    flags = [f"--config={place.config}", f"--workdir={place.workdir}", "--config.seed=7", f"--config.data.input_file={HOSTILE}"]
    flags += ["--config.optim.learning_rate=1e-3", "--config.data.masked_lm_prob=0.1"]
    for name in ("v.txt", "s"):
        (place.folder / name).touch()
    flags += [f"--config.text.vocab_file={place.folder}/v.txt", f"--config.data.store={place.folder}/s"]
    run = lambda: launch.engine.main("slurm", launch.slurm, ["submit", *flags], place.trainer)  # noqa: E731
    assert run() == 0
    assert run() == 2 and "was sent before and has not failed" in capsys.readouterr().err
    assert start(place, 1) == 0
    (call,) = place.calls()
    assert call["--config.data.input_file"] == HOSTILE and call["--workdir"] == str(place.workdir)
    assert json.loads((place.workdir / "status.json").read_text())["state"] == "done"


@pytest.mark.parametrize(
    ("flags", "answer", "ended"), [([], "n", False), ([], "y", True), (["--yes"], None, True), (["--dry-run"], None, False)]
)
def test_cancel_asks_first(place, monkeypatch, capsys, flags, answer, ended):
    place.run("--engine=slurm")
    monkeypatch.setattr("builtins.input", lambda prompt: answer or pytest.fail("asked"))
    code = launch.main(["slurm", "cancel", f"--workdir={place.workdir}", *flags])
    assert code == (2 if answer == "n" else 0)
    assert calls(place, "scancel") == ([["2_0", "2_1", "2_2", "2_3"]] if ended else [])
    assert "scancel 2_0 2_1 2_2 2_3" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("--partition=a b", "--partition cannot be right"),
        ("--time=1h\n#SBATCH --x", "--time cannot be right"),
        ("--nodes=0", "--nodes is too small"),
        ("--gpus-per-node=-1", "--gpus-per-node is too small"),
        ("--sbatch='a\n'", "line break"),
    ],
)
def test_a_setting_that_sbatch_would_misread_is_refused(place, flag, message):
    with pytest.raises(UserError, match=message):
        place.run("--engine=slurm", flag, "--dry-run")


def test_where_there_is_no_slurm_the_message_says_so(place, monkeypatch, capsys):
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(UserError, match="sbatch is not on PATH"):
        place.run("--engine=slurm")
    assert launch.main(["slurm", "status", f"--workdir={place.folder}"]) == 2
    assert "squeue is not on PATH" in capsys.readouterr().err


def test_what_sbatch_says_is_shown_when_it_refuses(place):
    (place.folder / "bin/sbatch").write_text("#!/bin/sh\necho 'invalid partition specified: gpu' >&2\nexit 1\n")
    with pytest.raises(UserError, match="sbatch refuses\n.*invalid partition specified: gpu"):
        place.run("--engine=slurm", "--partition=gpu")


def test_the_folder_of_the_logs_may_have_any_name(place):
    place.workdir = Path(f"{place.folder}/50% a'b")
    assert place.run("--engine=slurm") == 0
    assert calls(place, "sbatch")[0][1] == f"--output={place.folder}/50%% a'b/slurm-prepare-%j.log"
    assert [start(place, 1), start(place, 2, 0)] == [0, 0]
