"""Search on real pairs of questions, English and Chinese: what is found, what ordering anew gains, and what the index misses; and
100,000 sentences embedded by a command that is killed on the way."""

import json
import random
import signal
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np

from bert_jax import searching
from bert_jax.data import sources
from bert_jax.data.report import SKIP, Report
from bert_jax.metrics.statistics import paired_means, percentiles, resampled_means
from bert_jax.predict import search as nearest_texts
from bert_jax.tasks import tables
from experiments.proofs.commands import ROOT, data, finetune, timed
from experiments.proofs.finetuning import brought_in
from experiments.proofs.tasks import FAST, TUNED, chinese_starts

TOP = 10
QUESTIONS = 1000  # of a set at most, the first ones: each is read with 50 candidates by the second model
SENTENCES = 100_000
CHARACTERS_OF_A_SENTENCE = range(8, 60)
KILLS = 3
LOOKED_AT = 1000  # of the vectors, embedded again
CHINESE_STEPS = 3000
JUDGE = FAST | {
    "data.max_seq_length": 64,
    "data.max_train_examples": 20_000,
    "train.train_batch_size": 32,
    "train.num_train_epochs": 2.0,
}

Pair = tuple[str, str, bool]  # a question, another, whether they ask the same


class Asked(NamedTuple):
    """A set of pairs as retrieval: every second question that occurs is a candidate for every first one."""

    questions: list[str]
    wanted: list[set[str]]  # for each question the candidates that ask the same, at least one
    candidates: list[str]


def search(scratch: Path) -> dict:
    english = {
        "train": _pairs("glue/QQP/train_subset.tsv.xz", ("question1", "question2", "is_duplicate")),
        "dev": _pairs("glue/QQP/dev_subset.tsv", ("question1", "question2", "is_duplicate")),
    }
    chinese = {"train": _pairs("zh/afqmc/train.txt.xz", (0, 1, 2)), "dev": _pairs("zh/afqmc/dev.txt", (0, 1, 2))}
    lcqmc = {"train": chinese["train"], "dev": _pairs("zh/lcqmc/dev.txt", (0, 1, 2))}
    ours = chinese_starts(scratch, CHINESE_STEPS)["pretrained"]
    figures = {
        "QQP, MiniLM": _retrieval(scratch / "qqp", brought_in(scratch), english, JUDGE),
        "AFQMC, pretrained here": _retrieval(scratch / "afqmc", ours, chinese, JUDGE | TUNED),
        "LCQMC, pretrained here, ordered anew by the model of AFQMC": _retrieval(
            scratch / "lcqmc", ours, lcqmc, JUDGE | TUNED, judge=scratch / "afqmc/judge"
        ),
    }
    return figures | {"killed": _killed(scratch / "killed", ours)}


def _pairs(name: str, columns: tuple) -> list[Pair]:
    rows = tables.read(data() / name, columns)
    return [(first, second, label == "1") for _, (first, second, label) in rows]


def as_retrieval(pairs: Iterable[Pair]) -> Asked:
    wanted, candidates = defaultdict(set), {}
    for first, second, same in pairs:
        candidates[second] = None
        if same:
            wanted[first].add(second)
    return Asked(list(wanted)[:QUESTIONS], list(wanted.values())[:QUESTIONS], list(candidates))


def _retrieval(folder: Path, encoder: Path, pairs: dict[str, list[Pair]], settings: dict, judge: Path | None = None) -> dict:
    folder.mkdir()
    asked = as_retrieval(pairs["dev"])
    (folder / "candidates.jsonl").write_text("".join(f"{json.dumps({'text': text})}\n" for text in asked.candidates))
    seconds, _ = timed(_embed(encoder, folder / "candidates.jsonl", folder / "collection"))
    if judge is None:
        judge = folder / "judge"
        _write_ranking(pairs["train"], folder / "train.tsv")
        files = {"data.train_file": folder / "train.tsv", "data.dev_fraction": 0.02}
        timed(finetune(judge, "finetune_own.py:ranking", encoder, settings | files))
    found = {
        "bi_encoder": searching.open_searcher(encoder, folder / "collection", say=str),
        "ordered_anew": searching.open_searcher(encoder, folder / "collection", rerank=judge, say=str),
    }
    scores = {name: _scores(searcher, asked) for name, searcher in found.items()}
    figures = {
        "questions": len(asked.questions),
        "candidates": len(asked.candidates),
        "embedding_seconds": seconds,
        **{name: {metric: _with_interval(values) for metric, values in each.items()} for name, each in scores.items()},
        "gain_of_ordering_anew": {
            metric: paired_means(scores["ordered_anew"][metric], values, 0)._asdict()
            for metric, values in scores["bi_encoder"].items()
        },
        "index_agrees_with_comparing_all": _agreement(found["bi_encoder"], asked.questions),
    }
    print(f"{folder.name}: {figures}", flush=True)
    return figures


