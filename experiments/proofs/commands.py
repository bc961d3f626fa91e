"""Commands run and their results read, as all proofs do."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

from bert_jax.errors import UserError

ROOT = Path(__file__).resolve().parent.parent.parent


def train(workdir: Path, config: str = "quickstart.py", settings: dict | None = None) -> list[str]:
    command = [sys.executable, "-m", "bert_jax", "train", f"--config=configs/{config}", f"--workdir={workdir}"]
    return [*command, *(f"--config.{key}={value}" for key, value in (settings or {}).items())]


def finetune(workdir: Path, config: str, start: Path, settings: dict) -> list[str]:
    command = [sys.executable, "-m", "bert_jax", "finetune", f"--config=configs/{config}", f"--workdir={workdir}"]
    return [*command, f"--config.init_checkpoint={start}", *(f"--config.{key}={value}" for key, value in settings.items())]


def data() -> Path:
    if "BERT_JAX_DATA" not in os.environ:
        raise UserError("BERT_JAX_DATA is not set", expected="the folder with text/wiki_en/shard-*.txt.xz")
    return Path(os.environ["BERT_JAX_DATA"])


def result(workdir: Path) -> dict:
    return json.loads((workdir / "result.json").read_text())["metrics"]


def timed(command: list[str], **options) -> tuple[float, str]:
    before = time.time()
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **({"cwd": ROOT} | options))
    if done.returncode:
        raise RuntimeError(f"{' '.join(map(str, command))} exited with {done.returncode}:\n{done.stdout[-3000:]}")
    print(done.stdout, flush=True)
    return round(time.time() - before, 1), done.stdout
