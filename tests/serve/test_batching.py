"""Who waits with whom, and in which order they are answered."""

import asyncio

import pytest

from bert_jax.serve.batching import Batcher, Full
from tests.serve.fakes import Slow


def run(slow: Slow, conversation, room: int = 64, **settings):
    async def whole():
        batcher, compiled = Batcher(room, **settings), asyncio.get_running_loop().create_future()
        batcher.start([slow.service], compiled.set_result)
        assert await asyncio.wait_for(compiled, 60) is None
        slow.batches.clear()  # that of the start
        slow.began.clear()
        try:
            return await conversation(batcher)
        finally:
            slow.go.set()
            await batcher.close()

    return asyncio.run(whole())


async def held(slow: Slow, batcher: Batcher) -> asyncio.Future:
    """The answer to "first", which the thread is at until slow.go is set."""
    slow.go.clear()
    (first,) = batcher.submit(slow.service, ["first"], {})
    assert await asyncio.to_thread(slow.began.wait, 60)
    return first


SHORT, LONG = [f"s{number}" for number in range(6)], [f"{'l' * 20}{number}" for number in range(3)]


def test_those_of_like_length_wait_for_a_batch_together_and_the_oldest_goes_first():
    slow, sizes = Slow(batch_size=4), []

    async def conversation(batcher):
        await held(slow, batcher)
        answers = [batcher.submit(slow.service, [text], {})[0] for pair in zip(SHORT, [*LONG, *LONG]) for text in pair]
        assert batcher.waiting == 12
        slow.go.set()
        return [(await answer)["said"] for answer in answers]

    said = run(slow, conversation, on_batch=lambda examples, seconds: sizes.append(examples))
    assert said == [text[::-1] for pair in zip(SHORT, [*LONG, *LONG]) for text in pair]
    assert slow.batches == [["first"], SHORT[:4], LONG[:2], [LONG[2], LONG[0]], SHORT[4:], LONG[1:]]
    assert sizes == [1, 4, 2, 2, 2, 2]


def test_other_settings_are_another_batch():
    slow = Slow()

    async def conversation(batcher):
        await held(slow, batcher)
        answers = [batcher.submit(slow.service, ["a"], {"top_k": k})[0] for k in (1, 2, 1)]
        slow.go.set()
        return [(await answer)["top_k"] for answer in answers]

    assert run(slow, conversation) == [1, 2, 1] and slow.batches == [["first"], ["a", "a"], ["a"]]


def test_there_is_room_for_all_of_a_request_or_none():
    slow = Slow()

    async def conversation(batcher):
        await held(slow, batcher)
        waiting = batcher.submit(slow.service, ["a", "b"], {})
        with pytest.raises(Full) as full:
            batcher.submit(slow.service, ["c", "d"], {})
        assert 1 <= full.value.seconds <= 60 and batcher.waiting == 2
        waiting += batcher.submit(slow.service, ["e"], {})
        slow.go.set()
        await asyncio.gather(*waiting)
        return await asyncio.gather(*batcher.submit(slow.service, ["f", "g", "h"], {}))

    assert [each["said"] for each in run(slow, conversation, room=3)] == ["f", "g", "h"]


def test_what_nobody_waits_for_is_not_computed():
    slow = Slow()

    async def conversation(batcher):
        first = await held(slow, batcher)
        gone, stays = batcher.submit(slow.service, ["gone", "stays"], {})
        gone.cancel()
        slow.go.set()
        await asyncio.gather(first, stays)

    run(slow, conversation)
    assert slow.batches == [["first"], ["stays"]]


def test_what_nobody_waits_for_takes_no_place_in_a_batch():
    slow = Slow(batch_size=4)

    async def conversation(batcher):
        first = await held(slow, batcher)
        gone, stay = (batcher.submit(slow.service, list(texts), {}) for texts in ("abcd", "efgh"))
        for answer in gone:
            answer.cancel()
        slow.go.set()
        await asyncio.gather(first, *stay)
        assert batcher.waiting == 0

    run(slow, conversation)
    assert slow.batches == [["first"], ["e", "f", "g", "h"]]


def test_one_that_cannot_be_answered_spoils_no_other():
    slow = Slow()

    async def conversation(batcher):
        await held(slow, batcher)
        answers = batcher.submit(slow.service, ["a", "fault", "b"], {})
        slow.go.set()
        return await asyncio.gather(*answers, return_exceptions=True)

    one, fault, other = run(slow, conversation)
    assert (one["said"], other["said"]) == ("a", "b") and isinstance(fault, ValueError)


def test_to_close_is_to_answer_what_waits():
    slow = Slow()

    async def conversation(batcher):
        first = await held(slow, batcher)
        answers = batcher.submit(slow.service, SHORT, {})
        closing = asyncio.ensure_future(batcher.close())
        await asyncio.sleep(0.05)
        assert not closing.done()
        slow.go.set()
        await closing
        await asyncio.sleep(0)  # what the thread left to the loop
        return [first, *answers]

    assert all(answer.done() for answer in run(slow, conversation))


def test_a_fault_at_the_start_is_told():
    slow = Slow()
    slow.service = slow.service._replace(short={"text": "no"})

    async def whole():
        batcher, compiled = Batcher(4), asyncio.get_running_loop().create_future()
        batcher.start([slow.service], compiled.set_result)
        found = await asyncio.wait_for(compiled, 60)
        await batcher.close()
        return found

    assert "it says no" in str(asyncio.run(whole()))
