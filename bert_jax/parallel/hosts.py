"""Several processes, on as many hosts or on one, that train as one (jax.distributed)."""

import hashlib
import os
import re
import socket
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, TypeVar

import jax
import numpy as np
from jax.experimental import multihost_utils

from bert_jax.errors import UserError

Value = TypeVar("Value")
ADDRESS, COUNT, INDEX = "JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID"
JOIN_SECONDS = 300
DEVICES = Path("/dev")


class Place(NamedTuple):
    """One process among `count`; process 0 is met at `address`, host:port, which is empty for one alone."""

    address: str
    count: int
    index: int


def place() -> Place:
    """Where this process stands, before any of them has met.

    JAX_NUM_PROCESSES in the environment says how many there are, JAX_COORDINATOR_ADDRESS where process 0 is met, and
    JAX_PROCESS_ID which one this is. Where neither of the last two is set jax finds out both by itself: on Cloud TPU, Kubernetes,
    Slurm and Open MPI.

    Raises:
        UserError: the variables contradict each other, or nothing knows them.
    """
    address, count, index = _place()
    if count == 1 or address is not None:
        return Place(address or "", count, index or 0)
    from jax._src.clusters import ClusterEnv  # no part of the public jax says it; the same in 0.10 and 0.12

    address, _, index, _ = ClusterEnv.auto_detect_unset_distributed_params(None, count, None, None, None, JOIN_SECONDS)
    if address is None or index is None:
        raise UserError(f"nothing says where the {count} processes meet", expected=f"{ADDRESS} and {INDEX} in the environment")
    return Place(address, count, index)


def _place() -> tuple[str | None, int, int | None]:
    """Address, count and index, as far as the environment says them."""
    count = _number(COUNT, 1)
    if count == 1:
        return None, 1, None
    address, index = os.environ.get(ADDRESS), _number(INDEX, None)
    if (address is None) != (index is None) or (index is not None and not 0 <= index < count):
        raise UserError(
            f"{COUNT}={count}, but the place of this process among them is not clear",
            got=f"{ADDRESS}={address}, {INDEX}={index}",
            expected=f"host:port of process 0 and a number from 0 to {count - 1}; or neither, where the cluster is known to jax",
        )
    return address, count, index


def join(seconds: int | None = None) -> None:
    """Joins the other processes of the job if the environment's JAX_NUM_PROCESSES says that there are any, see `place`. Must come
    before anything touches a device.

    Args:
        seconds: how long to wait for them; JOIN_SECONDS where it is not given.

    Raises:
        UserError: the variables contradict each other, the others do not answer in time, or SLURM gave this node more GPUs than
            tasks.
    """
    address, count, index = _place()
    if count == 1 or jax.distributed.is_initialized():
        return
    given_by_slurm = os.environ.get("SLURM_GPUS_ON_NODE")  # not said where SLURM knows nothing of the GPUs
    _require_a_task_per_gpu(int(given_by_slurm or 0))
    seconds = seconds or JOIN_SECONDS
    if address:
        print(f"process {index} of {count}: meeting at {address}, for at most {seconds} seconds", file=sys.stderr)
    if index:
        # jax itself would end the process with a trace of C++ when the address never answers.
        connect(address, seconds).close()
    given = {} if address is None else {"coordinator_address": address, "num_processes": count, "process_id": index}
    try:
        jax.distributed.initialize(**given, initialization_timeout=seconds)
    except (RuntimeError, ValueError) as error:
        raise UserError(
            "cannot join the other processes",
            got=str(error).splitlines()[0][:200],
            expected=f"{count} processes, started within {seconds} seconds, that all reach {address or 'the coordinator'}",
        ) from None
    if jax.process_count() != count:
        raise UserError(f"{COUNT} is not the number of processes that met", got=count, expected=str(jax.process_count()))
    if given_by_slurm is None and jax.default_backend() == "gpu":
        _require_a_task_per_gpu(_visible_gpus())


