"""One attempt at a run, recorded in its folder: status.json before and after, what the trainer says in train.log.

    python -m launch.attempt FOLDER COMMAND ARGUMENT...

Every engine starts a run in this way, so that its folder alone says what became of it.
"""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from bert_jax import config as configs
from bert_jax.errors import EXIT_DIVERGED, EXIT_DONE, EXIT_RESTART, EXIT_USER_ERROR
from launch import table

STATES = {EXIT_DONE: "done", EXIT_DIVERGED: "diverged", EXIT_RESTART: "queued"}


def attempt(folder: Path, command: Sequence[str], *, pass_fds: Sequence[int] = ()) -> int:
    """The exit code of the command.

    In status.json the state is running while it runs, then done, diverged, queued (it saved and asks to be started again) or
    failed. Done without a result.json is failed.
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
    write(folder, record | {"state": state, "exit_code": code})
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
    folder, *command = arguments
    code = attempt(Path(folder), command)
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
