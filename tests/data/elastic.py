"""The batches whose order must not depend on who makes them; run as a program it is one of two processes."""

import hashlib
import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path

from bert_jax.data.loader import Batch, Loader, LoaderConfig, Phase
from bert_jax.data.masking import MaskRule
from bert_jax.data.store import open_store
from tests.data.small import TWELVE

LATER, STEPS = 50, 56  # the first phase is longer than three epochs
CONFIG = LoaderConfig(
    phases=(Phase(0, 24, 4, 8), Phase(LATER, 40, 6, 16)),
    short_seq_prob=0.1,
    dupe_factor=2,
    seed=0,
    max_examples_per_row=3,
    mask=MaskRule(mask_unit="whole_word"),
)
SHARES, WORKERS = (1, 2, 4, 8), (1, 2, 4)


def digest(batch: Batch) -> str:
    return hashlib.sha256(b"".join(name.encode() + batch[name].tobytes() for name in sorted(batch))).hexdigest()


def steps_of_shares(loader: Loader, workers: int, count: int, mine: range) -> Iterator[tuple[Batch, ...]]:
    """For each step the shares `mine` of `count`, each made by so many workers."""
    loader = replace(loader, config=replace(loader.config, num_loader_threads=workers))
    streams = [loader.iterate(process_index=index, process_count=count) for index in mine]
    yield from islice(zip(*streams), STEPS)
    for stream in streams:
        stream.close()


if __name__ == "__main__":
    store, plans, process = sys.argv[1:]
    loader = Loader(open_store(store, TWELVE).train, TWELVE, CONFIG, Path(plans))
    for count in SHARES[1:]:
        mine = range(count // 2 * int(process), count // 2 * (int(process) + 1))
        for workers in WORKERS:
            steps = steps_of_shares(loader, workers, count, mine)
            print(json.dumps([count, workers, [[digest(share) for share in shares] for shares in steps]]))
