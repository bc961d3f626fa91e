"""The token store by Beam on three runners beside that of one machine, on real text with planted copies, which are dropped; Beam
gets an environment of its own."""

import json
import lzma
import re
import subprocess
import sys
from pathlib import Path

from bert_jax import config as configs
from bert_jax import inputs
from bert_jax.data.files import sha256_of
from bert_jax.data.shards import COPIES
from bert_jax.data.store import MANIFEST
from experiments.proofs.commands import ROOT, data, timed

MIB = 4  # of text for a shard: the text is 20 MB
LEAST_CHARACTERS = 500
PLANTED = 200  # copies of documents, in a file of their own
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
    wiki = data() / "text/wiki_en"
    documents = [document for number in range(4) for document in _documents(wiki / f"shard-0{number}.txt.xz")]
    copies = scratch / "copies.txt"
    copies.write_text("".join(documents[:: len(documents) // PLANTED][:PLANTED]), encoding="utf-8")
    text = {
        "text.vocab_file": data() / "vocab/bert-base-uncased-vocab.txt",
        "data.input_file": f"{wiki}/shard-0[0-3].txt.xz,{copies}",
        "data.drop_duplicates": True,
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
    copies_before = len(documents) - len({document.partition("\n")[2] for document in documents})
    left_out = json.loads((one / MANIFEST).read_text())["report"]["notes"].get(COPIES, 0)
    return {
        "shards": sum(name.startswith("train/ids-") for name in wanted),
        "copies": {"in_the_text": copies_before, "planted": PLANTED, "left_out": left_out},
        "runners": found,
    }


def _documents(path: Path) -> list[str]:
    """Of WikiExtractor, as they stand there; those that have more than a title."""
    found = re.findall(r"<doc .*?</doc>\n", lzma.decompress(path.read_bytes()).decode(), re.DOTALL)
    return [document for document in found if len(document) > LEAST_CHARACTERS]


def _contents(folder: Path) -> dict[str, str]:
    """name -> SHA-256 of each file."""
    return {path.relative_to(folder).as_posix(): sha256_of(path) for path in folder.rglob("*") if path.is_file()}
