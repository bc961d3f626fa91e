"""Seven faults planted in a tiny run, each to be named; healthy seeds, none of which may be called faulty."""

import contextlib
import math
import random
import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from unittest import mock

import jax
import numpy as np

from bert_jax import config as configs
from bert_jax import inputs, run
from bert_jax.data import loader
from bert_jax.metrics.student import quantile
from bert_jax.optim.optimizers import scale_by
from bert_jax.train import bands, track
from bert_jax.train.watch import read_metrics
from experiments.proofs.commands import ROOT, result

SEEDS, REFERENCE_SEEDS = 20, 5
CERTAINTY = 0.999
TINY = {
    "text.vocab_size": 3000,
    "data.num_eval_rows": 640,
    "model.hidden_size": 64,
    "model.intermediate_size": 128,
    "optim.num_warmup_steps": 50,
    "train.num_train_steps": 500,
    "train.log_every_steps": 25,
    "train.eval_every_steps": 100,
    "train.save_every_steps": 500,
}
LINE = "the function returns the first item of the list that is not empty , or none where every item of it is .\n"


@contextlib.contextmanager
def rate(settings: dict, scratch: Path) -> Iterator[None]:
    """The learning rate thirty times as high."""
    settings["optim.learning_rate"] = 30 * configs.load(str(ROOT / "configs" / "quickstart.py")).optim.learning_rate
    yield


@contextlib.contextmanager
def unshuffled(settings: dict, scratch: Path) -> Iterator[None]:
    """Rows in the order of the text."""
    with mock.patch.object(loader.keyed, "permute", lambda index, size, key: index):
        yield


@contextlib.contextmanager
def one_line(settings: dict, scratch: Path) -> Iterator[None]:
    """One line again and again, with an empty one here and there, as the text; and so another vocabulary and store."""
    draw, path = random.Random(0), scratch / "one_line.txt"
    path.write_text("".join(LINE * draw.randrange(2, 60) + "\n" for _ in range(300)), encoding="utf-8")
    settings |= {"data.input_file": path, "text.vocab_file": "", "data.store": ""}
    yield


@contextlib.contextmanager
def wrong_pad(settings: dict, scratch: Path) -> Iterator[None]:
    """Rows filled up with piece 100 instead of [PAD]."""
    with _rows_changed(lambda rows: rows._replace(input_ids=np.where(rows.input_mask > 0, rows.input_ids, np.int32(100)))):
        yield


@contextlib.contextmanager
def inverted_labels(settings: dict, scratch: Path) -> Iterator[None]:
    with _rows_changed(lambda rows: rows._replace(labels=1 - rows.labels)):
        yield


def _rows_changed(change):
    right = loader.read_rows
    return mock.patch.object(loader, "read_rows", lambda *arguments: change(right(*arguments)))


@contextlib.contextmanager
def masked_specials(settings: dict, scratch: Path) -> Iterator[None]:
    """[CLS] and [SEP] may be masked as any other piece."""
    right = loader.mask_rows

    def masked(input_ids, candidates, begins_word, lengths, *others, **named):
        everything = np.arange(input_ids.shape[1]) < lengths[:, None]
        return right(input_ids, everything, begins_word, lengths, *others, **named)

    with mock.patch.object(loader, "mask_rows", masked):
        yield


@contextlib.contextmanager
def frozen_embedding(settings: dict, scratch: Path) -> Iterator[None]:
    """No update of the word table, which is the output table too."""
    import optax

    def without_words(params):
        return jax.tree_util.tree_map_with_path(lambda path, leaf: 0.0 if "word" in str(path) else 1.0, params)

    right = run.build_optimizer

    def built(config):
        optimizer, schedule = right(config)
        return optax.chain(optimizer, scale_by(without_words)), schedule

    with mock.patch.object(run, "build_optimizer", built):
        yield


