"""A workdir in a bucket: gs://BUCKET/FOLDER is worked on as a copy on a local disk, and what changes there is copied back.

A run maps its store into memory, locks its folder and renames what it has finished, and a bucket can do none of these. What is
copied back is never less than it says: a checkpoint counts by its seal (checkpoint.py), a run by its result, and each of these
goes last. What other machines write into the same folder meanwhile is not seen.
"""

import logging
import os
import sys
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from bert_jax.errors import UserError

SCHEME = "gs://"
EVERY_SECONDS = 20.0
SEAL, RESULT = "seal.json", "result.json"
STAYS = ("compiled", "*tmp*", ".*")  # compiled programs are of one machine; what is being written has a name with tmp
PROBE = ".writable"


def is_bucket(path: str) -> bool:
    return path.startswith(SCHEME)


@contextmanager
def opened(path: str, *, writes: bool, index: int = 0) -> Iterator[Path]:
    """The folder to work in: `path`, or a local copy of the folder of a bucket, copied back while the block runs and at its end,
    however it ends.

    Args:
        writes: whether the block may change anything.
        index: of this process among those of the job. Each has a copy; what the first one changes is copied back.

    Raises:
        UserError: no such bucket, no credentials, no permission to write, or gcsfs is not installed.
    """
    if not is_bucket(path):
        yield Path(path)
        return
    folder = cache_folder() / path.removeprefix(SCHEME).strip("/") / str(index)
    mirror = Mirror(_filesystem(path), path.removeprefix(SCHEME).strip("/"), folder)
    mirror.pull()
    print(f"{path} is worked on in {folder}", file=sys.stderr, flush=True)
    if not writes or index:
        yield folder
        return
    mirror.probe()
    with mirror.pushing():
        yield folder


def cache_folder() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "bert_jax"


def _filesystem(path: str):
    logging.getLogger("gcsfs").setLevel(logging.CRITICAL)  # it warns at every file of what is no trouble; errors are raised
    try:
        import fsspec

        return fsspec.filesystem("gcs", use_listings_cache=False)
    except ImportError:
        raise UserError("a workdir in a bucket needs gcsfs", got=path, fix="pip install -e '.[gcs]'") from None


class Mirror:
    """A folder of a bucket and its local copy.

    Args:
        files: an fsspec file system.
        there: its folder, without a scheme.
        here: the copy.
    """

    def __init__(self, files, there: str, here: Path):
        self._files, self._there, self._here = files, there, here
        self._pushed: dict[str, tuple[int, int]] = {}  # of each file in the bucket, as it was here: bytes, nanoseconds

    def pull(self) -> None:
        """Makes the copy what the bucket has, but for compiled programs. Of a store, which may be large and is never written
        twice, files that are here already are not fetched again."""
        with self._told("read"):
            found = {name: facts["size"] for name, facts in self._listed().items()}
        for name in set(_local(self._here)) - found.keys():
            (self._here / name).unlink()
        for name, size in sorted(found.items()):
            path = self._here / name
            if not (name.startswith("store/") and path.is_file() and path.stat().st_size == size):
                path.parent.mkdir(parents=True, exist_ok=True)
                with self._told("read"):
                    self._files.get_file(f"{self._there}/{name}", str(path))
        self._pushed = {name: stamp for name, stamp in _local(self._here).items() if name in found}

    def probe(self) -> None:
        """Raises UserError where nothing can be written: better now than with the first checkpoint."""
        with self._told("write to"):
            self._files.pipe_file(f"{self._there}/{PROBE}", b"")

    def push(self) -> None:
        """Copies what changed, and deletes what is gone: seals go first when they vanish, and last, but for results, when they
        come."""
        now = _local(self._here)
        for name in sorted(self._pushed.keys() - now.keys(), key=lambda name: not name.endswith(SEAL)):
            with self._told("write to"):
                if self._files.exists(f"{self._there}/{name}"):
                    self._files.rm_file(f"{self._there}/{name}")
            del self._pushed[name]
        for name in sorted(now, key=_rank):
            if self._pushed.get(name) != now[name] and self._complete(name, now):
                try:
                    with self._told("write to"):
                        self._files.put_file(str(self._here / name), f"{self._there}/{name}")
                except UserError:
                    if (self._here / name).exists():
                        raise
                    continue  # deleted since it was listed
                self._pushed[name] = now[name]

    def _complete(self, name: str, now: Iterable[str]) -> bool:
        """Of the files of a checkpoint, whether all of it is here: a run deletes an old one file by file, its seal among them."""
        kind, _, rest = name.partition("/")
        return kind != "checkpoints" or f"{kind}/{rest.partition('/')[0]}/{SEAL}" in now

    @contextmanager
    def pushing(self) -> Iterator[None]:
        """Copies back every EVERY_SECONDS; a round that fails is told, and made up for by the next."""
        over = threading.Event()

        def rounds() -> None:
            while not over.wait(EVERY_SECONDS):
                try:
                    self.push()
                except UserError as error:
                    print(f"warning: {error}\n  the next round tries again", file=sys.stderr, flush=True)

        thread = threading.Thread(target=rounds, name="copy to the bucket", daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()
            self.push()

    def _listed(self) -> dict[str, dict]:
        """The files of the bucket's folder, by their path in it."""
        found = self._files.find(self._there, detail=True)
        names = {path.removeprefix(f"{self._there}/"): facts for path, facts in found.items()}
        for name in names:
            if not (self._here / name).resolve().is_relative_to(self._here.resolve()):
                raise UserError("a file of the bucket has a name that leaves its folder", got=name)
        return {name: facts for name, facts in names.items() if name != PROBE and not name.endswith("/")}

    @contextmanager
    def _told(self, what: str) -> Iterator[None]:
        try:
            yield
        except UserError:
            raise
        except Exception as error:  # gcsfs and what it stands on raise many kinds
            raise UserError(
                f"cannot {what} the bucket",
                got=f"{SCHEME}{self._there}: {type(error).__name__}: {' '.join(str(error).split())[:300]}",
                expected="a bucket that exists, and credentials that may read and write it",
                fix="gcloud auth application-default login, or give the machine's service account the role Storage Object User",
            ) from None


def _rank(name: str) -> tuple[bool, bool, str]:
    return name == RESULT, name.endswith(f"/{SEAL}"), name


def _local(folder: Path) -> dict[str, tuple[int, int]]:
    """path -> (bytes, nanoseconds of its last change) of what belongs in the bucket."""
    found = {}
    for path in folder.rglob("*"):
        parts = path.relative_to(folder).parts
        if any(Path(part).match(pattern) for part in parts for pattern in STAYS):
            continue
        try:
            facts = path.stat()
        except FileNotFoundError:
            continue
        if path.is_file():
            found["/".join(parts)] = (facts.st_size, facts.st_mtime_ns)
    return found
