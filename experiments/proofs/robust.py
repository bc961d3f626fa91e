"""The commands of a user in a fresh place, and what must survive: kills, damaged files."""

import json
import os
import random
import re
import shutil
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

from bert_jax.build import build_optimizer
from bert_jax.parallel.step import init_state
from bert_jax.trained import open_trained
from experiments import faults
from experiments.proofs.commands import ROOT, data, result, timed, train

KILLS, MANY_KILLS, FAULTS = 5, 100, 1000
SMALL = {  # a run whose lives are short, over a vocabulary and a store made once
    "model.hidden_size": 32,
    "model.intermediate_size": 64,
    "data.num_eval_rows": 200,
    "train.num_train_steps": 1000,
    "train.log_every_steps": 7,
    "train.eval_every_steps": 50,
    "train.save_every_steps": 5,
    "train.keep_checkpoints": 3,
}


def quickstart(scratch: Path) -> dict:
    """`make pretrain` in a fresh clone with an empty HOME, then the same command again."""
    clone, home = scratch / "clone", scratch / "home"
    subprocess.run(["git", "clone", "--quiet", ROOT, clone], check=True)
    home.mkdir()
    environment = {**os.environ, "HOME": str(home)}
    seconds, output = timed(["make", "pretrain"], cwd=clone, env=environment)
    again_seconds, again = timed(["make", "pretrain"], cwd=clone, env=environment)
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
    timed(train(scratch / "unbroken"))
    steps = json.loads((scratch / "unbroken" / "result.json").read_text())["step"]
    done = faults.train_with_kills(
        train(scratch / "killed"), scratch / "killed", kills=KILLS, steps=int(0.9 * steps), seed=int(time.time())
    )
    return {"kills": done, **_compared(scratch)}


def many_kills(scratch: Path) -> dict:
    """A small run SIGKILLed a hundred times, many of them in saves, against the unbroken one, bit for bit."""
    _small_run(scratch / "unbroken", scratch)
    command = _small(scratch / "killed", scratch)
    done = faults.train_with_kills(
        command, scratch / "killed", kills=MANY_KILLS, steps=int(0.9 * SMALL["train.num_train_steps"]), seed=int(time.time())
    )
    return {"kills": len(done), "when": Counter(kill["when"] for kill in done), **_compared(scratch)}


def injected_faults(scratch: Path) -> dict:
    """A thousand damages to checkpoint and store files: bits flipped, files truncated, deleted, swapped, steps emptied."""
    workdir = scratch / "run"
    _small_run(workdir, scratch)
    trained = open_trained(workdir)
    like = init_state(trained.objective, build_optimizer(trained.config)[0], 0)
    draw, unnoticed, kinds = random.Random(int(time.time())), [], Counter()
    for number in range(FAULTS):
        of_checkpoint = number % 2 == 0
        source = workdir / "checkpoints" if of_checkpoint else scratch / "first" / "store"
        copy = shutil.copytree(source, scratch / "damaged")
        damage = faults.damage_checkpoint if of_checkpoint else faults.damage_store
        what, noticed = damage(copy, like if of_checkpoint else trained.tokenizer, draw)
        kinds[f"{'checkpoint' if of_checkpoint else 'store'} {what.split(':')[0]}"] += 1
        unnoticed += [] if noticed else [what]
        shutil.rmtree(copy)
    return {"injected": FAULTS, "noticed_and_named": FAULTS - len(unnoticed), "unnoticed": unnoticed, "kinds": kinds}


def own_text(scratch: Path) -> dict:
    """The README's three commands on 40 MB of Wikipedia in `<doc>` blocks, compressed with xz."""
    pattern = data() / "text" / "wiki_en" / "shard-*.txt.xz"
    figures = {}
    for verb in re.findall(
        r"^python -m bert_jax (vocab|prepare|train) .*runs/mine", (ROOT / "README.md").read_text(), re.MULTILINE
    ):
        command = [sys.executable, "-m", "bert_jax", verb, "--config=configs/quickstart.py", f"--workdir={scratch / 'mine'}"]
        figures[f"seconds_{verb}"], output = timed([*command, f"--config.data.input_file={pattern}"])
    metrics = result(scratch / "mine")
    lines = [line for line in output.splitlines() if line.startswith("step")]
    return {
        **figures,
        **metrics,
        "nats_below_unigram": metrics["unigram_loss"] - metrics["masked_lm_loss"],
        "progress_lines": len(lines),
    }


def _compared(scratch: Path) -> dict:
    ours, reference = faults.outcome(scratch / "killed"), faults.outcome(scratch / "unbroken")
    return {
        "metrics_equal": ours[0] == reference[0],
        "state_bitwise_equal": ours[1] == reference[1],
        "records": len(reference[0]),
        "arrays": len(reference[1]),
    }


def _small(workdir: Path, scratch: Path) -> list[str]:
    data = {"text.vocab_file": scratch / "first" / "vocab.txt", "data.store": scratch / "first" / "store"}
    return train(workdir, settings=SMALL | data)


def _small_run(workdir: Path, scratch: Path) -> None:
    for verb in ("vocab", "prepare"):
        timed([sys.executable, "-m", "bert_jax", verb, "--config=configs/quickstart.py", f"--workdir={scratch / 'first'}"])
    timed(_small(workdir, scratch))
