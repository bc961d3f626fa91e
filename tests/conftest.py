"""Every test sees eight CPU devices, and shapes of different rank never broadcast by accident.

What XLA compiled for one test is kept for the others, and for the processes they start: compilation is most of the suite's time.
"""

import atexit
import os
import shutil
import tempfile

os.environ.setdefault("JAX_PLATFORMS", "cpu")
FLAGS = (
    "--xla_force_host_platform_device_count=8",
    # Programs run for a moment here: what makes them fast takes a third of the suite's time, and changes no HLO.
    "--xla_backend_optimization_level=0",
    "--xla_llvm_disable_expensive_passes=true",
)
os.environ["XLA_FLAGS"] = " ".join([os.environ.get("XLA_FLAGS", ""), *FLAGS]).strip()
if "PYTEST_XDIST_WORKER" not in os.environ:  # the workers share the folder of the process that starts them
    compiled = tempfile.mkdtemp(prefix="bert_jax_compiled_")
    atexit.register(shutil.rmtree, compiled, ignore_errors=True)
    os.environ["JAX_COMPILATION_CACHE_DIR"] = compiled
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"

import jax  # noqa: E402

jax.config.update("jax_numpy_rank_promotion", "raise")
