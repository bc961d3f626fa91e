"""SkyPilot: its tasks as they are read, run by bash as it runs them, an imitation of its command, and its own validation."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from launch import __main__ as launch
from launch import engine, sky
from tests.launch.test_tpu_vm import CONFIG, HOSTILE, ROOT


def flags(*more: str, accelerators: str = "tpu-v6e-8") -> list[str]:
    given = {"name": "bert-1", "accelerators": accelerators, "bucket": "gs://bkt", "config": CONFIG, "workdir": "runs/bert"}
    return ["submit", *(f"--{flag}={value}" for flag, value in given.items()), *more]


@pytest.fixture
def rendered(capsys, monkeypatch):
    monkeypatch.chdir(ROOT)

    def render(*more: str, **given) -> dict:
        assert launch.main(["sky", *flags("--dry-run", *more, **given)]) == 0
        return yaml.safe_load(capsys.readouterr().out)

    return render


def test_a_task_for_a_slice_is_exact(rendered):
    task = rendered("--spot", accelerators="tpu-v5e-16")
    assert task.pop("setup").splitlines()[-1].endswith("--editable '.[tpu]'")
    assert task == {
        "name": "bert-1",
        "resources": {
            "accelerators": "tpu-v5litepod-16",
            "accelerator_args": {"runtime_version": "v2-alpha-tpuv5-lite"},  # SkyPilot's own default is that of v5p
            "use_spot": True,
            "job_recovery": {"max_restarts_on_errors": 3, "recover_on_exit_codes": [42]},
        },
        "num_nodes": 1,
        "workdir": ".",
        "file_mounts": {"/mnt/runs": {"source": "gs://bkt", "mode": "MOUNT"}},
        "run": "export JAX_NUM_PROCESSES=4\n"
        "exec .venv/bin/python -m bert_jax train --config=configs/quickstart.py --workdir=/mnt/runs/runs/bert\n",
    }


def test_hostile_text_and_the_place_among_several_machines_reach_the_trainer(rendered, tmp_path):
    task = rendered("--nodes=2", f"--config.data.input_file={HOSTILE}", accelerators="H100:8")
    python = tmp_path / ".venv/bin/python"
    python.parent.mkdir(parents=True)
    python.write_text(f"#!{sys.executable}\nimport json, os, sys\nprint(json.dumps([sys.argv[1:], dict(os.environ)]))\n")
    python.chmod(0o755)
    of_sky = {"SKYPILOT_NUM_NODES": "2", "SKYPILOT_NODE_RANK": "1", "SKYPILOT_NODE_IPS": "10.0.0.1\n10.0.0.2"}
    done = subprocess.run(["bash", "-c", task["run"]], cwd=tmp_path, env=os.environ | of_sky, capture_output=True, text=True)
    arguments, environment = json.loads(done.stdout)
    assert f"--config.data.input_file={HOSTILE}" in arguments
    place = ("JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID")
    assert [environment[name] for name in place] == ["10.0.0.1:8476", "2", "1"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("--name=Bert_1", "--name cannot be right"),
        ("--accelerators=tpu-v6e-17", "perhaps v6e-16"),
        ("--accelerators=H100", "tpu-v6e-8 or H100:8"),
        ("--bucket=/data", "--bucket cannot be right"),
        ("--nodes=2", "a TPU slice is one node"),
        ("--workdir=/tmp/x", "the workdir would be elsewhere"),
    ],
)
def test_a_mistake_is_refused(capsys, change, message):
    assert launch.main(["sky", *flags("--dry-run", change)]) == 2
    assert message in capsys.readouterr().err


# sky: a managed job is a line "name status"; the newest of a name counts.
FAKE_SKY = """
verb = sys.argv[2]
jobs = here / "jobs"
lines = jobs.read_text().splitlines() if jobs.exists() else []
if verb == "launch":
    name = next(word for word in sys.argv if word.startswith("--name=")).removeprefix("--name=")
    assert name == [line for line in open(sys.argv[-1]) if line.startswith("name: ")][0].split()[1]
    jobs.write_text("\\n".join([*lines, f"{name} PENDING"]))
if verb == "queue":
    print(json.dumps([{"job_id": n, "job_name": line.split()[0], "status": line.split()[1]} for n, line in enumerate(lines)]))
"""


def test_a_job_is_sent_once_and_again_when_it_failed(tmp_path, monkeypatch, capsys):
    file = tmp_path / "bin/sky"
    file.parent.mkdir()
    head = f"#!{sys.executable}\nimport json, pathlib, sys\nhere = pathlib.Path({str(tmp_path)!r})"
    file.write_text(f"{head}\nopen(here / 'calls', 'a').write(json.dumps(sys.argv[1:]) + '\\n')\n{FAKE_SKY}")
    file.chmod(0o755)
    monkeypatch.setenv("PATH", f"{file.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.chdir(tmp_path)
    assert launch.main(["sky", *flags()]) == 0
    calls = [json.loads(line) for line in (tmp_path / "calls").read_text().splitlines()]
    assert calls == [["jobs", "launch", "--yes", "--detach-run", "--name=bert-1", "runs/bert/bert-1.yaml"]]
    assert launch.main(["sky", *flags()]) == 2
    assert "was sent before and has not failed" in capsys.readouterr().err
    (tmp_path / "jobs").write_text("bert-1 FAILED_CONTROLLER")
    assert launch.main(["sky", *flags()]) == 0
    capsys.readouterr()
    assert launch.main(["sky", "status", "--workdir=runs/bert"]) == 0
    assert capsys.readouterr().out == "runs/bert: job bert-1: PENDING\n"
    monkeypatch.setattr("builtins.input", lambda prompt: "n")
    before = (tmp_path / "calls").read_text()
    assert launch.main(["sky", "cancel", "--workdir=runs/bert"]) == 2 and (tmp_path / "calls").read_text() == before
    assert launch.main(["sky", "cancel", "--workdir=runs/bert", "--yes"]) == 0
    assert json.loads((tmp_path / "calls").read_text().splitlines()[-1]) == ["jobs", "cancel", "--yes", "--name=bert-1"]


def test_a_run_lies_in_the_bucket_as_the_machines_have_mounted_it(rendered, tmp_path, monkeypatch):
    there = rendered()["run"].rpartition("--workdir=")[2].strip()
    monkeypatch.chdir(tmp_path)
    workdir = Path("runs")
    workdir.mkdir()
    engine.remember(workdir, "sky", {"bucket": "gs://bkt"}, {workdir / "bert": "bert-1"})
    assert sky.places(workdir) == {"bert": there.replace(sky.MOUNT, "gs://bkt")}


def test_without_sky_the_message_says_so(monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert launch.main(["sky", *flags()]) == 2
    assert "sky is not on PATH" in capsys.readouterr().err
