"""A workdir in a bucket: gs://BUCKET/FOLDER is worked on as a copy on a local disk, and what changes there is copied back.

A run maps its store into memory, locks its folder and renames what it has finished, and a bucket can do none of these. Copying
may end at any file: so what says that others are whole goes after them, the seal of a checkpoint (checkpoint.py), the manifest of
a store, the result of a run; what is no longer wanted is deleted last; and whoever copies from the bucket leaves out what is not
whole. What was not copied back before a machine went is lost with it; on the same machine it is copied back by the next start.
"""

import json
import logging
import os
import shutil
import sys
import tempfile
import threading
from collections.abc import Callable, Container, Iterable, Iterator
from contextlib import contextmanager
from fnmatch import fnmatch
from pathlib import Path
from urllib.parse import quote

from bert_jax import config as configs
from bert_jax.command import DISK_REFUSALS
from bert_jax.config import make_folder
from bert_jax.data.files import locked
from bert_jax.errors import EXIT_DONE, EXIT_USER_ERROR, UserError

SCHEME = "gs://"
EVERY_SECONDS = 20.0
LAST_TRIES = 3
STAYS = ("compiled", "*tmp*", ".*")  # compiled programs are of one machine; what is being written has a name with tmp
PROBE = ".writable"
SEAL, MANIFEST, RESULT = "seal.json", "store/manifest.json", "result.json"
RECORD = "record.json"  # beside the copy: of each file that is the same here and there, its stamp here and there
UNDER_WAY = "under_way.json"  # the names that are being copied or deleted: any of them may be the old or the new one there
PULLING = "pulling.json"  # is there while the copy is being made: it holds nothing of its own

NOT_HERE = [-1, -1]  # the stamp here of what the next push sends if it is here, and deletes in the bucket if not


def is_bucket(path: str) -> bool:
    return path.startswith(SCHEME)


def work(path: str, action: Callable[[Path], int], *, writes: bool, index: int = 0) -> int:
    """The exit code of action(folder), where folder is a local copy of this one of a bucket.

    Args:
        writes: whether the action may change anything; else its copy is its own, and is deleted afterwards.
        index: of this process among those of the job. Each has a copy; what the first one changes is copied back.

    Raises:
        UserError: no such bucket, no credentials, no permission to write, or gcsfs is not installed; another process here works
            on the same folder.
    """
    there = path.removeprefix(SCHEME).strip("/")
    files = _filesystem(path)
    if not writes:
        make_folder(cache_folder())
        with tempfile.TemporaryDirectory(dir=cache_folder(), prefix="read-") as folder:
            mirror = Mirror(files, there, Path(folder))
            mirror.pull()
            return action(mirror.here)
    folder = cache_folder() / quote(there, safe="") / str(index)
    make_folder(folder)
    with locked(folder, f"{path} is being worked on"):
        mirror = Mirror(files, there, folder)
        mirror.begin()
        print(f"{path} is worked on in {mirror.here}", file=sys.stderr, flush=True)
        if index:
            return action(mirror.here)
        mirror.probe()
        with mirror.pushing():
            code = action(mirror.here)
        return code if mirror.push_at_last() or code != EXIT_DONE else EXIT_USER_ERROR


