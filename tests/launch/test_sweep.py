"""Sweeps with a trainer that takes no time: every run once, killed and resumed, each exit code, the table."""

import json
import re
import shutil
import signal
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import pytest

from bert_jax import buckets
from bert_jax.errors import UserError
from launch import __main__ as launch
from launch import board, engine, local, runs, sweep

ROOT = Path(__file__).resolve().parents[2]

# 2 x 2 cells around the real quickstart config, and a cell that only repeats another in other words.
SWEEP = f"""
import runpy
def get_config(arg=None):
    return runpy.run_path({str(ROOT / "configs/quickstart.py")!r})["get_config"](arg)
def sweep(add):
    for rate in (1e-3, 2e-3):
        for share in (0.1, 0.2):
            add(f"lr{{rate:g}}-mask{{share:g}}", **{{"optim.learning_rate": rate, "data.masked_lm_prob": share}})
"""

# Records each call; does what PLAN says for "rate share" at its n-th attempt; where PLAN is silent, it writes a made-up result.
FAKE_TRAINER = """
import json, os, pathlib, signal, sys, time
here = pathlib.Path(__file__).parent
flags = dict(word.split("=", 1) for word in sys.argv[2:])
workdir = pathlib.Path(flags["--workdir"])
calls = here / "calls"
with open(calls, "a") as file:
    file.write(json.dumps([sys.argv[1], flags]) + "\\n")
if sys.argv[1] != "train":
    name = {"vocab": "--config.text.vocab_file", "prepare": "--config.data.store"}[sys.argv[1]]
    if "FAIL_" + sys.argv[1] in os.environ:
        sys.exit(int(os.environ["FAIL_" + sys.argv[1]]))
    pathlib.Path(flags[name]).touch()
    sys.exit()
assert pathlib.Path(flags["--config.text.vocab_file"]).exists() and pathlib.Path(flags["--config.data.store"]).exists()
rate, share, seed = (float(flags[f"--config.{key}"]) for key in ("optim.learning_rate", "data.masked_lm_prob", "seed"))
plan = json.loads(os.environ.get("PLAN", "{}")).get(f"{rate:g} {share:g}", [])
attempts = workdir / "attempts"
attempt = len(attempts.read_text()) if attempts.exists() else 0
attempts.write_text("x" * (attempt + 1))
todo = plan[attempt] if attempt < len(plan) else 0
if todo == "kill both":
    os.kill(os.getppid(), signal.SIGKILL)
    os.kill(os.getpid(), signal.SIGKILL)
if todo == "kill sweep":
    os.kill(os.getppid(), signal.SIGKILL)
    while len((here / "starts").read_text()) < 3:  # the next sweep is there
        time.sleep(0.05)
    time.sleep(1)
if todo == "terminate sweep":
    signal.signal(signal.SIGTERM, lambda *_: (workdir.joinpath("saved").touch(), sys.exit(42)))
    os.kill(os.getppid(), signal.SIGTERM)
    time.sleep(60)
if todo == "kill":
    os.kill(os.getpid(), signal.SIGKILL)
if todo == 2:
    print("error: batch does not divide", file=sys.stderr)
if isinstance(todo, int) and todo:
    sys.exit(todo)
if todo != "no result":
    metrics = {"masked_lm_loss": 1000 * rate + share + seed, "masked_lm_accuracy": share}
    (workdir / "result.json").write_text(json.dumps({"status": "done", "step": 4, "metrics": metrics}))
"""


