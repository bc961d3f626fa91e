"""Slices by queued resources: exact commands, and a play of preemption, refusal and crashes with a cloud made of folders."""

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from bert_jax.errors import UserError
from launch import __main__ as launch
from launch import engine, tpu_slice, tpu_vm
from tests.launch.test_tpu_vm import CONFIG, HOSTILE, ROOT

# gcloud: buckets are folders below here, queued resources are files that hold their state.
FAKE_GCLOUD = """
import shutil
if sys.argv[1] == "auth":
    print(os.environ.get("FAKE_ACCOUNT", "me@example.org"))
    sys.exit()
flags = [word for word in sys.argv[1:] if word.startswith("--")]
words = [word for word in sys.argv[1:] if word not in flags]
local = lambda path: here / path.replace("gs://", "gs/") if path.startswith("gs://") else pathlib.Path(path)
if words[:2] == ["storage", "cp"]:
    source, target = words[2:]
    local(target).parent.mkdir(parents=True, exist_ok=True)
    local(target).write_bytes(sys.stdin.buffer.read() if source == "-" else local(source).read_bytes())
elif words[:2] == ["storage", "cat"]:
    print(local(words[2]).read_text(), end="")
elif words[:2] == ["storage", "rm"]:
    local(words[2]).unlink()
elif words[:2] == ["storage", "ls"]:
    sys.exit(0 if local(words[2]).exists() else 1)
elif words[:2] == ["storage", "rsync"]:
    if "--delete-unmatched-destination-objects" in flags:
        shutil.rmtree(local(words[3]), ignore_errors=True)
    shutil.copytree(local(words[2]), local(words[3]), dirs_exist_ok=True)
else:
    assert words[:3] == ["compute", "tpus", "queued-resources"]
    verb, name = words[3:]
    state = here / f"state-{name}"
    if verb == "create":
        if os.environ.get("FAKE_CREATE"):
            sys.exit(int(os.environ["FAKE_CREATE"]))
        assert not state.exists()
        state.write_text("WAITING_FOR_RESOURCES")
    if not state.exists():
        sys.exit("ERROR: (gcloud) NOT_FOUND: Resource was not found")
    if verb == "delete":
        state.unlink()
    if verb == "describe":
        print(state.read_text())
"""
# python3 on a host: makes an environment whose python plays the trainer, which does what PLAN says for its n-th start.
FAKE_PYTHON3 = """
me = pathlib.Path(sys.argv[0])
if "venv" in sys.argv:
    python = pathlib.Path(".venv/bin/python")
    python.parent.mkdir(parents=True, exist_ok=True)
    python.write_text(me.read_text())
    python.chmod(0o755)
if me.name == "python":
    workdir = pathlib.Path(next(word for word in sys.argv if word.startswith("--workdir="))[len("--workdir="):])
    starts = workdir / "starts"
    n = len(starts.read_text()) if starts.exists() else 0
    starts.write_text("x" * (n + 1))
    code = json.loads(os.environ["PLAN"])[n]
    if code == "wait":
        import signal, time
        signal.signal(signal.SIGTERM, lambda *_: ((workdir / "saved").write_text("step 7"), sys.exit(42)))
        print("up", flush=True)
        time.sleep(60)
    sys.exit(code)
"""
FAKE_CURL = """
assert sys.argv[-1].endswith("/attributes/agent-worker-number")
print(os.environ["FAKE_WORKER"], end="")
"""


@pytest.fixture
def cloud(tmp_path, monkeypatch):
    """Google's commands on PATH, played with folders; the repository's root is the current folder."""
    (tmp_path / "bin").mkdir()
    for name, text in {"gcloud": FAKE_GCLOUD, "python3": FAKE_PYTHON3, "curl": FAKE_CURL}.items():
        record = "open(here / ('calls-' + pathlib.Path(sys.argv[0]).name), 'a').write(json.dumps(sys.argv[1:]) + '\\n')"
        head = f"#!{sys.executable}\nimport json, os, pathlib, sys\nhere = pathlib.Path({str(tmp_path)!r})"
        file = tmp_path / "bin" / name
        file.write_text(f"{head}\n{record}\n{text}")
        file.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(tpu_slice, "SAVE_SECONDS", 1)
    monkeypatch.setattr(tpu_vm, "ROOT", ROOT)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def calls(cloud, name: str = "gcloud") -> list[list[str]]:
    file = cloud / f"calls-{name}"
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def flags(*more: str, type_: str = "v5litepod-16", name: str = "bert-1") -> list[str]:
    given = {"name": name, "zone": "us-west4-a", "type": type_, "bucket": "gs://bkt/runs", "config": CONFIG, "workdir": "w d"}
    return ["submit", *(f"--{flag}={value}" for flag, value in given.items()), *more]


def call(*arguments: str) -> int:
    return launch.main(["tpu-slice", *arguments])