# name -> (what plants it, what the finding is called, a word that has to stand in it)
FAULTS = {
    "learning rate x30": (rate, track.TOO_HIGH, ""),
    "unshuffled rows": (unshuffled, "rows are not shuffled", ""),
    "one line again and again": (one_line, "the text repeats itself", ""),
    "wrong pad id": (wrong_pad, "padding and input_mask disagree", ""),
    "inverted next-sentence label": (inverted_labels, "labels of pairs are inverted", ""),
    "masks on special pieces": (masked_specials, "special pieces are masked", ""),
    "frozen embedding": (frozen_embedding, track.NOT_TRAINED, "encoder/embeddings/word"),
}


def on_track(scratch: Path) -> dict:
    """Seven faults, each in a run of its own, and SEEDS healthy runs, all of 500 steps on the docstrings of this machine."""
    first = _config({})
    inputs.make_vocabulary(first, scratch / "first")
    inputs.prepare_store(first, scratch / "first")
    shared = {"text.vocab_file": scratch / "first" / "vocab.txt", "data.store": scratch / "first" / "store"}
    healthy = {f"seed {seed}": _run(scratch / f"seed{seed}", {"seed": seed} | shared) for seed in range(SEEDS)}
    planted = {}
    for name, (plant, what, word) in FAULTS.items():
        settings = dict(shared)
        with plant(settings, scratch):
            found = _run(scratch / plant.__name__, settings)
        named = [step for step, finding in found["findings"] if finding["what"] == what and word in finding["seen"]]
        planted[name] = {"named": what, "at_step": min(named, default=None), **found}
    return {
        "settings": TINY,
        "faults_named": sum(fault["at_step"] is not None for fault in planted.values()),
        "faults": planted,
        "false_alarms": sum(bool(one["findings"]) for one in healthy.values()),
        "healthy": healthy,
    }


def reference_runs(scratch: Path) -> dict:
    """The quickstart with REFERENCE_SEEDS seeds: the table for bert_jax/train/bands.py."""
    config = configs.load(str(ROOT / "configs" / "quickstart.py"))
    inputs.make_vocabulary(config, scratch / "first")
    inputs.prepare_store(config, scratch / "first")
    gains: dict[int, list[float]] = {}
    for seed in range(REFERENCE_SEEDS):
        workdir, one = scratch / f"seed{seed}", configs.load(str(ROOT / "configs" / "quickstart.py"), [f"seed={seed}"])
        one.text.vocab_file, one.data.store = (str(scratch / "first" / name) for name in ("vocab.txt", "store"))
        run.train(one, workdir, quiet=True)
        unigram_loss = result(workdir)["unigram_loss"]
        for record in read_metrics(workdir):
            if record["kind"] == "held_out":
                gains.setdefault(record["step"], []).append(unigram_loss - record["masked_lm_loss"])
    return {"key": bands.key_of(config.to_dict()), "nats_below_unigram": gains, "band": band(gains)}


def band(gains: Mapping[int, Sequence[float]]) -> dict[int, tuple[float, float]]:
    """Where the next seed falls with a probability of CERTAINTY at each step, were the seeds drawn from a normal distribution."""
    found = {}
    for step, each in gains.items():
        half = quantile(CERTAINTY, len(each) - 1) * math.sqrt(1 + 1 / len(each)) * statistics.stdev(each)
        found[step] = (round(statistics.mean(each) - half, 2), round(statistics.mean(each) + half, 2))
    return found


def _run(workdir: Path, settings: dict) -> dict:
    """How a run ended, and the first finding of each kind with its step."""
    before = time.time()
    run.train(_config(settings), workdir, quiet=True)
    records, findings = read_metrics(workdir), {}
    for record in records:
        for finding in record.get("findings", ()):
            findings.setdefault(finding["what"], (record["step"], finding))
    last = next(record for record in reversed(records) if record["kind"] == "verdict")
    return {"seconds": round(time.time() - before, 1), "standing": last["standing"], "findings": list(findings.values())}


def _config(settings: dict):
    overrides = [f"{key}={value}" for key, value in (TINY | settings).items()]
    return configs.load(str(ROOT / "configs" / "quickstart.py"), overrides)
