"""One attempt at a run, recorded in its folder: status.json before and after, what the trainer says in train.log.

    python -m launch.attempt FOLDER MAX_CRASHES COMMAND ARGUMENT...

Ends with 42 where the command should be started again: it ended so itself, or it crashed no more than MAX_CRASHES times so far.
"""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from bert_jax import config as configs
from bert_jax.errors import EXIT_DIVERGED, EXIT_DONE, EXIT_RESTART, EXIT_USER_ERROR
from launch import table

STATES = {EXIT_DONE: "done", EXIT_DIVERGED: "diverged", EXIT_RESTART: "queued"}
FINAL_CODES = (EXIT_DONE, EXIT_USER_ERROR, EXIT_DIVERGED)  # those that starting again would not change


def attempt(folder: Path, command: Sequence[str], *, max_crashes: int = 0, pass_fds: Sequence[int] = ()) -> int:
    """The exit code of the command, or 42 where it should be started again after a crash.

    In status.json the state is running while it runs, then done, diverged, queued (it should be started again) or failed. Done
    without a result.json is failed.
    """
    record = table.status(folder)
    record |= {"state": "running", "attempt": record.get("attempt", 0) + 1}
    write(folder, record)
    try:
        code = start(command, folder / "train.log", pass_fds)
    except KeyboardInterrupt:
        write(folder, record | {"state": "queued"})
        raise
    state = STATES.get(code, "failed")
    if state == "done" and not table.result(folder):
        state = "failed"
    record |= {"state": state, "exit_code": code}
    if code not in (*FINAL_CODES, EXIT_RESTART):
        record["crashes"] = record.get("crashes", 0) + 1
        if record["crashes"] <= max_crashes:
            record["state"], code = "queued", EXIT_RESTART
    write(folder, record)
    return code


def write(folder: Path, record: dict) -> None:
    configs.write_json(folder / "status.json", record)


def start(command: Sequence[str], log: Path, pass_fds: Sequence[int] = ()) -> int:
    """The exit code of a command whose output goes to the end of log; what it says about a user's mistake is shown too."""
    with open(log, "a+b") as output:
        before = output.tell()
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, pass_fds=pass_fds)
        try:
            code = process.wait()
        except KeyboardInterrupt:
            process.terminate()
            process.wait()
            raise
        if code == EXIT_USER_ERROR:
            output.seek(before)
            print("\n".join(output.read().decode(errors="replace").splitlines()[-20:]), file=sys.stderr)
        return code


def main(arguments: Sequence[str]) -> int:
    folder, max_crashes, *command = arguments
    code = attempt(Path(folder), command, max_crashes=int(max_crashes))
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
