"""Writing files so that a reader sees all of a thing or nothing of it, and errors of the disk as one clear message."""

import fcntl
import hashlib
import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from bert_jax.errors import UserError


@contextmanager
def new_folder(folder: Path, what: str, keep: Callable[[Path], bool]) -> Iterator[Path]:
    """A temporary folder beside `folder` that takes its name when the block ends well.

    It is not emptied first: what a killed or failed process left in it is for the next one to go on from, or to clear. When the
    block fails the folder stays if `keep` says that it holds something worth keeping.

    Raises:
        UserError: the disk refuses (full, read-only, no permission), or another process writes the same folder just now.
            `what` names the thing in the message.
    """
    temporary = folder.with_name(f".{folder.name}.tmp")
    with disk_errors(folder, what), locked(temporary, f"{what} is being written"):
        try:
            yield temporary
            sync_folder(temporary)
            if folder.exists():
                shutil.rmtree(folder)
            os.replace(temporary, folder)
            sync_folder(folder.parent)
        except BaseException:
            if not keep(temporary):
                shutil.rmtree(temporary, ignore_errors=True)
            raise


@contextmanager
def locked(folder: Path, what: str) -> Iterator[None]:
    """Holds the folder, made if it is absent, for this process alone. `what` begins the message to the second one: "... by
    another process"."""
    folder.mkdir(parents=True, exist_ok=True)
    lock = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # the system lets go of it when the process dies, however it dies
        except BlockingIOError as error:
            fix = "wait for it, or use another folder"
            raise UserError(f"{what} by another process", got=folder, fix=fix) from error
        yield
    finally:
        os.close(lock)


def clear_folder(folder: Path) -> None:
    for entry in folder.iterdir():
        if entry.is_dir():
            shutil.rmtree(entry)
        else:
            entry.unlink()


@contextmanager
def disk_errors(path: Path, what: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UserError(
            f"{what} cannot be written",
            got=f"{path}: {error.strerror or error}",
            fix="free some space, or choose a folder that you may write to",
        ) from error


@contextmanager
def new_file(path: Path) -> Iterator[Path]:
    """A temporary path beside `path` for the block to write and sync; it takes the name of `path` when the block ends well."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        yield temporary
        os.replace(temporary, path)
        sync_folder(path.parent)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_synced(path: Path, content: bytes) -> None:
    with open(path, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Makes the names in a folder durable: a rename is on disk only when its folder is."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sha256_of(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class NpyWriter:
    """Appends rows to a .npy file whose length is known only at the end.

    numpy pads the header for a first axis that grows, so the final header fits over the first one."""

    def __init__(self, path: Path, dtype: type, columns: tuple[int, ...] = ()):
        self.path, self.rows, self._dtype, self._columns = path, 0, np.dtype(dtype), columns
        self._file = open(path, "wb")
        self._write_header()
        self._data_start = self._file.tell()

    def append(self, rows: np.ndarray) -> None:
        self._file.write(np.ascontiguousarray(rows, self._dtype).data)
        self.rows += len(rows)

    def close(self) -> None:
        self._file.seek(0)
        self._write_header()
        assert self._file.tell() == self._data_start, "the header of a .npy file changed its size"
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()

    def _write_header(self) -> None:
        form = {"descr": np.lib.format.dtype_to_descr(self._dtype), "fortran_order": False, "shape": (self.rows, *self._columns)}
        np.lib.format.write_array_header_1_0(self._file, form)