def bring(path: str, names: Iterable[str], folder: Path) -> None:
    """Copies those of the named files that this folder of a bucket has into a folder here, as old as they are there; the first
    name, which says that the others are whole, is read first and is the last to be seen.

    Raises:
        UserError: as work.
    """
    files, there = _filesystem(path), path.removeprefix(SCHEME).strip("/")
    make_folder(folder)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".bring-") as aside:
        mirror = Mirror(files, there, Path(aside))
        brought = [name for name in names if mirror.fetch(name)]
        for name in reversed(brought):
            changed = files.modified(f"{there}/{name}").timestamp()
            os.utime(mirror.here / name, (changed, changed))
            (mirror.here / name).replace(folder / name)


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
    """A folder of a bucket and its local copy, folder/workdir.

    Args:
        files: an fsspec file system.
        there: its folder, without a scheme.
    """

    def __init__(self, files, there: str, folder: Path):
        self._files, self._there, self._folder = files, there, folder
        self.here = folder / "workdir"
        self._same: dict[str, list] = {}  # name -> [bytes, nanoseconds, stamp in the bucket] of a file that is alike in both

    def begin(self) -> None:
        """Takes up the copy where the bucket is as it was left, else what the bucket has: then a copy that holds more is put
        aside, not lost."""
        under_way = set(_read(self._folder / UNDER_WAY, []))
        self._same = {name: of for name, of in _read(self._folder / RECORD, {}).items() if name not in under_way}
        found = self._listed()
        elsewhere = {name: stamp for name, stamp in found.items() if name not in under_way}
        if (self._same or under_way) and {name: stamp for name, (*_, stamp) in self._same.items()} == elsewhere:
            self._same |= {name: [*NOT_HERE, found[name]] for name in under_way & found.keys()}
            return
        has_more = any(self._same.get(name, [])[:2] != stamp for name, stamp in _local(self.here).items())
        if has_more and not (self._folder / PULLING).exists():
            aside = Path(tempfile.mkdtemp(dir=self._folder, prefix="aside-"))
            print(f"the bucket was changed elsewhere: what was here alone is kept in {aside}", file=sys.stderr, flush=True)
            self.here.rename(aside / "workdir")
            self._same = {}
        make_folder(self._folder)
        configs.write_json(self._folder / PULLING, True)
        self.pull(found)
        self._record()
        (self._folder / PULLING).unlink()

    def pull(self, found: dict[str, str] | None = None) -> None:
        """Makes the copy what is whole in the bucket. What is known to be alike is not fetched again."""
        found = self._listed() if found is None else found
        whole = {name: stamp for name, stamp in found.items() if _is_whole(name, found)}
        now = _local(self.here)
        alike = {name for name, stamp in whole.items() if self._same.get(name) == [*now.get(name, ()), stamp]}
        for name in now.keys() - alike:
            (self.here / name).unlink()
        self._same = {name: self._same[name] for name in alike}
        for name in sorted(whole.keys() - alike):
            if self.fetch(name):
                self._same[name] = [*_stamp(self.here / name), whole[name]]
        for folder, _, _ in sorted(os.walk(self.here), reverse=True):
            if not os.listdir(folder):  # a folder of a step or a store would be taken for one
                os.rmdir(folder)
        broken = found.keys() - whole.keys()  # the next push deletes these
        self._same |= {name: [*NOT_HERE, found[name]] for name in broken}
        make_folder(self.here)

    def fetch(self, name: str) -> bool:
        """False where it is not there, or no longer."""
        part = self._folder / ".part"
        with self._told("read"):
            try:
                self._files.get_file(f"{self._there}/{name}", str(part))
            except FileNotFoundError:
                return False
        (self.here / name).parent.mkdir(parents=True, exist_ok=True)
        part.replace(self.here / name)
        return True

    def probe(self) -> None:
        """Raises UserError where nothing can be written: better now than with the first checkpoint."""
        with self._told("write to"):
            self._files.pipe_file(f"{self._there}/{PROBE}", b"")

    def push(self) -> None:
        """Copies what changed, then deletes the checkpoints that are gone, and what was never whole."""
        now = _local(self.here)
        changed = [name for name in now if self._same.get(name, [])[:2] != now[name] and _is_whole(name, now)]
        absent = self._same.keys() - now.keys()
        gone = {name for name in absent if name.startswith("checkpoints/") or self._same[name][:2] == NOT_HERE}
        if "config.json" not in now:  # the copy itself was deleted, or nothing has begun
            gone = set()
        if not changed and not gone:
            return
        configs.write_json(self._folder / UNDER_WAY, [*changed, *gone])
        for name in sorted(changed, key=_rank):
            self._send(name)
        for name in sorted(gone, key=_rank, reverse=True):
            with self._told("write to"):
                if self._files.exists(f"{self._there}/{name}"):
                    self._files.rm_file(f"{self._there}/{name}")
        found = self._listed()
        alike = {name: of[:2] for name, of in self._same.items() if name not in gone} | {name: now[name] for name in changed}
        self._same = {name: [*stamp, found[name]] for name, stamp in alike.items() if name in found}
        self._record()

    def _record(self) -> None:
        configs.write_json(self._folder / RECORD, self._same)
        configs.write_json(self._folder / UNDER_WAY, [])

    def _send(self, name: str) -> None:
        """Of a file that may grow meanwhile, as it is now; one that was deleted since it was listed is left out."""
        path, part = self.here / name, self._folder / ".part"
        try:
            if not name.startswith(("checkpoints/", "store/")):
                path = Path(shutil.copyfile(path, part))
            with self._told("write to"):
                self._files.put_file(str(path), f"{self._there}/{name}")
        except (UserError, FileNotFoundError):
            if (self.here / name).exists():
                raise

    @contextmanager
    def pushing(self) -> Iterator[None]:
        """Copies back every EVERY_SECONDS; a round that fails is told, and made up for by the next."""
        over = threading.Event()

        def rounds() -> None:
            while not over.wait(EVERY_SECONDS):
                try:
                    self.push()
                except Exception as error:  # whatever it was, the next round is not to be lost for it
                    print(f"warning: {error}\n  the next round tries again", file=sys.stderr, flush=True)

        thread = threading.Thread(target=rounds, name="copy to the bucket", daemon=True)
        thread.start()
        try:
            yield
        except BaseException:
            over.set()
            thread.join()
            self.push_at_last()
            raise
        over.set()
        thread.join()

    def push_at_last(self) -> bool:
        """Whether the bucket has all now; if not, that is told."""
        for _ in range(LAST_TRIES):
            try:
                self.push()
                return True
            except UserError as error:
                last = error
        print(f"error: {last}\n  what is not there is in {self.here}; the same command copies it", file=sys.stderr, flush=True)
        return False

    def _listed(self) -> dict[str, str]:
        """The files of the bucket's folder, by their path in it, and what tells one content of a name from the next."""
        with self._told("read"):
            found = self._files.find(self._there, detail=True)
        names = {path.removeprefix(self._there).lstrip("/"): facts for path, facts in found.items()}
        for name in names:
            if not (self.here / name).resolve().is_relative_to(self.here.resolve()):
                raise UserError("a file of the bucket has a name that leaves its folder", got=name)
        stamps = {name: str(facts.get("generation") or facts.get("created")) for name, facts in names.items()}
        return {name: stamp for name, stamp in stamps.items() if name and name != PROBE and not name.endswith("/")}

    @contextmanager
    def _told(self, what: str) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # gcsfs and what it stands on raise many kinds
            if isinstance(error, OSError) and error.errno in DISK_REFUSALS:
                raise
            raise UserError(
                f"cannot {what} the bucket",
                got=f"{SCHEME}{self._there}: {type(error).__name__}: {' '.join(str(error).split())[:300]}",
                expected="a bucket that exists, and credentials that may read and write it",
                fix="gcloud auth application-default login, or give the machine's service account the role Storage Object User",
            ) from None


