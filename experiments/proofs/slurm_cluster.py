"""A SLURM cluster of two nodes on this machine: the real daemons on the loopback, each in a process of ours.

Needs root and Debian's packages slurmctld, slurmd, slurm-client and munge. The nodes are called 127.0.0.1 and 127.0.0.2, so that
the name of the first, which jax reads as that of its coordinator, is an address too.
"""

import contextlib
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from bert_jax.errors import UserError

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scancel", "scontrol", "srun")
CPUS = 4  # of each node, whatever the machine has
START_SECONDS = 30


@contextlib.contextmanager
def cluster(folder: Path, gpus: int = 0) -> Iterator[dict[str, str]]:
    """The environment in which sbatch and the others speak to it.

    Args:
        gpus: that each node says it has; there is no device behind them.
    """
    missing = [name for name in PROGRAMS if not shutil.which(name)]
    if missing or os.geteuid():
        raise UserError(
            "a SLURM cluster cannot be started here",
            got=f"not on PATH: {', '.join(missing)}" if missing else "not root",
            fix="as root: apt-get install --no-install-recommends slurmctld slurmd slurm-client munge",
        )
    folder.mkdir(parents=True)
    config = folder / "slurm.conf"
    config.write_text(_config(folder, gpus))
    for gpu in range(gpus):  # SLURM wants files and counts them
        (folder / f"gpu{gpu}").touch()
    (folder / "gres.conf").write_text(f"Name=gpu File={folder}/gpu[0-{gpus - 1}]\n" if gpus else "")
    (folder / "cgroup.conf").write_text("CgroupAutomount=no\n")
    (folder / "munge.key").write_bytes(os.urandom(128))
    (folder / "munge.key").chmod(0o400)
    environment = os.environ | {"SLURM_CONF": str(config)}
    munge = {
        "key-file": "munge.key",
        "socket": "munge.socket",
        "pid-file": "munge.pid",
        "log-file": "munge.log",
        "seed-file": "seed",
    }
    daemons = [
        ["munged", "--foreground", "--force", *(f"--{flag}={folder / name}" for flag, name in munge.items())],
        ["slurmctld", "-D", "-f", str(config)],
        *(["slurmd", "-D", "-N", f"127.0.0.{node}", "-f", str(config)] for node in (1, 2)),
    ]
    started = []
    try:
        for command in daemons:
            with open(folder / f"{command[0]}.out", "a") as output:
                started.append(subprocess.Popen(command, env=environment, stdout=output, stderr=output))
            time.sleep(1)
        _wait_until_idle(environment, folder)
        yield environment
    finally:
        for process in reversed(started):
            process.terminate()
            try:
                process.wait(timeout=5)
            except subprocess.TimeoutExpired:  # slurmd waits for a slurmctld that may be gone
                process.kill()
                process.wait()


def _config(folder: Path, gpus: int) -> str:
    here, resources = socket.gethostname(), f" Gres=gpu:{gpus}" if gpus else ""
    for name in ("state", "spool"):
        (folder / name).mkdir()
    return f"""ClusterName=loopback
SlurmctldHost={here}(127.0.0.1)
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CryptoType=crypto/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool/%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldPort=17000
SlurmdParameters=config_overrides
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
ReturnToService=2
KillWait=10
SchedulerParameters=batch_sched_delay=0,sched_interval=1
{"GresTypes=gpu" if gpus else ""}
NodeName=127.0.0.[1-2] NodeHostname={here} NodeAddr=127.0.0.[1-2] Port=[17001-17002] CPUs={CPUS}{resources} State=UNKNOWN
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


def _wait_until_idle(environment: dict[str, str], folder: Path) -> None:
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end:
        found = subprocess.run(["sinfo", "--noheader", "--format=%T %D"], env=environment, capture_output=True, text=True).stdout
        if found.split() == ["idle", "2"]:
            return
        time.sleep(0.5)
    said = "\n".join((folder / name).read_text()[-1500:] for name in ("munged.out", "slurmctld.out", "slurmd.out"))
    raise RuntimeError(f"the nodes did not come up: {found}\n{said}")