def host(cloud, home: str, plan: list, worker: int = 0) -> subprocess.Popen:
    """A host of the slice that starts up."""
    (cloud / home).mkdir(exist_ok=True)
    environment = os.environ | {"HOME": str(cloud / home), "PLAN": json.dumps(plan), "FAKE_WORKER": str(worker)}
    return subprocess.Popen(["bash", cloud / "w d/bert-1.sh"], env=environment, cwd=cloud)


def wait_for(file: Path) -> None:
    end = time.monotonic() + 30
    while not (file.exists() and file.read_text()):
        assert time.monotonic() < end, f"{file} never came"
        time.sleep(0.02)


def in_bucket(cloud, name: str) -> Path:
    return cloud / "gs/bkt/runs/bert-1" / name


@pytest.mark.parametrize(("capacity", "extra"), [("on-demand", []), ("spot", ["--spot"]), ("reserved", ["--reserved"])])
@pytest.mark.parametrize(
    ("type_", "accelerator", "version", "hosts"),
    [
        ("v5e-16", "v5litepod-16", "v2-alpha-tpuv5-lite", 4),
        ("v4-8", "v4-8", "tpu-ubuntu2204-base", 1),
        ("v5p-32", "v5p-32", "v2-alpha-tpuv5", 4),
        ("v6e-256", "v6e-256", "v2-alpha-tpuv6e", 64),
    ],
)
def test_a_dry_run_prints_the_exact_commands_and_touches_nothing(
    cloud, capsys, capacity, extra, type_, accelerator, version, hosts
):
    assert call(*flags(f"--capacity={capacity}", "--project=p", "--dry-run", type_=type_)) == 0
    lines = capsys.readouterr().out.splitlines()
    tar, copy, create = map(shlex.split, lines[1:4])
    assert tar[0] == "tar" and copy == ["gcloud", "storage", "cp", tar[2], "gs://bkt/runs/bert-1/code.tar.gz"]
    assert create == [
        *("gcloud", "compute", "tpus", "queued-resources", "create", "bert-1", "--zone=us-west4-a", "--project=p"),
        *("--node-id=bert-1", f"--accelerator-type={accelerator}", f"--runtime-version={version}"),
        *("--metadata-from-file=startup-script=w d/bert-1.sh", "--scopes=https://www.googleapis.com/auth/cloud-platform"),
        *extra,
    ]
    assert f'export JAX_NUM_PROCESSES={hosts} HOME="${{HOME:-/root}}"' in lines
    assert calls(cloud) == [] and not (cloud / "w d").exists()


def test_a_slice_is_taken_away_asked_for_again_and_goes_on_from_what_was_saved(cloud, monkeypatch, capsys):
    override = f"--config.data.input_file={HOSTILE}"
    assert call(*flags("--capacity=spot", override)) == 0
    first, second = host(cloud, "a", ["wait"]), host(cloud, "b", ["wait"], worker=1)
    for home in ("a", "b"):
        wait_for(cloud / home / "bert_jax/w d/train.log")
    for process in (first, second):
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=30) == 0
    assert in_bucket(cloud, "workdir/saved").read_text() == "step 7" and not in_bucket(cloud, "exit_code").exists()
    (cloud / "state-bert-1").write_text("SUSPENDED")
    slept = []

    def world(seconds: float) -> None:
        """Between two looks: the new slice is given, trains, and ends."""
        slept.append((cloud / "state-bert-1").read_text())
        if len(slept) == 1:
            (cloud / "state-bert-1").write_text("ACTIVE")
        else:
            assert host(cloud, "c", [None, 42, 1, 0]).wait(timeout=60) == 0

    monkeypatch.setattr(tpu_slice, "time", SimpleNamespace(sleep=world))  # not of the module time: waits of subprocess sleep too
    assert call("watch", "--workdir=w d") == 0
    assert slept == ["WAITING_FOR_RESOURCES", "ACTIVE"]
    verbs = [words[3] for words in calls(cloud) if words[0] == "compute"]
    assert verbs == ["describe", "create", "describe", "delete", "create", "describe", "describe", "delete"]
    assert (cloud / "c/bert_jax/w d/saved").read_text() == "step 7"  # what the new slice began with
    assert in_bucket(cloud, "workdir/starts").read_text() == "xxxx" and in_bucket(cloud, "exit_code").read_text() == "0\n"
    trainer = [*("-m", "bert_jax", "train", "--config=configs/quickstart.py"), override, "--workdir=w d"]
    assert calls(cloud, "python") == [trainer] * 5
    assert call("status", "--workdir=w d") == 0
    assert "does not exist, ended with exit code 0; its results are in gs://bkt/runs/bert-1/workdir" in capsys.readouterr().out


@pytest.mark.parametrize(("plan", "code"), [([2], 2), ([3], 3), ([1, 1, 137, 1], 1), ([42, 42, 0], 0)])
def test_only_crashes_and_42_are_started_again_and_crashes_so_many_times(cloud, monkeypatch, plan, code):
    call(*flags())
    assert host(cloud, "a", plan).wait(timeout=60) == code
    assert in_bucket(cloud, "exit_code").read_text() == f"{code}\n" and len(calls(cloud, "python")) == len(plan)
    assert host(cloud, "a", []).wait(timeout=60) == 0  # the host starts once more: the run has ended
    assert len(calls(cloud, "python")) == len(plan)
    assert call("watch", "--workdir=w d") == code


