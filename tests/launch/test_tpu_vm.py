"""The commands for a TPU VM: exact, quoted for the shell on it, and run against a gcloud that plays the cloud with a folder."""

import json
import os
import shlex
import shutil
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import pytest

from bert_jax.errors import UserError
from launch import __main__ as launch
from launch import tpu_vm

ROOT = Path(__file__).resolve().parents[2]
CONFIG = str(ROOT / "configs/quickstart.py")
HOSTILE = 'a\'b $(x) ; `y` "z" é\n*'

# Records its arguments; scp copies into the folder that plays the home of the VM, ssh runs the command there as sshd would.
FAKE_GCLOUD = f"""#!{sys.executable}
import json, os, shutil, subprocess, sys
if sys.argv[1] == "auth":
    print(os.environ.get("FAKE_ACCOUNT", "me@example.org"))
    sys.exit()
home = os.environ["FAKE_VM_HOME"]
with open(os.environ["FAKE_RECORD"], "a") as record:
    record.write(json.dumps(sys.argv[1:]) + "\\n")
verb = sys.argv[4]
if verb == os.environ.get("FAKE_FAILS"):
    sys.exit(7)
if verb == "scp":
    shutil.copy(sys.argv[5], os.path.join(home, sys.argv[6].partition(":")[2]))
if verb == "ssh":
    command = next(a for a in sys.argv if a.startswith("--command="))[len("--command="):]
    sys.exit(subprocess.run(["bash", "-c", command], cwd=home).returncode)
"""

# Plays python3 on the VM: "python3 -m uv venv" makes a python that records its arguments and asks for one restart.
FAKE_PYTHON3 = f"""#!{sys.executable}
import json, os, pathlib, sys
here = pathlib.Path(sys.argv[0])
with open(os.environ["FAKE_RECORD"] + "." + here.name, "a") as record:
    record.write(json.dumps(sys.argv[1:]) + "\\n")
if "venv" in sys.argv:
    python = pathlib.Path(".venv/bin/python")
    python.parent.mkdir(parents=True)
    python.write_text(here.read_text())
    python.chmod(0o755)
if here.name == "python":
    print("trained", flush=True)
    restarted = pathlib.Path("restarted")
    if not restarted.exists():
        restarted.touch()
        sys.exit(42)
"""


@pytest.fixture
def cloud(tmp_path, monkeypatch):
    """A fake gcloud on PATH, a folder as the VM's home, and a checkout with things that must stay at home."""
    for name, text in [("gcloud", FAKE_GCLOUD), ("python3", FAKE_PYTHON3)]:
        file = tmp_path / "bin" / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(text)
        file.chmod(0o755)
    checkout = tmp_path / "checkout"
    for name in (*tpu_vm.PUSHED, ".venv/big", "runs/big", "bert_jax/__pycache__/a.pyc"):
        file = checkout / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("x") if "." in name or "big" in name else file.mkdir(exist_ok=True)
    shutil.copy(ROOT / "launch/keep_running.sh", checkout / "launch")
    shutil.copy(CONFIG, checkout / "configs")
    monkeypatch.setattr(tpu_vm, "ROOT", checkout)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("FAKE_VM_HOME", str(home))
    monkeypatch.setenv("FAKE_RECORD", str(tmp_path / "record"))
    return tmp_path


def recorded(cloud, suffix="") -> list[list[str]]:
    file = cloud / f"record{suffix}"
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def flags(*more, name="bert-1", zone="us-west4-a"):
    return [f"--name={name}", f"--zone={zone}", *more]


def training(config=CONFIG, type_="v5litepod-8", workdir="runs/bert"):
    return flags(f"--type={type_}", f"--config={config}", f"--workdir={workdir}")


def commands(capsys) -> list[list[str]]:
    return [shlex.split(line) for line in capsys.readouterr().out.split("\n") if line and not line.startswith("#")]


def wait_for(file: Path, text: str) -> str:
    for _ in range(600):
        if file.exists() and text in file.read_text():
            return file.read_text()
        time.sleep(0.05)
    raise AssertionError(f"{text!r} never came in {file}")


