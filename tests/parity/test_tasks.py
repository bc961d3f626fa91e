"""Fine-tuning with our objective, step and optimiser against a plain loop in torch, from the same small encoder and batches."""

import numpy as np
import pytest

from bert_jax import convert
from tests import tiny
from tests.interop import peers

STEPS = 5
TASKS = {"mrpc": "finetune_glue.py:mrpc", "stsb": "finetune_glue.py:stsb", "conll2003": "finetune_ner.py:conll2003"}


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    """(a directory of transformers, the workdir made of it)."""
    pytest.importorskip("torch", reason="the parity extra is not installed")
    pytest.importorskip("transformers", reason="the parity extra is not installed")
    folder = tmp_path_factory.mktemp("start")
    peers.save("BertModel", folder / "hf")
    convert.bring_in(folder / "hf", folder / "W", num_strings=20, say=str)
    return folder / "hf", folder / "W"


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """The three tasks in their layouts."""
    folder = tmp_path_factory.mktemp("data")
    words = [tiny.sentence(number).split() for number in range(48)]
    pairs = [(number % 2, number, number, " ".join(words[number]), " ".join(words[number // 2])) for number in range(48)]
    rows = {
        "glue/MRPC": (["Quality", "#1 ID", "#2 ID", "#1 String", "#2 String"], pairs),
        "glue/STS-B": (["score", "sentence1", "sentence2"], [(number * 0.1, *pair[3:]) for number, pair in enumerate(pairs)]),
    }
    for name, (header, cells) in rows.items():
        (folder / name).mkdir(parents=True)
        for split in ("train", "dev"):
            (folder / name / f"{split}.tsv").write_text("\n".join("\t".join(map(str, row)) for row in [header, *cells]) + "\n")
    (folder / "ner" / "conll2003").mkdir(parents=True)
    tags = ("I-PER", "O", "I-MISC", "I-LOC", "O", "I-ORG")
    tagged = ["".join(f"{word} X X {tags[(len(word) + place) % 6]}\n" for place, word in enumerate(row)) for row in words]
    for end in ("train", "testa"):
        (folder / "ner" / "conll2003" / f"eng.{end}").write_text("\n".join(tagged))
    return folder


@pytest.mark.parametrize("task", TASKS)
def test_losses_of_the_first_steps_equal_torch(task, start, data):
    from experiments.proofs.finetuning import both_losses

    source, workdir = start
    settings = {"data.folder": data, "data.max_seq_length": 24, "train.train_batch_size": 8, "optim.learning_rate": 1e-3}
    losses = both_losses(TASKS[task], workdir, source, STEPS, settings)
    assert abs(losses["torch"][-1] - losses["torch"][0]) > 1e-2  # it learns, so that the optimiser is compared too
    np.testing.assert_allclose(losses["ours"], losses["torch"], atol=1e-4, rtol=0)