def test_a_refused_request_is_said_and_not_repeated(cloud, capsys):
    call(*flags())
    (cloud / "state-bert-1").write_text("FAILED")
    assert call("watch", "--workdir=w d") == 1
    assert "Google refused it" in capsys.readouterr().err
    assert [words[3] for words in calls(cloud) if words[0] == "compute"] == ["describe", "create", "describe"]


def test_what_was_half_made_is_reported_and_can_be_cancelled(cloud, monkeypatch, capsys):
    monkeypatch.setenv("FAKE_CREATE", "7")
    assert call(*flags()) == 7
    assert "bert-1 may exist and cost money" in capsys.readouterr().err
    assert call("cancel", "--workdir=w d", "--dry-run") == 0
    assert "queued-resources delete bert-1 --zone=us-west4-a --force --quiet" in capsys.readouterr().out


def test_ctrl_c_in_watch_says_that_it_goes_on_and_costs(cloud, monkeypatch, capsys):
    call(*flags())

    def interrupted(seconds):
        raise KeyboardInterrupt

    monkeypatch.setattr(tpu_slice, "time", SimpleNamespace(sleep=interrupted))
    assert call("watch", "--workdir=w d") == 42
    assert "go on and cost money" in capsys.readouterr().err


@pytest.mark.parametrize(("answer", "code", "gone"), [("y", 0, True), ("n", 2, False), ("", 2, False)])
def test_cancel_asks_first(cloud, monkeypatch, answer, code, gone):
    call(*flags())
    monkeypatch.setattr("builtins.input", lambda prompt: answer)
    assert call("cancel", "--workdir=w d") == code
    assert (cloud / "state-bert-1").exists() != gone


def test_a_second_submit_of_a_slice_that_is_there_is_refused(cloud, capsys):
    assert call(*flags()) == 0 and call(*flags()) == 2
    assert "was sent before and has not failed" in capsys.readouterr().err
    (cloud / "state-bert-1").unlink()
    assert call(*flags()) == 0


@pytest.mark.parametrize(("state", "code"), [("FAILED", None), ("SUSPENDED", None), ("ACTIVE", "2\n"), (None, "1\n")])
def test_a_submit_after_a_failure_clears_what_that_left(cloud, state, code):
    call(*flags())
    (cloud / "state-bert-1").write_text(state) if state else (cloud / "state-bert-1").unlink()
    if code:
        in_bucket(cloud, "exit_code").write_text(code)
    assert call(*flags()) == 0
    assert (cloud / "state-bert-1").read_text() == "WAITING_FOR_RESOURCES" and not in_bucket(cloud, "exit_code").exists()


def test_what_is_done_or_diverged_is_not_sent_again(cloud, capsys):
    call(*flags())
    for code in ("0\n", "3\n"):
        in_bucket(cloud, "exit_code").write_text(code)
        assert call(*flags()) == 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("--name=Bert_1", "--name cannot be right"),
        (f"--name={'a' * 64}", "--name cannot be right"),
        ("--zone=us-west4", "--zone cannot be right"),
        ("--type=v5litepod-17", "perhaps v5litepod-16"),
        ("--bucket=bkt", "--bucket cannot be right"),
        ("--bucket=gs://bkt/$(x)", "--bucket cannot be right"),
        ("--data=/text", "--data cannot be right"),
        ("--capacity=free", "no such capacity"),
        ("--workdir=/tmp/x", "the workdir would be elsewhere"),
        ("--workdir=../x", "the workdir would be elsewhere"),
        ("--config=nowhere.py", "does not exist"),
    ],
)
def test_a_mistake_is_refused_before_anything_is_rented(cloud, capsys, change, message):
    assert call(*flags(change, "--dry-run")) == 2
    assert message in capsys.readouterr().err


def test_without_an_account_nothing_is_rented(cloud, monkeypatch, capsys):
    monkeypatch.setenv("FAKE_ACCOUNT", "")
    assert call(*flags()) == 2
    assert "gcloud has no account" in capsys.readouterr().err
    assert [words[0] for words in calls(cloud)] == ["auth"] and not (cloud / "w d/tpu-slice.json").exists()


def test_without_gcloud_the_message_says_so(cloud, monkeypatch, capsys):
    monkeypatch.setenv("PATH", str(cloud / "nowhere"))
    assert call(*flags()) == 2
    assert "is not on PATH" in capsys.readouterr().err


def test_the_name_in_a_sweep_has_room_for_the_id_of_the_run():
    from launch.runs import Run

    run = Run("cell", 0, Path("w/cell-s0-0123456789"), "c", ())
    assert engine.job_name("a" * 52, run, 63) == "a" * 52 + "-0123456789"
    with pytest.raises(UserError, match="with -0123456789 of a sweep behind it"):
        engine.job_name("a" * 53, run, 63)
