"""Checkpoints: orbax behind one thin module, with our own checksum of every array.

Orbax commits a step by renaming its folder, so that a killed save never looks finished. It does not notice flipped bits, and any
folder with a number for a name counts as a step; both were seen. So a step is sealed with the SHA-256 of each of its files just
before it is committed, and counts only when sealed; and each array's SHA-256, taken before it is handed to orbax, is compared
with the array that comes back. A step that does not verify is passed over, aloud, for the one before.
"""

import errno
import hashlib
import json
import logging
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from bert_jax import config as configs
from bert_jax.errors import UserError

SEAL = "seal.json"  # in a step's folder: path of each file -> SHA-256
TIMES = "_CHECKPOINT_METADATA"  # orbax notes the time of the commit in it afterwards; no array or fact of ours is there
ROOM_FOR_COPIES = 16 * 2**20  # bytes: orbax writes its index and small arrays several times
DISK_ERRORS = (OSError, ValueError)  # tensorstore reports a full disk as a ValueError


class _Damaged(ValueError):
    """A file or an array is not what was written."""


class Checkpoints:
    """The checkpoints/ folder of a run: the newest `keep`, and the one with the lowest cost among those that have one;
    one more while a save is under way.

    A checkpoint is (state, facts): a pytree of arrays, and JSON about it (data position, vocabulary hash, ...).

    Args:
        read_only: leave everything as it is, the save that another process has under way too.
    """

    def __init__(self, folder: Path, *, keep: int, read_only: bool = False):
        logging.getLogger("absl").setLevel(logging.CRITICAL)  # orbax logs what it also raises, traceback and all
        self._folder = Path(folder).absolute()
        self._keep = keep
        self._damaged: set[int] = set()
        options = ocp.CheckpointManagerOptions(
            cleanup_tmp_directories=not read_only,
            read_only=read_only,
            # runs when all is written, before the commit
            async_options=ocp.AsyncOptions(post_finalization_callback=self._seal),
            # whoever reads or writes does it alone; orbax would have all processes meet
            multiprocessing_options=ocp.options.MultiprocessingOptions(
                primary_host=jax.process_index(), active_processes={jax.process_index()}
            ),
            create=False,
        )
        try:
            if not read_only:
                self._folder.mkdir(parents=True, exist_ok=True)
            self._manager = ocp.CheckpointManager(self._folder, options=options)
        except DISK_ERRORS as error:
            raise _unwritable(folder, error) from None

    def save(self, step: int, state: Any, facts: dict, *, cost: float | None = None) -> None:
        """Starts a save; the arrays are on the host when this returns, so the caller may go on and change its own.

        Args:
            cost: what the best is chosen by, the lower the better: the held-out loss, or minus a metric.
        """
        host = jax.tree.map(np.asarray, state)
        self.wait()
        self._refuse_a_full_disk(sum(array.nbytes for array in jax.tree.leaves(host)))
        record = {**facts, "step": step, "cost": cost, "checksums": checksums(host)}
        items = ocp.args.Composite(state=ocp.args.StandardSave(host), facts=ocp.args.JsonSave(record))
        for damaged in self._damaged:  # only now: who reads deletes nothing
            self._manager.delete(damaged)
        self._damaged.clear()
        try:
            self._manager.save(step, args=items, force=True)
        except DISK_ERRORS as error:
            raise _unwritable(self._folder, error) from None

    def steps(self) -> list[int]:
        """The steps that have a checkpoint, verified or not, ascending."""
        return sorted(self._manager.all_steps())

    def wait(self) -> None:
        """Blocks until the save under way is on disk, and then deletes what is no longer to be kept."""
        try:
            self._manager.wait_until_finished()
            steps = [step for step in self.steps() if step not in self._damaged]
            costs = {step: cost for step in steps if (cost := self._cost(step)) is not None}
            for step in steps[: -self._keep]:
                if step != min(costs, key=costs.get, default=None):
                    self._manager.delete(step)
        except DISK_ERRORS as error:
            raise _unwritable(self._folder, error) from None

    def _cost(self, step: int) -> float | None:
        """None where there was no evaluation, it was not finite, or the checkpoint cannot be read."""
        try:
            cost = json.loads((self._folder / str(step) / "facts" / "metadata").read_text())["cost"]
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return cost if isinstance(cost, float) and math.isfinite(cost) else None

    def restore(
        self,
        like: Any,
        *,
        say: Callable[[str], None],
        accept: Callable[[dict], None] = lambda facts: None,
        at_most: int | None = None,
    ):
        """The newest checkpoint whose every array verifies, as (step, state on the host, facts); None if there is none at all.

        Args:
            like: a pytree with the structure, shapes and dtypes expected, or a function that makes it of the facts.
            say: told of each checkpoint that is passed over, and why.
            accept: raises UserError when the facts, "step" among them, show that the checkpoint does not fit.
            at_most: look only at checkpoints of this step and before.

        Raises:
            UserError: there are checkpoints, but not one of them can be used; or the disk does not give one out.
        """
        failures = []
        for step in reversed(self.steps()):
            if at_most is not None and step > at_most:
                continue
            try:
                state, facts = self._read(step, like, accept)
            except UserError:
                raise
            except Exception as error:  # orbax raises many kinds for what it cannot read; each means the same here
                if isinstance(error, OSError) and not isinstance(error, FileNotFoundError):
                    # may pass: no reason to go back, and none to give the checkpoint up
                    fix = "try again, or check the disk"
                    raise UserError(f"checkpoint step {step} cannot be read", got=error, fix=fix) from None
                failures.append(f"step {step}: {(str(error) or type(error).__name__).splitlines()[0][:200]}")
                if isinstance(error, _Damaged):
                    self._damaged.add(step)
                say(f"checkpoint {failures[-1]}; trying the one before")
                continue
            return step, state, facts
        if failures:
            raise UserError(
                f"no checkpoint under {self._folder} can be restored",
                got="; ".join(failures),
                expected="an undamaged checkpoint of the same model and optimiser",
                fix="put back a copy of a good one, give the config it was made with, or train in a new workdir",
            )
        return None

    def _refuse_a_full_disk(self, needed: int) -> None:
        """Asks before writing: what orbax starts and cannot finish ends in the tracebacks of its threads."""
        needed += ROOM_FOR_COPIES
        free = shutil.disk_usage(self._folder).free
        if free < needed:
            raise _unwritable(self._folder, OSError(errno.ENOSPC, f"No space left: {free:,} bytes free, {needed:,} needed"))

    def _seal(self) -> None:
        for folder in self._folder.glob("*.orbax-checkpoint-tmp*"):  # the save under way: there is one at a time
            files = [path for path in folder.rglob("*") if path.is_file() and path.name != TIMES]
            configs.write_json(folder / SEAL, {path.relative_to(folder).as_posix(): _file_hash(path) for path in files})

    def _verify_seal(self, step: int) -> None:
        folder = self._folder / str(step)
        try:
            sealed = json.loads((folder / SEAL).read_text())
        except FileNotFoundError:
            raise _Damaged("it is not sealed: its save was not finished") from None
        except ValueError:
            raise _Damaged(f"{SEAL} has changed since it was written") from None
        for name in sealed:
            if not (folder / name).is_file():
                raise _Damaged(f"{name} is missing")
            if _file_hash(folder / name) != sealed[name]:
                raise _Damaged(f"{name} has changed since it was written")

    def _read(self, step: int, like: Any, accept: Callable[[dict], None]) -> tuple[Any, dict]:
        self._verify_seal(step)
        facts = dict(self._manager.restore(step, args=ocp.args.Composite(facts=ocp.args.JsonRestore())).facts)
        accept(facts)
        like = like(facts) if callable(like) else like
        target = jax.tree.map(lambda x: jax.ShapeDtypeStruct(np.shape(x), x.dtype), like)
        restored = self._manager.restore(step, args=ocp.args.Composite(state=ocp.args.StandardRestore(target)))
        state = jax.tree.map(np.asarray, restored.state)
        for (path, wanted), leaf in zip(jax.tree_util.tree_leaves_with_path(like), jax.tree.leaves(state)):
            if (leaf.shape, leaf.dtype) != (np.shape(wanted), wanted.dtype):  # orbax hands over another shape without a word
                name, seen = jax.tree_util.keystr(path), f"{leaf.dtype}{list(leaf.shape)}"
                raise ValueError(f"{name} is {seen}, the config makes it {wanted.dtype}{list(np.shape(wanted))}")
        recorded, found = facts.pop("checksums"), checksums(state)
        del facts["cost"]
        wrong = sorted(name for name in recorded.keys() | found.keys() if recorded.get(name) != found.get(name))
        if wrong:
            raise _Damaged(
                f"the checksum of {wrong[0]} is not the one recorded" + f" (and of {len(wrong) - 1} more)" * (len(wrong) > 1)
            )
        return state, facts

    def close(self) -> None:
        self._manager.close()


def checksums(tree: Any) -> dict[str, str]:
    """Path of each array -> SHA-256 over its dtype, shape and bytes."""
    return {jax.tree_util.keystr(path): _checksum(np.asarray(leaf)) for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}


def content_hash(tree: Any) -> str:
    """SHA-256 over the checksums of all arrays and their paths."""
    return hashlib.sha256(json.dumps(checksums(tree), sort_keys=True).encode()).hexdigest()


def _checksum(array: np.ndarray) -> str:
    digest = hashlib.sha256(f"{array.dtype}{array.shape}".encode())
    digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def _file_hash(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _unwritable(folder: Path, error: OSError | ValueError) -> UserError:
    return UserError(
        f"cannot write checkpoints to {folder}",
        got=getattr(error, "strerror", None) or str(error).split(": ")[-1],
        expected="a writable folder with room for a checkpoint",
        fix="free room or give another --workdir; the last complete checkpoint is kept and the same command continues from it",
    )