def test_a_dry_run_prints_the_exact_commands(capsys):
    assert tpu_vm.main([*training(), "--spot", "--project=p", "--config.optim.learning_rate=1e-4", "--dry-run"]) == 0
    create, tar, scp, unpack, install, run = commands(capsys)
    where = ["--zone=us-west4-a", "--project=p"]
    vm = ["gcloud", "compute", "tpus", "tpu-vm"]
    assert create == [
        *vm,
        "create",
        "bert-1",
        "--accelerator-type=v5litepod-8",
        "--version=v2-alpha-tpuv5-lite",
        "--spot",
        *where,
    ]
    assert tar[0] == "tar" and scp == [*vm, "scp", tar[2], "bert-1:bert_jax.tar.gz", *where]
    for ssh in (unpack, install, run):
        assert ssh[:6] == [*vm, "ssh", "bert-1"] and ssh[6].startswith("--command=") and ssh[7:] == where
    assert run[6] == (
        "--command=cd bert_jax && bash launch/keep_running.sh train.log .venv/bin/python -m bert_jax train "
        "--config=configs/quickstart.py --workdir=runs/bert --config.optim.learning_rate=1e-4"
    )


@pytest.mark.parametrize(
    "type_, accelerator, version",
    [
        ("v5e-8", "v5litepod-8", "v2-alpha-tpuv5-lite"),
        ("v4-8", "v4-8", "tpu-ubuntu2204-base"),
        ("v5p-8", "v5p-8", "v2-alpha-tpuv5"),
        ("v6e-1", "v6e-1", "v2-alpha-tpuv6e"),
    ],
)
def test_each_generation_gets_its_own_type_and_runtime_on_demand(type_, accelerator, version, capsys):
    tpu_vm.main([*flags(f"--type={type_}"), "create", "--dry-run"])
    (create,) = commands(capsys)
    assert create[4:] == ["create", "bert-1", f"--accelerator-type={accelerator}", f"--version={version}", "--zone=us-west4-a"]


@pytest.mark.parametrize(
    "action, tail",
    [
        ("status", ["describe", "bert-1", "--format=value(state,health)", "--zone=us-west4-a"]),
        ("logs", ["ssh", "bert-1", "--command=tail -n 100 -F bert_jax/train.log", "--zone=us-west4-a"]),
        ("fetch", ["scp", "--recurse", "bert-1:bert_jax/runs/bert", ".", "--zone=us-west4-a"]),
        ("delete", ["delete", "bert-1", "--quiet", "--zone=us-west4-a"]),
    ],
)
def test_the_other_actions_ask_for_no_more_than_they_need(action, tail, capsys):
    workdir = ["--workdir=runs/bert"] if action == "fetch" else []
    assert tpu_vm.main([*flags(*workdir), f"{action}", "--dry-run"]) == 0
    assert commands(capsys) == [["gcloud", "compute", "tpus", "tpu-vm", *tail]]


def test_the_price_is_shown_with_its_date_and_an_unknown_one_as_unknown(capsys):
    tpu_vm.main([*flags("--type=v5litepod-8"), "create", "--dry-run"])
    assert "$9.60 per hour on demand (read 20" in capsys.readouterr().out
    tpu_vm.main([*flags("--type=v4-8"), "create", "--spot", "--dry-run"])
    assert "price unknown" in capsys.readouterr().out


@pytest.mark.parametrize("spot, advice", [([], "fetch it before delete"), (["--spot"], "fetch often")])
def test_it_is_said_that_the_workdir_goes_with_the_vm(spot, advice, capsys):
    tpu_vm.main([*training(), *spot, "--dry-run"])
    assert advice in capsys.readouterr().out


def test_a_dry_run_starts_no_process(cloud, monkeypatch, capsys):
    monkeypatch.setattr(subprocess, "run", lambda *args, **kwargs: pytest.fail("a process was started"))
    for action in ("all", *tpu_vm.ACTIONS):
        assert tpu_vm.main([*training(cloud / "checkout/configs/quickstart.py"), f"{action}", "--dry-run"]) == 0
    assert recorded(cloud) == []


