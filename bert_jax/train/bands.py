"""How far runs of a config were seen to come: what another run of the same config, of whatever seed, is held against.

A table is printed by `python -m experiments.acceptance reference_runs`; lowest and highest are the ends of the interval in which
the next seed falls with a probability of 0.9999, were seeds drawn from a normal distribution.
"""

import hashlib
import json
from collections.abc import Mapping
from fnmatch import fnmatch

from bert_jax.config import flatten

# What has no part in how fast a run learns: the seed, where things lie, how the work is laid out, when the run looks at itself.
LEFT_OUT = (
    "seed",
    "data.num_loader_threads",
    "data.num_workers",
    "data.store",
    "parallel.*",
    "text.vocab_file",
    "train.accumulate",
    "train.*_every_steps",
    "train.keep_checkpoints",
    "train.max_skipped_steps",
)


def key_of(config: Mapping) -> str:
    """A hash of all other keys of a config, as nested dicts, and their values."""
    kept = {key: value for key, value in flatten(config) if not any(fnmatch(key, pattern) for pattern in LEFT_OUT)}
    return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()[:12]


# key_of(config) -> step -> (lowest, highest), held-out nats below guessing by word frequency
BANDS: dict[str, dict[int, tuple[float, float]]] = {}
