"""What lies in the folder of a run, and when a folder may be continued."""

import hashlib
import json
import os
import platform
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from fnmatch import fnmatch
from importlib import metadata
from pathlib import Path

import jax
from ml_collections import ConfigDict

from bert_jax import config as configs
from bert_jax.config import make_folder
from bert_jax.data.files import locked
from bert_jax.errors import UserError

# What may differ between a run and its continuation: none of it changes what an example is, and but for the learning rate of a
# longer run none what an update is. Vocabulary, store, teacher and what is said of pieces may move, since the content is
# compared by hash.
MAY_CHANGE = (
    "data.num_loader_threads",
    "data.num_workers",
    "data.store",
    "model.features.*.file",
    "model.remat",
    "objective.teacher",
    "parallel.fsdp",
    "parallel.mode",
    "parallel.tensor",
    "text.new_words",
    "text.vocab_file",
    "train.accumulate",
    "train.eval_every_steps",
    "train.keep_checkpoints",
    "train.log_every_steps",
    "train.max_skipped_steps",
    "train.num_train_steps",
    "train.save_every_steps",
)
PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy", "tokenizers", "sentencepiece")


@contextmanager
def opened(config, workdir: Path) -> Iterator[None]:
    """Makes the folder, or checks that the run in it is this one, and holds it for this process alone.

    Raises:
        UserError: it cannot be made, another process trains in it, or it holds a run whose config differs in more than
            MAY_CHANGE; the difference is shown.
    """
    make_folder(workdir)
    with locked(workdir, "this run is being trained"):
        require_same_config(config, workdir)
        yield


@contextmanager
def made_whole(target: Path) -> Iterator[Path]:
    """A folder beside `target` that takes its place when all went well, and is deleted when not."""
    target = Path(target).absolute()
    if target.exists() and not (target.is_dir() and not any(target.iterdir())):
        raise UserError("there is something already", got=target, expected="a folder that does not exist, or an empty one")
    temporary = target.with_name(f".{target.name}.{os.getpid()}")
    shutil.rmtree(temporary, ignore_errors=True)  # of a killed process with this number, as all have in containers
    make_folder(temporary)
    try:
        yield temporary
        os.replace(temporary, target)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def require_same_config(config, workdir: Path) -> None:
    """Raises UserError where the folder holds a run whose config differs in more than MAY_CHANGE."""
    saved = read_config(workdir)
    changed = configs.difference(saved, config.to_dict()) if saved else []
    may_change = lambda key: any(fnmatch(key, pattern) for pattern in MAY_CHANGE)  # noqa: E731
    refused = [f"{key}: {before!r} -> {now!r}" for key, before, now in changed if not may_change(key)]
    if refused:
        raise UserError(
            f"{workdir} holds a run with another config",
            got="; ".join(refused),
            expected=f"the same config; only these may change: {', '.join(MAY_CHANGE)}",
            fix="give the old values to continue that run, or another --workdir to start a new one",
        )


def read_config(workdir: Path) -> dict | None:
    return _read_json(Path(workdir) / "config.json")


def read_trained_config(workdir: Path) -> ConfigDict:
    """Raises UserError when nothing was trained in the folder, or brought into it."""
    saved = read_config(workdir)
    if saved is None:
        raise UserError("there is no trained model here", got=f"no config.json in {workdir}", expected="the --workdir of a run")
    return ConfigDict(saved)


def write_config(config, workdir: Path, data_facts: dict) -> None:
    """Writes config.json, and run.json: what the result depends on beside the config."""
    write(workdir / "config.json", config.to_dict())
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    machine = {
        "python": platform.python_version(),
        "versions": {name: metadata.version(name) for name in PACKAGES},
        "devices": [device.device_kind for device in jax.devices()],
        "cpu_count": cpus,
        "git": _git_hash(),
        "code": code_hash(),
    }
    write(workdir / "run.json", machine | data_facts)


def write_result(workdir: Path, result: dict) -> None:
    write(Path(workdir) / "result.json", {"status": "done", **result})


def write(path: Path, value: dict) -> None:
    try:
        configs.write_json(path, value)
    except OSError as error:
        raise UserError(
            f"cannot write {path}", got=error.strerror, expected="a folder with room that can be written to"
        ) from None


def write_lines(path: Path, values: Iterable[dict]) -> None:
    """A JSON object a line; a reader sees the old file or the new one, never a part."""
    temporary = path.with_name(f".{path.name}")
    try:
        with open(temporary, "w", encoding="utf-8") as file:
            file.writelines(json.dumps(value, ensure_ascii=False) + "\n" for value in values)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    os.replace(temporary, path)


