"""The token store by Beam on three runners beside that of one machine, on real text; Beam gets an environment of its own."""

import subprocess
import sys
from pathlib import Path

from bert_jax import config as configs
from bert_jax import inputs
from bert_jax.data.files import sha256_of
from experiments.proofs.commands import ROOT, data, timed

MIB = 4  # of text for a shard: the text is 20 MB
RUNNERS = {
    "in memory": ["--runner=DirectRunner"],
    "two processes": ["--runner=DirectRunner", "--direct_running_mode=multi_processing", "--direct_num_workers=2"],
    "a Dask cluster of this machine": ["--runner=apache_beam.runners.dask.dask_runner.DaskRunner", "--dask_partition_size=1"],
}


def beam(scratch: Path) -> dict:
    python = scratch / "environment/bin/python"
    subprocess.run([sys.executable, "-m", "venv", scratch / "environment"], check=True)
    for packages in (["-r", "launch/beam_requirements.txt"], ["--no-deps", "protobuf>=7.36.1,<8"]):
        subprocess.run([python, "-m", "pip", "install", "--quiet", *packages], cwd=ROOT, check=True)
    text = {
        "text.vocab_file": data() / "vocab/bert-base-uncased-vocab.txt",
        "data.input_file": data() / "text/wiki_en/shard-0[0-3].txt.xz",
    }
    settings = [f"--config.{key}={value}" for key, value in text.items()]
    one = inputs.prepare_store(configs.load("configs/bert.py:base", settings), scratch / "one", shard_bytes=MIB * 2**20)
    wanted, found = _contents(one), {}
    for number, (name, flags) in enumerate(RUNNERS.items()):
        workdir = scratch / str(number)
        command = [python, "-m", "launch.beam", "--config=configs/bert.py:base", f"--workdir={workdir}", f"--shard-mib={MIB}"]
        seconds, _ = timed([*command, *settings, *flags])
        made = _contents(workdir / "store")
        different = sorted(name for name in made.keys() | wanted.keys() if made.get(name) != wanted.get(name))
        found[name] = {"seconds": seconds, "files": len(made), "different_from_one_machine": different}
    return {"shards": sum(name.startswith("train/ids-") for name in wanted), "runners": found}


def _contents(folder: Path) -> dict[str, str]:
    """name -> SHA-256 of each file."""
    return {path.relative_to(folder).as_posix(): sha256_of(path) for path in folder.rglob("*") if path.is_file()}
