"""Configs: a Python file with get_config(arg), overridden key by key, saved beside the run it describes."""

import ast
import difflib
import importlib.util
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from bert_jax.errors import UserError

# Keys that no config of earlier versions had -> the value with which a run is what it was then.
CAME_LATER = {"data.drop_duplicates": False}


def load(path_with_arg: str, overrides: Sequence[str] = ()):
    """The ConfigDict of a config file, overrides applied and locked.

    Args:
        path_with_arg: a Python file that defines get_config(arg), then optionally ":" and the argument: configs/bert.py:base.
        overrides: "--config.section.key=value" or "section.key=value".

    Raises:
        UserError: no such file, an argument the file does not know, an unknown key (the nearest is named), a value of
            another type.
    """
    path, _, arg = str(path_with_arg).partition(":")
    if not Path(path).is_file():
        raise UserError("the config file does not exist", got=path, expected="a Python file such as configs/quickstart.py")
    spec = importlib.util.spec_from_file_location("bert_jax_config_file", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    try:
        config = module.get_config(arg or None)
    except ValueError as error:
        raise UserError(f"{path} refuses its argument: {error}", got=path_with_arg) from None
    config.lock()
    for override in overrides:
        _apply(config, override)
    return config


def _apply(config, override: str) -> None:
    key, equals, text = override.removeprefix("--").removeprefix("config.").partition("=")
    if not equals:
        raise UserError("an override has no value", got=override, expected="--config.section.key=value")
    leaves = dict(flatten(config.to_dict()))
    if key not in leaves:
        raise UserError(f"the config has no key {key!r}", got=override, expected=_nearest(key, leaves))
    *sections, leaf = key.split(".")
    for section in sections:
        config = config[section]
    config[leaf] = _convert(key, text, leaves[key])


def require_known(section: str, keys: Iterable[str], known: Iterable[str]) -> None:
    """Raises UserError for a key of a section that nothing reads; a config file may have one, of which no override knows."""
    known = {f"{section}.{key}" for key in known}
    for key in keys:
        if f"{section}.{key}" not in known:
            raise UserError(f"nothing reads the key {section}.{key}", expected=_nearest(f"{section}.{key}", known))


def _nearest(key: str, known) -> str:
    near = difflib.get_close_matches(key, known, n=3, cutoff=0.5) or _same_last_word(key, known) or sorted(known)
    return f"perhaps {' or '.join(near[:3])}"


def _same_last_word(key: str, leaves) -> list[str]:
    last = key.split(".")[-1]
    names = {leaf.split(".")[-1]: leaf for leaf in leaves}
    return [names[name] for name in difflib.get_close_matches(last, names, n=3, cutoff=0.5)]


def _convert(key: str, text: str, default):
    if isinstance(default, str):
        return text
    try:
        value = ast.literal_eval({"true": "True", "false": "False"}.get(text, text))
    except (ValueError, SyntaxError):
        value = text
    if isinstance(default, float) and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if isinstance(default, tuple) and isinstance(value, list):  # as config.json has it
        value = tuple(value)
    if type(value) is not type(default):
        raise UserError(
            f"config.{key} has a value of the wrong type", got=repr(text), expected=f"{type(default).__name__}, as {default!r}"
        )
    return value


def flatten(tree: dict, prefix: str = "") -> Iterator[tuple[str, object]]:
    """The leaves of nested dicts as ("section.key", value)."""
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def difference(before: dict, after: dict) -> list[tuple[str, object, object]]:
    """The leaves in which two nested dicts differ, as (key, before, after); None stands for an absent one."""
    old, new = (CAME_LATER | dict(flatten(json.loads(json.dumps(tree)))) for tree in (before, after))  # a saved tuple is a list
    return [(key, old.get(key), new.get(key)) for key in sorted(old.keys() | new.keys()) if old.get(key) != new.get(key)]


def without_later(tree: dict, prefix: str = "") -> dict:
    """The same without the keys of CAME_LATER that have the value they have there: runs, which it names, keep their names."""
    kept = {}
    for key, value in tree.items():
        name = f"{prefix}{key}"
        if isinstance(value, dict):
            kept[key] = without_later(value, f"{name}.")
        elif name not in CAME_LATER or value != CAME_LATER[name]:
            kept[key] = value
    return kept


def make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"cannot make the folder {folder}",
            got=error.strerror,
            expected="a folder that can be written to",
            fix="give another path",
        ) from None


def write_json(path: Path, value) -> None:
    """Writes JSON so that a reader sees the old file or the new one, never a part."""
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with open(temporary, "w", encoding="utf-8") as file:
        json.dump(value, file, indent=2, sort_keys=True)
        file.write("\n")
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)


class Recorder:
    """A read-only view of a config that remembers which of its leaves were read, so that no key can be dead."""

    def __init__(self, config, prefix: str = "", read: set[str] | None = None):
        self._config, self._prefix, self._read = config, prefix, set() if read is None else read

    def __getattr__(self, key: str):
        return self[key]

    def __getitem__(self, key: str):
        value, path = self._config[key], self._prefix + key
        if hasattr(value, "to_dict"):
            return Recorder(value, path + ".", self._read)
        self._read.add(path)
        return value

    def keys(self):
        return self._config.keys()

    def to_dict(self) -> dict:
        """The whole config as plain dicts; this alone does not count as reading it."""
        return self._config.to_dict()

    def never_read(self) -> list[str]:
        return sorted(set(dict(flatten(self.to_dict()))) - self._read)
