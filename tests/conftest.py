"""Every test sees eight CPU devices, and shapes of different rank never broadcast by accident.

What XLA compiled for one test is kept for the others, and for the processes they start: compilation is most of the suite's time.
"""

import atexit
import os
import shutil
import tempfile

os.environ.setdefault("JAX_PLATFORMS", "cpu")
# Else a collective that waits for 40 seconds, as it may on a machine that stands still, ends the process.
PATIENT = "--xla_cpu_collective_call_terminate_timeout_seconds=600"
os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=8 {PATIENT}".strip()
if "PYTEST_XDIST_WORKER" not in os.environ:  # the workers share the folder of the process that starts them
    compiled = tempfile.mkdtemp(prefix="bert_jax_compiled_")
    atexit.register(shutil.rmtree, compiled, ignore_errors=True)
    os.environ["JAX_COMPILATION_CACHE_DIR"] = compiled
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"

import jax  # noqa: E402

jax.config.update("jax_numpy_rank_promotion", "raise")
