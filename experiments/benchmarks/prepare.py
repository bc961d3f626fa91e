"""Speed and memory of `prepare`: raw text per second and core, and the memory of the process tree.

    python -m experiments.benchmarks.prepare --text='wiki_en/*.xz,books_en/*.xz' --vocab_file=vocab.txt --megabytes=10,1000

Makes a corpus of each size from the text, repeated as often as needed and with every sixteenth word altered in each repetition;
prepares it with each number of workers; deletes it. Prints the medians, and writes the results to results/prepare.json.
CPU seconds are those of the whole tree: what else the machine does counts little in them. Memory is the largest sum of the
resident sets of the tree, seen every 0.1 s: pages that its processes share count once for each.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from bert_jax.command import exit_code
from bert_jax.data import sources
from bert_jax.data.report import Report
from experiments.benchmarks import measure

ROOT = Path(__file__).resolve().parents[2]
ALTERED_WORDS = 16


def write_corpus(text: str, path: Path, megabytes: float) -> None:
    """Paragraphs with empty lines between documents, cut after `megabytes`."""
    size, repetition = 0, 0
    with open(path, "w", encoding="utf-8") as file:
        while size < megabytes * 1e6:
            for document in sources.documents(text, "auto", Report()):
                words = " ".join(document).split(" ")
                if repetition:
                    words[::ALTERED_WORDS] = [f"{word}{repetition}" for word in words[::ALTERED_WORDS]]
                size += file.write(" ".join(words) + "\n\n")
                if size >= megabytes * 1e6:
                    break
            repetition += 1


def prepare(corpus: Path, vocab_file: str, workers: int, workdir: Path) -> dict:
    """One `python -m bert_jax prepare` as a user starts it."""
    settings = {
        "text.vocab_file": vocab_file,
        "data.input_file": corpus,
        "data.input_format": "paragraphs",
        "data.num_workers": workers,
    }
    command = [sys.executable, "-m", "bert_jax", "prepare", "--config=configs/bert.py:base", f"--workdir={workdir}"]
    tree = measure.watched([*command, *(f"--config.{key}={value}" for key, value in settings.items())], ROOT)
    if tree.code:
        raise subprocess.CalledProcessError(tree.code, command)
    megabytes = corpus.stat().st_size / 1e6
    return {
        "megabytes": megabytes,
        "workers": workers,
        "seconds": tree.seconds,
        "cpu_seconds": tree.cpu_seconds,
        "megabytes_per_second": megabytes / tree.seconds,
        "megabytes_per_cpu_second": megabytes / tree.cpu_seconds,
        "peak_rss_megabytes": tree.peak_rss_megabytes,
        "processes": tree.processes,
        "store_bytes_per_byte": sum(path.stat().st_size for path in (workdir / "store").rglob("*.*")) / corpus.stat().st_size,
    }


def summary(runs: list[dict]) -> dict:
    return {name: measure.summarise([run[name] for run in runs])._asdict() for name in runs[0]}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--text", required=True)
    parser.add_argument("--vocab_file", required=True)
    parser.add_argument("--megabytes", default="10,1000")
    parser.add_argument("--workers", default="1,2")
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    figures = []
    for megabytes in map(float, args.megabytes.split(",")):
        with tempfile.TemporaryDirectory() as scratch:
            corpus = Path(scratch) / "corpus.txt"
            write_corpus(args.text, corpus, megabytes)
            for workers in map(int, args.workers.split(",")):
                names = [Path(scratch) / f"{workers}-{repeat}" for repeat in range(args.repeats)]
                figures.append(summary([prepare(corpus, args.vocab_file, workers, name) for name in names]))
                print(json.dumps({name: value["median"] for name, value in figures[-1].items()}, indent=2), flush=True)
    spread = max(run["megabytes_per_cpu_second"]["spread"] for run in figures)
    measure.write("prepare", {"runs": figures, "repeats": args.repeats}, spread=spread)
    return 0


if __name__ == "__main__":
    sys.exit(exit_code(main))
