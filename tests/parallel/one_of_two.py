"""One of two processes with two devices each; started by test_hosts.py, which compares what it prints. Argument: a folder of
checkpoints."""

import json
import sys
from pathlib import Path

import jax
import numpy as np

from bert_jax.checkpoint import Checkpoints
from bert_jax.errors import UserError
from bert_jax.parallel import hosts
from tests.parallel.test_layouts import three_sgd_steps

hosts.join()
assert (jax.process_count(), jax.device_count(), jax.local_device_count()) == (2, 4, 2)
hosts.require_same("the config", "alike")
try:
    hosts.require_same("the config", f"seed={jax.process_index()}")
    disagreement = None
except UserError as error:
    disagreement = str(error)

results = {}
for mode, options in (
    ("jit", {"fsdp": 2, "tensor": 2, "accumulate": 2}),
    ("pmap", {}),
):
    metrics, params = three_sgd_steps(mode, 4, **options)
    norms = [
        float(np.linalg.norm(leaf.astype(np.float64) @ np.arange(1, leaf.shape[-1] + 1))) for leaf in jax.tree.leaves(params)
    ]
    results[mode] = {"metrics": metrics, "params": norms}
checkpoints = Checkpoints(Path(sys.argv[1]), keep=1, read_only=True)
step, state, _ = checkpoints.restore({"x": np.zeros(3, np.float32)}, say=print)
checkpoints.close()
json.dump({"disagreement": disagreement, "results": results, "read": [step, state["x"].tolist()]}, sys.stdout)
