"""Several processes of one command on this machine that train as one, as on several hosts: for tests, and one for each GPU.

python -m launch.processes COUNT COMMAND ARGUMENT...
"""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence

LAST_SECONDS = 120  # that the others have when one has ended
POLL_SECONDS = 0.1


def run(count: int, command: Sequence[str]) -> int:
    """Starts the command `count` times, each with the variables of bert_jax/parallel/hosts.join and one GPU where there are any.

    SIGTERM and Ctrl-C are passed on. Returns the largest exit code.
    """
    address = {"JAX_NUM_PROCESSES": str(count), "JAX_COORDINATOR_ADDRESS": f"127.0.0.1:{free_port()}"}
    started = [
        subprocess.Popen(command, env=os.environ | address | {"JAX_PROCESS_ID": str(index), "JAX_LOCAL_DEVICE_IDS": str(index)})
        for index in range(count)
    ]
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, frame: [process.send_signal(number) for process in started])
    end = None
    while any(process.poll() is None for process in started):
        if end is None and any(process.poll() is not None for process in started):
            end = time.monotonic() + LAST_SECONDS
        if end is not None and time.monotonic() > end:
            for process in started:
                process.kill()
        time.sleep(POLL_SECONDS)
    return max(process.returncode if process.returncode >= 0 else 128 - process.returncode for process in started)


def free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return listening.getsockname()[1]


if __name__ == "__main__":
    sys.exit(run(int(sys.argv[1]), sys.argv[2:]))
