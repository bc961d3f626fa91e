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
from bert_jax.errors import EXIT_DONE, EXIT_RESTART, EXIT_USER_ERROR, UserError
from tests import tiny
from tests.parallel.test_hosts import free_port

fsspec = pytest.importorskip("fsspec", reason="no fsspec: pip install -e '.[gcs]'")
RUN = "/bkt/run"
STEPS = 300


class Watched:
    """A file system in memory that lists what is done to it, and refuses what `refuses` says."""

    def __init__(self):
        self.files = fsspec.filesystem("memory", skip_instance_cache=True)
        self.files.store.clear()
        self.done, self.refuses = [], lambda name: False

    def __getattr__(self, name):
        return getattr(self.files, name)

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


def write(folder, **files: str) -> None:
    for name, text in files.items():
        path = folder / name.replace("__", "/").replace("_json", ".json")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def contents(folder) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


def test_what_was_written_on_one_machine_is_there_on_another(bucket, tmp_path):
    here, elsewhere = tmp_path / "a", tmp_path / "b"
    write(here, config_json="{}", checkpoints__4__state="xyz", checkpoints__4__seal_json="s", store__tokens="1 2 3")
    write(
        here,
        compiled__program="of this machine",
        **{"checkpoints__8.orbax-checkpoint-tmp-1__state": "half", "store.tmp__a": "half"},
    )
    buckets.Mirror(bucket, RUN, here).push()
    buckets.Mirror(bucket, RUN, elsewhere).pull()
    assert contents(elsewhere) == {
        "config.json": "{}",
        "checkpoints/4/state": "xyz",
        "checkpoints/4/seal.json": "s",
        "store/tokens": "1 2 3",
    }


def test_a_seal_comes_after_what_it_seals_and_a_result_after_all(bucket, tmp_path):
    write(tmp_path, result_json="r", checkpoints__4__seal_json="s", checkpoints__4__state="x", vocab="v", config_json="c")
    buckets.Mirror(bucket, RUN, tmp_path).push()
    assert bucket.done[-2:] == ["put checkpoints/4/seal.json", "put result.json"] and len(bucket.done) == 5


def test_only_what_changed_is_copied_and_an_old_checkpoint_loses_its_seal_first(bucket, tmp_path):
    write(tmp_path, metrics="1", checkpoints__4__seal_json="s", checkpoints__4__a="x", checkpoints__4__z="x")
    mirror = buckets.Mirror(bucket, RUN, tmp_path)
    mirror.push()
    bucket.done.clear()
    mirror.push()
    assert bucket.done == []
    shutil.rmtree(tmp_path / "checkpoints" / "4")
    write(tmp_path, metrics="1\n2")
    mirror.push()
    assert bucket.done[0] == "delete checkpoints/4/seal.json" and bucket.done[-1] == "put metrics" and len(bucket.done) == 4
    assert bucket.find(RUN) == [f"{RUN}/metrics"]


def test_a_checkpoint_without_its_seal_is_not_copied(bucket, tmp_path):
    write(tmp_path, checkpoints__4__state="x")
    buckets.Mirror(bucket, RUN, tmp_path).push()
    assert bucket.done == []


def test_the_bucket_is_right_where_the_copy_is_another(bucket, tmp_path):
    """As after a kill before the last round, or when another machine went on meanwhile."""
    here, elsewhere = tmp_path / "a", tmp_path / "b"
    write(here, metrics="1", compiled__program="p")
    buckets.Mirror(bucket, RUN, here).push()
    write(here, metrics="1\n2", checkpoints__8__seal_json="never copied")
    write(elsewhere, metrics="9")
    buckets.Mirror(bucket, RUN, elsewhere).push()
    buckets.Mirror(bucket, RUN, here).pull()
    assert contents(here) == {"metrics": "9", "compiled/program": "p"}


def test_a_round_that_fails_is_told_and_made_up_for(bucket, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(buckets, "EVERY_SECONDS", 0.01)
    bucket.refuses = lambda name: True
    with buckets.Mirror(bucket, RUN, tmp_path).pushing():
        write(tmp_path, metrics="1")
        for _ in range(500):
            time.sleep(0.01)
            if "503" in (shown := capsys.readouterr().err):
                break
        bucket.refuses = lambda name: False
    assert "warning: cannot write to the bucket" in shown and bucket.cat_file(f"{RUN}/metrics") == b"1"


def test_what_could_not_be_copied_at_the_end_is_an_error(bucket, tmp_path):
    bucket.refuses = lambda name: name.endswith("metrics")
    with pytest.raises(UserError, match="(?s)cannot write to the bucket.*503.*application-default"):
        with buckets.Mirror(bucket, RUN, tmp_path).pushing():
            write(tmp_path, metrics="1")


def test_what_was_done_before_an_error_is_copied(bucket, tmp_path):
    with pytest.raises(KeyboardInterrupt), buckets.Mirror(bucket, RUN, tmp_path).pushing():
        write(tmp_path, metrics="1")
        raise KeyboardInterrupt
    assert bucket.cat_file(f"{RUN}/metrics") == b"1"


def test_no_name_leaves_the_folder(tmp_path):
    files = type("Files", (), {"find": lambda self, folder, detail: {f"{folder}/../../outside": {"size": 1}}})()
    with pytest.raises(UserError, match="leaves its folder"):
        buckets.Mirror(files, RUN, tmp_path / "a" / "b").pull()
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
    return cache / "bert_jax" / "bkt" / "run" / str(index)


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
    assert newest(copy(tmp_path / "second"))["step"] == STEPS + 4


def test_a_bucket_that_does_not_exist_is_one_message(emulator, tmp_path):
    given = command(tiny.write_corpus(tmp_path / "text.txt"), "gs://nobody/run")
    done = run(given, emulator | {"XDG_CACHE_HOME": str(tmp_path)})
    assert done.returncode == EXIT_USER_ERROR and "Traceback" not in done.stderr
    assert "cannot read the bucket\n  got:      gs://nobody/run" in done.stderr
