"""What tests marked as heavy show."""

import re
import sys
from pathlib import Path

from bert_jax.errors import UserError
from experiments.proofs.commands import timed


def tokenisers(scratch: Path) -> dict:
    """All of the test text through the four BERT vocabularies; the comparison is a test marked as heavy."""
    seconds, output = timed([sys.executable, "-m", "pytest", "-m", "acceptance", "tests/text", "-s"])
    return {"seconds": seconds, "lines_compared_and_different": re.findall(r"^(\S+): ([\d,]+) lines, (\d+) differ", output, re.M)}


def minilm(scratch: Path) -> dict:
    """A published sentence encoder on the whole dev set of STS-B beside torch; the comparison is a test marked as heavy."""
    seconds, output = timed([sys.executable, "-m", "pytest", "-m", "acceptance", "tests/interop/test_minilm.py", "-s"])
    found = re.search(r"^\.?minilm: ([\d,]+) sentences, lowest cosine (\S+), Spearman (\S+), in torch (\S+)$", output, re.M)
    if not found:  # the test was skipped
        raise UserError("the sentence encoder was not compared", expected="torch and the published weights", fix="make parity")
    sentences, cosine, ours, torch = (float(number.replace(",", "")) for number in found.groups())
    return {
        "seconds": seconds,
        "sentences": int(sentences),
        "lowest_cosine": cosine,
        "spearman": ours,
        "spearman_in_torch": torch,
    }


def every_mode(scratch: Path) -> dict:
    """One step of every config in every parallel mode, on eight virtual devices."""
    files = ("tests/test_configs.py", "tests/test_finetune.py", "tests/test_sentence_encoders.py")
    seconds, output = timed([sys.executable, "-m", "pytest", "-m", "acceptance or not acceptance", *files, "-k", "one_step"])
    passed, *others = re.search(r"^(\d+) passed(, .*)? in", output, re.M).groups()
    return {"seconds": seconds, "passed": int(passed), "others": [other for other in others if other]}
