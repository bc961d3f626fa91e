"""Beside what others wrote, in tests marked as heavy."""

import re
import sys
from pathlib import Path

from experiments.proofs.commands import timed


def tokenisers(scratch: Path) -> dict:
    """All of the test text through the four BERT vocabularies; the comparison is a test marked as heavy."""
    seconds, output = timed([sys.executable, "-m", "pytest", "-m", "acceptance", "tests/text", "-s"])
    return {"seconds": seconds, "lines_compared_and_different": re.findall(r"^(\S+): ([\d,]+) lines, (\d+) differ", output, re.M)}


def minilm(scratch: Path) -> dict:
    """A published sentence encoder on the whole dev set of STS-B beside torch; the comparison is a test marked as heavy."""
    seconds, output = timed([sys.executable, "-m", "pytest", "-m", "acceptance", "tests/interop/test_minilm.py", "-s"])
    found = re.search(r"^\.?minilm: ([\d,]+) sentences, lowest cosine (\S+), Spearman (\S+), in torch (\S+)$", output, re.M)
    sentences, cosine, ours, torch = (float(number.replace(",", "")) for number in found.groups())
    return {
        "seconds": seconds,
        "sentences": int(sentences),
        "lowest_cosine": cosine,
        "spearman": ours,
        "spearman_in_torch": torch,
    }
