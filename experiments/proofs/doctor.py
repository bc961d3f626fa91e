"""What the doctor names: processes with a fault on purpose, faults planted in a corpus, evaluation sentences in another dress."""

import json
import random
import socket
import subprocess
import sys
from pathlib import Path

from bert_jax.data import sources
from bert_jax.data.report import Report
from bert_jax.doctor.against import texts_of
from bert_jax.doctor.overlap import END_OF_DOCUMENT, Hashes, Rolling, Texts, gram_length, words
from experiments import faulty_hosts, planted
from experiments.benchmarks import measure
from experiments.benchmarks.prepare import write_corpus
from experiments.proofs.commands import ROOT, data

PROCESSES = 4
FAULTY = {  # fault -> the process that has it, and what process 0 must say of it
    "absent": (3, "process 3 of 4: no word from it"),
    "other_config": (1, "process 1 ({host}): optim.learning_rate is 0.5"),
    "other_version": (2, "process 2 ({host}): flax is '0.0.1'"),
    "other_code": (2, "process 2 ({host}): bert_jax/data/pairs.py is"),
    "unwritable_workdir": (3, "process 3 ({host}), looking at the host: cannot make the folder"),
    "overlapping_shards": (2, "process 2 ({host}): it reads"),
    "wrong_mesh": (3, "process 3 ({host}): count is 1, elsewhere 2"),
    "silent": (2, "process 2 ({host}) of 4: no word from it"),
}
SMALL = {"text.vocab_size": 2000, "data.max_seq_length": 32, "train.train_batch_size": 32}
SETS = "sst2,mrpc,rte,stsb"
PLANTED, SHORTEST = 50, 6  # evaluation sentences, words of each
SEEDS = range(5)
DOCUMENTS = 20_000
MEGABYTES = (50, 200)


def doctor_hosts(scratch: Path) -> dict:
    """Four processes, one of them with a fault: what process 0 says, exit codes, and the seconds until the last one has ended."""
    prepared = [
        f"--workdir={scratch / 'W'}",
        *_settings({**SMALL, "data.input_file": data() / "text" / "wiki_en" / "sample_1mb.txt"}),
    ]
    for verb in ("vocab", "prepare"):
        subprocess.run([sys.executable, "-m", "bert_jax", verb, _quickstart(), *prepared], cwd=ROOT, check=True)
    arguments = [_quickstart(), *prepared, "--only=hosts"]
    figures = {"healthy": _together(faulty_hosts.run(arguments, scratch, PROCESSES, {}))}
    for fault, (index, expected) in FAULTY.items():
        ended = faulty_hosts.run(arguments, scratch, PROCESSES, {index: fault})
        others = ended[:index] + ended[index + 1 :] if fault == "silent" else ended  # one that is stopped never ends by itself
        figures[fault] = {"named": expected.format(host=socket.gethostname()) in ended[0].output, **_together(others)}
    without_first = faulty_hosts.run(arguments, scratch, PROCESSES, {0: "absent"})
    named = all("process 0 does not answer" in one.output for one in without_first[1:])
    return figures | {"process_0_absent": {"named": named, **_together(without_first)}}


def _together(ended: list) -> dict:
    return {"exit_codes": sorted({one.code for one in ended if one}), "seconds": max(one.seconds for one in ended if one)}


def doctor_corpus(scratch: Path) -> dict:
    """Planted faults among 20,000 clean documents; 50 evaluation sentences in 40 MB of Wikipedia; speed and memory."""
    return {"planted_faults": _faults(scratch), "evaluation_sentences": _sentences(scratch), "pass": _passes(scratch)}


def _faults(scratch: Path) -> dict:
    """For each seed, which of the planted faults are named with file and line, and what else is named; and what a clean corpus
    gives."""
    vocabulary, path, looked_for = planted.write_vocabulary(scratch / "vocab.txt"), scratch / "text.txt", scratch / "eval.txt"
    looked_for.write_text(f"{planted.EVALUATED}\n", encoding="utf-8")
    settings = {"text.vocab_file": vocabulary, "text.do_lower_case": False, "data.input_format": "sentences"}
    settings |= {"data.max_seq_length": 24, "data.input_file": path}
    kinds, named, others, clean = 0, 0, 0, 0
    for seed in SEEDS:
        draw = random.Random(seed)
        documents = planted.clean(draw, DOCUMENTS)
        planted.write(path, documents)
        clean += len(_doctor(scratch, settings, looked_for)[0])
        lines = planted.plant(documents, draw, 24)
        planted.write(path, documents)
        findings, _ = _doctor(scratch, settings, looked_for)
        places = [example for finding in findings for example in finding["examples"]]
        wanted = [f"{path}, line {planted.line_of(path, text)}" for text in lines.values()]
        found = [any(place.removeprefix("first in ").split(":")[0] == one for place in places) for one in wanted]
        kinds, named, others = len(lines), named + sum(found), others + len(places) - sum(found)
    return {"kinds": kinds, "corpora": len(SEEDS), "named": named, "named_beside_them": others, "named_in_clean_corpora": clean}


