"""How fast the loader makes batches on one core: real tokens per second, and seconds to build plans and to seek.

    python -m experiments.benchmarks.loader

Writes results/loader.json. CPU time is that of this process; other load on the machine makes the wall time longer.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from bert_jax.command import exit_code
from bert_jax.data.loader import Loader, LoaderConfig, Phase
from bert_jax.data.masking import MaskRule
from bert_jax.data.plans import MODES, PlanConfig, build_plan
from bert_jax.data.store import Split
from bert_jax.text.wordpiece import SPECIAL_PIECES, WordPiece
from experiments.benchmarks import measure

VOCABULARY = 30522
REPEATS, BATCHES = 15, 8
AT_128, AT_512 = Phase(0, 128, 20, 256), Phase(0, 512, 80, 256)
CASES = {
    "pairs of 128": (AT_128, {"rows": "pairs", "short_seq_prob": 0.1}),
    "packed pairs of 512": (AT_512, {"rows": "pairs", "short_seq_prob": 0.1, "max_examples_per_row": 16}),
    "packed segments of 512": (AT_512, {"rows": "segments", "max_examples_per_row": 16}),
    "full sentences of 512": (AT_512, {"rows": "full_sentences"}),
    "packed segments of 512, whole words": (
        AT_512,
        {"rows": "segments", "max_examples_per_row": 16, "mask": MaskRule(mask_unit="whole_word")},
    ),
    "packed segments of 512, n-grams": (
        AT_512,
        {"rows": "segments", "max_examples_per_row": 16, "mask": MaskRule(mask_unit="ngram")},
    ),
    "segments of 512, spans": (AT_512, {"rows": "segments", "mask": MaskRule(mask_unit="span")}),
}


def vocabulary() -> WordPiece:
    """Every fourth piece continues a word."""
    pieces = (f"{'##' if number % 4 == 0 else ''}p{number}" for number in range(VOCABULARY - len(SPECIAL_PIECES)))
    return WordPiece((*SPECIAL_PIECES, *pieces), do_lower_case=True)


def split_of(documents: list[np.ndarray], folder: Path, name: str) -> Split:
    """A split on disk with sentences of these lengths."""
    rng = np.random.default_rng(0)
    sentences = np.concatenate([[0], np.cumsum(np.concatenate(documents))])
    np.save(folder / f"{name}.npy", rng.integers(len(SPECIAL_PIECES), VOCABULARY, sentences[-1]).astype(np.uint16))
    shard = np.load(folder / f"{name}.npy", mmap_mode="r", allow_pickle=False).view(np.ndarray)
    return Split(
        identity=name,
        shards=(shard,),
        side_shards={"word_starts": ((shard % 4 > 0).astype(np.uint8),)},
        sentence_offsets=sentences,
        document_offsets=np.cumsum([0, *map(len, documents)]),
    )


def timed(work: Callable, *arguments) -> tuple[dict[str, float], object]:
    """Seconds, and what the work gave."""
    wall, cpu = time.perf_counter(), time.process_time()
    result = work(*arguments)
    return {"wall_seconds": time.perf_counter() - wall, "cpu_seconds": time.process_time() - cpu}, result


def speed(loader: Loader) -> dict:
    """Median and spread over REPEATS runs of BATCHES batches each."""

    def tokens_from(first: int) -> int:
        return sum(int(loader.batch(step)["input_mask"].sum()) for step in range(first, first + BATCHES))

    tokens_from(0)
    runs = []
    for repeat in range(1, 1 + REPEATS):
        seconds, tokens = timed(tokens_from, repeat * BATCHES)
        runs.append([tokens / seconds["cpu_seconds"] / 1e6, tokens / seconds["wall_seconds"] / 1e6])
    cpu, wall = (measure.summarise(column)._asdict() for column in zip(*runs))
    return {"million_tokens_per_cpu_second": cpu, "million_tokens_per_wall_second": wall}


def rounded(figures):
    if isinstance(figures, dict):
        return {name: rounded(value) for name, value in figures.items()}
    return round(figures, 3) if isinstance(figures, float) else figures


def main() -> int:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    rng, tokenizer = np.random.default_rng(0), vocabulary()
    figures: dict[str, dict] = {"speed": {}, "plans": {}, "seek": {}}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        many = split_of([rng.integers(3, 45, rng.integers(2, 80)) for _ in range(10_500)], folder, "many documents")
        long = split_of([rng.integers(3, 45, 1_000_000), rng.integers(3, 45, 50)], folder, "a document of a million sentences")
        for split in (many, long):
            for mode in MODES:
                for most in (1, 16):
                    config = PlanConfig(mode, 128, 0.1 if MODES[mode].in_pairs else 0.0, most, 0, 0)
                    seconds, _ = timed(build_plan, split, config, folder / "built")
                    name = f"{split.identity}, {split.num_tokens / 1e6:.1f}M tokens: {mode}, {most} to a row of 128"
                    figures["plans"][name] = seconds
                    print(f"plan, {name}: {seconds['cpu_seconds']:.2f} s", flush=True)
        for name, (phase, settings) in CASES.items():
            config = LoaderConfig((phase,), **{"short_seq_prob": 0.0, "dupe_factor": 10, "seed": 0} | settings)
            result = figures["speed"][name] = speed(Loader(many, tokenizer, config, folder / name))
            cpu = result["million_tokens_per_cpu_second"]
            print(f"{name}: {cpu['median']:.1f}M tokens/s, spread {cpu['spread']:.0%}", flush=True)
        for built in ("plans not yet built", "plans there"):
            config = LoaderConfig((AT_128,), short_seq_prob=0.1, dupe_factor=10, seed=0)
            loader = Loader(many, tokenizer, config, folder / "seek")
            seconds, _ = timed(loader.batch, 1_000_000)
            figures["seek"][f"step 1,000,000 with 10 pairings, {built}"] = seconds
            print(f"seek, {built}: {seconds['wall_seconds']:.3f} s", flush=True)
    spread = max(case["million_tokens_per_cpu_second"]["spread"] for case in figures["speed"].values())
    measure.write("loader", rounded(figures), spread=spread)
    return 0


if __name__ == "__main__":
    sys.exit(exit_code(main))
