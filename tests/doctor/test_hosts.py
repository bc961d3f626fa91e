"""Several processes on this machine, some with a fault on purpose: each is named, none hangs."""

import socket
import threading
import time

import pytest

from bert_jax import inputs
from bert_jax.doctor import hosts as doctor_hosts
from bert_jax.doctor import meeting as meeting_module
from bert_jax.doctor.meeting import meet
from bert_jax.errors import UserError
from bert_jax.parallel import hosts
from bert_jax.parallel.hosts import Place, place
from experiments import faulty_hosts
from tests import tiny

QUICKSTART = f"--config={tiny.ROOT}/configs/quickstart.py"


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """The arguments of `doctor` for a run whose token store is there."""
    folder = tmp_path_factory.mktemp("run")
    corpus = tiny.write_corpus(folder / "text.txt")
    inputs.open_data(tiny.config(corpus), folder / "W", say=str)
    return [QUICKSTART, f"--workdir={folder / 'W'}", "--only=hosts", *tiny.arguments(corpus)]


def report(arguments, scratch, count, faults, timeout=60) -> str:
    """What process 0 says; all must end, and with exit code 1 where there is a fault."""
    ended = faulty_hosts.run([*arguments, f"--timeout={timeout}"], scratch, count, faults)
    started = [one for one in ended if one]
    assert {one.code for one in started} == {1 if faults else 0}, [one.output[-2000:] for one in started]
    return started[0].output


def test_healthy_processes_are_well(prepared, tmp_path):
    said = report(prepared, tmp_path, 2, {})
    assert "hosts: nothing found" in said and "the rows of steps 0 to 2 compared" in said and "a collective" in said


def test_what_each_process_says_of_itself_tells_which_one_is_odd(prepared, tmp_path):
    faults = {1: "other_config", 2: "other_version", 3: "unwritable_workdir", 4: "other_code"}
    said = report(prepared, tmp_path, 5, faults)
    for expected in (
        "process 1 (HOST): optim.learning_rate is 0.5, elsewhere 0.001",
        "process 2 (HOST): flax is '0.0.1'",
        "process 3 (HOST), looking at the host: cannot make the folder",
        "process 4 (HOST): bert_jax/data/pairs.py is",
    ):
        assert expected.replace("HOST", socket.gethostname()) in said


def test_rows_of_another_process_are_named(prepared, tmp_path):
    said = report(prepared, tmp_path, 4, {2: "overlapping_shards"})
    name = socket.gethostname()
    assert f"process 2 ({name}): it reads 6 rows that process 1 ({name}) reads too" in said


def test_other_devices_are_named(prepared, tmp_path):
    said = report(prepared, tmp_path, 2, {1: "wrong_mesh"})
    assert "count is 1, elsewhere 2" in said and f"process 1 ({socket.gethostname()})" in said
    assert (
        "all, looking at the devices: train.train_batch_size does not divide over the devices; got: 8 rows on 3 devices" in said
    )


def free_place(count: int) -> list[Place]:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return [Place(f"127.0.0.1:{listening.getsockname()[1]}", count, index) for index in range(count)]


