import os
import time

import pytest

from bert_jax.data.workers import map_in_order
from bert_jax.errors import UserError


def slow_if_even(number: int) -> tuple[int, int]:
    time.sleep(0.02 * (number % 2 == 0))
    return number, os.getpid()


def slow_first(number: int) -> int:
    time.sleep(0.3 * (number == 0))
    return number


def fail_at_seven(number: int) -> int:
    if number == 7:
        raise UserError("seven", got=number)
    return number


def die_at_seven(number: int) -> int:
    if number == 7:
        os._exit(3)
    return number


def test_results_come_in_order_from_other_processes_and_items_are_not_read_far_ahead():
    read = []
    results = map_in_order(slow_if_even, (read.append(number) or number for number in range(40)), 2)
    workers = set()
    for expected, (number, worker) in enumerate(results):
        workers.add(worker)
        assert number == expected and len(read) <= number + 6
    assert number == 39 and len(workers) == 2 and os.getpid() not in workers


def test_a_slow_item_does_not_let_the_results_of_others_pile_up():
    read = []
    results = map_in_order(slow_first, (read.append(number) or number for number in range(200)), 2)
    assert next(results) == 0 and len(read) <= 6
    assert list(results) == list(range(1, 200))


@pytest.mark.parametrize(("workers", "items"), [(1, 9), (3, 2), (3, 0)])
def test_one_worker_or_few_items_start_no_process(workers, items):
    assert list(map_in_order(slow_if_even, range(items), workers)) == [(number, os.getpid()) for number in range(items)]


@pytest.mark.parametrize("workers", [1, 2])
def test_an_error_comes_in_its_turn(workers):
    results = map_in_order(fail_at_seven, range(20), workers)
    assert [next(results) for _ in range(7)] == list(range(7))
    with pytest.raises(UserError, match="seven\n.*got: +7"):
        next(results)


def test_a_dead_worker_is_one_message():
    with pytest.raises(UserError, match="worker process died\n.*exit code 3\n.*num_workers"):
        list(map_in_order(die_at_seven, range(20), 2))
