"""A workdir in a bucket: what is copied, in which order, what a fault leaves behind, and runs that go on from it elsewhere."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor

import pytest

from bert_jax import buckets
from bert_jax import run as training
from bert_jax.__main__ import main
from bert_jax.errors import EXIT_DONE, EXIT_RESTART, EXIT_USER_ERROR, UserError
from tests import tiny
from tests.parallel.test_hosts import free_port

fsspec = pytest.importorskip("fsspec", reason="no fsspec: pip install -e '.[gcs]'")
RUN = "bkt/run"
STEPS = 300


class Watched:
    """A file system in memory that lists what is done to it, and refuses what `refuses` says."""

    def __init__(self):
        self.files = fsspec.filesystem("memory", skip_instance_cache=True)
        self.files.store.clear()
        self.done, self.refuses = [], lambda name: False

    def __getattr__(self, name):
        return getattr(self.files, name)

    def find(self, folder: str, **options):
        """Without the slash that the file system in memory puts before a name, as a bucket has none."""
        found = self.files.find(folder, **options)
        return {name[1:]: found[name] for name in found} if options else [name[1:] for name in found]

    def put_file(self, here: str, there: str) -> None:
        if self.refuses(there):
            raise OSError("503, try later")
        self.files.put_file(here, there)
        self.done.append(f"put {there.removeprefix(f'{RUN}/')}")

    def rm_file(self, there: str) -> None:
        self.files.rm_file(there)
        self.done.append(f"delete {there.removeprefix(f'{RUN}/')}")


@pytest.fixture
def bucket():
    return Watched()


def machine(bucket, folder) -> buckets.Mirror:
    """The copy of the bucket on a machine, as a program that starts there finds it."""
    mirror = buckets.Mirror(bucket, RUN, folder)
    mirror.begin()
    return mirror


def write(mirror, *names: str, text: str = "x", **files: str) -> None:
    for name, content in dict.fromkeys(names, text).items() | files.items():
        path = mirror.here / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)


def contents(folder) -> dict[str, str]:
    return {path.relative_to(folder).as_posix(): path.read_text() for path in folder.rglob("*") if path.is_file()}


STEP = ("checkpoints/4/seal.json", "checkpoints/4/a", "checkpoints/4/z")
NEXT = ("checkpoints/8/seal.json", "checkpoints/8/a", "checkpoints/8/z")


def test_what_was_written_on_one_machine_is_there_on_another(bucket, tmp_path):
    here = machine(bucket, tmp_path / "a")
    write(here, "config.json", *STEP, "store/manifest.json", "store/train/tokens")
    expected = contents(here.here)
    write(here, "compiled/program", "checkpoints/8.orbax-checkpoint-tmp-1/a", ".store.tmp/a", ".lock")
    here.push()
    assert contents(machine(bucket, tmp_path / "b").here) == expected


def test_what_says_that_others_are_whole_comes_after_them(bucket, tmp_path):
    here = machine(bucket, tmp_path)
    write(here, "result.json", *STEP, "store/manifest.json", "store/train/tokens", "vocab.txt", "config.json")
    here.push()
    assert bucket.done[-4:] == [f"put {name}" for name in ("vocab.txt", "store/manifest.json", STEP[0], "result.json")]


@pytest.mark.parametrize("refused", [f"/{name}" for name in (*NEXT, "metrics")])
def test_wherever_copying_ends_another_machine_finds_a_whole_checkpoint_and_nothing_that_is_not_whole(bucket, tmp_path, refused):
    here = machine(bucket, tmp_path / "a")
    write(here, "config.json", *STEP)
    here.push()
    shutil.rmtree(here.here / "checkpoints" / "4")
    write(here, *NEXT, "metrics")
    bucket.refuses = lambda name: name.endswith(refused)
    with pytest.raises(UserError, match="503"):
        here.push()
    found = contents(machine(bucket, tmp_path / "b").here)
    assert set(STEP) <= found.keys() and set(NEXT) & found.keys() in (set(), set(NEXT))
    assert (tmp_path / "b" / "workdir" / "checkpoints" / "8").exists() == (NEXT[0] in found)
    bucket.refuses = lambda name: False
    again = machine(bucket, tmp_path / "a")  # the machine whose copying was cut off goes on with all it had
    again.push()
    assert set(contents(again.here)) == {"config.json", *NEXT, "metrics"} == {name[len(RUN) + 1 :] for name in bucket.find(RUN)}


def test_half_a_store_is_none_and_is_made_again(bucket, tmp_path):
    here = machine(bucket, tmp_path / "a")
    write(here, "config.json", "store/manifest.json", "store/train/tokens", "store/unigram")
    bucket.refuses = lambda name: name.endswith("unigram")
    with pytest.raises(UserError):
        here.push()
    there = machine(bucket, tmp_path / "b")
    assert set(contents(there.here)) == {"config.json"} and not (there.here / "store").exists()
    bucket.refuses = lambda name: False
    write(there, "store/manifest.json", "store/train/tokens", "store/unigram", text="anew")
    there.push()
    assert contents(machine(bucket, tmp_path / "c").here)["store/train/tokens"] == "anew"


def test_only_what_changed_is_copied_and_an_old_checkpoint_goes_last_and_its_seal_first(bucket, tmp_path):
    here = machine(bucket, tmp_path)
    write(here, "config.json", "metrics", *STEP)
    here.push()
    bucket.done.clear()
    here.push()
    assert bucket.done == []
    shutil.rmtree(here.here / "checkpoints" / "4")
    write(here, "metrics", text="more")
    here.push()
    assert bucket.done == ["put metrics", *(f"delete {name}" for name in (STEP[0], STEP[2], STEP[1]))]


def test_a_copy_that_was_deleted_deletes_nothing(bucket, tmp_path):
    here = machine(bucket, tmp_path)
    write(here, "config.json", *STEP)
    here.push()
    shutil.rmtree(here.here)
    here.push()
    assert len(bucket.find(RUN)) == 4


def test_what_never_reached_the_bucket_is_there_at_the_next_start_of_the_same_machine(bucket, tmp_path):
    here = machine(bucket, tmp_path)
    write(here, "config.json", *STEP)
    here.push()
    write(here, *NEXT)  # killed before a round
    again = machine(bucket, tmp_path)
    again.push()
    assert f"{RUN}/{NEXT[0]}" in bucket.find(RUN)


def test_where_another_machine_went_on_the_bucket_is_right_and_what_is_here_alone_is_kept(bucket, tmp_path, capsys):
    here = machine(bucket, tmp_path / "a")
    write(here, "config.json", "metrics", *STEP)
    here.push()
    write(here, "metrics", text="mine")
    there = machine(bucket, tmp_path / "b")
    write(there, "metrics", text="theirs")
    there.push()
    assert contents(machine(bucket, tmp_path / "a").here)["metrics"] == "theirs"
    (aside,) = (tmp_path / "a").glob("aside-*")
    assert contents(aside / "workdir")["metrics"] == "mine" and str(aside) in capsys.readouterr().err


def test_a_checkpoint_that_another_machine_deleted_leaves_no_empty_folder(bucket, tmp_path):
    here = machine(bucket, tmp_path / "a")
    write(here, "config.json", *STEP)
    here.push()
    there = machine(bucket, tmp_path / "b")
    shutil.rmtree(there.here / "checkpoints" / "4")
    write(there, *NEXT)
    there.push()
    assert [path.name for path in (machine(bucket, tmp_path / "a").here / "checkpoints").iterdir()] == ["8"]


def test_what_was_never_whole_is_deleted_by_the_next_machine(bucket, tmp_path):
    here = machine(bucket, tmp_path / "a")
    write(here, "config.json", *STEP)
    bucket.refuses = lambda name: name.endswith("seal.json")
    with pytest.raises(UserError):
        here.push()
    bucket.refuses = lambda name: False
    machine(bucket, tmp_path / "b").push()
    assert bucket.find(RUN) == [f"{RUN}/config.json"]


def test_a_start_that_was_killed_while_it_copied_leaves_nothing_aside_and_the_next_one_goes_on(bucket, tmp_path, monkeypatch):
    here = machine(bucket, tmp_path / "a")
    write(here, "config.json", "metrics", *STEP)
    here.push()
    fetched = []

    def get_file(name, path):
        if len(fetched) == 2:
            raise KeyboardInterrupt
        fetched.append(name)
        bucket.files.get_file(name, path)

    monkeypatch.setattr(bucket, "get_file", get_file, raising=False)
    with pytest.raises(KeyboardInterrupt):
        machine(bucket, tmp_path / "b")
    monkeypatch.undo()
    for _ in range(2):
        assert contents(machine(bucket, tmp_path / "b").here) == contents(here.here)
    assert not list((tmp_path / "b").glob("aside-*"))
    there = machine(bucket, tmp_path / "b")
    write(there, *NEXT)  # killed before the first round after a start that copied
    machine(bucket, tmp_path / "b").push()
    assert f"{RUN}/{NEXT[0]}" in bucket.find(RUN)


def test_a_round_that_fails_is_told_and_made_up_for(bucket, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(buckets, "EVERY_SECONDS", 0.01)
    here, bucket.refuses = machine(bucket, tmp_path), lambda name: True
    with here.pushing():
        write(here, "metrics")
        for _ in range(500):
            time.sleep(0.01)
            if "503" in (shown := capsys.readouterr().err):
                break
        bucket.refuses = lambda name: False
    assert "warning: cannot write to the bucket" in shown and here.push_at_last()
    assert bucket.cat_file(f"{RUN}/metrics") == b"x"


@pytest.mark.parametrize(("code", "expected"), [(EXIT_DONE, EXIT_USER_ERROR), (EXIT_RESTART, EXIT_RESTART), (3, 3)])
def test_a_run_whose_last_copying_fails_is_not_done_and_keeps_other_exit_codes(
    bucket, tmp_path, monkeypatch, capsys, code, expected
):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(buckets, "_filesystem", lambda path: bucket)
    bucket.refuses = lambda name: name.endswith("metrics")

    def action(folder) -> int:
        (folder / "metrics").write_text("1")
        return code

    assert buckets.work("gs://bkt/run", action, writes=True) == expected
    assert "503" in (shown := capsys.readouterr().err) and "the same command copies it" in shown
    bucket.refuses = lambda name: False
    assert buckets.work("gs://bkt/run", lambda folder: EXIT_DONE, writes=True) == EXIT_DONE
    assert bucket.cat_file("bkt/run/metrics") == b"1"


def test_what_was_done_before_an_error_is_copied(bucket, tmp_path):
    here = machine(bucket, tmp_path)
    with pytest.raises(KeyboardInterrupt), here.pushing():
        write(here, "metrics")
        raise KeyboardInterrupt
    assert bucket.cat_file(f"{RUN}/metrics") == b"x"


def test_two_programs_of_a_machine_do_not_work_on_one_copy_and_a_reader_has_its_own(bucket, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(buckets, "_filesystem", lambda path: bucket)

    def action(folder) -> int:
        (folder / "config.json").write_text("{}")
        with pytest.raises(UserError, match="gs://bkt/run is being worked on by another process"):
            buckets.work("gs://bkt/run", action, writes=True)
        assert buckets.work("gs://bkt/run", lambda other: int(other == folder), writes=False) == 0
        return EXIT_DONE

    assert buckets.work("gs://bkt/run", action, writes=True) == EXIT_DONE
    assert not list(tmp_path.glob("*/read-*"))


def test_no_name_leaves_the_folder(tmp_path):
    files = type("Files", (), {"find": lambda self, folder, detail: {f"{folder}/../../../outside": {"size": 1}}})()
    with pytest.raises(UserError, match="leaves its folder"):
        machine(files, tmp_path / "a" / "b")
    assert not list(tmp_path.iterdir())


@pytest.fixture(scope="module")
def emulator():
    """The environment in which gs:// is a server on this machine, with the bucket bkt."""
    pytest.importorskip("gcsfs", reason="no gcsfs: pip install -e '.[gcs]'")
    program = shutil.which("gcp-storage-emulator", path=os.path.dirname(sys.executable))
    if not program:
        pytest.skip("no gcp-storage-emulator: pip install gcp-storage-emulator")
    address = f"127.0.0.1:{free_port()}"
    host, port = address.split(":")
    command = [program, "start", f"--host={host}", f"--port={port}", "--in-memory", "--default-bucket=bkt"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        for _ in range(200):
            try:
                urllib.request.urlopen(f"http://{address}/storage/v1/b", timeout=1).close()
                break
            except OSError:
                time.sleep(0.1)
        yield {"STORAGE_EMULATOR_HOST": f"http://{address}"}
        process.terminate()


def changes(steps: int) -> dict[str, int]:
    return {"train__num_train_steps": steps, "train__eval_every_steps": STEPS, "train__save_every_steps": 100}


def command(corpus, workdir, steps: int = STEPS) -> list[str]:
    train = [sys.executable, "-m", "bert_jax", "train", "--config=configs/quickstart.py", f"--workdir={workdir}"]
    return train + tiny.arguments(corpus, **changes(steps))


def run(arguments: list[str], environment: dict) -> subprocess.CompletedProcess:
    return subprocess.run(arguments, cwd=tiny.ROOT, env=os.environ | environment, capture_output=True, text=True, timeout=600)


def stopped_after_the_first_lines(arguments: list[str], environment: dict, workdir) -> int:
    with subprocess.Popen(arguments, cwd=tiny.ROOT, env=os.environ | environment, stderr=subprocess.DEVNULL) as process:
        for _ in range(3000):
            if (workdir / "metrics.jsonl").exists() and (workdir / "metrics.jsonl").read_text().count("\n") > 3:
                break
            time.sleep(0.02)
        process.send_signal(signal.SIGTERM)
        return process.wait(timeout=120)


def newest(workdir) -> dict:
    """Step and SHA-256 of all arrays of the newest checkpoint."""
    step = max(int(path.name) for path in (workdir / "checkpoints").iterdir())
    facts = json.loads((workdir / "checkpoints" / str(step) / "facts" / "metadata").read_text())
    return {"step": step, "checksums": facts["checksums"]}


def copy(cache, index: int = 0):
    return cache / "bert_jax" / "bkt%2Frun" / str(index) / "workdir"


def test_a_run_goes_on_on_another_machine_as_if_it_had_never_stopped_and_then_in_two_processes(emulator, tmp_path):
    corpus = tiny.write_corpus(tmp_path / "text.txt")
    assert training.train(tiny.config(corpus, **changes(STEPS)), tmp_path / "unbroken")
    first, second = (emulator | {"XDG_CACHE_HOME": str(tmp_path / name)} for name in ("first", "second"))
    assert stopped_after_the_first_lines(command(corpus, "gs://bkt/run"), first, copy(tmp_path / "first")) == EXIT_RESTART
    stopped_at = newest(copy(tmp_path / "first"))["step"]
    shutil.rmtree(tmp_path / "first")
    whole = run(command(corpus, "gs://bkt/run"), second)
    assert whole.returncode == EXIT_DONE and "gs://bkt/run is worked on in" in whole.stderr, whole.stderr
    assert newest(copy(tmp_path / "second")) == newest(tmp_path / "unbroken") and 0 < stopped_at < STEPS
    metrics = (copy(tmp_path / "second") / "metrics.jsonl").read_text()
    assert f'"step": {STEPS}' in metrics and '"step": 3,' in metrics
    address = f"127.0.0.1:{free_port()}"
    shared = {"JAX_NUM_PROCESSES": "2", "JAX_COORDINATOR_ADDRESS": address, "XLA_FLAGS": ""}
    longer = command(corpus, "gs://bkt/run", steps=STEPS + 4)
    with ThreadPoolExecutor(2) as threads:
        pair = list(threads.map(lambda index: run(longer, second | shared | {"JAX_PROCESS_ID": str(index)}), range(2)))
    assert [each.returncode for each in pair] == [EXIT_DONE] * 2, pair
    shutil.rmtree(tmp_path / "second")
    scored = run([sys.executable, "-m", "bert_jax", "evaluate", "--workdir=gs://bkt/run"], second)
    assert scored.returncode == EXIT_DONE and "masked_lm_loss" in scored.stdout, scored.stderr
    with urllib.request.urlopen(f"{emulator['STORAGE_EMULATOR_HOST']}/storage/v1/b/bkt/o?prefix=run/checkpoints/") as listed:
        assert f"run/checkpoints/{STEPS + 4}/seal.json" in [each["name"] for each in json.load(listed)["items"]]


def test_a_bucket_that_does_not_exist_is_one_message(emulator, tmp_path):
    given = command(tiny.write_corpus(tmp_path / "text.txt"), "gs://nobody/run")
    done = run(given, emulator | {"XDG_CACHE_HOME": str(tmp_path)})
    assert done.returncode == EXIT_USER_ERROR and "Traceback" not in done.stderr
    assert "cannot read the bucket\n  got:      gs://nobody/run" in done.stderr


def test_no_other_path_may_lie_in_a_bucket(tmp_path, capsys):
    given = ["--config.data.store=gs://bkt/store", f"--workdir={tmp_path}", f"--config={tiny.ROOT}/configs/quickstart.py"]
    assert main(["train", *given]) == EXIT_USER_ERROR
    assert "only a workdir may lie in a bucket\n  got:      data.store=gs://bkt/store" in capsys.readouterr().err