def met(places: list[Place], say, seconds: float = 20) -> dict[int, object]:
    """say(place, meeting) in a thread for each of these places -> what it returned or raised."""
    found = {}

    def one(number: int, here: Place) -> None:
        try:
            with meet(here, seconds) as meeting:
                found[number] = say(here, meeting)
        except UserError as error:
            found[number] = error

    threads = [threading.Thread(target=one, args=each) for each in enumerate(places)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return found


def test_all_hear_what_all_say_each_time():
    def say(here, meeting):
        return [meeting.gather({"index": here.index, "turn": turn}, time.monotonic() + 20) for turn in range(2)]

    expected = [[{"index": index, "turn": turn} for index in range(3)] for turn in range(2)]
    assert met(free_place(3), say) == {index: expected for index in range(3)}


def test_one_that_never_comes_and_one_that_leaves_are_silent_and_the_others_go_on():
    def say(here, meeting):
        if here.index == 2:
            return "left"
        return [
            [record and record["index"] for record in meeting.gather({"index": here.index}, time.monotonic() + 1)]
            for _ in range(2)
        ]

    places = free_place(4)[:3]
    assert met(places, say, seconds=2) == {0: [[0, 1, None, None]] * 2, 1: [[0, 1, None, None]] * 2, 2: "left"}


def test_one_that_is_late_is_not_heard_again(monkeypatch):
    monkeypatch.setattr(meeting_module, "LATE_SECONDS", 0.2)

    def say(here, meeting):
        time.sleep(2 * here.index)
        return [meeting.gather({"turn": turn}, time.monotonic() + 1) for turn in range(2)]

    found = met(free_place(2), say)
    assert found[0] == [[{"turn": turn}, None] for turn in range(2)]
    assert "process 0 no longer answers" in str(found[1])


def test_without_process_0_the_others_say_so():
    found = met(free_place(3)[1:], lambda here, meeting: None, seconds=1)
    assert all("process 0 does not answer" in str(error) for error in found.values()) and len(found) == 2


def test_the_same_number_twice_and_another_count_are_sent_away():
    places = free_place(3)
    first, second, third = places
    joined = threading.Event()

    def say(here, meeting):
        joined.set()
        return meeting.refused

    found = met([first, second, second, third._replace(count=4)], say, seconds=3)
    refused = "\n".join(found[0])
    assert "there is a process 1 already" in refused and "process 2 takes itself for one of 4" in refused
    sent_away = [error for error in found.values() if isinstance(error, UserError)]
    assert len(sent_away) == 2 and all("does not take this process in" in str(error) for error in sent_away)


@pytest.mark.parametrize("content", [b"", b"GET / HTTP/1.1\r\n\r\n", b'{"process": "x"}\n', b"[1]\n", b"\xff\n"])
def test_a_stranger_at_the_port_does_no_harm(content):
    places = free_place(2)

    def after_the_stranger(here, meeting):
        return meeting.gather({"index": here.index}, time.monotonic() + 20)

    first = threading.Thread(target=lambda: found.update(met(places[:1], after_the_stranger)))
    found = {}
    first.start()
    with hosts.connect(places[0].address, 20) as stranger:
        stranger.sendall(content)
    (second,) = met(places[1:], after_the_stranger).values()
    first.join()
    assert found[0] == second == [{"index": 0}, {"index": 1}]


@pytest.mark.parametrize("odd", range(4))
def test_the_odd_one_is_named_whichever_it_is(odd):
    records = [{"host": "h", "doing": "x", "alike": {"versions": {"jax": "2" if n == odd else "1"}}} for n in range(4)]
    names = [f"process {n} (h)" for n in range(4)]
    (finding,) = doctor_hosts.compare(records, names, 1.0)
    assert finding.examples == [f"process {odd} (h): jax is '2', elsewhere '1'"]


def test_trouble_of_all_is_said_once_and_waiting_for_a_silent_one_is_none():
    late = {"host": "h", "doing": "looking", "trouble": f"{doctor_hosts.TOO_LATE} 5 seconds"}
    names = ["process 0 (h)", "process 1 (h)", "process 2 (h)"]
    (finding,) = doctor_hosts.compare([late] * 3, names, 5.0)
    assert finding.examples == ["all, looking: not done in 5 seconds"] and finding.count == 3
    (finding,) = doctor_hosts.compare([late, None, late], names, 5.0)
    assert finding.what == "absent processes" and finding.examples == ["process 1 (h) of 3: no word from it in 5 seconds"]


def test_other_content_in_the_own_rows_is_named():
    rows = [[[0, 2 * n], [0, 2 * n + 1]] for n in range(3)]
    records = [
        {"host": "h", "doing": "x", "reads": f"share {n}", "rows": [rows[n]], "shares": [f"share {m}" for m in range(3)]}
        for n in range(3)
    ]
    names = ["process 0", "process 1", "process 2"]
    assert list(doctor_hosts.compare(records, names, 1.0)) == []
    records[1]["reads"] = "damaged"
    (finding,) = doctor_hosts.compare(records, names, 1.0)
    assert finding.examples == ["process 1: other content in its rows of the batch"]


def test_a_look_that_hangs_or_breaks_is_trouble():
    assert "not done in 0 seconds" in doctor_hosts.within(0.2, "x", lambda: time.sleep(30))["trouble"]
    assert doctor_hosts.within(5, "x", lambda: 1 // 0)["trouble"].startswith("ZeroDivisionError")
    assert doctor_hosts.within(5, "x", lambda: {"a": 1}) == {"host": socket.gethostname(), "doing": "x", "a": 1}


def test_a_cluster_that_jax_knows_says_where_the_processes_meet(monkeypatch):
    for name in ("JAX_COORDINATOR_ADDRESS", "JAX_PROCESS_ID", "JAX_COORDINATOR_PORT"):
        monkeypatch.delenv(name, raising=False)
    slurm = {"SLURM_JOB_ID": "7", "SLURM_STEP_NODELIST": "node1", "SLURM_NTASKS": "4", "SLURM_PROCID": "2", "SLURM_LOCALID": "0"}
    for name, value in ({"JAX_NUM_PROCESSES": "4"} | slurm).items():
        monkeypatch.setenv(name, value)
    assert place() == Place("node1:61447", 4, 2)
    for name in slurm:
        monkeypatch.delenv(name)
    with pytest.raises(UserError, match="nothing says where the 4 processes meet"):
        place()