class Place:
    """A sweep file, a fake trainer and a workdir."""

    def __init__(self, folder: Path, monkeypatch):
        self.folder, self.workdir, self._monkeypatch = folder, folder / "w", monkeypatch
        self.config = folder / "sweep.py"
        self.config.write_text(SWEEP)
        (folder / "trainer.py").write_text(FAKE_TRAINER)
        self.trainer = (sys.executable, str(folder / "trainer.py"))

    def plan(self, **cells):
        self._monkeypatch.setenv("PLAN", json.dumps({key.replace("_", " "): value for key, value in cells.items()}))

    def flags(self, *more) -> list[str]:
        return [f"--config={self.config}", f"--workdir={self.workdir}", *more]

    def run(self, *more) -> int:
        return sweep.submit(self.flags(*more), self.trainer)

    def resume(self) -> int:
        return sweep.resume([f"--workdir={self.workdir}"], self.trainer)

    def table(self) -> int:
        return sweep.show([f"--workdir={self.workdir}"])

    def run_apart(self, verb="resume") -> subprocess.CompletedProcess:
        """The sweep in a process of its own, which may be killed."""
        arguments = ["submit", *self.flags()] if verb == "submit" else ["resume", f"--workdir={self.workdir}"]
        code = f"import sys; from launch import sweep; open({str(self.folder / 'starts')!r}, 'a').write('x'); "
        code += f"sys.exit(sweep.main({arguments!r}, {self.trainer!r}))"
        return subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)

    def calls(self, verb="train") -> list[dict]:
        file = self.folder / "calls"
        lines = map(json.loads, file.read_text().splitlines()) if file.exists() else []
        return [flags for called, flags in lines if called == verb]

    def folders(self) -> list[str]:
        return sorted(path.parent.name for path in self.workdir.glob("*/train.log"))

    def status(self, cell: str) -> dict:
        return json.loads(next(self.workdir.glob(f"{cell}-s*/status.json")).read_text())


@pytest.fixture
def place(tmp_path, monkeypatch):
    return Place(tmp_path, monkeypatch)


PLANS = {"0.001 0.2": ["kill both"], "0.002 0.1": ["kill sweep"], "0.002 0.2": ["terminate sweep"]}


def test_every_cell_and_seed_runs_once_with_one_vocabulary_and_one_store(place, capsys):
    assert place.run("--seeds=0,1", "--config.train.num_train_steps=4") == 0
    assert len(place.folders()) == len(place.calls()) == 8
    assert len(place.calls("vocab")) == len(place.calls("prepare")) == 1
    assert {call["--config.train.num_train_steps"] for call in place.calls()} == {"4"}
    for folder in place.folders():
        assert re.fullmatch(r"lr0\.00[12]-mask0\.[12]-s[01]-[0-9a-f]{10}", folder)


def test_a_finished_sweep_runs_nothing_again(place, capsys):
    place.run()
    before, first = place.calls(), capsys.readouterr().out.split("| cell")[1]
    assert place.run() == 0
    assert place.calls() == before and capsys.readouterr().out.split("| cell")[1] == first


