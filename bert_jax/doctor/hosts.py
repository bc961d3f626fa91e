"""The hosts of a run looked at together, before it begins: who is there, with what code, config, versions and devices, whether
they read the same data and different rows of it, and whether they can compute together.

Each process looks at itself in stages, from what is quick and needs nothing to a collective; after each stage all hear what all
have said, and where something is wrong it ends there, because what comes next needs it. Every wait is limited: a process that
does not answer is named, and the others do not wait for it.
"""

import hashlib
import json
import os
import platform
import socket
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from importlib import metadata
from pathlib import Path

import jax
import numpy as np
from jax.experimental import multihost_utils

import bert_jax
from bert_jax import build, inputs
from bert_jax import config as configs
from bert_jax import workdir as workdirs
from bert_jax.data.files import write_synced
from bert_jax.data.loader import Batch, Loader
from bert_jax.doctor.findings import Checked, Fault
from bert_jax.doctor.meeting import meet
from bert_jax.errors import UserError
from bert_jax.parallel import hosts
from bert_jax.parallel.hosts import Place
from bert_jax.parallel.layout import check_mesh

STEPS = range(3)  # whose rows are compared
SHOWN_DIFFERENCES = 3
TOO_LATE = "not done in"
ALIKE = {  # what all hosts must share -> what is wrong with those that do not, and what to do
    "code": ("processes that run other code than most", "bring the same code to all hosts"),
    "config": ("processes with another config than most", "start all with the same config file and the same overrides"),
    "versions": ("processes with other versions of packages than most", "install requirements.txt on all hosts alike"),
    "devices": ("processes with other devices than most", "give each host the same devices, or leave the odd one out"),
    "data": (
        "processes with another vocabulary or token store than most",
        "copy those of one host to all, or delete the odd ones: `prepare` makes them again",
    ),
}
Record = dict[str, object]  # what a process says: "host", and what the looks below give


def check(config, workdir: Path, timeout: float) -> Checked:
    """What is wrong with the hosts of this run; all processes hear the same.

    Args:
        timeout: seconds that they wait for each other, and that each stage may take.

    Raises:
        UserError: the command or the environment is wrong, or process 0 does not answer.
    """
    place = hosts.place()
    stages = {
        "looking at the host": lambda: look_at_host(config, workdir, place),
        "looking at the devices": lambda: look_at_devices(config, place, timeout),
        "looking at the data": lambda: look_at_data(config, workdir, place),
        "computing together": lambda: compute_together(place),
    }
    facts, names = [], [f"process {index}" for index in range(place.count)]
    with meet(place, timeout) as meeting:
        for doing, look in stages.items():
            deadline = time.monotonic() + timeout
            records = meeting.gather(within(timeout, doing, look), deadline)
            names = [f"process {n} ({record['host']})" if record else names[n] for n, record in enumerate(records)]
            facts += dict.fromkeys(fact for record in records if record for fact in record.get("facts", ()))
            findings = [*_strangers(meeting.refused), *compare(records, names, timeout)]
            if findings:
                break
    return Checked([f"{place.count} processes: {', '.join(names)}" if place.count > 1 else names[0], *facts], findings)