def _is_whole(name: str, names: Container[str]) -> bool:
    """Of a file of a checkpoint or a store, whether what says that all of it is there is among the names."""
    kind, _, rest = name.partition("/")
    if kind == "checkpoints":
        return f"{kind}/{rest.partition('/')[0]}/{SEAL}" in names
    return kind != "store" or MANIFEST in names


def _rank(name: str) -> tuple[int, str]:
    return (3 if name == RESULT else 2 if name.endswith(f"/{SEAL}") else 1 if name == MANIFEST else 0), name


def _local(folder: Path) -> dict[str, list[int]]:
    """path -> [bytes, nanoseconds of its last change] of what belongs in the bucket."""
    found = {}
    for parent, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not _stays(name)]
        for path in (Path(parent) / name for name in names if not _stays(name)):
            try:
                found[path.relative_to(folder).as_posix()] = _stamp(path)
            except FileNotFoundError:  # deleted since it was listed
                continue
    return found


def _stays(name: str) -> bool:
    return any(fnmatch(name, pattern) for pattern in STAYS)


def _stamp(path: Path) -> list[int]:
    facts = path.stat()
    return [facts.st_size, facts.st_mtime_ns]


def _read(path: Path, absent):
    return json.loads(path.read_text()) if path.exists() else absent