def test_killed_three_times_in_three_ways_and_resumed_every_run_is_done_and_none_twice(place, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PLAN", json.dumps(PLANS))
    assert place.run_apart("submit").returncode == -signal.SIGKILL  # sweep and trainer at once
    assert place.run_apart().returncode == -signal.SIGKILL  # the sweep alone: its trainer goes on to the end
    third = place.run_apart()  # told to end: it lets the trainer save
    assert third.returncode == 42 and "waiting for its end" in third.stdout
    assert len(list(place.workdir.glob("lr0.002-mask0.2-*/saved"))) == 1
    assert place.status("lr0.002-mask0.2")["state"] == "queued"
    last = place.run_apart()
    assert last.returncode == 0 and last.stdout.count("1 done") == 4
    attempts = {path.parent.name[:-14]: len(path.read_text()) for path in place.workdir.glob("*/attempts")}
    assert attempts == {"lr0.001-mask0.1": 1, "lr0.001-mask0.2": 2, "lr0.002-mask0.1": 1, "lr0.002-mask0.2": 2}
    assert place.status("lr0.001-mask0.2") == {
        "cell": "lr0.001-mask0.2", "seed": 0, "state": "done", "exit_code": 0, "attempt": 2,
    }  # fmt: skip
    monkeypatch.delenv("PLAN")
    (tmp_path / "unbroken").mkdir()
    unbroken = Place(tmp_path / "unbroken", monkeypatch)
    unbroken.run()
    assert (place.workdir / "table.md").read_text() == (unbroken.workdir / "table.md").read_text()


def test_a_run_that_asks_for_a_restart_gets_it_at_once(place, capsys):
    place.plan(**{"0.001_0.1": [42, 42]})
    assert place.run() == 0
    assert place.status("lr0.001-mask0.1") == {
        "cell": "lr0.001-mask0.1", "seed": 0, "state": "done", "exit_code": 0, "attempt": 3,
    }  # fmt: skip


def test_a_run_that_only_asks_for_restarts_fails_in_the_end(place, monkeypatch, capsys):
    monkeypatch.setattr(local, "MAX_RESTARTS", 3)
    place.plan(**{"0.001_0.1": [42] * 9})
    assert place.run() == 1
    assert place.status("lr0.001-mask0.1")["attempt"] == 3 and len(place.calls()) == 6


def test_a_diverged_run_is_recorded_not_averaged_and_not_repeated(place, capsys):
    place.plan(**{"0.002_0.2": [3, 3]})
    assert place.run() == 0
    assert place.run() == 0
    assert len(place.calls()) == 4
    assert re.search(r"lr0.002-mask0.2 +\| 1 diverged +\| not run", capsys.readouterr().out)


@pytest.mark.parametrize("failure, code", [(1, 1), ("kill", -9), ("no result", 0)])
def test_a_crash_is_recorded_the_rest_goes_on_and_the_next_sweep_tries_again(place, capsys, failure, code):
    place.plan(**{"0.001_0.1": [failure]})
    assert place.run() == 1
    assert len(place.calls()) == 4
    assert place.status("lr0.001-mask0.1") | {"state": "failed", "exit_code": code} == place.status("lr0.001-mask0.1")
    assert place.run() == 0
    assert len(place.calls()) == 5


def test_a_users_mistake_stops_the_sweep_and_its_message_is_shown(place, capsys):
    place.plan(**{"0.001_0.2": [2]})
    assert place.run() == 2
    assert len(place.calls()) == 2
    assert "error: batch does not divide" in capsys.readouterr().err


@pytest.mark.parametrize("kind, code", [("1", 1), ("2", 2)])
def test_nothing_is_trained_when_the_vocabulary_cannot_be_made(place, monkeypatch, capsys, kind, code):
    monkeypatch.setenv("FAIL_vocab", kind)
    assert place.run() == code
    assert place.calls() == []
    assert "stopped at vocab" in capsys.readouterr().err


def test_equal_cells_share_one_run_whatever_their_names_and_the_type_of_a_number(place, capsys):
    place.config.write_text(
        SWEEP + '    add("again", **{"data.masked_lm_prob": 0.2, "optim.learning_rate": 2e-3})\n'
        '    add("whole", **{"optim.learning_rate": 1, "data.masked_lm_prob": 0.1})\n'
        '    add("float", **{"optim.learning_rate": 1.0, "data.masked_lm_prob": 0.1})\n'
    )
    assert place.run() == 0
    assert len(place.calls()) == 5
    out = capsys.readouterr().out
    assert re.search(r"again +\| 1 done", out) and re.search(r"float +\| 1 done +\| 1000.1", out)


def test_a_renamed_cell_keeps_its_run_and_a_changed_one_is_a_new_run(place, capsys):
    place.run()
    place.config.write_text(SWEEP.replace('f"lr', 'f"rate').replace("2e-3", "3e-3"))
    place.run()
    assert len(place.calls()) == 6


def test_the_seed_is_part_of_what_a_run_is(place):
    ids = [run.folder.name for run in runs.expand(str(place.config), [], [0, 1, 0], place.workdir)]
    assert len(set(ids)) == 8
    default = [run.folder.name for run in runs.expand(str(place.config), [], [], place.workdir)]
    assert set(default) < set(ids)  # the config's own seed is 0


def test_cells_with_other_text_get_a_vocabulary_and_a_store_of_their_own(place, capsys):
    place.config.write_text(
        SWEEP + '    add("cased", **{"text.do_lower_case": False, "optim.learning_rate": 1e-3, "data.masked_lm_prob": 0.1})\n'
    )
    assert place.run() == 0
    assert len({call["--config.data.store"] for call in place.calls("prepare")}) == len(place.calls("vocab")) == 2


def test_a_given_vocabulary_and_store_are_used_as_they_are(place, capsys):
    for name in ("v.txt", "s"):
        (place.folder / name).touch()
    given = [f"--config.text.vocab_file={place.folder}/v.txt", f"--config.data.store={place.folder}/s"]
    assert place.run(*given) == 0
    assert place.calls("vocab") == place.calls("prepare") == []
    assert {call["--config.data.store"] for call in place.calls()} == {f"{place.folder}/s"}


def test_the_table_shows_mean_sd_and_n_and_what_is_missing(place, capsys):
    place.plan(**{"0.002_0.2": [1]})
    place.run("--seeds=0,1,2")
    for folder in place.workdir.glob("*-s2-*"):
        shutil.rmtree(folder)
    capsys.readouterr()
    place.table()
    out = capsys.readouterr().out
    # losses of seeds 0 and 1 are 1000 rate + share + seed: 1.1 and 2.1; Student's t of one degree of freedom is 12.706
    assert re.search(
        r"lr0.001-mask0.1 \| 2 done, 1 not run +\| 1.6000 ± 0.7071 \[-4.7531, 7.9531\] \(n=2\) +\| 0.1000 ± 0.0000 ", out
    )
    assert re.search(r"lr0.002-mask0.2 \| 2 failed, 1 not run +\| not run", out)
    assert (place.workdir / "table.md").read_text() == out
    assert len({len(line) for line in out.splitlines() if line.startswith("|")}) == 1  # columns stand under each other


def test_deleting_a_result_turns_its_cell_into_not_run(place, capsys):
    place.run()
    next(place.workdir.glob("lr0.001-mask0.1-*/result.json")).unlink()
    place.table()
    assert re.search(r"lr0.001-mask0.1 +\| 1 not run +\| not run", capsys.readouterr().out)
    assert place.resume() == 0
    assert len(place.calls()) == 5


def test_the_plan_and_the_dry_run_start_nothing_and_write_nothing(place, monkeypatch, capsys):
    monkeypatch.setattr(subprocess, "Popen", lambda *args, **kwargs: pytest.fail("a process was started"))
    assert sweep.plan(place.flags("--seeds=0,1")) == 0
    out = capsys.readouterr().out
    assert "4 cells, 2 seeds: 8 runs, 8 to make" in out and out.count("| queued |") == 8
    assert place.run("--dry-run") == 0
    assert not place.workdir.exists()


def test_the_plan_says_what_is_missing(place, capsys):
    place.plan(**{"0.002_0.2": [1]})
    place.run()
    capsys.readouterr()
    sweep.plan(place.flags("--seeds=0,1"))
    out = capsys.readouterr().out
    assert "8 runs, 5 to make" in out and out.count("| done ") == 3 and out.count("| failed ") == 1


def test_the_status_says_where_each_run_stands(place, capsys):
    place.plan(**{"0.001_0.2": [1], "0.002_0.1": [3], "0.002_0.2": [42]})
    place.run()
    folder = next(place.workdir.glob("lr0.001-mask0.1-*"))
    records = [{"kind": "train", "step": 2, "loss": 7.5, "tokens_per_second": 1234.5}, {"kind": "held_out", "step": 4, "loss": 1}]
    (folder / "metrics.jsonl").write_text("\n".join(map(json.dumps, records)) + '\n{"kind": "tr')
    (folder / "config.json").write_text('{"train": {"num_train_steps": 4000}}')
    capsys.readouterr()
    runs = sweep._read(str(place.workdir)).runs
    now = (folder / "metrics.jsonl").stat().st_mtime + 300
    first, _, header, _, *rows = board.render(runs, now).splitlines()
    assert first == "4 runs: 2 done, 1 failed, 1 diverged"
    cells = [[word.strip() for word in row.strip("|").split("|")] for row in rows]
    assert cells[0] == ["lr0.001-mask0.1", "0", "done", "1", "4/4,000", "7.5000", "1,234", "5 min ago"]
    assert [row[2:4] for row in cells[1:]] == [["failed (exit code 1)", "1"], ["diverged", "1"], ["done", "2"]]
    assert sweep.status([f"--workdir={place.workdir}"]) == 0 and first in capsys.readouterr().out


def test_the_status_is_redrawn_until_every_run_has_ended(place, monkeypatch, capsys):
    place.plan(**{"0.002_0.2": [1]})
    place.run()
    broken = next(place.workdir.glob("lr0.001-mask0.1-*/result.json"))
    text = broken.read_text()
    broken.unlink()
    slept = []
    sleep = lambda seconds: (slept.append(seconds), broken.write_text(text))  # noqa: E731
    monkeypatch.setattr(board, "time", SimpleNamespace(sleep=sleep, time=lambda: 0.0))
    assert sweep.status([f"--workdir={place.workdir}", "--watch"]) == 0
    assert len(slept) == 1 and "4 runs: 3 done, 1 failed" in capsys.readouterr().out


def test_what_lies_in_a_bucket_is_read_as_if_it_lay_here(place, monkeypatch, capsys):
    """Of one run alone there is no result yet; the others are done."""
    fsspec = pytest.importorskip("fsspec", reason="no fsspec: pip install -e '.[gcs]'")
    files = fsspec.filesystem("memory", skip_instance_cache=True)
    files.store.clear()
    monkeypatch.setattr(buckets, "_filesystem", lambda path: files)
    place.run()
    going_on = next(place.workdir.glob("lr0.001-mask0.1-*"))
    (going_on / "result.json").unlink()
    (going_on / "metrics.jsonl").write_text('{"kind": "train", "step": 2, "loss": 7.5}\n')
    capsys.readouterr()
    place.table()
    expected = capsys.readouterr().out
    request = json.loads((place.workdir / "sweep.json").read_text())
    (place.workdir / "sweep.json").write_text(json.dumps(request | {"engine": "tpu-slice"}))
    for run in runs.from_json(request["runs"], place.workdir):
        (run.folder / "status.json").unlink()
        files.put(f"{run.folder}/", f"bkt/job-{run.id}/workdir/", recursive=True)
        shutil.rmtree(run.folder)
        engine.remember(place.workdir, "tpu-slice", {"bucket": "gs://bkt"}, {run.folder: f"job-{run.id}"})
    assert sweep.status([f"--workdir={place.workdir}"]) == 0
    first, _, _, _, row, *_ = capsys.readouterr().out.splitlines()
    assert first == "4 runs: 1 running, 3 done" and "| running | –       | 2    | 7.5000 |" in row
    place.table()
    assert capsys.readouterr().out == expected.replace("1 not run", "1 running")


def test_a_file_of_a_bucket_is_as_old_here_as_it_is_there(tmp_path, monkeypatch):
    fsspec = pytest.importorskip("fsspec", reason="no fsspec: pip install -e '.[gcs]'")
    files = fsspec.filesystem("memory", skip_instance_cache=True)
    files.pipe("/bkt/run/a", b"x")
    files.store["/bkt/run/a"].modified = datetime(2026, 1, 2, tzinfo=UTC)
    monkeypatch.setattr(buckets, "_filesystem", lambda path: files)
    buckets.bring("gs://bkt/run", ["a", "not there"], tmp_path / "W")
    assert [path.name for path in (tmp_path / "W").iterdir()] == ["a"]
    assert (tmp_path / "W" / "a").stat().st_mtime == datetime(2026, 1, 2, tzinfo=UTC).timestamp()


def test_a_moved_sweep_is_resumed_where_it_lies_and_a_changed_config_is_noticed(place, capsys):
    place.plan(**{"0.002_0.2": [1]})
    place.run()
    place.workdir = place.workdir.rename(place.folder / "moved")
    assert place.resume() == 0 and len(place.calls()) == 5
    next(place.workdir.glob("lr0.001-mask0.1-*/result.json")).unlink()
    smaller = "base = get_config\ndef get_config(arg=None):\n    config = base(arg)\n    config.data.num_eval_rows = 7\n"
    place.config.write_text(SWEEP.replace("def sweep", smaller + "    return config\ndef sweep"))
    with pytest.raises(UserError, match="the config file has changed since"):
        place.resume()
    assert place.table() == 0  # what was made stays readable


@pytest.mark.parametrize("verb", ["status", "resume", "table"])
def test_where_no_sweep_was_submitted_there_is_nothing_to_go_on_with(tmp_path, capsys, verb):
    assert sweep.main([verb, f"--workdir={tmp_path}"]) == 2
    assert "no sweep was submitted here" in capsys.readouterr().err


def test_an_unknown_engine_is_named(place):
    with pytest.raises(UserError, match="there is no such engine"):
        place.run("--engine=clurm")


def test_a_dry_run_prints_only_what_is_missing(place, capsys):
    place.plan(**{"0.002_0.1": [1]})
    place.run()
    capsys.readouterr()
    place.run("--dry-run")
    vocab, prepare, train = capsys.readouterr().out.splitlines()
    assert " vocab " in vocab and " prepare " in prepare
    assert " train " in train and "--config.optim.learning_rate=0.002" in train


@pytest.mark.parametrize(
    "change, flags, message",
    [
        (("optim.learning_rate", "optim.learning_rat"), [], "learning_rate"),
        (("def sweep", "def swep"), [], "no function sweep"),
        (("mask{share:g}", ""), [], "name of its own"),
        (('f"lr', 'f"../lr'), [], "name of its own"),
        (("", ""), ["--seeds=a"], "--seeds"),
        (("", ""), ["--seeds=1,"], "--seeds"),
        (("", ""), ["--config.optim.learning_rate=1e-3"], "sets optim.learning_rate itself"),
        (("", ""), ["--config.train.batch=1"], "train_batch_size"),
    ],
)
def test_a_mistake_in_the_sweep_is_found_before_the_first_run(place, change, flags, message):
    place.config.write_text(SWEEP.replace(*change) if change[0] else SWEEP)
    with pytest.raises(UserError, match=re.escape(message)):
        place.run(*flags)
    assert place.calls() == []


def test_a_broken_result_file_is_named(place, capsys):
    place.run()
    next(place.workdir.glob("*/result.json")).write_text("{")
    with pytest.raises(UserError, match="result.json is not valid JSON"):
        place.table()


def test_a_workdir_that_cannot_be_made_is_a_users_mistake(place):
    place.workdir.write_text("a file")
    with pytest.raises(UserError, match="cannot make the folder"):
        place.run()


def test_the_committed_sweep_has_four_cells_that_load():
    found = runs.expand(str(ROOT / "configs/sweep_quickstart.py"), [], [0, 1], Path("nowhere"))
    assert len({run.cell for run in found}) == 4 and len({run.folder for run in found}) == 8
    assert len({run.shared for run in found}) == 1


def test_help_answers_without_jax_and_names_every_verb():
    code = "import sys, runpy; sys.argv = ['launch', '--help']\ntry: runpy.run_module('launch', run_name='__main__')\n"
    code += "except SystemExit as end: assert not end.code\nassert 'jax' not in sys.modules and 'numpy' not in sys.modules"
    shown = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert shown.returncode == 0, shown.stderr
    assert all(verb in shown.stdout for verb in launch.VERBS)


def test_an_unknown_verb_is_a_users_mistake(capsys):
    assert launch.main(["swep"]) == 2
    assert "sweep" in capsys.readouterr().err
    assert launch.main([]) == 2