def within(seconds: float, doing: str, look: Callable[[], Record]) -> Record:
    """What look() says, or the trouble it meets; it is left to itself when it takes longer than this."""
    said: list[Record] = []

    def work() -> None:
        try:
            said.append(look())
        except UserError as error:
            said.append({"trouble": _one_line(error)})
        except Exception as error:
            traceback.print_exc()
            said.append({"trouble": f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"})

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(seconds)
    answer = said[0] if said else {"trouble": f"{TOO_LATE} {seconds:.0f} seconds; --timeout gives more"}
    return {"host": socket.gethostname(), "doing": doing} | answer


def look_at_host(config, workdir: Path, place: Place) -> Record:
    """Code, config, versions, and whether the workdir can be written."""
    code = Path(bert_jax.__file__).parent
    files = {str(path.relative_to(code.parent)): _digest(path.read_bytes()) for path in sorted(code.rglob("*.py"))}
    versions = {"python": platform.python_version()} | {name: metadata.version(name) for name in workdirs.PACKAGES}
    return {
        "alike": {"code": files, "config": dict(configs.flatten(config.to_dict())), "versions": versions},
        **_trouble(lambda: _write(workdir, place.index)),
    }


def _write(workdir: Path, index: int) -> None:
    workdirs.make_folder(workdir)
    path = workdir / f".doctor-{index}-{os.getpid()}"
    try:
        write_synced(path, b"written")
        path.unlink()
    except OSError as error:
        raise UserError("the workdir cannot be written", got=f"{workdir}: {error.strerror or error}") from None


def look_at_devices(config, place: Place, seconds: float) -> Record:
    """Joins the others by jax; the devices, and whether they go into the mesh of the config."""
    hosts.join(round(3 * seconds))  # when jax itself loses patience it ends the process: this stage is over long before
    local, parallel = jax.local_devices(), config.parallel
    sizes = [phase.batch_size for phase in build.loader_config(config).phases]
    return {
        "alike": {"devices": {"count": len(local), "kind": local[0].device_kind, "platform": local[0].platform}},
        "facts": [f"{jax.device_count()} devices of {local[0].device_kind}, jax {jax.__version__}"],
        **_trouble(
            lambda: check_mesh(parallel.mode, jax.devices(), sizes, parallel.fsdp, parallel.tensor, config.train.accumulate)
        ),
    }


def look_at_data(config, workdir: Path, place: Place) -> Record:
    """Vocabulary and store by their hashes, and what this process would read in the first steps beside what it takes for the
    share of each."""
    if not inputs.store_path(config, workdir).exists():
        fact = "there is no token store yet, so that what each reads is not compared; `prepare` makes it"
        return {"alike": {"data": {"store": "absent"}}, "facts": [fact]}
    tokenizer = inputs.open_vocabulary(config, workdir)
    text = inputs.open_store(config, workdir, tokenizer, verify=False)
    loader = Loader(text.train, tokenizer, build.loader_config(config), Path(workdir) / "plans")
    whole = [loader.batch(step) for step in STEPS]
    return {
        "alike": {"data": {"vocabulary": tokenizer.content_hash, "store": text.content_hash}},
        "facts": [f"token store {text.content_hash[:12]}, the rows of steps {STEPS[0]} to {STEPS[-1]} compared"],
        "reads": _digest_of_batches(loader.batch(step, place.index, place.count) for step in STEPS),
        "rows": [loader.rows(step, place.index, place.count) for step in STEPS],
        "shares": [
            _digest_of_batches(hosts.rows_of(batch, index, place.count) for batch in whole) for index in range(place.count)
        ],
    }


def compute_together(place: Place) -> Record:
    """A collective over all devices, and the end of jax's ties between the processes."""
    gathered = np.asarray(multihost_utils.process_allgather(np.array([place.index]))).ravel().tolist()
    if gathered != list(range(place.count)):
        raise UserError("a collective gives what it must not", got=gathered, expected=f"0 to {place.count - 1}")
    if place.count > 1:
        jax.distributed.shutdown()
    return {"facts": ["a collective over all processes gives what it must"]}


def compare(records: Sequence[Record | None], names: Sequence[str], timeout: float) -> Iterator[Fault]:
    """What is wrong, from what each process says, None where it says nothing.

    Args:
        names: of the processes, for messages.
    """
    silent = [name for name, record in zip(names, records) if record is None]
    if silent:
        examples = [f"{name} of {len(names)}: no word from it in {timeout:.0f} seconds" for name in silent]
        fix = "see whether it was started and still runs, has this JAX_PROCESS_ID, and reaches the address of process 0"
        yield Fault("absent processes", fix, len(silent), len(names), examples)
    said = {name: record for name, record in zip(names, records) if record is not None}
    troubled = {name: f"{record['doing']}: {record['trouble']}" for name, record in said.items() if "trouble" in record}
    if silent:  # whom the others may be waiting for
        troubled = {name: trouble for name, trouble in troubled.items() if TOO_LATE not in trouble}
    if troubled:
        same = {trouble: [name for name in troubled if troubled[name] == trouble] for trouble in troubled.values()}
        who = {trouble: "all" if len(them) == len(names) > 1 else ", ".join(them) for trouble, them in same.items()}
        examples = [f"{who[trouble]}, {trouble}" for trouble in same]
        yield Fault("processes in trouble", "mend what it says", len(troubled), len(names), examples)
    for aspect, (what, fix) in ALIKE.items():
        theirs = {name: record["alike"][aspect] for name, record in said.items() if aspect in record.get("alike", ())}
        odd = _odd_ones(theirs)
        if odd:
            yield Fault(what, fix, len(odd), len(names), [f"{name}: {difference}" for name, difference in odd.items()])
    yield from _compare_rows(said, len(names))


def _odd_ones(theirs: dict[str, dict]) -> dict[str, str]:
    """Name -> in what it differs from what most have, from the first of them where none has a majority."""
    counts = Counter(json.dumps(own, sort_keys=True) for own in theirs.values())
    usual = json.loads(counts.most_common(1)[0][0]) if counts else {}
    odd = {}
    for name, own in theirs.items():
        changed = configs.difference(usual, own)
        if changed:
            shown = [f"{key} is {now!r}, elsewhere {before!r}" for key, before, now in changed[:SHOWN_DIFFERENCES]]
            more = [f"and {len(changed) - len(shown)} more"] if len(changed) > len(shown) else []
            odd[name] = "; ".join([*shown, *more])
    return odd


def _compare_rows(said: dict[str, Record], count: int) -> Iterator[Fault]:
    """Those that do not read what most take for their share of the batch."""
    reading = [name for name in said if "reads" in said[name]]
    if len(reading) < count:
        return
    wrong = []
    for index, name in enumerate(reading):
        share = Counter(said[other]["shares"][index] for other in reading).most_common(1)[0][0]
        if said[name]["reads"] != share:
            wrong.append(f"{name}: {_overlap(name, said) or 'other content in its rows of the batch'}")
    if wrong:
        fix = "start each process with its own JAX_PROCESS_ID, and with the same config, code and store as the others"
        yield Fault("processes that do not read their own share of the batch", fix, len(wrong), count, wrong)


def _overlap(name: str, said: dict[str, Record]) -> str:
    """What this process reads that another one reads too."""
    for other in said:
        common = [
            (step, *row)
            for step, mine, theirs in zip(STEPS, said[name]["rows"], said[other]["rows"])
            for row in sorted(set(map(tuple, mine)) & set(map(tuple, theirs)))
        ]
        if other != name and common:
            step, epoch, row = common[0]
            return f"it reads {len(common)} rows that {other} reads too, first row {row} of epoch {epoch} at step {step}"
    return ""


def _strangers(refused: Sequence[str]) -> Iterator[Fault]:
    if refused:
        fix = "give each process a JAX_PROCESS_ID of its own, and all the same JAX_NUM_PROCESSES and JAX_COORDINATOR_ADDRESS"
        yield Fault("connections that were sent away", fix, len(refused), 0, list(refused))


def _trouble(action: Callable[[], object]) -> Record:
    try:
        action()
    except UserError as error:
        return {"trouble": _one_line(error)}
    return {}


def _one_line(error: Exception) -> str:
    return "; ".join(" ".join(line.split()) for line in str(error).splitlines())


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:12]


def _digest_of_batches(batches: Iterator[Batch]) -> str:
    return _digest(b"".join(name.encode() + batch[name].tobytes() for batch in batches for name in sorted(batch)))
