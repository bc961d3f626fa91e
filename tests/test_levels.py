"""The folder listing is the architecture: who may import whom, read from the code."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
LEVELS = {
    "errors": -1,
    "batch": 0,
    "command": 0,
    "config": 0,
    "finding": 0,
    "hardware": 0,
    "ranges": 0,
    "text": 1,
    "models": 1,
    "optim": 1,
    "metrics": 1,
    "data": 2,
    "objectives": 2,
    "interop": 2,
    "transfer": 2,
    "extend": 2,
    "parallel": 2,
    "checkpoint": 2,
    "tasks": 3,
    "train": 3,
    "predict": 4,
    "compress": 4,
    "buckets": 4,
    "workdir": 4,
    "report": 5,
    "show": 5,
    "build": 5,
    "inputs": 6,
    "jobs": 6,
    "trained": 7,
    "plan": 8,
    "run": 8,
    "finetune": 8,
    "predicting": 8,
    "searching": 9,
    "replay": 8,
    "summary": 8,
    "convert": 9,
    "pruning": 9,
    "doctor": 9,
    "serve": 10,
    "verbs": 11,
    "__main__": 12,
    "launch": 12,
    "experiments": 13,
}
# Within a level modules are strangers, and data reads no model.
ALLOWED_DOWN = {
    "data": {"text"},
    "objectives": {"models", "text"},
    "interop": {"models", "text"},
    "parallel": set(),
    "checkpoint": set(),
    "tasks": {"data", "objectives", "metrics", "text"},
    "train": {"parallel", "checkpoint"},
}
WITHOUT_JAX = ("errors", "batch", "command", "config", "finding", "hardware", "text", "data", "metrics", "verbs", "__main__")
FILES = sorted(path for folder in ("bert_jax", "launch", "experiments") for path in (ROOT / folder).rglob("*.py"))


def unit(path: Path) -> str:
    """The package or module directly under bert_jax (or launch, experiments) that a file belongs to."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return parts[0] if parts[0] != "bert_jax" else parts[1]


def imported_units(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{path}: relative import"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        for name in names:
            head, *rest = name.split(".")
            if head == "bert_jax" and rest:
                found.add(rest[0])
            elif head in ("launch", "experiments"):
                found.add(head)
    return found


def violations(path: Path) -> list[str]:
    here = unit(path)
    if here == "__init__":
        return [f"{path.name} imports {name}" for name in imported_units(path)]
    wrong = []
    for other in imported_units(path) - {here}:
        allowed = LEVELS[other] < LEVELS[here] and (LEVELS[other] <= 0 or other in ALLOWED_DOWN.get(here, LEVELS))
        if not allowed:
            wrong.append(f"{path.relative_to(ROOT)} (level {LEVELS[here]}) imports {other} (level {LEVELS[other]})")
    return wrong


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_only_point_down(path):
    assert not violations(path)


def test_an_upward_import_would_be_caught(tmp_path, monkeypatch):
    planted = ROOT / "bert_jax" / "data" / "planted.py"
    monkeypatch.setattr(Path, "read_text", lambda self, encoding=None: "from bert_jax.models import encoder\n")
    assert violations(planted) == ["bert_jax/data/planted.py (level 2) imports models (level 1)"]


def test_configs_import_nothing_of_the_package():
    for path in (ROOT / "configs").rglob("*.py"):
        assert not imported_units(path), path


def test_text_data_and_help_start_without_jax():
    modules = [
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for path in FILES
        if unit(path) in WITHOUT_JAX and path.relative_to(ROOT).parts[0] == "bert_jax"
    ]
    code = f"import sys, importlib; [importlib.import_module(name) for name in {modules}]; sys.exit('jax' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0