def _write_ranking(pairs: Iterable[Pair], path: Path) -> None:
    lines = ["query_id\tquery\tpassage\trelevance\n"]
    lines += [f"{number}\t{first}\t{second}\t{int(same)}\n" for number, (first, second, same) in enumerate(pairs)]
    path.write_text("".join(lines), encoding="utf-8")


def _embed(model: Path, file: Path, collection: Path) -> list[str]:
    return [
        *(sys.executable, "-m", "bert_jax", "embed"),
        *(f"--workdir={model}", f"--file={file}", f"--collection={collection}", "--dtype=float32"),
    ]


def _scores(searcher: searching.Searcher, asked: Asked) -> dict[str, np.ndarray]:
    """Of each question the share of what is wanted among the first TOP, and 1 over the place of the first of them there."""
    recall, reciprocal = [], []
    answers = searching.search_for(searcher, asked.questions, top_k=TOP)
    for wanted, answer in zip(asked.wanted, answers, strict=True):
        right = [each["text"] in wanted for each in answer["found"]]
        recall.append(sum(right) / len(wanted))
        reciprocal.append(1 / (1 + right.index(True)) if any(right) else 0.0)
    return {f"recall@{TOP}": np.array(recall), f"mrr@{TOP}": np.array(reciprocal)}


def _with_interval(values: np.ndarray) -> dict:
    low, high = percentiles(resampled_means(values, 0, 10_000), 0.95)
    return {"mean": float(values.mean()), "low": low, "high": high}


def _agreement(searcher: searching.Searcher, questions: list[str]) -> float:
    """The share of the first TOP by comparing all that the index finds too."""
    vectors_QD = searcher.vectors_of(questions)
    both = [
        nearest_texts.nearest(searcher.collection, vectors_QD, TOP, kind)[1] for kind in (nearest_texts.EXACT, nearest_texts.HNSW)
    ]
    return float(np.mean([len(set(one) & set(other)) / TOP for one, other in zip(*both, strict=True)]))


def _killed(folder: Path, model: Path) -> dict:
    """The command killed KILLS times, each time after a shard or more, and then left alone."""
    folder.mkdir()
    texts = list(islice(_sentences(), SENTENCES))
    file, collection = folder / "texts.txt", folder / "collection"
    file.write_text("".join(f"{text}\n" for text in texts), encoding="utf-8")
    rng, kept = random.Random(0), []
    for _ in range(KILLS):
        with subprocess.Popen(_embed(model, file, collection), cwd=ROOT, stdout=subprocess.DEVNULL) as process:
            before = len(list(collection.glob("shard-*.npz")))
            _wait_for(lambda: len(list(collection.glob("shard-*.npz"))) > before or process.poll() is not None)  # noqa: B023
            time.sleep(rng.uniform(0, 10))
            process.send_signal(signal.SIGKILL)
        if process.returncode != -signal.SIGKILL:
            raise RuntimeError(f"the command ended before it was killed: {process.returncode}")
        kept.append(len(list(collection.glob("shard-*.npz"))))
    timed(_embed(model, file, collection))
    searcher = searching.open_searcher(model, collection, say=str)
    vectors_ND = np.concatenate(list(searcher.collection.shards()))
    objects = searcher.collection.objects(range(len(vectors_ND)))
    some = rng.sample(range(len(texts)), LOOKED_AT)
    again_ND = searcher.vectors_of([texts[number] for number in some])
    again_ND /= np.linalg.norm(again_ND, axis=1, keepdims=True)
    return {
        "sentences": len(texts),
        "shards_when_killed": kept,
        "vectors": len(vectors_ND),
        "texts_in_their_places": sum(each["text"] == text for each, text in zip(objects, texts, strict=True)),
        f"largest_difference_of_{LOOKED_AT}_embedded_again": float(np.abs(vectors_ND[some] - again_ND).max()),
    }


def _sentences() -> Iterator[str]:
    """Different sentences of Chinese books and of Wikipedia."""
    met = set()
    for name in ("books_zh/*.xz", "wiki_zh/*.xz"):
        for document in sources.documents(str(data() / "text" / name), "auto", Report(SKIP)):
            for sentence in document:
                if len(sentence) in CHARACTERS_OF_A_SENTENCE and sentence not in met:
                    met.add(sentence)
                    yield sentence


def _wait_for(happened: Callable[[], bool], seconds: float = 1800) -> None:
    until = time.monotonic() + seconds
    while not happened():
        if time.monotonic() > until:
            raise RuntimeError("nothing happened for half an hour")
        time.sleep(0.2)
