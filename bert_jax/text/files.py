"""Vocabulary files are read and written whole."""

import os
from pathlib import Path

from bert_jax.errors import UserError


def read_vocabulary(path: Path, setting: str = "vocab_file") -> bytes:
    """Raises UserError, naming the setting that the path comes from."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError("the vocabulary file cannot be read", got=f"{path}: {error.strerror}", fix=f"check {setting}") from error


def read_vocabulary_text(path: Path, setting: str = "vocab_file") -> str:
    try:
        return read_vocabulary(path, setting).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError("the vocabulary file is not UTF-8", got=f"{path}: {error.reason} at byte {error.start}") from error


def write_vocabulary(path: Path, content: bytes) -> None:
    """A reader sees the whole file or none."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise UserError("the vocabulary cannot be written", got=f"{path}: {error.strerror}") from error
