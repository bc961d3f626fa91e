"""The heavy proofs, run by hand; each writes its figures to experiments/benchmarks/results/.

make acceptance                                     all of them, one after another
python -m experiments.acceptance quickstart kills   some
python -m experiments.acceptance own_text           needs BERT_JAX_DATA
"""

import json
import os
import platform
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bert_jax.config import write_json
from bert_jax.errors import EXIT_USER_ERROR, UserError
from bert_jax.train.watch import read_metrics

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "experiments" / "benchmarks" / "results"
CLOCK = ("tokens_per_second", "data_wait_fraction")
KILLS = 5


def quickstart(scratch: Path) -> dict:
    """`make pretrain` in a fresh clone with an empty HOME, then the same command again."""
    clone, home = scratch / "clone", scratch / "home"
    subprocess.run(["git", "clone", "--quiet", ROOT, clone], check=True)
    home.mkdir()
    environment = {**os.environ, "HOME": str(home)}
    seconds, output = _timed(["make", "pretrain"], cwd=clone, env=environment)
    again_seconds, again = _timed(["make", "pretrain"], cwd=clone, env=environment)
    result = json.loads((clone / "runs" / "quickstart" / "result.json").read_text())
    metrics = result["metrics"]
    return {
        "seconds_first": seconds,
        "seconds_second": again_seconds,
        "nats_below_unigram": metrics["unigram_loss"] - metrics["masked_lm_loss"],
        "second_run_says_finished": "This run is finished" in again,
        "plots": result["plots"],
        "filled_sentences": output.count("guesses: "),
        **metrics,
    }


def kills(scratch: Path) -> dict:
    """The quickstart, SIGKILLed at random instants, against the unbroken one: metrics and parameters compared bit for bit."""
    unbroken_seconds, _ = _timed(_train(scratch / "unbroken"))
    instants = random.Random(int(time.time()))
    survived = []
    while len(survived) < KILLS:
        seconds = instants.uniform(1, unbroken_seconds / 2)
        process = subprocess.Popen(_train(scratch / "killed"), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(seconds)
        if process.poll() is None:
            process.kill()
            process.wait()
            survived.append({"after_seconds": round(seconds, 1), "newest_checkpoint": _newest(scratch / "killed")})
        else:
            shutil.rmtree(scratch / "killed")  # it finished first: these kills prove nothing about the end
            survived = []
    _timed(_train(scratch / "killed"))
    ours, reference = _outcome(scratch / "killed"), _outcome(scratch / "unbroken")
    return {
        "kills": survived,
        "metrics_equal": ours[0] == reference[0],
        "state_bitwise_equal": ours[1] == reference[1],
        "records": len(reference[0]),
        "arrays": len(reference[1]),
    }


def own_text(scratch: Path) -> dict:
    """The README's three commands on 40 MB of Wikipedia in `<doc>` blocks, compressed with xz."""
    if "BERT_JAX_DATA" not in os.environ:
        raise UserError("BERT_JAX_DATA is not set", expected="the folder with text/wiki_en/shard-*.txt.xz")
    pattern = Path(os.environ["BERT_JAX_DATA"]) / "text" / "wiki_en" / "shard-*.txt.xz"
    figures = {}
    for verb in re.findall(
        r"^python -m bert_jax (vocab|prepare|train) .*runs/mine", (ROOT / "README.md").read_text(), re.MULTILINE
    ):
        command = [sys.executable, "-m", "bert_jax", verb, "--config=configs/quickstart.py", f"--workdir={scratch / 'mine'}"]
        figures[f"seconds_{verb}"], output = _timed([*command, f"--config.data.input_file={pattern}"])
    metrics = json.loads((scratch / "mine" / "result.json").read_text())["metrics"]
    lines = [line for line in output.splitlines() if line.startswith("step")]
    return {
        **figures,
        **metrics,
        "nats_below_unigram": metrics["unigram_loss"] - metrics["masked_lm_loss"],
        "progress_lines": len(lines),
    }


PROOFS = {"quickstart": quickstart, "kills": kills, "own_text": own_text}


def _train(workdir: Path) -> list[str]:
    return [sys.executable, "-m", "bert_jax", "train", "--config=configs/quickstart.py", f"--workdir={workdir}"]


def _timed(command: list[str], **options) -> tuple[float, str]:
    before = time.time()
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **({"cwd": ROOT} | options))
    if done.returncode:
        raise RuntimeError(f"{' '.join(map(str, command))} exited with {done.returncode}:\n{done.stdout[-3000:]}")
    print(done.stdout, flush=True)
    return round(time.time() - before, 1), done.stdout


def _newest(workdir: Path) -> int:
    return max((int(path.name) for path in workdir.glob("checkpoints/*") if path.name.isdigit()), default=0)


def _outcome(workdir: Path) -> tuple[list[dict], dict]:
    """(metrics without those of the clock, SHA-256 of each array of the final state)."""
    records = [{key: value for key, value in record.items() if key not in CLOCK} for record in read_metrics(workdir)]
    facts = json.loads((workdir / "checkpoints" / str(_newest(workdir)) / "facts" / "metadata").read_text())
    return records, facts["checksums"]


def main(names: list[str]) -> int:
    unknown = [name for name in names if name not in PROOFS]
    if unknown:
        print(f"error: no proof is called {unknown[0]}; there are {', '.join(PROOFS)}", file=sys.stderr)
        return EXIT_USER_ERROR
    for name in names or PROOFS:
        with tempfile.TemporaryDirectory() as scratch:
            figures = PROOFS[name](Path(scratch))
        machine = {"python": platform.python_version(), "cpus": os.cpu_count(), "load_at_end": os.getloadavg()[0]}
        RESULTS.mkdir(parents=True, exist_ok=True)
        write_json(RESULTS / f"{name}.json", {"figures": figures, "machine": machine, "date": time.strftime("%Y-%m-%d")})
        print(f"{name}: {json.dumps(figures, indent=2)}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