def _sentences(scratch: Path) -> dict:
    """Sentences of dev sets in another case and punctuation, each put into a document of Wikipedia; what is named in the corpus
    with them and without them."""
    draw, path = random.Random(0), scratch / "wiki.txt"
    wiki = list(sources.documents(str(data() / "text" / "wiki_en" / "shard-*.txt.xz"), "auto", Report()))
    planted.write(path, wiki)
    settings = {"text.vocab_file": data() / "vocab" / "bert-base-uncased-vocab.txt", "data.input_format": "sentences"}
    settings |= {"data.input_file": path}
    before = _texts_found(_doctor(scratch, settings, SETS)[0])
    alike = Texts(texts_of(SETS))
    texts = [text for text in alike.texts if text.set.endswith("dev") and gram_length(words(text.text)) >= SHORTEST]
    chosen = draw.sample([text for text in texts if text.place not in before], PLANTED)
    hidden = [planted.disguised(text.text, draw) for text in chosen]
    for sentence in hidden:
        document = draw.choice(wiki)
        document.insert(draw.randrange(len(document) + 1), sentence)
    planted.write(path, wiki)
    after = _texts_found(_doctor(scratch, settings, SETS)[0])
    hidden_words = [word for sentence in hidden for word in (*words(sentence), END_OF_DOCUMENT)]
    for length, (numbers, _) in alike.grams.found_in(Rolling(Hashes()(hidden_words))).items():
        for number in numbers.tolist():
            alike.add(length, number, "planted")
    of_planted = {standing.text.place for standing in alike.standing()}
    right = sum(after.get(text.place) == f"{path}, line {planted.line_of(path, one)}" for text, one in zip(chosen, hidden))
    return {
        "sets": SETS,
        "texts_looked_for": len(alike.texts),
        "planted": PLANTED,
        "named": sum(text.place in after for text in chosen),
        "named_with_their_line": right,
        "recall": sum(text.place in after for text in chosen) / PLANTED,
        "named_without_planting": len(before),
        "named_with_words_of_the_planted": len(after.keys() & (of_planted - {text.place for text in chosen})),
        "named_beside_these": len(after.keys() - before.keys() - of_planted - {text.place for text in chosen}),
    }


def _texts_found(findings: list[dict]) -> dict[str, str]:
    """Place of an evaluation text -> place in the corpus."""
    found = {}
    for finding in findings:
        if finding["what"].startswith("texts of"):
            for example in finding["examples"]:
                where, text, *_ = example.split(": ")
                found[text.rpartition(", ")[0]] = where
    return found


def _passes(scratch: Path) -> list[dict]:
    """The whole command on Wikipedia, repeated with altered words: what it takes for a corpus and for one four times as large."""
    runs = []
    for megabytes in MEGABYTES:
        path = scratch / "large.txt"
        write_corpus(str(data() / "text" / "wiki_en" / "shard-*.txt.xz"), path, megabytes)
        settings = {"text.vocab_file": data() / "vocab" / "bert-base-uncased-vocab.txt", "data.input_file": path}
        findings, tree = _doctor(scratch, settings | {"data.input_format": "paragraphs"}, SETS)
        with open(path, "rb") as file:
            lines = sum(1 for _ in file)
        took = tree._asdict() | {"megabytes": megabytes, "lines": lines}
        took |= {"megabytes_per_second": megabytes / tree.seconds, "megabytes_per_cpu_second": megabytes / tree.cpu_seconds}
        runs.append(took | {"kinds_of_faults": len(findings)})
        path.unlink()
    return runs


def _doctor(scratch: Path, settings: dict, against) -> tuple[list[dict], measure.Tree]:
    options = ["--only=corpus", f"--against={against}", f"--workdir={scratch / 'W'}"]
    command = [sys.executable, "-m", "bert_jax", "doctor", "--config=configs/bert.py:base", *options, *_settings(settings)]
    tree = measure.watched(command, ROOT)
    if tree.code not in (0, 1):
        raise subprocess.CalledProcessError(tree.code, command)
    return json.loads((scratch / "W" / "report" / "doctor.json").read_text())["corpus"], tree


def _quickstart() -> str:
    return f"--config={ROOT / 'configs' / 'quickstart.py'}"


def _settings(values: dict) -> list[str]:
    return [f"--config.{key}={value}" for key, value in values.items()]