def test_everything_runs_in_order_and_hostile_text_reaches_the_trainer_unchanged(cloud, capsys):
    override = f"--config.data.input_file={HOSTILE}"
    assert tpu_vm.main([*training(cloud / "checkout/configs/quickstart.py", workdir="w d"), override]) == 0
    assert [call[3] for call in recorded(cloud)] == ["create", "scp", "ssh", "ssh", "ssh"]
    log = wait_for(cloud / "home/bert_jax/train.log", "exit code 0")
    assert log.count("trained") == 2 and "exit code 42" in log  # one restart, then done
    trainer = ["-m", "bert_jax", "train", "--config=configs/quickstart.py", "--workdir=w d", override]
    assert recorded(cloud, ".python") == [trainer, trainer]
    assert recorded(cloud, ".python3")[-1][-2:] == ["--editable", ".[tpu]"]


def test_what_is_printed_can_be_copied_into_a_shell(cloud, capsys):
    arguments = [*training(cloud / "checkout/configs/quickstart.py"), f"--config.data.input_file={HOSTILE}"]
    tpu_vm.main([*arguments, "--dry-run"])
    subprocess.run(["bash", "-e"], input=capsys.readouterr().out, text=True, check=True)
    copied = recorded(cloud)
    wait_for(cloud / "home/bert_jax/train.log", "exit code 0")
    (cloud / "record").unlink()
    shutil.rmtree(cloud / "home/bert_jax")
    assert tpu_vm.main(arguments) == 0
    assert recorded(cloud) == copied
    wait_for(cloud / "home/bert_jax/train.log", "exit code 0")


def test_the_code_is_pushed_without_environments_runs_and_caches(cloud, capsys):
    (cloud / "home/bert_jax/bert_jax").mkdir(parents=True)
    (cloud / "home/bert_jax/bert_jax/removed.py").touch()
    (cloud / "home/bert_jax/runs").mkdir()
    assert tpu_vm.main([*flags(), "push"]) == 0
    with tarfile.open(next(cloud.glob("*.tar.gz"))) as archive:
        names = archive.getnames()
    assert "configs/quickstart.py" in names and "launch/keep_running.sh" in names
    assert not [name for name in names if "big" in name or "pyc" in name]
    assert not (cloud / "home/bert_jax/bert_jax/removed.py").exists()  # what is gone here is gone there
    assert (cloud / "home/bert_jax/runs").is_dir()  # what was trained there stays


def test_a_failing_command_ends_it_with_its_exit_code_and_names_the_cost(cloud, monkeypatch, capsys):
    monkeypatch.setenv("FAKE_FAILS", "scp")
    assert tpu_vm.main(training(cloud / "checkout/configs/quickstart.py")) == 7
    assert [call[3] for call in recorded(cloud)] == ["create", "scp"]
    assert "may exist and cost money" in capsys.readouterr().err


@pytest.mark.parametrize("answer, deleted", [("y", 1), ("n", 0), ("", 0), (None, 0)])
def test_delete_asks_first_and_silence_means_no(cloud, monkeypatch, capsys, answer, deleted):
    def answers(prompt):
        if answer is None:
            raise EOFError
        return answer

    monkeypatch.setattr("builtins.input", answers)
    assert tpu_vm.main([*flags(), "delete"]) == (0 if deleted else 2)
    assert len(recorded(cloud)) == deleted


def test_delete_with_yes_does_not_ask(cloud, monkeypatch, capsys):
    monkeypatch.setattr("builtins.input", lambda prompt: pytest.fail("asked"))
    assert tpu_vm.main([*flags(), "delete", "--yes"]) == 0
    assert recorded(cloud) == [["compute", "tpus", "tpu-vm", "delete", "bert-1", "--quiet", "--zone=us-west4-a"]]