def _visible_gpus() -> int:
    """Those of NVIDIA that this process could use."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is None:
        return sum(bool(re.fullmatch("nvidia[0-9]+", path.name)) for path in DEVICES.iterdir())
    each = [name.strip() for name in named.split(",")]
    return next((place for place, name in enumerate(each) if name in ("", "-1")), len(each))  # CUDA sees none behind these


def _require_a_task_per_gpu(gpus: int) -> None:
    """Under SLURM jax gives each task the one GPU of its number on the node (jax/_src/clusters/slurm_cluster.py), and the others
    would idle without a word."""
    tasks_on = os.environ.get("SLURM_STEP_TASKS_PER_NODE", "")  # 8(x2),4: 8 on two nodes, 4 on the third
    if not tasks_on or "JAX_LOCAL_DEVICE_IDS" in os.environ:
        return
    counts = [int(n) for n, times in re.findall(r"([0-9]+)(?:\(x([0-9]+)\))?", tasks_on) for _ in range(int(times or 1))]
    tasks = counts[_number("SLURM_NODEID", 0)]
    if gpus > tasks:
        raise UserError(
            f"{gpus - tasks} of the GPUs of this node would idle: SLURM started fewer tasks on it than it has GPUs",
            got=f"tasks: {tasks}, GPUs: {gpus}",
            expected="one task for each GPU",
            fix=f"--ntasks-per-node={gpus} --gpus-per-node={gpus}; or name those of each task in JAX_LOCAL_DEVICE_IDS",
        )


def connect(address: str, seconds: float) -> socket.socket:
    """A connection to process 0, tried again until there is one.

    Raises:
        UserError: it does not answer in time.
    """
    host, _, port = address.rpartition(":")
    deadline = time.monotonic() + seconds
    while True:
        try:
            return socket.create_connection((host.strip("[]"), int(port)), timeout=seconds)
        except ValueError:
            raise UserError(f"{ADDRESS} is not an address", got=address, expected="host:port") from None
        except OSError as error:
            if time.monotonic() > deadline:
                raise UserError(
                    "process 0 does not answer",
                    got=f"{address}: {error.strerror or error}",
                    expected=f"process 0 started within {seconds} seconds, and its port open to this host",
                ) from None
        time.sleep(0.5)


def _number(variable: str, default: int | None) -> int | None:
    text = os.environ.get(variable)
    if text is None:
        return default
    if not text.isdecimal():
        raise UserError(f"{variable} in the environment is not a number", got=text)
    return int(text)


def require_same(what: str, text: str) -> None:
    """Raises UserError on every process unless all give the same text; names those that differ from process 0."""
    digest = np.frombuffer(hashlib.sha256(text.encode()).digest(), np.uint8)
    gathered = np.asarray(multihost_utils.process_allgather(digest)).reshape(-1, len(digest))
    different = [str(index) for index, other in enumerate(gathered) if (other != gathered[0]).any()]
    if different:
        raise UserError(
            f"the processes disagree on {what}",
            got=f"process {', '.join(different)} differs from process 0",
            fix="start all alike",
        )


def from_first(make: Callable[[], Value], like: Value) -> Value:
    """make() as process 0 computed it, on every process; `like` shows the others structure, shapes and dtypes of its arrays.

    Raises:
        Exception: on process 0 what make() raised; on the others a UserError that it did.
    """
    if jax.process_count() == 1:
        return make()
    value, failed = like, None
    if jax.process_index() == 0:
        try:
            value = make()
        except Exception as error:
            failed = error
    if multihost_utils.broadcast_one_to_all(np.array(failed is not None)):
        raise failed or UserError("process 0 gave up", fix="see its message")
    return multihost_utils.broadcast_one_to_all(value)


def only_first(do: Callable[[], object]) -> None:
    """do() on process 0, while the others wait for it. When it raises, all of them do."""
    from_first(lambda: (do(), np.array(0))[1], np.array(0))


def in_turn(make: Callable[[], Value]) -> Value:
    """make() on process 0, and when that is done on the others: on a shared disk they find what it left."""
    made: list[Value] = []
    only_first(lambda: made.append(make()))
    failed = None
    if not made:
        try:
            made.append(make())
        except Exception as error:
            failed = error
    if any_process(failed is not None):
        raise failed or UserError("another process gave up", fix="see its message")
    return made[0]


def any_process(flag: bool) -> bool:
    """Whether the flag is set on any process; all must ask together."""
    return flag if jax.process_count() == 1 else bool(np.any(multihost_utils.process_allgather(np.array(flag))))


def end_together(action: Callable[[], int], good: tuple[int, ...]) -> int:
    """The exit code of action(). One of several processes that fails ends here and now: the others may be waiting for it, and end
    within seconds when it is gone, where leaving in good order would wait for them."""
    try:
        code = action()
    except BaseException:
        if jax.process_count() == 1:
            raise
        traceback.print_exc()
        code = 1
    if code not in good and jax.process_count() > 1:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    return code


def own_rows(batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """This process's rows of a batch that every process has made whole."""
    return rows_of(batch, jax.process_index(), jax.process_count())


def rows_of(batch: dict[str, np.ndarray], index: int, count: int) -> dict[str, np.ndarray]:
    """The same for any of so many processes."""
    return {name: rows[index * len(rows) // count : (index + 1) * len(rows) // count] for name, rows in batch.items()}