def keep_compiled(workdir: Path) -> None:
    """Keeps compiled programs in the workdir, for a quick continuation, unless JAX_COMPILATION_CACHE_DIR names a folder."""
    if not jax.config.jax_compilation_cache_dir:
        jax.config.update("jax_compilation_cache_dir", str(Path(workdir).absolute() / "compiled"))


def finished(workdir: Path, step: int | None = None) -> dict | None:
    """The result of a finished run; None when it is not finished, or finished at another step."""
    result = _read_json(Path(workdir) / "result.json")
    return result if result and step in (None, result["step"]) else None


def same_vocabulary(facts: dict, tokenizer) -> None:
    """Raises UserError unless the checkpoint with these facts was trained with this vocabulary."""
    if facts["vocabulary"] != tokenizer.content_hash:
        raise UserError(
            "the vocabulary is not the one that the checkpoint was trained with",
            got=f"vocabulary {tokenizer.content_hash[:12]}",
            expected=f"vocabulary {facts['vocabulary'][:12]}",
            fix="put the original vocab.txt back, or train in a new workdir",
        )


def same_store(facts: dict, content_hash: str) -> None:
    """Raises UserError unless the checkpoint with these facts was trained on the token store with this hash."""
    if facts["store"] != content_hash:
        raise UserError(
            "the token store is not the one that the checkpoint was trained on",
            got=f"store {content_hash[:12]}",
            expected=f"store {facts['store'][:12]}",
            fix="put the original store back, or train in a new workdir",
        )


def same_teacher(facts: dict, now: dict) -> None:
    """Raises UserError unless the checkpoint with the first facts learned from the teacher of the second, or both have none."""
    fix = "give the folder of the original by --config.objective.teacher, or train in a new workdir"
    _require_same("teacher", facts, now, "the teacher is not the one that the checkpoint learned from", fix)


def same_features(facts: dict, now: dict) -> None:
    """Raises UserError unless the checkpoint with the first facts knows of pieces what the second do, or both know nothing."""
    fault = "the files of model.features do not say what the checkpoint was trained with"
    _require_same("features", facts, now, fault, "put the original files back, or train in a new workdir")


def _require_same(name: str, facts: dict, now: dict, fault: str, fix: str) -> None:
    """Of two facts that are hashes of a content, either of which may be missing."""
    if facts.get(name) != now.get(name):
        got, expected = (f"content {given.get(name, 'none')[:12]}" for given in (now, facts))
        raise UserError(fault, got=got, expected=expected, fix=fix)


def same_start(facts: dict, content_hash: str) -> None:
    """Raises UserError unless the checkpoint with these facts began with the parameters of this hash."""
    if facts["start"] != content_hash:
        raise UserError(
            "the model in init_checkpoint is not the one that the run began with",
            got=f"parameters {content_hash[:12]}",
            expected=f"parameters {facts['start'][:12]}",
            fix="put the original back, or train in a new workdir",
        )


def same_position(facts: dict, position: dict) -> None:
    """Raises UserError unless the data goes on from this position where the checkpoint with these facts left it."""
    if facts["position"] != position:
        raise UserError(
            "the data would not go on where the checkpoint left it",
            got=f"{position} at step {facts['step']}",
            expected=f"{facts['position']}",
            fix="give the old train.num_train_steps, since data.later_phases begin at shares of it; or take a new workdir",
        )


def not_beyond(facts: dict, num_train_steps: int) -> None:
    """Raises UserError where the checkpoint with these facts has more steps than are asked for."""
    if facts["step"] > num_train_steps:
        raise UserError(
            "the run is already beyond train.num_train_steps",
            got=f"train.num_train_steps={num_train_steps}, a checkpoint of step {facts['step']}",
            expected=f"{facts['step']} or more",
            fix="give more steps, or another --workdir to train fewer",
        )


def _read_json(path: Path) -> dict | None:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as error:
        raise UserError(f"cannot read {path}", got=error, fix="put a good copy back, or use another --workdir") from None


def code_hash() -> str:
    """Of all that the package is made of, so that neither a commit of text alone nor a change that is not committed misleads."""
    package, digest = Path(__file__).parent, hashlib.sha256()
    for path in sorted(package.rglob("*.py")):
        content = path.read_bytes()
        digest.update(f"{path.relative_to(package).as_posix()} {len(content)}\n".encode() + content)
    return digest.hexdigest()[:12]


def _git_hash() -> str | None:
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None
