"""How far runs of a config were seen to come: what another run of the same config, of whatever seed, is held against.

The figures are those of `python -m experiments.acceptance reference_runs`. Lowest and highest are the ends of the interval in
which the next seed falls with a probability of 0.999 at each step, were seeds drawn from a normal distribution. All seeds read
the same text: what another text makes of the config is not in them.
"""

import hashlib
import json
from collections.abc import Mapping
from fnmatch import fnmatch

from bert_jax.config import flatten, without_later

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
    leaves = flatten(without_later(config))
    kept = {key: value for key, value in leaves if not any(fnmatch(key, pattern) for pattern in LEFT_OUT)}
    return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()[:12]


# key_of(config) -> step -> (lowest, highest), held-out nats below guessing by word frequency
BANDS: dict[str, dict[int, tuple[float, float]]] = {
    "37acd8261c03": {  # configs/quickstart.py, five seeds on the docstrings of one machine
        500: (0.27, 0.49),
        1000: (0.40, 0.65),
        1500: (0.48, 0.78),
        2000: (0.50, 1.04),
        2500: (0.53, 1.43),
        3000: (0.57, 1.76),
        3500: (0.63, 1.95),
        4000: (0.69, 1.98),
    },
}