@pytest.mark.parametrize(
    "arguments, message",
    [
        (flags("status", "--dry-run", name="Bert_1"), "--name"),
        (flags("status", "--dry-run", name="a" * 64), "--name"),
        (flags("status", "--dry-run", name="b-"), "--name"),
        (flags("status", "--dry-run", name="-b"), "--name"),
        (flags("status", "--dry-run", zone="us-west4"), "--zone"),
        (flags("--dry-run"), "needs --type and --config and --workdir"),
        (flags("fetch", "--dry-run"), "needs --workdir"),
        ([*training(workdir="gs://bucket/x"), "--dry-run"], "is on its disk"),
        (flags("run", "--dry-run"), "needs --config and --workdir"),
        ([*training(type_="v5litepod-9"), "--dry-run"], "perhaps v5litepod-8"),
        ([*training(type_="v5litepod-16"), "--dry-run"], "v5litepod-1, v5litepod-4, v5litepod-8"),
        ([*training(type_="v4-32"), "--dry-run"], "4 hosts.*\n.*\n.*one host of v4: v4-8"),
        ([*training("nowhere.py"), "--dry-run"], "does not exist"),
        ([*training(), "--config.optim.learning_rat=1", "--dry-run"], "learning_rate"),
    ],
)
def test_a_mistake_is_refused_before_anything_is_rented(arguments, message):
    with pytest.raises(UserError, match=f"(?s){message}"):
        tpu_vm.main(arguments)


def test_a_name_of_63_characters_is_accepted(capsys):
    assert tpu_vm.main(flags("status", "--dry-run", name="a" * 63)) == 0


def test_a_config_outside_of_what_is_pushed_is_refused(tmp_path):
    shutil.copy(CONFIG, tmp_path)
    with pytest.raises(UserError, match="would not be on the VM"):
        tpu_vm.main([*training(tmp_path / "quickstart.py"), "--dry-run"])


def test_without_gcloud_the_message_says_so(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert launch.main(["tpu-vm", *flags(), "status"]) == 2
    assert "gcloud is not on PATH" in capsys.readouterr().err


def test_without_an_account_nothing_is_tried(cloud, monkeypatch, capsys):
    monkeypatch.setenv("FAKE_ACCOUNT", "")
    assert launch.main(["tpu-vm", "status", *flags()]) == 2
    assert "gcloud has no account" in capsys.readouterr().err and recorded(cloud) == []


def test_a_second_start_on_one_vm_is_refused_while_the_first_goes_on(tmp_path):
    start = ["bash", str(ROOT / "launch/keep_running.sh"), "log"]
    subprocess.run([*start, "bash", "-c", "until [ -e stop ]; do sleep 0.05; done"], cwd=tmp_path, check=True)
    second = subprocess.run([*start, "touch", "second"], cwd=tmp_path, capture_output=True, text=True)
    (tmp_path / "stop").touch()
    assert second.returncode == 2 and "goes on already" in second.stderr
    wait_for(tmp_path / "log", "exit code 0")
    assert not (tmp_path / "second").exists()


def test_stop_lets_the_trainer_save_and_nothing_restarts_it(cloud, capsys):
    home = cloud / "home/bert_jax"
    home.mkdir()
    trainer = "trap 'sleep 0.2; touch saved; exit 42' TERM; echo up; while true; do sleep 0.05; done"
    subprocess.run(["bash", str(ROOT / "launch/keep_running.sh"), "train.log", "bash", "-c", trainer], cwd=home, check=True)
    wait_for(home / "train.log", "up")
    assert tpu_vm.main([*flags(), "stop"]) == 0
    assert (home / "saved").exists()  # stop came back after the trainer had ended
    subprocess.run(["flock", "--nonblock", "train.log.lock", "true"], cwd=home, check=True)
    assert (home / "train.log").read_text().count("up") == 1
    (home / "train.log.pid").unlink()
    assert tpu_vm.main([*flags(), "stop"]) != 0  # nothing was ever started


@pytest.mark.parametrize("code", [0, 1, 2, 3])
def test_only_42_is_restarted(tmp_path, code):
    command = ["bash", "-c", f"echo x; exit {code}"]
    subprocess.run(["bash", str(ROOT / "launch/keep_running.sh"), "log", *command], cwd=tmp_path, check=True)
    assert wait_for(tmp_path / "log", f"exit code {code}").count("x\n") == 1
