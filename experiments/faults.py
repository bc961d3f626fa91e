"""Faults on purpose: what a disk or a scheduler does to a run, and whether anything is lost or passes unnoticed."""

import json
import os
import random
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from bert_jax.checkpoint import SEAL, Checkpoints, checksums
from bert_jax.data.store import open_store
from bert_jax.errors import UserError
from bert_jax.train.watch import read_metrics

CLOCK = ("tokens_per_second", "data_wait_fraction")  # the only metrics that may differ between two equal runs
SHARE_AT_START = 0.2  # of the kills: at any moment since the start, while text is read or the step compiled
SHARE_IN_SAVES = 0.4  # of the kills: while a save is under way
LONGEST_START = 5.0  # seconds


def outcome(workdir: Path) -> tuple[list[dict], dict]:
    """(metrics without those of the clock, SHA-256 of each array of the final state)."""
    records = [{key: value for key, value in record.items() if key not in CLOCK} for record in read_metrics(workdir)]
    facts = json.loads((workdir / "checkpoints" / str(newest(workdir)) / "facts" / "metadata").read_text())
    return records, facts["checksums"]


def newest(workdir: Path) -> int:
    """The step of the newest checkpoint, 0 where there is none."""
    return max((int(path.name) for path in workdir.glob("checkpoints/*") if path.name.isdigit()), default=0)


def train_with_kills(command: list[str], workdir: Path, *, kills: int, steps: int, seed: int) -> list[dict]:
    """Starts the command again and again, SIGKILLs it `kills` times spread over its `steps`, then lets it end.

    Returns:
        For each kill, when it was and what the newest checkpoint then was.
    """
    draw = random.Random(seed)
    targets = sorted(draw.randrange(steps) for _ in range(kills))
    done = []
    for target in targets:
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        when = _wait_for_the_moment(process, workdir, target, draw)
        if process.poll() is not None:
            raise RuntimeError(f"the run ended with {process.returncode} before kill {len(done) + 1} of {kills}")
        process.kill()
        process.wait()
        done.append({"when": when, "newest_checkpoint": newest(workdir)})
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return done


def _wait_for_the_moment(process, workdir: Path, target: int, draw: random.Random) -> str:
    lot = draw.random()
    if lot < SHARE_AT_START:
        _wait(process, lambda: False, draw.uniform(0, LONGEST_START))
        return "after the start"
    _wait(process, lambda: newest(workdir) >= target)
    if lot < SHARE_AT_START + SHARE_IN_SAVES:
        _wait(process, lambda: any(workdir.glob("checkpoints/*tmp*")))
        return "in a save"
    _wait(process, lambda: False, draw.uniform(0, 0.1))
    return "in training"


def _wait(process, condition: Callable[[], bool], seconds: float = 600.0) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end and process.poll() is None and not condition():
        time.sleep(0.001)


def _flip_a_bit(path: Path, root: Path, draw: random.Random) -> None:
    data = bytearray(path.read_bytes())
    data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
    path.write_bytes(data)


def _truncate(path: Path, root: Path, draw: random.Random) -> None:
    os.truncate(path, draw.randrange(path.stat().st_size))


def _delete(path: Path, root: Path, draw: random.Random) -> None:
    path.unlink()


def _swap(path: Path, root: Path, draw: random.Random) -> None:
    """With another file below root, of other content."""
    others = [other for other in root.rglob("*") if other.is_file() and other.read_bytes() != path.read_bytes()]
    other = draw.choice(sorted(others))
    mine, theirs = path.read_bytes(), other.read_bytes()
    path.write_bytes(theirs)
    other.write_bytes(mine)


DAMAGES = {"flipped bit": _flip_a_bit, "truncated": _truncate, "deleted": _delete, "swapped": _swap}


def damage_checkpoint(folder: Path, like, draw: random.Random) -> tuple[str, bool]:
    """Damages the newest step under `folder` in one way and restores.

    Returns:
        (what was done, whether the step was named, passed over, and the one before came back as it was saved).
    """
    steps = sorted((int(path.name) for path in folder.iterdir() if path.name.isdigit()), reverse=True)
    step = folder / str(steps[0])
    recorded = json.loads((folder / str(steps[1]) / "facts" / "metadata").read_text())["checksums"]
    names = [*json.loads((step / SEAL).read_text()), SEAL]
    kind = draw.choice([*DAMAGES, "emptied"])
    if kind == "emptied":
        shutil.rmtree(step)
        step.mkdir()
    else:
        path = step / draw.choice([name for name in sorted(names) if (step / name).stat().st_size])
        DAMAGES[kind](path, step, draw)
        kind = f"{kind}: {path.name}"
    said: list[str] = []
    checkpoints = Checkpoints(folder, keep=len(steps))
    try:
        found = checkpoints.restore(like, say=said.append)
    except UserError:
        return kind, False
    finally:
        checkpoints.close()
    named = len(said) == 1 and said[0].startswith(f"checkpoint step {steps[0]}: ")
    return kind, bool(named and found and found[0] == steps[1] and checksums(found[1]) == recorded)


def damage_store(folder: Path, tokenizer, draw: random.Random) -> tuple[str, bool]:
    """Damages one file of a token store in one way and opens it; returns (what was done, whether a UserError says so)."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.stat().st_size)
    path, kind = draw.choice(files), draw.choice(sorted(DAMAGES))
    DAMAGES[kind](path, folder, draw)
    try:
        open_store(folder, tokenizer)
    except UserError as error:
        return f"{kind}: {path.name}", str(folder) in str(error)
    return f"{kind}: {path.name}", False
